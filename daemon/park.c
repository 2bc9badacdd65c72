// SPDX-License-Identifier: BSD-2-Clause
/*
 * Parking adds nothing to what a crash can find: a snapshot as any other is
 * written, unless the one on disk holds the same, and then the cache is dropped
 * from memory as by "drop --keep-snapshot". Until the drop is on record in the
 * index, the next daemon finds the cache in memory and lets the file be; from
 * then on it finds the file.
 *
 * Attaching wins: it does not wait for the write, and who has a lease when that
 * is done, or has changed what was written, keeps the cache in memory.
 *
 * What is to be dropped instead, or stay, the configuration says, by class; on
 * its own the daemon drops nothing.
 *
 * Where the disk fails nothing is given up and whoever wanted room is refused,
 * with the disk's reason. Then parking waits until somebody asks for room again,
 * which costs a write at most for each that asks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "daemon/clock.h"
#include "daemon/crash.h"
#include "daemon/event.h"
#include "daemon/freeze.h"
#include "daemon/owner.h"
#include "daemon/park.h"
#include "daemon/persist_impl.h"
#include "daemon/prefill.h"
#include "daemon/report.h"
#include "daemon/room.h"
#include "daemon/takeover.h"
#include "proto/barrier.h"

#define PAUSE UINT64_C(10000000000) /* ns without looking, after a failure */

/* Who asked for one of them to be parked. */
struct parker {
	LIST_ENTRY(parker) link;
	struct conn *conn; /* NULL: hung up */
	uint64_t id;
	const struct cache *cache;
	struct asked *asked; /* for progress; may be NULL */
};

static struct {
	LIST_HEAD(, parker) parkers;
	bool broken; /* the last one could not be written */
	uint64_t broken_at;
	int error; /* then */
	char obstacle[256];
} park;

/* Is there a place to park at, and will attaching look there? */
static bool is_on(void)
{
	return persist.usable && !persist.stopping &&
	       treekvd.config->restore != RESTORE_NEVER;
}

/* Unasked, not so soon after it has failed: that would write on and on. */
static bool is_tried(void)
{
	return is_on() && !(park.broken && clock_ns() - park.broken_at < PAUSE);
}

/*
 * Does a dropped one of its name still write? It takes the file along when it is
 * over, or has put its own there by then.
 */
static bool has_forebear(const struct cache *cache)
{
	const struct cache *c = treekvd.store.dropped ? treekvd.store.first :
							NULL;

	while (c && (c->named || cache_space(c) != cache_space(cache) ||
		     !persist_holds(c) || strcmp(c->name, cache->name)))
		c = c->next;
	return c;
}

/* Why it cannot go now; NULL: it can. With *error set. */
static const char *obstacle_of(const struct cache *cache, int *error)
{
	*error = -EBUSY;
	if (!cache->named || cache->pending)
		return "is being made, restored or dropped";
	if (cache->lease || cache->barred || cache->ending)
		return "is being written; a process has its lease";
	if (takeover_holds(cache) || prefill_holds(cache) ||
	    freeze_holds(cache) || owner_holds(cache))
		return "is being moved, frozen or given away, or a prompt made "
		       "its content";
	if (cache->children)
		return "has forks, which need its rows";
	if (cache->parking)
		return "is being parked already";
	if (persist_holds(cache))
		return "is being written to disk; ask again then";
	if (has_forebear(cache))
		return "has the name of one that was dropped while it was "
		       "being written to disk; ask again";
	if (cache->index->flags & SHM_CACHE_PINNED)
		return "is pinned; 'treekvctl unpin' it first";
	*error = -EINVAL;
	if (cache->parent)
		return "is a fork, of which there are no snapshots";
	if (cache->ephemeral)
		return "is ephemeral: it ends with its lease";
	*error = -EUCLEAN;
	if (cache_fault(cache))
		return "is quarantined; no snapshot is taken of it";
	return NULL;
}

static struct cache *cache_of(const struct park_node *node)
{
	return loop_entry(node, struct cache, park);
}

static enum config_reclaim class_of(const struct cache *cache)
{
	const struct config *config = treekvd.config;
	uint32_t flags = cache->index->flags;

