// SPDX-License-Identifier: BSD-2-Clause
/*
 * A cache is ready when its doorbell has rung. While any is, the worker does a
 * few heads of the ready cache that is nearest to its stall, looks at its
 * completion queue (that is where new rings come in), and chooses again. A
 * cache rests when nothing is due: it is armed, and the commit is looked at
 * once more, so that a ring is never lost (barrier.h: full barriers on both
 * sides). When its writer still uses the spare buffer, waiting is set instead,
 * by the same rule, and the writer rings once he has moved on.
 *
 * Between compactions the worker makes the rows of new caches present, a huge
 * page at a time, so that nobody pays for it on a step; and it runs slices of
 * its first task (snapshots), which wait for nothing in place. A cache that
 * such a task holds leaves the list of the ready ones unarmed and comes back
 * with the end of the hold.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/cache.h"
#include "daemon/clock.h"
#include "daemon/crash.h"
#include "daemon/event.h"
#include "daemon/histogram.h"
#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/staging.h"
#include "daemon/worker.h"
#include "proto/barrier.h"
#include "proto/probe.h"

#define WORKER_RING 1024
#define TURN_SLOTS  16384 /* entries rewritten between looks at the others */

struct cache_list {
	struct cache **at;
	unsigned int n;
	unsigned int size;
};

struct worker {
	struct loop loop; /* first: idle() gets it back from this */
	struct loop *control;
	pthread_t thread;
	const char *name;
	sem_t started;
	bool running;
	int error;
	const char *why;
	pid_t tid;
	unsigned int caches; /* the control thread's count */

	struct cache_list ready;
	uint64_t turns;
	struct cache_list absent; /* rows not all present yet */
	struct order_scratch scratch;
	void *scratch_memory;
	uint32_t scratch_slots;
	struct lane {
		struct worker_task *task; /* that runs, then those that wait */
		struct staging *staging; /* while there are any */
	} lane[WORKER_LANES];
	struct worker_counters counters;
	struct histograms histograms;
	uint64_t turn_began;
	struct cache *heard; /* its ring has the time of the next turn */
	struct loop_op stop;
};

static void count(uint64_t *counter, uint64_t n)
{
	shm_store_relaxed(counter, *counter + n);
}

static void timed(struct worker *w, enum histogram_id what, uint64_t ns)
{
	histogram_add(&w->histograms.at[what], ns, 1);
}

static int list_add(struct cache_list *list, struct cache *cache)
{
	unsigned int size = list->size ? 2 * list->size : 16;
	struct cache **at;

	if (list->n == list->size) {
		at = realloc(list->at, size * sizeof(*at));
		if (!at)
			return -ENOMEM;
		list->at = at;
		list->size = size;
	}
	list->at[list->n++] = cache;
	return 0;
}

static void list_remove(struct cache_list *list, const struct cache *cache)
{
	for (unsigned int i = 0; i < list->n; i++)
		if (list->at[i] == cache) {
			list->at[i] = list->at[--list->n];
			return;
		}
}

/* Sleeping writers sleep on the low half of generation. */
void worker_wake(struct cache *cache)
{
	syscall(SYS_futex, &cache->index->generation, FUTEX_WAKE, INT_MAX, NULL,
		NULL, 0);
}

static void unready(struct worker *w, struct cache *cache)
{
	list_remove(&w->ready, cache);
	cache->ready = false;
	cache->running = false;
	if (w->heard == cache)
		w->heard = NULL;
}

/* Told once: what tells of it is the cache's, and may still be on its way. */
static void quarantine(struct worker *w, struct cache *cache)
{
	bool told = shm_load_relaxed(&cache->index->quarantined);

	shm_store_release(&cache->index->quarantined, cache->compaction.fault);
	if (!told)
		event_quarantined_by_worker(cache);
	unready(w, cache);
	worker_wake(cache);
}

void worker_quarantine(struct cache *cache)
{
	quarantine(cache->worker, cache);
}

static bool is_holed(const struct cache *cache)
{
	return __atomic_load_n(&cache->holed, __ATOMIC_ACQUIRE);
}

/* Nothing is due: arm, look again, sleep. The other half: treekv_commit(). */
static void rest(struct worker *w, struct cache *cache)
{
	struct compaction *c = &cache->compaction;

	crash_at(CRASH_REST);
	if (compact_due(c)) {
		/* It is his adopt() that rings now. */
		shm_store_relaxed(&cache->index->waiting, 1);
		shm_full_barrier();
		if (!compact_in_grace(c)) {
			shm_store_relaxed(&cache->index->waiting, 0);
			return;
		}
	} else {
		shm_store_relaxed(&cache->index->armed, 1);
		shm_full_barrier();
		if (compact_due(c)) {
			shm_store_relaxed(&cache->index->armed, 0);
			return;
		}
	}
	cache->rung_at = 0;
	unready(w, cache);
}

