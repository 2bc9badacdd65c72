/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What can be seen of a daemon and its writers from the kernel's side: eBPF
 * programs on USDT probes (treekv-probes(7)), on the scheduler and on io_uring,
 * which count and make histograms in the kernel. They are attached from
 * watch_new() to watch_free(), or to the end of the process, however it ends.
 */
#ifndef TREEKV_WATCH_H
#define TREEKV_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpf/tables.h"

/* How much is seen; what is not has to come from the daemon's own counters. */
enum watch_level {
	WATCH_NONE, /* nothing */
	WATCH_TRACEPOINTS, /* the scheduler and io_uring: no probes */
	WATCH_FULL,
};

struct watch_histogram_data {
	uint64_t bucket[TABLE_BUCKETS]; /* i: 2^i <= ns < 2^(i+1); 0 in 0 */
	uint64_t count;
	uint64_t sum;
};

struct watch_cache {
	uint64_t cache;
	uint64_t compactions;
	uint64_t evictions;
	uint64_t publications;
	uint64_t doorbells;
	uint64_t stalls;
	uint64_t stall_ns;
	struct watch_histogram_data compaction;
};

/* A process that holds, or held, a lease. */
struct watch_process {
	pid_t pid;
	char comm[16];
	bool gone; /* it has ended */
	uint64_t steps;
	uint64_t tokens; /* committed */
	uint64_t commits;
	uint64_t stalls;
	uint64_t stall_ns;
};

struct watch_worker {
	pid_t tid;
	struct watch_histogram_data run_delay;
};

/*
 * Everything since watch_new(). A cache or process that is gone is in one more
 * read after that.
 */
struct watch_data {
	struct watch_histogram_data histogram[WATCH_HISTOGRAMS];
	struct watch_cache *cache; /* by number */
	size_t caches;
	struct watch_process *process; /* by pid */
	size_t processes;
	struct watch_worker *worker; /* by tid */
	size_t workers;
	uint64_t drops[WATCH_TABLES];
};

struct watch_target {
	pid_t daemon;
	const pid_t *process; /* that hold leases now; more: watch_follow() */
	size_t processes;
};

struct watch;

/**
 * watch_new - attach to a daemon, as far as that is possible
 * @why: one line: what is seen, and of what is not, why not
 *
 * To one process: the daemon that follows it takes a new watch.
 *
 * Return: 0, also when nothing can be seen (WATCH_NONE); -ENOMEM.
 */
int watch_new(struct watch **ret, const struct watch_target *target, char *why,
	      size_t size);

/* Takes NULL, returns it. */
struct watch *watch_free(struct watch *w);

enum watch_level watch_level(const struct watch *w);

/* Is that histogram filled at this level? */
bool watch_has(const struct watch *w, enum watch_histogram histogram);

/* "compaction", "request attach", ...; NULL: there is no such request. */
const char *watch_histogram_name(enum watch_histogram histogram);

const char *watch_table_name(enum watch_table table);

/**
 * watch_follow - count what these processes do as well
 *
 * Who gets a lease while the daemon is watched is followed anyhow. This is for
 * those that a list names which was asked for after watch_new(): they may have
 * got theirs before. Those that are followed already are left as they are.
 */
void watch_follow(struct watch *w, const pid_t *process, size_t processes);

/**
 * watch_read - all that has been seen so far
 * @data: to be freed by watch_data_free(), also after an error
 *
 * Also looks at programs that new writers run. Return: 0 or -ENOMEM.
 */
int watch_read(struct watch *w, struct watch_data *data);
void watch_data_free(struct watch_data *data);

#endif /* TREEKV_WATCH_H */
