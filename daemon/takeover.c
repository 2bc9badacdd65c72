// SPDX-License-Identifier: BSD-2-Clause
/*
 * The cache's worker copies the rows to a fresh memfd, a slice at a time, with
 * the cache held: nothing is published, so every row that is live stays where
 * it is, and a holder who still writes runs out of slack at the latest. First
 * everything is copied once; then what steps rewrite (scores, notes, the words)
 * and the rows appended meanwhile, again until a pass finds the commit
 * unchanged. The service manager gets the copy before it counts. Then one
 * publication names its inode: the old holder's next step sees that and returns
 * -ESTALE, and what he scribbles reaches nobody.
 *
 * His memfd lives as long as his mapping: its bytes stay charged until he ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "daemon/crash.h"
#include "daemon/event.h"
#include "daemon/control_impl.h"
#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/park.h"
#include "daemon/prefill.h"
#include "daemon/report.h"
#include "daemon/room.h"
#include "daemon/service.h"
#include "daemon/takeover.h"
#include "daemon/tenant.h"
#include "proto/barrier.h"

#define SLICE	   (UINT64_C(1) << 20) /* bytes copied between looks at others */
#define PASSES_MAX 100000 /* of a holder who never stalls: policy full */

struct takeover {
	struct worker_task task; /* first: slices get it back from this */
	LIST_ENTRY(takeover) link;
	void (*over)(void *arg, struct cache *cache, int error,
		     const char *why);
	void *arg;
	struct cache *cache;
	uint64_t space; /* that the copy is charged to */
	struct cache_rows copy;
	struct ghost *ghost; /* for when it is done; NULL: nobody holds it */
	char stored[SERVICE_NAME_MAX + 1];
	struct loop_op kept; /* the barrier */
	int barrier;
	struct errand errand; /* gives the rows back that are not the cache's */

	/* The worker's. */
	uint64_t copied; /* bytes of the first pass */
	uint64_t tail; /* rows up to here have been copied */
	uint32_t passes;
	int error;
};

/* Whose rows were taken away, until he ends. */
struct ghost {
	LIST_ENTRY(ghost) link;
	struct loop_op death;
	int pidfd;
	uint64_t space;
	uint64_t bytes;
};

/* Who has asked for a lease to be broken. */
struct breaker {
	LIST_ENTRY(breaker) link;
	struct conn *conn; /* NULL: gone */
	uint64_t id;
};

static LIST_HEAD(, takeover) takeovers = LIST_HEAD_INITIALIZER(takeovers);
static LIST_HEAD(, breaker) breakers = LIST_HEAD_INITIALIZER(breakers);
static LIST_HEAD(, ghost) ghosts = LIST_HEAD_INITIALIZER(ghosts);

bool takeover_holds(const struct cache *cache)
{
	const struct takeover *t;

	LIST_FOREACH(t, &takeovers, link)
	if (t->cache == cache)
		return true;
	return false;
}

void takeover_closed(struct conn *conn)
{
	struct breaker *breaker;

	LIST_FOREACH(breaker, &breakers, link)
	if (breaker->conn == conn)
		breaker->conn = NULL;
}

/* ---- copying: on the worker ---- */

static void copy_range(struct takeover *t, uint64_t at, uint64_t size)
{
	memcpy((char *)t->copy.writable + at, (const char *)t->cache->rows + at,
	       size);
}

/* Scores, since and token of one head; and the rows of [t->tail, tail). */
static void copy_head(struct takeover *t, const struct shm_layer *layer,
		      uint32_t l, uint32_t h, uint64_t base, uint64_t tail)
{
	const struct shm_index *index = t->cache->index;
	uint32_t slot, n_live = cache_levels(t->cache)[l].n_live;
	const void *order = cache_order(t->cache, l, h);

	copy_range(t, layer->score + h * layer->score_stride,
		   layer->score_stride);
	copy_range(t, layer->since + h * layer->since_stride,
		   layer->since_stride);
	copy_range(t, layer->token + h * layer->token_stride,
		   layer->token_stride);
	for (uint64_t i = t->tail; i < tail; i++) {
		slot = order_entry(order, index->spec.entry_size,
				   n_live + (uint32_t)(i - base)) -
		       layer->parent_capacity; /* what is appended is own */
		copy_range(t,
			   layer->k + h * layer->k_stride +
				   (uint64_t)slot * index->spec.k_row,
			   index->spec.k_row);
		copy_range(t,
			   layer->v + h * layer->v_stride +
				   (uint64_t)slot * index->spec.v_row,
			   index->spec.v_row);
	}
}

