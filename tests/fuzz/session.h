/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients of a control plane (tests/unit/plane.h) that do what an input says:
 * several connections of several processes, requests of every kind with
 * contents from small tables or straight from the input, writers that step and
 * writers that lie.
 */
#ifndef TREEKV_FUZZ_SESSION_H
#define TREEKV_FUZZ_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/shm.h"
#include "tests/fuzz/input.h"
#include "tests/unit/plane.h"

#define SESSION_PEERS 4
#define SESSION_HELD  8
#define SESSION_OTHER 65534 /* another user, and his group */
#define SESSION_ASKED 32 /* of a connection, at a time */

struct peer {
	int fd; /* -1: none */
	pid_t process; /* 0: ours */
	uint64_t asked[SESSION_ASKED]; /* and not answered yet, oldest first */
	uint32_t n_asked;
	uint64_t follows; /* the request that events come for, or 0 */
	bool raw; /* has sent what is no request of ours: nothing is sure */
};

/* What an attach has brought. */
struct held {
	struct shm_rows *rows; /* NULL: none */
	const struct shm_index *index;
	uint64_t rows_size;
	uint64_t index_size;
	uint64_t cache;
	uint64_t lease; /* 0: a reader's */
	int bell; /* -1: none */
};

struct session {
	struct input input;
	uint64_t next; /* request's number */
	struct peer peer[SESSION_PEERS];
	struct held held[SESSION_HELD];
	uint32_t turn; /* who is held next is put there */
	bool broken; /* a lease, perhaps */
	bool anew; /* the daemon must forget what it cannot let go of */
};

void session_begin(struct session *s, struct input input);

/* One thing that the input says. */
void session_act(struct session *s);

/* Everything is let go and dropped; that nothing is left is checked. */
void session_end(struct session *s);

/* ---- requests (requests.c) ---- */

/* What is packed of the input's next request; a frame without its header. */
size_t request_make(struct session *s, uint8_t *to, size_t size,
		    Treekv__Request__BodyCase *body);

#endif /* TREEKV_FUZZ_SESSION_H */
