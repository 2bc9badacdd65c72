/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Other rows for a cache: who has the old ones mapped writable and neither goes
 * on nor dies cannot be made to let go of them, so he keeps them. For breaking
 * a lease, for freezing, and for a writer of another user.
 */
#ifndef TREEKVD_TAKEOVER_H
#define TREEKVD_TAKEOVER_H

#include "daemon/cache.h"
#include "daemon/conn.h"

struct room_try;

/**
 * takeover_attempt - answer a request to break the lease of a cache
 *
 * Answered when the cache is free. Refused: -ENOENT; -ESRCH nobody holds it;
 * -EUCLEAN it is quarantined; -EBUSY that is under way; -ENOSPC no room for a
 * copy of its rows.
 *
 * Return: false when there is no room for the copy yet.
 */
bool takeover_attempt(struct conn *conn, uint64_t id,
		      const Treekv__Break *request, const struct room_try *try);

/* The asker has gone; the breaking goes on. */
void takeover_closed(struct conn *conn);

/**
 * takeover_start - give a cache fresh rows, a copy of those it has
 * @over: called on the control thread when it has them, or does not get them;
 *	the cache is no longer held by then
 * @arg: for @over
 * @why: on failure what went wrong
 *
 * Return: 0, and @over will be called; -ENOSPC, -EMFILE, -ENOMEM.
 */
int takeover_start(struct cache *cache,
		   void (*over)(void *arg, struct cache *cache, int error,
				const char *why),
		   void *arg, struct cache_error *why);

/* How many bytes more have to be free, at least; ROOM_NEVER: too many. */
uint64_t takeover_lacks(const struct cache *cache);

/* Is the cache given other rows? Then it must stay. */
bool takeover_holds(const struct cache *cache);

/* Frees what is left when the daemon stops. */
void takeover_exit(void);

#endif /* TREEKVD_TAKEOVER_H */