/* What lay beyond commit is free: of this memfd nobody has read yet. */
static void copy_words(struct takeover *t, uint64_t commit)
{
	const struct shm_rows *from = t->cache->rows;
	struct shm_rows *to = t->copy.writable;

	*to = (struct shm_rows){
		.magic = SHM_ROWS_MAGIC,
		.version = SHM_VERSION,
		.header_size = sizeof(*to),
		.cache_id = t->cache->id,
		.rows_size = t->cache->rows_size,
		.commit = commit,
		.head = shm_commit_tail(commit),
		.seen = shm_load_relaxed(&t->cache->index->generation),
		.stalls = cache_stalls(t->cache),
		.stall_ns = shm_load_relaxed(&from->stall_ns),
		.adoptions = shm_load_relaxed(&from->adoptions),
		.rings = shm_load_relaxed(&from->rings),
	};
	memcpy(to->note, from->note, sizeof(to->note));
}

/* Loads commit and checks that very word: he may have another one by now. */
static uint64_t load_commit(struct takeover *t)
{
	/* Pairs with the release in treekv_commit(). */
	uint64_t word = shm_load_acquire(&t->cache->rows->commit);

	if (compact_check(t->cache->index, t->cache->rows) ||
	    cache_check_word(t->cache, word))
		t->error = -EUCLEAN;
	return word;
}

/* What steps change, once more. Return: whether the commit stood still. */
static bool copy_pass(struct takeover *t)
{
	const struct shm_index *index = t->cache->index;
	const struct shm_layer *layers =
		(const void *)((const char *)index + index->layers);
	uint64_t commit = load_commit(t);
	uint64_t tail = shm_commit_tail(cache_commit_under(t->cache, commit));
	struct cache_look look;

	if (t->error)
		return true;
	cache_look(t->cache, &look);
	for (uint32_t l = 0; l < index->spec.layers; l++)
		for (uint32_t h = 0; h < index->spec.kv_heads; h++)
			copy_head(t, &layers[l], l, h, look.base_tail, tail);
	copy_range(t, index->ids, index->spec.ids * sizeof(uint32_t));
	copy_words(t, commit);
	t->tail = tail;
	shm_load_barrier();
	return shm_load_relaxed(&t->cache->rows->commit) == commit;
}

static bool copy_slice(struct worker_task *task, struct staging *staging)
{
	struct takeover *t = (struct takeover *)task;
	uint64_t left = t->cache->rows_size - t->copied;

	(void)staging;
	if (!t->copied) {
		worker_hold(t->cache);
		t->tail = shm_commit_tail(
			cache_commit_under(t->cache, load_commit(t)));
	}
	if (left && !t->error) {
		left = left < SLICE ? left : SLICE;
		copy_range(t, t->copied, left);
		t->copied += left;
		return true;
	}
	task->over = t->error || copy_pass(t);
	if (!task->over && ++t->passes == PASSES_MAX) {
		t->error = -EBUSY;
		task->over = true;
	}
	if (task->over && t->error)
		worker_unhold(t->cache);
	return true;
}

static bool publish_slice(struct worker_task *task, struct staging *staging)
{
	struct takeover *t = (struct takeover *)task;
	struct compaction *c = &t->cache->compaction;

	(void)staging;
	t->cache->running = false;
	compact_move(c, t->copy.rows, t->copy.inode);
	worker_moved(t->cache);
	cache_rows_swap(t->cache, &t->copy); /* a snapshot may be reading */
	worker_wake(t->cache);
	worker_unhold(t->cache);
	task->over = true;
	return true;
}

/* ---- the rest: on the control thread ---- */

static struct ghost *ghost_free(struct ghost *ghost)
{
	if (!ghost)
		return NULL;
	close(ghost->pidfd);
	free(ghost);
	return NULL;
}

static void on_ghost_gone(struct loop_op *op, int res, unsigned int flags)
{
	struct ghost *ghost = loop_entry(op, struct ghost, death);

	(void)res;
	(void)flags;
	store_discharge(&treekvd.store, ghost->space, ghost->bytes);
	LIST_REMOVE(ghost, link);
	ghost_free(ghost);
}

/* While it can still be refused. Return: 0 or a negative errno. */
static int ghost_new(struct ghost **ret, const struct lease *lease)
{
	struct ghost *ghost = calloc(1, sizeof(*ghost));
	int r;

	if (!ghost)
		return -ENOMEM;
	ghost->pidfd = fcntl(lease->pidfd, F_DUPFD_CLOEXEC, 3);
	if (ghost->pidfd < 0) {
		r = -errno;
		free(ghost);
		return r;
	}
	*ret = ghost;
	return 0;
}

