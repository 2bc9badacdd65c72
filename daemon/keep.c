// SPDX-License-Identifier: BSD-2-Clause
/*
 * A cache's time is counted from when it was last used, by the clock that its
 * index has that in, so that it goes on over restarts of the daemon. One timer
 * waits for the first that will be over; where no idle cache has a limit, none
 * runs. What is over and could not go (its class stays, the disk is full) is
 * looked at again when something has changed, not by time.
 */
#include <errno.h>
#include <time.h>

#include "daemon/control_impl.h"
#include "daemon/keep.h"
#include "daemon/owner.h"
#include "daemon/park.h"
#include "daemon/persist.h"
#include "proto/barrier.h"

#define TTL_MAX (UINT64_C(1) << 32) /* seconds: more is for ever */

static struct {
	struct loop_op op;
	struct __kernel_timespec time;
	uint64_t at; /* seconds since 1970; 0: it does not run */
	bool limited; /* some cache may have a limit */
} keep;

/* Or cancelled: somebody's time is over sooner. */
static void on_timer(struct loop_op *op, int res, unsigned int flags)
{
	(void)op;
	(void)res;
	(void)flags;
	keep.at = 0;
	treekvd.store.changed = true; /* keep_look() follows */
}

static void arm(uint64_t at, uint64_t now)
{
	if (keep.at && keep.at <= at)
		return;
	if (keep.at) {
		loop_cancel(&treekvd.loop, &keep.op);
		return;
	}
	keep.at = at;
	keep.op.done = on_timer;
	keep.time.tv_sec = (long long)(at - now);
	io_uring_prep_timeout(loop_sqe(&treekvd.loop, &keep.op), &keep.time, 0,
			      0);
}

/* When its time is over; UINT64_MAX: never, or not while this goes on. */
static uint64_t end_of(const struct cache *cache)
{
	const struct shm_index *index = cache->index;

	if (cache->pending || cache->lease || cache->barred || !cache->named ||
	    !index->ttl || index->ttl > TTL_MAX ||
	    index->flags & SHM_CACHE_PINNED)
		return UINT64_MAX;
	return shm_load_relaxed(&index->last_used) + index->ttl;
}

void keep_look(void)
{
	struct cache *cache = treekvd.store.first, *next;
	uint64_t now, end, soonest = UINT64_MAX;

	if (!treekvd.store.changed || !keep.limited)
		return;
	keep.limited = false;
	now = (uint64_t)time(NULL);
	for (; cache; cache = next) {
		next = cache->next;
		keep.limited |= shm_load_relaxed(&cache->index->ttl) != 0;
		end = end_of(cache);
		if (end <= now)
			park_expired(cache);
		else if (end < soonest)
			soonest = end;
	}
	if (soonest != UINT64_MAX)
		arm(soonest, now);
}

void keep_added(const struct cache *cache)
{
	keep.limited |= cache->index->ttl != 0;
}

void keep_on_keep(struct conn *conn, uint64_t id, const Treekv__Keep *request)
{
	struct owner_subject of;
	struct cache *cache;

	if (owner_find(&of, conn, id, request->name))
		return;
	cache = of.cache;
	if (!cache) {
		control_refuse(conn, id, -EBUSY,
			       "cache %s is on disk: 'treekvctl restore' it "
			       "first",
			       of.name);
		return;
	}
	if (cache->ephemeral) {
		control_refuse(conn, id, -EINVAL,
			       "cache %s is ephemeral: it ends with its lease",
			       cache->name);
		return;
	}
	if (persist_is_loading(cache)) { /* the flags are the worker's */
		control_refuse(conn, id, -EBUSY,
			       "cache %s is being restored; try again",
			       cache->name);
		return;
	}
	if (request->has_pinned)
		cache_mark(cache, SHM_CACHE_PINNED, request->pinned);
	if (request->has_ttl)
		shm_store_relaxed(&cache->index->ttl, request->ttl);
	keep.limited |= request->has_ttl;
	treekvd.store.changed = true;
	control_done(conn, id);
}
