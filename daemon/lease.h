/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lease is the right of one process to write one cache. It ends when the
 * process says so or dies (its pidfd tells), not when its connection closes:
 * a living process may still write through its mapping.
 */
#ifndef TREEKVD_LEASE_H
#define TREEKVD_LEASE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/cache.h"
#include "daemon/loop.h"
#include "daemon/worker.h"

struct lease {
	uint64_t id; /* drawn: counting would begin anew with each daemon */
	uint64_t nonce; /* of the request it was granted upon, or 0 */
	struct cache *cache;
	pid_t pid;
	uid_t uid;
	int pidfd;
	int bell_fd; /* the doorbell: an eventfd */
	struct loop *control;
	struct loop_op death; /* control: polls pidfd */
	struct loop_op bell; /* the worker's: polls bell_fd */
	struct worker_job watch;
	struct worker_job unwatch;
	bool dead_polled; /* death is in flight */
	bool watched; /* the worker has not acknowledged unwatch */
	bool unwatching; /* the worker's: bell is being cancelled */
	bool ended;
	/* The lease is over and out of everybody's hands; frees it. */
	void (*over)(struct lease *lease);
	/* The holder died: lease_end() has been called. */
	void (*died)(struct lease *lease);
};

/**
 * lease_new - give a process the right to write a cache that nobody writes
 * @pidfd: duplicated
 * @nonce: recorded beside it
 *
 * Return: 0; -ESRCH the process has ended; -EMFILE, -ENFILE, -ENOMEM.
 */
int lease_new(struct lease **ret, struct cache *cache, struct loop *control,
	      pid_t pid, uid_t uid, int pidfd, uint64_t nonce,
	      void (*died)(struct lease *lease),
	      void (*over)(struct lease *lease));

/**
 * lease_restore - the lease that the index of an adopted cache records
 *
 * The holder has not come back yet, but may write all the same.
 *
 * Return: 0; -ESRCH it records none, or its holder has ended; or another
 * negative errno: whether he lives cannot be told, or he cannot be watched.
 */
int lease_restore(struct lease **ret, struct cache *cache, struct loop *control,
		  void (*died)(struct lease *lease),
		  void (*over)(struct lease *lease));

/* Ends it: the cache is free at once, the rest follows; then over() is called. */
void lease_end(struct lease *lease);

/* Frees the memory; for over(). */
void lease_free(struct lease *lease);

/* A random number but 0. */
uint64_t lease_draw(void);

/* Has the process ended, whether or not that has been reported yet? */
bool lease_is_dead(int pidfd);

#endif /* TREEKVD_LEASE_H */
