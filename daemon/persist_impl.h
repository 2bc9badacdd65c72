/* SPDX-License-Identifier: BSD-2-Clause */
/* What persist.c, persist_ask.c and persist_schedule.c share. */
#ifndef TREEKVD_PERSIST_IMPL_H
#define TREEKVD_PERSIST_IMPL_H

#include "daemon/control_impl.h"
#include "daemon/persist.h"
#include "daemon/snapshot.h"

/* What came of one cache, as it is told. */
struct outcome {
	uint64_t space;
	uid_t uid; /* its owner, as far as that is known */
	char name[SHM_NAME_MAX + 1];
	int error;
	char text[512];
	uint64_t tail;
	uint64_t bytes;
	uint64_t ns;
	uint64_t lacks; /* bytes, of -ENOSPC */
};

struct asked;

/* One asked of one cache. */
struct waiter {
	struct waiter *next;
	struct asked *asked;
	unsigned int runs; /* jobs of the cache that have to end first */
};

/* ---- persist.c ---- */

struct persist_module {
	char *root; /* STATE-DIR/snapshots */
	bool usable; /* it could be made */
	int lock_fd; /* STATE-DIR, which no other daemon has; or < 0 */
	bool stopping; /* the last snapshots: at no rate */
	unsigned int jobs; /* caches with something under way */
	uint64_t ended; /* jobs so far */
	unsigned int failed; /* saves of these */
	char fault[512]; /* the latest, or "" */
	int fault_error;
	struct access_what fault_of; /* the cache that it is about */
	const struct outcome *not_loaded; /* while who waits for it is told */
	struct loop_op timer;
	struct __kernel_timespec time;
	bool armed; /* the timer */
};
extern struct persist_module persist;

void persist_outcome(struct outcome *out, uint64_t space, const char *name);

/* Of a cache that is in memory. */
void persist_outcome_of(struct outcome *out, const struct cache *cache);

/* Tells what its writer has committed from what he had before. */
uint64_t persist_mark(const struct cache *cache);

/* Has it been written to since its last snapshot; at a stop, has that gone? */
bool persist_is_due(const struct cache *cache);

/* Is what it holds in a file that is there? Of one that nobody writes. */
bool persist_is_current(const struct cache *cache);

/* A file of that mark is there. */
void persist_note(struct cache *cache, uint64_t mark, uint64_t taken);

/* Return: NULL when there is no memory. */
struct persist *persist_of(struct cache *cache);

/* May it be saved? Return: 0 or a negative errno with @out's text. */
int persist_may_save(const struct cache *cache, struct outcome *out);

/* Starts a job; none is under way. Return: as above. */
int persist_save(struct cache *cache, struct outcome *out);

/* For whom something is loaded. */
struct persist_wish {
	const struct conn *conn; /* NULL: for ourselves, who may do anything */
	enum access_right right; /* that he has to have */
	const Treekv__Spec *spec; /* it must have that fingerprint, or NULL */
};

/**
 * persist_load - a cache of what is on disk, to be filled by a job
 *
 * Return: 0; -ENOENT there is no such file, or none that he may know of; another
 * errno with @out's text.
 */
int persist_load(struct cache **ret, uint64_t space, const char *name,
		 const struct persist_wish *wish, struct outcome *out);

/* Does a cache have the fingerprint that is asked for? As above. */
int persist_compare(const struct cache *cache, const Treekv__Spec *spec,
		    struct outcome *out);

/* ---- persist_ask.c ---- */

/* A job of it has ended: tells who waits. Return: true: somebody wants more. */
bool persist_tell(struct cache *cache, const struct outcome *out);

#endif /* TREEKVD_PERSIST_IMPL_H */
