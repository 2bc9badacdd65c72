/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that a worker's ring moves to and from files: a few chunks, and the
 * operations on them. What is written goes through it, registered with the ring
 * where that is allowed, because rows themselves cannot be registered (they are
 * mapped read-only) nor written while their writer goes on.
 *
 * Belongs to the thread of its loop.
 */
#ifndef TREEKVD_STAGING_H
#define TREEKVD_STAGING_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/loop.h"

#define STAGING_CHUNK (1U << 20)
#define STAGING_SLOTS 12
#define STAGING_DEPTH 8 /* transfers to or from the disk at a time */
#define STAGING_PARTS 32

struct staging_slot;

/* One stretch of memory on its way. */
struct staging_part {
	struct loop_op op;
	struct staging_slot *slot;
	uint8_t *at;
	uint64_t offset; /* in the file */
	uint32_t size;
	uint32_t moved;
	int fd;
	bool write;
	bool copies; /* to a memfd */
};

/* One chunk and what it is in. */
struct staging_slot {
	struct staging *staging;
	uint8_t *at;
	uint32_t busy; /* parts under way */
	uint32_t parts; /* used since the slot was last idle */
	int error; /* the first since staging_clear() */
	struct staging_part part[STAGING_PARTS];
};

/* Whatever else a file needs: one at a time of each. */
struct staging_single {
	struct loop_op op;
	struct staging *staging;
	bool busy;
	int result;
};

struct staging {
	struct loop *loop;
	uint8_t *memory;
	bool registered;
	uint32_t busy; /* slots */
	uint32_t moving; /* parts between memory and disk */
	struct staging_single single;
	struct staging_single present; /* of a memfd's pages */
	struct __kernel_timespec time;
	struct staging_slot slot[STAGING_SLOTS];
};

/**
 * staging_new - make the memory
 * @registered: with the ring, which has room for one
 *
 * Return: 0 or -ENOMEM.
 */
int staging_new(struct staging **ret, struct loop *loop, bool registered);

/* Nothing may be in flight. Takes NULL, returns it. */
struct staging *staging_free(struct staging *staging);

/* Is anything in flight? */
bool staging_is_busy(const struct staging *staging);

/* Forgets the slots' errors; none is busy. */
void staging_clear(struct staging *staging);

/* The slots' first error. */
int staging_error(const struct staging *staging);

/*
 * Moves the first @size bytes of a slot to or from a file. The slot is busy
 * until that is done; then error is 0, -ENODATA (the file ended), or what went
 * wrong.
 */
void staging_move(struct staging_slot *slot, int fd, bool write,
		  uint64_t offset, uint32_t size);

/* Reads from a file into memory that is not the slot's, which is busy. */
void staging_read_into(struct staging_slot *slot, int fd, uint8_t *to,
		       uint64_t offset, uint32_t size);

/*
 * Writes bytes of a slot, from @at on, to a memfd: another thread of the
 * kernel's does it. STAGING_PARTS of them at most until the slot is idle again.
 */
void staging_fill(struct staging_slot *slot, int memfd, uint32_t at,
		  uint64_t offset, uint32_t size);

/* Each has single busy, and then its result. */
void staging_fsync(struct staging *staging, int fd);
void staging_allocate(struct staging *staging, int fd, uint64_t size);
void staging_sleep(struct staging *staging, uint64_t ns);

/* Likewise; the strings stay until then. */
void staging_open(struct staging *staging, const char *path, int flags);
void staging_mkdir(struct staging *staging, const char *path);
void staging_rename(struct staging *staging, const char *from, const char *to);
void staging_unlink(struct staging *staging, const char *path);

/* Has present busy, and then its result. */
void staging_populate(struct staging *staging, int memfd, uint64_t at,
		      uint64_t size);

#endif /* TREEKVD_STAGING_H */