	if (flags & SHM_CACHE_FROZEN)
		return (enum config_reclaim)config->reclaim_frozen;
	if (flags & SHM_CACHE_ANONYMOUS)
		return (enum config_reclaim)config->reclaim_anonymous;
	return (enum config_reclaim)config->reclaim_named;
}

/* @arg: whether the disk is to be tried. */
static bool may_go(const struct park_node *node, void *arg)
{
	const struct cache *cache = cache_of(node);
	const bool *disk = arg;
	int error;

	if (obstacle_of(cache, &error))
		return false;
	switch (class_of(cache)) {
	case RECLAIM_PARK:
		return *disk;
	case RECLAIM_DROP:
		return true;
	case RECLAIM_NEVER:
		break;
	}
	return false;
}

void park_used(struct cache *cache)
{
	park_queue_hit(&cache->park, cache_is_frozen(cache) ? PARK_HITS_SHARED :
							      PARK_HITS_MAX);
	if (cache->parent)
		park_used(cache->parent);
}

/* ---- one cache ---- */

static struct parker *parker_of(const struct cache *cache)
{
	struct parker *p;

	LIST_FOREACH(p, &park.parkers, link)
	if (p->cache == cache)
		break;
	return p;
}

static void parker_free(struct parker *p)
{
	LIST_REMOVE(p, link);
	persist_unwatch(p->asked);
	free(p);
}

/* It is in a file: memory lets go of it. */
static void go(struct cache *cache)
{
	struct disk_entry *entry = disk_find(cache_space(cache), cache->name);
	struct parker *p = parker_of(cache);

	crash_at(CRASH_PARK_SAVED);
	park.broken = false;
	if (entry)
		entry->parked = true;
	store_parked(&treekvd.store, cache, false);
	cache_mark(cache, SHM_CACHE_PARKED, true);
	event_parked(cache);
	control_drop(cache);
	crash_at(CRASH_PARK_DROPPED);
	if (!p)
		return;
	if (p->conn)
		leave_on_dropped(p->conn, p->id, cache);
	parker_free(p);
}

/* It stays in memory. */
static void stay(struct cache *cache, int error, const char *text)
{
	struct parker *p = parker_of(cache);

	store_parked(&treekvd.store, cache, true);
	park_queue_pass(&cache->park);
	if (p && p->conn)
		control_refuse(p->conn, p->id, error, "%s", text);
	if (p)
		parker_free(p);
}

/* What else is in the text is its owner's. */
static void broke(int error)
{
	treekvd.counters.park_failures++;
	park.broken = true;
	park.broken_at = clock_ns();
	park.error = error;
}

/* Return: 0, and go() or stay() follows, or has; or an errno, with @out. */
static int begin(struct cache *cache, struct outcome *out)
{
	store_park(&treekvd.store, cache);
	crash_at(CRASH_PARK_BEGUN);
	if (persist_is_current(cache)) {
		go(cache);
		return 0;
	}
	persist_outcome_of(out, cache);
	if (!persist_save(cache, out))
		return 0;
	store_parked(&treekvd.store, cache, true);
	park_queue_pass(&cache->park);
	broke(out->error);
	return out->error;
}

void park_saved(struct cache *cache, int error, const char *text)
{
	const char *obstacle;
	char why[256];
	int reason;

	if (!cache->parking) {
		treekvd.store.settled++; /* it may be parked now */
		room_again();
		return;
	}
	cache->parking = false; /* no obstacle to itself */
	obstacle = obstacle_of(cache, &reason);
	cache->parking = true;
	if (error && error != -ECANCELED) {
		broke(error);
		stay(cache, error, text);
	} else if (obstacle || error || persist.stopping ||
		   persist_is_due(cache)) {
		snprintf(why, sizeof(why), "cache %.128s %s", cache->name,
			 obstacle ? obstacle : "has been used meanwhile");
		stay(cache, -EBUSY, why);
	} else {
		go(cache);
		return;
	}
	room_again();
}

/* ---- whoever is next ---- */

static bool reclaim(struct cache *cache)
{
	struct outcome out;

	if (class_of(cache) == RECLAIM_PARK)
		return !begin(cache, &out);
	event_reclaimed(cache);
	persist_dropped(cache, false);
	control_drop(cache);
	return true;
}