static void haunt(struct takeover *t, uint64_t bytes)
{
	struct ghost *ghost = t->ghost;

	t->ghost = NULL;
	ghost->space = t->space;
	ghost->bytes = bytes;
	ghost->death.done = on_ghost_gone;
	LIST_INSERT_HEAD(&ghosts, ghost, link);
	loop_poll_once(&treekvd.loop, ghost->pidfd, &ghost->death);
}

static void release_rows(struct errand *errand)
{
	cache_rows_release(&loop_entry(errand, struct takeover, errand)->copy);
}

static void on_released(struct errand *errand)
{
	free(loop_entry(errand, struct takeover, errand));
}

static void end(struct takeover *t, int error, const char *why)
{
	LIST_REMOVE(t, link);
	ghost_free(t->ghost);
	cache_rows_moved(t->cache);
	if (t->barrier >= 0)
		close(t->barrier);
	cache_rows_unwatch(&t->copy);
	t->over(t->arg, t->cache, error, why);
	control_leave(t->cache);
	errand_run(&t->errand, release_rows, on_released);
}

static void fail(struct takeover *t, int error, const char *what)
{
	store_discharge(&treekvd.store, t->space, t->cache->rows_size);
	if (*t->stored)
		service_forget(t->stored);
	end(t, error, what);
}

static void on_published(struct worker_job *job)
{
	struct takeover *t = loop_entry(job, struct takeover, task.job);
	struct cache *cache = t->cache;
	struct lease *lease = cache->lease;

	crash_at(CRASH_BREAK_PUBLISHED);
	cache->index->rows_uid = NAME_NOBODY;
	event_moved(cache, lease ? lease->pid : 0, t->passes);
	if (*cache->stored) {
		service_forget(cache->stored);
		memcpy(cache->stored, t->stored, sizeof(cache->stored));
	}
	if (lease && t->ghost)
		haunt(t, cache->rows_size);
	else
		store_discharge(&treekvd.store, t->space, cache->rows_size);
	if (lease)
		control_end_lease(lease);
	end(t, 0, NULL);
}

static void run(struct takeover *t,
		bool (*slice)(struct worker_task *task,
			      struct staging *staging),
		void (*done)(struct worker_job *job))
{
	t->task.over = false;
	t->task.slice = slice;
	t->task.job.done = done;
	worker_run(t->cache, &t->task);
}

static void on_kept(struct loop_op *op, int res, unsigned int flags)
{
	(void)res;
	(void)flags;
	crash_at(CRASH_BREAK_KEPT);
	run(loop_entry(op, struct takeover, kept), publish_slice, on_published);
}

/* Into the store under a name of its own, so that either pair can be told. */
static int keep(struct takeover *t)
{
	const int fds[] = { t->copy.fd, t->cache->index_fd };
	int r;

	/*
	 * A name that no pair has or ever had while this inode is in use:
	 * forgetting it must not reach another cache. Inodes of huge pages are
	 * counted apart.
	 */
	snprintf(t->stored, sizeof(t->stored), "%c%07llx",
		 t->cache->huge ? 'h' : 's',
		 (unsigned long long)t->copy.inode & 0xfffffff);
	r = service_store(t->stored, fds, 2);
	if (!r)
		t->barrier = service_barrier();
	if (r || t->barrier < 0)
		return r ? r : t->barrier;
	t->kept.done = on_kept;
	loop_poll_once(&treekvd.loop, t->barrier, &t->kept);
	return 0;
}

/* The hold must end on the worker. */
static bool unhold_slice(struct worker_task *task, struct staging *staging)
{
	(void)staging;
	worker_unhold(task->job.cache);
	task->over = true;
	return true;
}

static void on_unheld(struct worker_job *job)
{
	fail(loop_entry(job, struct takeover, task.job), -EIO,
	     "the service manager does not keep the copy");
}

static void fail_held(struct takeover *t)
{
	run(t, unhold_slice, on_unheld);
}

static void on_copied(struct worker_job *job)
{
	struct takeover *t = loop_entry(job, struct takeover, task.job);
	int r = t->error;

	crash_at(CRASH_BREAK_COPIED);
	if (r == -EUCLEAN)
		fail(t, r, "its holder has damaged its words");
	else if (r)
		fail(t, r,
		     "whoever has it mapped commits faster than it can be "
		     "copied; stop him (kill -STOP) first");
	else if (!treekvd.kept)
		run(t, publish_slice, on_published);
	else if (keep(t))
		fail_held(t);
}

