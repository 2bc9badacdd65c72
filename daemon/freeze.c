// SPDX-License-Identifier: BSD-2-Clause
/*
 * The kernel seals rows against writing when nobody has them mapped writable:
 * that, and not anybody's word, is what makes a frozen cache immutable. So the
 * order is: the lease ends (its holder has unmapped the rows before he asked),
 * the cache's worker publishes its last order and seals, since that may take a
 * while, and only then, when the words of rows cannot change any more, are they
 * read, checked and put on record in index. A daemon that dies in between has left a cache that is
 * either not sealed, and so not frozen, or is sealed, and its successor
 * completes the record (adopt.c).
 *
 * When somebody of the owner's uid has kept a writable mapping the kernel says
 * EBUSY. Then the cache gets other rows (takeover.h), and these are sealed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "daemon/control_impl.h"
#include "daemon/crash.h"
#include "daemon/event.h"
#include "daemon/freeze.h"
#include "daemon/lease.h"
#include "daemon/lookup.h"
#include "daemon/persist.h"
#include "daemon/prefill.h"
#include "daemon/takeover.h"
#include "proto/barrier.h"

struct freezing {
	struct worker_task task; /* first: slices get it back from this */
	LIST_ENTRY(freezing) link;
	struct conn *conn; /* NULL: gone */
	uint64_t id;
	pid_t pid;
	struct cache *cache;
	bool moved; /* its rows are a copy */
	int error; /* the worker's */
};

static LIST_HEAD(, freezing) freezings = LIST_HEAD_INITIALIZER(freezings);

bool freeze_holds(const struct cache *cache)
{
	const struct freezing *f;

	LIST_FOREACH(f, &freezings, link)
	if (f->cache == cache)
		return true;
	return false;
}

void freeze_closed(struct conn *conn)
{
	struct freezing *f;

	LIST_FOREACH(f, &freezings, link)
	if (f->conn == conn)
		f->conn = NULL;
}

static void refuse(struct conn *conn, uint64_t id, const char *name, int error,
		   const char *why)
{
	control_refuse(conn, id, error, "cache %.*s is not frozen: %s",
		       SHM_NAME_MAX, name, why);
}

static void end(struct freezing *f, int error, const char *why)
{
	struct cache *cache = f->cache;

	if (f->conn && error)
		refuse(f->conn, f->id, cache->name, error, why);
	else if (f->conn)
		control_done(f->conn, f->id);
	LIST_REMOVE(f, link);
	free(f);
	control_leave(cache);
}

/*
 * No more than the budget is held, and the order speaks of all that is: forks
 * begin with it as it stands. The writer is gone, so nobody need leave the
 * spare buffer.
 */
static int last_order(struct cache *cache)
{
	struct compaction *c = &cache->compaction;

	cache->running = false;
	compact_move(c, cache->rows, cache_rows_inode(cache));
	worker_moved(cache);
	if (__atomic_load_n(&cache->holed, __ATOMIC_ACQUIRE))
		c->fault = COMPACT_FAULT_HOLE;
	if (!c->fault)
		return 0;
	shm_store_release(&cache->index->quarantined, c->fault);
	event_quarantined(cache);
	return -EUCLEAN;
}

/*
 * On the worker. What is sealed stays held: nothing may be published between
 * this and the record, nor ever after.
 */
static bool seal_slice(struct worker_task *task, struct staging *staging)
{
	struct freezing *f = (struct freezing *)task;

	(void)staging;
	worker_hold(f->cache);
	f->error = last_order(f->cache);
	if (!f->error)
		f->error = cache_seal(f->cache);
	if (f->error)
		worker_unhold(f->cache);
	task->over = true;
	return true;
}

static void on_sealed(struct worker_job *job);

static void seal(struct freezing *f)
{
	f->task.over = false;
	f->task.lane = WORKER_SHORT;
	f->task.slice = seal_slice;
	f->task.job.done = on_sealed;
	worker_run(f->cache, &f->task);
}

static void on_moved(void *arg, struct cache *cache, int error, const char *why)
{
	struct freezing *f = arg;

	(void)cache;
	f->moved = true;
	if (error)
		end(f, error, why);
	else
		seal(f);
}

static void on_sealed(struct worker_job *job)
{
	struct freezing *f = loop_entry(job, struct freezing, task.job);
	struct cache_error error;
	int r = f->error;

	crash_at(CRASH_FREEZE_SEALED);
	if (r == -EBUSY && !f->moved) {
		r = takeover_start(f->cache, on_moved, f, &error);
		if (r)
			end(f, r, error.text);
		return;
	}
	if (!r)
		r = cache_freeze(f->cache);
	crash_at(CRASH_FREEZE_RECORDED);
	if (r) {
		end(f, r,
		    r == -EUCLEAN ? compact_fault_text(cache_fault(f->cache)) :
				    strerror(-r));
		return;
	}
	if (f->cache->named)
		lookup_add(f->cache);
	cache_shed(f->cache);
	persist_changed(f->cache);
	event_frozen(f->cache, f->pid);
	end(f, 0, NULL);
}

/* Why it cannot be; @error is set. NULL: it can. */
static const char *refusal(const struct cache *cache, int *error)
{
	*error = -EUCLEAN;
	if (cache_fault(cache))
		return "it is quarantined";
	*error = -EINVAL;
	if (cache->ephemeral)
		return "it is ephemeral and ends with its lease; create it "
		       "without that";
	*error = -EOPNOTSUPP;
	if (cache->parent)
		return "it is a fork; fork its parent again";
	*error = -EBUSY;
	if (cache->pending)
		return "it is being made";
	if (takeover_holds(cache) || freeze_holds(cache))
		return "its lease is being broken, or it is being frozen; try "
		       "again";
	if (prefill_holds(cache))
		return "a prompt is being committed to it; try again";
	if (cache->lease || cache->barred)
		return "a process is writing it; it can do so itself, or "
		       "detach";
	return NULL;
}

/* The asker's own lease ends with this. */
static void give_up_lease(struct conn *conn, struct cache *cache,
			  const Treekv__Freeze *request)
{
	struct lease *lease = cache->lease;

	if (!request->has_lease || !lease || lease->id != request->lease ||
	    !control_is_holder(lease, conn))
		return;
	event_detached(lease);
	control_end_lease(lease);
}

static void begin(struct conn *conn, uint64_t id, struct cache *cache)
{
	struct freezing *f = calloc(1, sizeof(*f));

	if (!f) {
		refuse(conn, id, cache->name, -ENOMEM, "out of memory");
		return;
	}
	f->conn = conn;
	f->id = id;
	f->pid = conn_peer(conn)->pid;
	f->cache = cache;
	LIST_INSERT_HEAD(&freezings, f, link);
	seal(f);
}

void freeze_on_freeze(struct conn *conn, uint64_t id,
		      const Treekv__Freeze *request)
{
	struct cache *cache =
		control_find(conn, id, request->name,
			     request->has_lease ? ACCESS_WRITE : ACCESS_OWN);
	const char *why;
	int r;

	if (!cache)
		return;
	if (!cache->ephemeral)
		give_up_lease(conn, cache, request);
	why = refusal(cache, &r);
	if (why)
		refuse(conn, id, cache->name, r, why);
	else if (cache_is_frozen(cache))
		control_done(conn, id);
	else
		begin(conn, id, cache);
}
