/* SPDX-License-Identifier: BSD-2-Clause */
/* What a client asks of a daemon in which calls fail. For cmocka tests. */
#ifndef TREEKV_FAULT_OPERATIONS_H
#define TREEKV_FAULT_OPERATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/shm.h"

/* A client, and the cache "a" that he has, if it is to be there before. */
struct client {
	int fd;
	uint64_t next;
	struct shm_rows *rows;
	const struct shm_index *index;
	uint64_t rows_size, index_size;
	uint64_t lease;
	int bell;
	pid_t process; /* another one, whose lease it is; or 0 */
};

struct outcome {
	int error; /* 0: done */
	bool hung_up;
	char text[512];
};

/* What is asked for, and what has to be there before. */
struct operation {
	const char *name;
	void (*prepare)(struct client *c);
	void (*ask)(struct client *c, struct outcome *ret);
	bool (*is_sound)(struct client *c, const struct outcome *outcome);
};

extern const struct operation operations[];
extern const size_t operations_count;

/* A connection, and its first request. */
void client_greet(struct client *c, struct outcome *ret);

/* What he has mapped. */
void client_let_go(struct client *c);

#endif /* TREEKV_FAULT_OPERATIONS_H */
