// SPDX-License-Identifier: BSD-2-Clause
/*
 * A cache leaves in three steps, each of which may find the next already
 * possible: its name is freed, its last lease is over, its worker has let go of
 * it.
 */
#include <time.h>

#include "daemon/control_impl.h"
#include "daemon/crash.h"
#include "daemon/event.h"
#include "daemon/lease.h"
#include "daemon/persist.h"
#include "daemon/service.h"
#include "daemon/takeover.h"
#include "proto/barrier.h"

static void on_taken_back(struct worker_job *job)
{
	struct cache *cache = job->cache;

	store_remove(&treekvd.store, cache);
	if (*cache->stored)
		service_forget(cache->stored);
	crash_at(CRASH_DROP_FORGOTTEN);
	event_gone(cache);
	cache_free(cache);
}

void control_leave(struct cache *cache)
{
	if (cache->named || cache->lease || cache->ending || cache->leaving ||
	    cache->pending || persist_holds(cache) || takeover_holds(cache))
		return;
	cache->leaving = true;
	cache->take_back.done = on_taken_back;
	worker_take_back(cache, &cache->take_back);
}

void control_drop(struct cache *cache)
{
	/* Recorded first: a daemon that adopts it must not bring it back. */
	cache->index->flags |= SHM_CACHE_DROPPED;
	crash_at(CRASH_DROP_MARKED);
	store_unname(&treekvd.store, cache);
	crash_at(CRASH_DROP_UNNAMED);
	control_leave(cache);
}

void control_lease_over(struct lease *lease)
{
	struct cache *cache = lease->cache;

	lease_free(lease);
	cache->ending--;
	control_leave(cache);
}

void control_end_lease(struct lease *lease)
{
	struct cache *cache = lease->cache;

	treekvd.leases--;
	cache->ending++;
	shm_store_relaxed(&cache->index->last_used, time(NULL));
	lease_end(lease);
	crash_at(CRASH_LEASE_ENDED);
	if (cache->ephemeral)
		control_drop(cache);
}

void control_writer_died(struct lease *lease)
{
	event_writer_died(lease);
	control_end_lease(lease);
}