static void look_for_stalls(struct worker *w, struct cache *cache, uint64_t now)
{
	uint64_t n, ns;

	if (!stall_look(cache, now, &n, &ns))
		return;
	histogram_add(&w->histograms.at[HISTOGRAM_STALL], ns, n);
	event_stalled(cache, now, n, ns);
}

static void time_publication(struct worker *w, struct cache *cache)
{
	uint64_t now = clock_ns();

	timed(w, HISTOGRAM_COMPACTION, now - cache->begun_at);
	histogram_add(&cache->took, now - cache->begun_at, 1);
	if (cache->rung_at)
		timed(w, HISTOGRAM_PUBLICATION, now - cache->rung_at);
	cache->rung_at = 0;
}

static void note_publication(struct worker *w, const struct cache *cache)
{
	const struct compaction *c = &cache->compaction;

	PROBE(treekvd, publication, cache->id, cache->name, c->generation + 1,
	      c->evicted);
	count(&w->counters.compactions, 1);
	count(&w->counters.evictions, c->evicted);
}

void worker_moved(const struct cache *cache)
{
	if (!cache->compaction.fault)
		note_publication(cache->worker, cache);
}

static void publish(struct worker *w, struct cache *cache)
{
	struct compaction *c = &cache->compaction;

	PROBE(treekvd, compaction_done, cache->id, cache->name,
	      c->generation + 1, c->evicted);
	crash_at(CRASH_PUBLISH);
	compact_publish(c);
	note_publication(w, cache);
	time_publication(w, cache);
	crash_at(CRASH_PUBLISHED);
	worker_wake(cache);
	cache->running = false;
	rest(w, cache);
}

/* Heads of a turn: about as many slots as a layer of a large model has. */
static uint32_t heads_a_turn(const struct cache *cache)
{
	uint32_t heads = TURN_SLOTS / cache->slots;

	return heads ? heads : 1;
}

static void begun(struct worker *w, struct cache *cache)
{
	PROBE(treekvd, compaction_start, cache->id, cache->name,
	      cache->compaction.generation + 1, cache->compaction.tail);
	cache->begun_at = w->turn_began;
	look_for_stalls(w, cache, w->turn_began);
	crash_at(CRASH_COMPACT_BEGUN);
}

/* A few heads of one cache. */
static void turn(struct worker *w, struct cache *cache)
{
	struct compaction *c = &cache->compaction;
	bool more = false;

	if (cache->holds || cache_is_frozen(cache)) {
		unready(w, cache);
		return;
	}
	if (!cache->running) {
		cache->running = compact_begin(c);
		if (cache->running)
			begun(w, cache);
		more = cache->running;
		if (!cache->running && !c->fault) {
			rest(w, cache);
			return;
		}
	}
	if (cache->running)
		more = compact_heads(c, heads_a_turn(cache));
	crash_at(CRASH_COMPACT_TURN);
	if (is_holed(cache))
		c->fault = COMPACT_FAULT_HOLE;
	if (c->fault)
		quarantine(w, cache);
	else if (!more)
		publish(w, cache);
}

/*
 * Who is nearest to a stall, but every other turn whose turn it is: a writer
 * who always stands before his stall must not keep the others from theirs.
 */
static struct cache *next_cache(struct worker *w)
{
	struct cache *best = w->ready.at[0];
	uint64_t least = UINT64_MAX, left;

	if (w->ready.n == 1)
		return best;
	if (w->turns++ & 1)
		return w->ready.at[(w->turns >> 1) % w->ready.n];
	for (unsigned int i = 0; i < w->ready.n; i++) {
		left = compact_slack_left(&w->ready.at[i]->compaction);
		if (left < least) {
			least = left;
			best = w->ready.at[i];
		}
	}
	return best;
}

static void job_over(struct worker_job *job);

/* A slice of a lane's first task. Return: whether it wants the next one now. */
static bool lane_turn(struct worker *w, struct lane *lane)
{
	struct worker_task *task = lane->task;
	bool more;

	if (!task)
		return false;
	if (task->staged && !lane->staging)
		staging_new(&lane->staging, &w->loop,
			    task->lane == WORKER_SAVE); /* else slice says so */
	more = task->slice(task, lane->staging);
	if (!task->over)
		return more;
	lane->task = task->next;
	job_over(&task->job);
	if (!lane->task)
		lane->staging = staging_free(lane->staging);
	return lane->task;
}

/*
 * Makes a piece of a new cache present; not of one that the running task fills,
 * which knows better. Return: whether there is more to do.
 */