/* If it is not the pool, huge pages are short. */
uint64_t takeover_lacks(const struct cache *cache)
{
	const struct store *store = &treekvd.store;
	uint64_t bytes = cache->rows_size;

	if (bytes + cache_bytes(cache) > store->pool)
		return ROOM_NEVER;
	return bytes > store_left(store) ? store->used + bytes - store->pool :
					   bytes;
}

int takeover_start(struct cache *cache,
		   void (*over)(void *arg, struct cache *cache, int error,
				const char *why),
		   void *arg, struct cache_error *why)
{
	struct takeover *t = calloc(1, sizeof(*t));
	int r = -ENOSPC;

	snprintf(why->text, sizeof(why->text), "out of memory");
	if (!t)
		return -ENOMEM;
	if (store_left(&treekvd.store) < cache->rows_size)
		snprintf(why->text, sizeof(why->text),
			 "the pool has no room for a copy of its rows, which "
			 "takes %llu bytes; %.100s; drop caches, or give the "
			 "daemon a larger --pool",
			 (unsigned long long)cache->rows_size, park_obstacle());
	else
		r = cache->lease ? ghost_new(&t->ghost, cache->lease) : 0;
	if (r && r != -ENOSPC)
		snprintf(why->text, sizeof(why->text),
			 "its holder cannot be watched: %s", strerror(-r));
	if (!r)
		r = cache_rows_new(&t->copy, cache, why);
	if (r) {
		ghost_free(t->ghost);
		free(t);
		return r;
	}
	t->over = over;
	t->arg = arg;
	t->cache = cache;
	t->barrier = -1;
	t->space = cache_space(cache);
	store_charge(&treekvd.store, t->space, cache->rows_size);
	LIST_INSERT_HEAD(&takeovers, t, link);
	run(t, copy_slice, on_copied);
	return 0;
}

/* ---- breaking a lease ---- */

static void refuse_break(struct conn *conn, uint64_t id, const char *name,
			 int error, const char *why)
{
	control_refuse(conn, id, error,
		       "the lease of cache %.*s is not broken: %s",
		       SHM_NAME_MAX, name, why);
}

static void on_broken(void *arg, struct cache *cache, int error,
		      const char *why)
{
	struct breaker *breaker = arg;

	if (breaker->conn && error)
		refuse_break(breaker->conn, breaker->id, cache->name, error,
			     why);
	else if (breaker->conn)
		control_done(breaker->conn, breaker->id);
	LIST_REMOVE(breaker, link);
	free(breaker);
}

static const char *refusal(const struct cache *cache, int *error)
{
	*error = -EUCLEAN;
	if (cache_fault(cache))
		return "it is quarantined";
	*error = -ESRCH;
	if (!cache->lease)
		return "nobody holds it";
	*error = -EBUSY;
	if (takeover_holds(cache))
		return "that is under way";
	if (prefill_holds(cache))
		return "a prompt of his is being committed; try again";
	return NULL;
}

bool takeover_attempt(struct conn *conn, uint64_t id,
		      const Treekv__Break *request, const struct room_try *try)
{
	struct cache *cache = control_pick(conn, id, request->name,
					   request->has_cache, request->cache,
					   ACCESS_OWN);
	struct cache_error error = { .text = "out of memory" };
	struct breaker *breaker = NULL;
	const char *why;
	int r;

	if (!cache)
		return true;
	why = refusal(cache, &r);
	if (!why) {
		r = report_sees_all(conn) ?
			    0 :
			    tenant_bytes(cache_space(cache), cache->rows_size,
					 error.text, sizeof(error.text));
		breaker = r ? NULL : calloc(1, sizeof(*breaker));
		if (!r && !breaker)
			r = -ENOMEM;
		if (!r)
			r = takeover_start(cache, on_broken, breaker, &error);
		why = r ? error.text : NULL;
	}
	if (!why) {
		breaker->conn = conn;
		breaker->id = id;
		LIST_INSERT_HEAD(&breakers, breaker, link);
		return true;
	}
	free(breaker);
	if (r == -ENOSPC && room_comes(try, takeover_lacks(cache)))
		return false;
	refuse_break(conn, id, request->name, r, why);
	return true;
}

void takeover_exit(void)
{
	struct ghost *ghost;

	while ((ghost = LIST_FIRST(&ghosts))) {
		LIST_REMOVE(ghost, link);
		ghost_free(ghost);
	}
}
