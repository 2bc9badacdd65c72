// SPDX-License-Identifier: BSD-2-Clause
/*
 * A cache leaves in four steps, each of which may find the next already
 * possible: its name is freed, its last lease is over and its last fork gone, its
 * worker has let go of it, its memory is given back. A drop is answered after
 * the last one, so that whoever asked for it can count on what it frees; where
 * somebody still holds the cache, it is answered at once.
 */
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

#include "daemon/control_impl.h"
#include "daemon/crash.h"
#include "daemon/event.h"
#include "daemon/freeze.h"
#include "daemon/lease.h"
#include "daemon/lookup.h"
#include "daemon/owner.h"
#include "daemon/persist.h"
#include "daemon/prefill.h"
#include "daemon/room.h"
#include "daemon/service.h"
#include "daemon/takeover.h"
#include "proto/barrier.h"

#define RELEASE_AT_ONCE (UINT64_C(4) << 20) /* bytes: no errand */

/* Who waits for a cache to be gone. */
struct dropper {
	LIST_ENTRY(dropper) link;
	struct conn *conn; /* NULL: hung up */
	uint64_t id;
	const struct cache *cache;
};

static LIST_HEAD(, dropper) droppers = LIST_HEAD_INITIALIZER(droppers);

void leave_closed(struct conn *conn)
{
	struct dropper *d;

	LIST_FOREACH(d, &droppers, link)
	if (d->conn == conn)
		d->conn = NULL;
}

static void answer_dropper(const struct cache *cache)
{
	struct dropper *d;

	LIST_FOREACH(d, &droppers, link)
	if (d->cache == cache)
		break;
	if (!d)
		return;
	LIST_REMOVE(d, link);
	if (d->conn)
		control_done(d->conn, d->id);
	free(d);
}

void leave_on_dropped(struct conn *conn, uint64_t id, const struct cache *cache)
{
	struct dropper *d = cache->leaving ? calloc(1, sizeof(*d)) : NULL;

	if (!d) {
		control_done(conn, id);
		return;
	}
	d->conn = conn;
	d->id = id;
	d->cache = cache;
	LIST_INSERT_HEAD(&droppers, d, link);
}

static void release(struct errand *errand)
{
	cache_release(loop_entry(errand, struct cache, errand));
}

static void gone(struct cache *cache)
{
	struct cache *parent = cache->parent;

	store_release(&treekvd.store, cache);
	answer_dropper(cache);
	cache_free(cache);
	if (parent) {
		parent->children--;
		control_leave(parent);
	}
	room_again();
}

static void on_released(struct errand *errand)
{
	gone(loop_entry(errand, struct cache, errand));
}

static void on_taken_back(struct worker_job *job)
{
	struct cache *cache = job->cache;

	if (event_mail_is_out(cache)) { /* it overtook that; come again */
		loop_post(&treekvd.loop, &treekvd.loop, &job->op, 0);
		return;
	}
	store_remove(&treekvd.store, cache);
	if (*cache->stored)
		service_forget(cache->stored);
	crash_at(CRASH_DROP_FORGOTTEN);
	event_gone(cache);
	cache_unwatch(cache);
	if (cache_bytes(cache) > RELEASE_AT_ONCE) {
		errand_run(&cache->errand, release, on_released);
	} else {
		cache_release(cache);
		gone(cache);
	}
}

void control_leave(struct cache *cache)
{
	treekvd.store.changed = true; /* who does not go may be idle now */
	if (cache->named || cache->lease || cache->children || cache->pending)
		return;
	if (!cache->leaving)
		store_leave(&treekvd.store, cache);
	cache->leaving = true;
	if (cache->ending || cache->looks || cache->given_up ||
	    persist_holds(cache) || takeover_holds(cache) ||
	    freeze_holds(cache) || prefill_holds(cache) || owner_holds(cache))
		return;
	cache->given_up = true;
	cache->take_back.done = on_taken_back;
	worker_take_back(cache, &cache->take_back);
}

void control_drop(struct cache *cache)
{
	/* Recorded first: a daemon that adopts it must not bring it back. */
	cache_mark(cache, SHM_CACHE_DROPPED, true);
	crash_at(CRASH_DROP_MARKED);
	lookup_remove(cache);
	store_unname(&treekvd.store, cache);
	disk_settle(cache_space(cache), cache->name);
	crash_at(CRASH_DROP_UNNAMED);
	control_leave(cache);
}

void control_lease_over(struct lease *lease)
{
	struct cache *cache = lease->cache;

	lease_free(lease);
	cache->ending--;
	treekvd.store.settled++; /* it is idle, and may be parked */
	control_leave(cache);
	room_again();
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
	else
		control_leave(cache);
}

void control_writer_died(struct lease *lease)
{
	event_writer_died(lease);
	control_end_lease(lease);
}