static bool fault_in_turn(struct worker *w)
{
	const struct worker_task *load = w->lane[WORKER_LOAD].task;
	struct cache *cache;

	if (!w->absent.n)
		return false;
	cache = w->absent.at[w->absent.n - 1];
	if (load && load->job.cache == cache)
		return false;
	if (!cache_fault_in(cache))
		list_remove(&w->absent, cache);
	return true;
}

static bool worker_idle(struct loop *loop)
{
	struct worker *w = (struct worker *)loop;
	bool more = false;

	if (w->ready.n) {
		w->turn_began = clock_ns();
		if (w->heard)
			w->heard->rung_at = w->turn_began;
		w->heard = NULL;
		turn(w, next_cache(w));
		count(&w->counters.busy_ns, clock_ns() - w->turn_began);
	} else {
		more = fault_in_turn(w);
	}
	for (int i = 0; i < WORKER_LANES; i++)
		more |= lane_turn(w, &w->lane[i]);
	return w->ready.n || more;
}

/* ---- jobs: sent by the control thread, run here, sent back when over ---- */

static void job_return(struct loop_op *op, int res, unsigned int flags)
{
	struct worker_job *job = loop_entry(op, struct worker_job, op);

	(void)res;
	(void)flags;
	job->done(job);
}

static void job_over(struct worker_job *job)
{
	if (!job->done)
		return;
	job->op.done = job_return;
	loop_post(&job->worker->loop, job->worker->control, &job->op, 0);
}

static void job_arrive(struct loop_op *op, int res, unsigned int flags)
{
	struct worker_job *job = loop_entry(op, struct worker_job, op);

	(void)res;
	(void)flags;
	job->run(job);
}

static void job_send(struct worker_job *job, struct worker *w,
		     void (*run)(struct worker_job *job))
{
	job->worker = w;
	job->run = run;
	job->op.done = job_arrive;
	loop_post(w->control, &w->loop, &job->op, 0);
}

static int grow_scratch(struct worker *w, uint32_t slots)
{
	void *memory;

	if (slots <= w->scratch_slots)
		return 0;
	memory = malloc(order_scratch_size(slots));
	if (!memory)
		return -ENOMEM;
	free(w->scratch_memory);
	w->scratch_memory = memory;
	w->scratch_slots = slots;
	order_scratch_init(&w->scratch, memory, slots);
	return 0;
}

static void make_ready(struct worker *w, struct cache *cache)
{
	if (grow_scratch(w, cache->slots) || list_add(&w->ready, cache))
		shm_store_relaxed(&cache->index->armed, 1); /* ring again */
	else
		cache->ready = true;
}

static void run_give(struct worker_job *job)
{
	struct worker *w = job->worker;
	struct cache *cache = job->cache;

	cache->compaction.scratch = &w->scratch;
	if (grow_scratch(w, cache->slots))
		log_error("no memory to compact in", "name=%s slots=%u",
			  cache->name, cache->slots);
	if (list_add(&w->absent, cache))
		log_warning("no memory to make rows present", "name=%s",
			    cache->name);
	job_over(job);
}

static void run_take_back(struct worker_job *job)
{
	unready(job->worker, job->cache);
	list_remove(&job->worker->absent, job->cache);
	job_over(job);
}

/* With nothing else to do a turn follows at once: one look at the clock less. */
static void hear(struct worker *w, struct cache *cache)
{
	if (w->ready.n)
		cache->rung_at = clock_ns();
	else
		w->heard = cache;
}

static void on_bell(struct loop_op *op, int res, unsigned int flags)
{
	struct lease *lease = loop_entry(op, struct lease, bell);
	struct cache *cache = lease->cache;
	struct worker *w = cache->worker;

	if (!(flags & IORING_CQE_F_MORE) && lease->unwatching) {
		job_over(&lease->unwatch);
		return;
	}
	if (res < 0) { /* the poll broke off; the level of the eventfd stays */
		loop_poll(&w->loop, lease->bell_fd, op);
		return;
	}
	count(&w->counters.rings, 1);
	PROBE(treekvd, doorbell, cache->id, cache->name, cache->ready);
	if (!cache->rung_at)
		hear(w, cache);
	shm_store_relaxed(&cache->index->armed, 0);
	shm_store_relaxed(&cache->index->waiting, 0);
	if (!cache->ready && !cache->compaction.fault)
		make_ready(w, cache);
}

static void run_watch(struct worker_job *job)
{
	job->lease->bell.done = on_bell;
	loop_poll(&job->worker->loop, job->lease->bell_fd, &job->lease->bell);
}

/* The last completion of the poll sends the job back. */
static void run_unwatch(struct worker_job *job)
{
	uint64_t now = clock_ns();

	look_for_stalls(job->worker, job->lease->cache, now);
	event_stalled(job->lease->cache, now, 0, 0);
	job->lease->unwatching = true;
	loop_cancel(&job->worker->loop, &job->lease->bell);
}