static bool reclaim_next(bool disk)
{
	struct park_node *node =
		park_queue_choose(&treekvd.store.queue, may_go, &disk);

	return node && reclaim(cache_of(node));
}

void park_expired(struct cache *cache)
{
	bool disk = is_tried();

	if (may_go(&cache->park, &disk))
		reclaim(cache);
}

static uint64_t high_water(void)
{
	return treekvd.store.pool / 100 * treekvd.config->high_water;
}

void park_look(void)
{
	const struct store *store = &treekvd.store;
	bool disk;

	if (!treekvd.store.changed)
		return;
	treekvd.store.changed = false;
	disk = is_tried();
	while (store->used - store->leaving_bytes - store->parking_bytes >
		       high_water() &&
	       reclaim_next(disk))
		;
}

/* Somebody waits: what is being written for that is written at full speed. */
static void hurry(void)
{
	for (struct cache *c = treekvd.store.first; c; c = c->next)
		if (c->parking && c->persist && c->persist->job)
			shm_store_relaxed(&c->persist->job->rate, 0);
}

/* Is somebody about to become idle, who will settle then? */
static bool is_any_ending(void)
{
	const struct cache *c = treekvd.store.first;

	while (c && !(c->named && !c->lease && (c->ending || persist_holds(c))))
		c = c->next;
	return c;
}

bool park_for(uint64_t bytes, bool first)
{
	const struct store *store = &treekvd.store;

	bool disk = is_on() && (first || !park.broken);

	while (store->leaving_bytes + store->parking_bytes < bytes &&
	       reclaim_next(disk))
		;
	hurry();
	return store->leaving || store->parking || (disk && is_any_ending());
}

const char *park_obstacle(void)
{
	if (treekvd.config->restore == RESTORE_NEVER)
		return "idle caches are not parked (restore = never)";
	if (!persist.usable)
		return "idle caches are not parked: the state directory "
		       "cannot be used";
	if (!park.broken)
		return "no idle cache is left that can be parked";
	snprintf(park.obstacle, sizeof(park.obstacle),
		 "idle caches cannot be parked: %s", strerror(-park.error));
	return park.obstacle;
}

/* ---- by request ---- */

static int watch(struct conn *conn, uint64_t id, const struct cache *cache,
		 bool progress)
{
	struct parker *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->conn = conn;
	p->id = id;
	p->cache = cache;
	p->asked = progress ? persist_watch(conn, id) : NULL;
	LIST_INSERT_HEAD(&park.parkers, p, link);
	return 0;
}

static void park_one(struct conn *conn, uint64_t id, struct cache *cache,
		     bool progress)
{
	struct parker *p;
	struct outcome out;
	int r;

	if (watch(conn, id, cache, progress)) {
		control_refuse(conn, id, -ENOMEM, "the daemon has no memory");
		return;
	}
	r = begin(cache, &out);
	p = r ? parker_of(cache) : NULL;
	if (!r)
		return;
	parker_free(p);
	control_refuse(conn, id, r, "%s", out.text);
}

/* Who settles, and then can be parked or not. */
static bool is_settling(const struct cache *cache)
{
	return !cache->lease && !cache->barred && !cache->parking &&
	       !cache->pending && (cache->ending || persist_holds(cache));
}

bool park_attempt(struct conn *conn, uint64_t id, const Treekv__Park *request)
{
	struct owner_subject of;
	const char *why;
	int r;

	if (owner_find(&of, conn, id, request->name))
		return true;
	if (!of.cache) {
		control_done(conn, id); /* it is on disk already */
		return true;
	}
	if (is_settling(of.cache))
		return false;
	why = obstacle_of(of.cache, &r);
	if (!why && !is_on()) {
		r = -EOPNOTSUPP;
		why = "cannot be parked: restore = never, or no state "
		      "directory";
	}
	if (why)
		control_refuse(conn, id, r, "cache %s %s", of.name, why);
	else
		park_one(conn, id, of.cache, request->progress);
	return true;
}

void park_closed(struct conn *conn)
{
	struct parker *p;

	LIST_FOREACH(p, &park.parkers, link)
	if (p->conn == conn) {
		persist_unwatch(p->asked);
		p->asked = NULL;
		p->conn = NULL;
	}
}
