/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workers compact. Each is one thread with one ring and a set of caches; the
 * control thread hands it caches and leases by MSG_RING and gets them back the
 * same way.
 */
#ifndef TREEKVD_WORKER_H
#define TREEKVD_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/loop.h"

struct cache;
struct histograms;
struct lease;
struct staging;
struct worker;

/*
 * What the control thread asks of a worker: embedded in what it is about, one
 * at a time in flight. done runs on the control thread.
 */
struct worker_job {
	struct loop_op op;
	struct worker *worker;
	struct cache *cache;
	struct lease *lease;
	void (*run)(struct worker_job *job); /* the worker's */
	void (*work)(struct worker_job *job); /* what worker_do() was given */
	void (*done)(struct worker_job *job);
};

/* Tasks of a lane run one after the other, the lanes side by side. */
enum worker_lane {
	WORKER_SAVE, /* may be slowed down on purpose */
	WORKER_LOAD, /* somebody waits for it */
	WORKER_SHORT, /* likewise, but not for long; it stages nothing */
	WORKER_LANES,
};

/*
 * Work that takes a while, done a slice at a time between compactions. job.done
 * follows when it is over.
 */
struct worker_task {
	struct worker_job job;
	enum worker_lane lane;
	bool staged; /* slice is given staging memory, or NULL for want of it */
	/* Return: false when only a completion can bring it on. */
	bool (*slice)(struct worker_task *task, struct staging *staging);
	bool over; /* set by slice */
	struct worker_task *next;
};

struct worker_counters {
	uint64_t compactions;
	uint64_t evictions;
	uint64_t rings;
	uint64_t busy_ns;
};

/**
 * worker_new - make a worker
 * @control: the caller's loop
 * @name: of its thread, 15 bytes at most; stays
 * @why: on failure set to what went wrong
 */
int worker_new(struct worker **ret, struct loop *control, const char *name,
	       const char **why);

/* Starts its thread, before anything is asked of it. */
int worker_start(struct worker *worker, const char **why);

/* Every cache must have been forgotten. Takes NULL, returns it. */
struct worker *worker_free(struct worker *worker);

/* Caches it has; for choosing the one with the fewest. */
unsigned int worker_caches(const struct worker *worker);

pid_t worker_thread(const struct worker *worker);

void worker_counters(const struct worker *worker, struct worker_counters *ret);

/* What its thread has timed. */
const struct histograms *worker_histograms(const struct worker *worker);

/* Gives a new cache to a worker, which makes its rows present by and by. */
void worker_give(struct worker *worker, struct cache *cache,
		 struct worker_job *job);

/* The worker lets go of a cache; job->done follows. Its leases are over. */
void worker_take_back(struct cache *cache, struct worker_job *job);

/* The worker listens to a lease's doorbell. */
void worker_watch(struct lease *lease, struct worker_job *job);

/* The worker stops listening; job->done follows. */
void worker_unwatch(struct lease *lease, struct worker_job *job);

/* Runs @work in one go on the worker's thread; job->done follows. */
void worker_do(struct worker *worker, struct worker_job *job,
	       void (*work)(struct worker_job *job));

/* job->done follows as soon as the worker's loop has come round. */
void worker_probe(struct worker *worker, struct worker_job *job);

/* On the cache's worker: compact_move() has published, which counts as well. */
void worker_moved(const struct cache *cache);

/* Wakes a writer who sleeps on the generation. */
void worker_wake(struct cache *cache);

/* On the cache's worker: @op->done() runs on the control thread. */
void worker_post(struct cache *cache, struct loop_op *op);

/* On the cache's worker: its compaction has a fault. */
void worker_quarantine(struct cache *cache);

/* Runs a task on the worker that has @cache; task->job.done is set. */
void worker_run(struct cache *cache, struct worker_task *task);

/*
 * On the cache's worker: no order is published until it is unheld, upon which
 * what came due is done.
 */
void worker_hold(struct cache *cache); /* as often as it is unheld */
void worker_unhold(struct cache *cache);

#endif /* TREEKVD_WORKER_H */