static void run_task(struct worker_job *job)
{
	struct worker_task *task = loop_entry(job, struct worker_task, job);
	struct worker_task **at = &job->worker->lane[task->lane].task;

	while (*at)
		at = &(*at)->next;
	task->next = NULL;
	*at = task;
}

void worker_post(struct cache *cache, struct loop_op *op)
{
	loop_post(&cache->worker->loop, cache->worker->control, op, 0);
}

void worker_run(struct cache *cache, struct worker_task *task)
{
	task->job.cache = cache;
	job_send(&task->job, cache->worker, run_task);
}

void worker_hold(struct cache *cache)
{
	cache->holds++;
}

void worker_unhold(struct cache *cache)
{
	struct worker *w = cache->worker;

	if (!--cache->holds && w && !cache->ready && !cache->compaction.fault)
		make_ready(w, cache);
}

void worker_give(struct worker *worker, struct cache *cache,
		 struct worker_job *job)
{
	worker->caches++;
	cache->worker = worker;
	job->cache = cache;
	job_send(job, worker, run_give);
}

void worker_take_back(struct cache *cache, struct worker_job *job)
{
	cache->worker->caches--;
	job->cache = cache;
	job_send(job, cache->worker, run_take_back);
}

void worker_watch(struct lease *lease, struct worker_job *job)
{
	job->lease = lease;
	job_send(job, lease->cache->worker, run_watch);
}

void worker_unwatch(struct lease *lease, struct worker_job *job)
{
	job->lease = lease;
	job_send(job, lease->cache->worker, run_unwatch);
}

static void run_work(struct worker_job *job)
{
	job->work(job);
	job_over(job);
}

void worker_do(struct worker *worker, struct worker_job *job,
	       void (*work)(struct worker_job *job))
{
	job->work = work;
	job_send(job, worker, run_work);
}

/* That it is run at all is the answer. */
static void run_probe(struct worker_job *job)
{
	job_over(job);
}

void worker_probe(struct worker *worker, struct worker_job *job)
{
	job_send(job, worker, run_probe);
}

/* ---- the thread ---- */

static void on_stop(struct loop_op *op, int res, unsigned int flags)
{
	struct worker *w = loop_entry(op, struct worker, stop);

	(void)res;
	(void)flags;
	w->loop.stop = true;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	pthread_setname_np(pthread_self(), w->name);
	w->tid = gettid();
	w->error = loop_own(&w->loop, &w->why);
	w->loop.idle = worker_idle;
	sem_post(&w->started);
	if (w->error)
		return NULL;
	loop_run(&w->loop);
	loop_exit(&w->loop);
	return NULL;
}

int worker_new(struct worker **ret, struct loop *control, const char *name,
	       const char **why)
{
	struct worker *w = calloc(1, sizeof(*w));
	int r;

	*why = "out of memory";
	if (!w)
		return -ENOMEM;
	w->control = control;
	w->name = name;
	w->stop.done = on_stop;
	r = loop_make(&w->loop, WORKER_RING, why);
	if (r) {
		free(w);
		return r;
	}
	sem_init(&w->started, 0, 0);
	*ret = w;
	return 0;
}

int worker_start(struct worker *w, const char **why)
{
	*why = "a worker's thread cannot be started";
	if (pthread_create(&w->thread, NULL, worker_main, w))
		return -EAGAIN;
	while (sem_wait(&w->started) && errno == EINTR)
		;
	if (!w->error) {
		w->running = true;
		return 0;
	}
	*why = w->why;
	pthread_join(w->thread, NULL);
	return w->error;
}

struct worker *worker_free(struct worker *worker)
{
	if (!worker)
		return NULL;
	if (worker->running) {
		loop_post(worker->control, &worker->loop, &worker->stop, 0);
		pthread_join(worker->thread, NULL);
	} else {
		loop_exit(&worker->loop);
	}
	sem_destroy(&worker->started);
	free(worker->ready.at);
	free(worker->absent.at);
	free(worker->scratch_memory);
	free(worker);
	return NULL;
}

unsigned int worker_caches(const struct worker *worker)
{
	return worker->caches;
}

const struct histograms *worker_histograms(const struct worker *worker)
{
	return &worker->histograms;
}

pid_t worker_thread(const struct worker *worker)
{
	return worker->tid;
}

void worker_counters(const struct worker *worker, struct worker_counters *ret)
{
	const struct worker_counters *from = &worker->counters;

	ret->compactions = shm_load_relaxed(&from->compactions);
	ret->evictions = shm_load_relaxed(&from->evictions);
	ret->rings = shm_load_relaxed(&from->rings);
	ret->busy_ns = shm_load_relaxed(&from->busy_ns);
}
