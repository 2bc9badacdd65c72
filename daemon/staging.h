/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that a worker's ring moves to and from files: a few chunks, registered
 * with the ring where that is allowed, and the operations on them. Snapshots go
 * through it because rows themselves cannot be registered (they are mapped
 * read-only) nor written while their writer goes on.
 *
 * Belongs to the thread of its loop.
 */
#ifndef TREEKVD_STAGING_H
#define TREEKVD_STAGING_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/loop.h"

#define STAGING_CHUNK (1U << 20)
#define STAGING_DEPTH 8

/* One chunk and the transfer it is in. */
struct staging_slot {
	struct loop_op op;
	struct staging *staging;
	uint8_t *at;
	int fd;
	bool write;
	bool busy;
	uint64_t offset; /* in the file */
	uint32_t size;
	uint32_t moved;
	int error; /* of the last transfer */
};

struct staging {
	struct loop *loop;
	uint8_t *memory;
	bool registered;
	struct staging_slot slot[STAGING_DEPTH];
	uint32_t busy; /* slots in transfer */
	/* Whatever else a file needs, one at a time. */
	struct loop_op single;
	struct __kernel_timespec time;
	bool single_busy;
	int single_result;
};

/* Return: 0 or -ENOMEM. */
int staging_new(struct staging **ret, struct loop *loop);

/* Nothing may be in flight. Takes NULL, returns it. */
struct staging *staging_free(struct staging *staging);

/* A chunk that is not in transfer, or NULL. */
struct staging_slot *staging_slot(struct staging *staging);

/*
 * Moves @size bytes between a chunk and a file. The slot is busy until it is
 * done; then error is 0, -ENODATA (the file ended), or what went wrong.
 */
void staging_move(struct staging_slot *slot, int fd, bool write,
		  uint64_t offset, uint32_t size);

/* Each sets single_busy, and single_result when it is over. */
void staging_fsync(struct staging *staging, int fd);
void staging_allocate(struct staging *staging, int fd, uint64_t size);
void staging_sleep(struct staging *staging, uint64_t ns);

#endif /* TREEKVD_STAGING_H */
