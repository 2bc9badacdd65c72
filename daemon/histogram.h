/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long things take, kept by the daemon itself whether or not anybody looks:
 * one table in histogram.c beside that of metrics.c. Each thread has a set of
 * its own, to which nobody else writes; who reads sums them up. Adding a value
 * is two plain stores.
 */
#ifndef TREEKVD_HISTOGRAM_H
#define TREEKVD_HISTOGRAM_H

#include <stdint.h>

#include "proto/barrier.h"
#include "proto/histogram.h"
#include "treekv.pb-c.h"

enum histogram_id {
	HISTOGRAM_COMPACTION, /* begun to published */
	HISTOGRAM_PUBLICATION, /* doorbell heard to published */
	HISTOGRAM_STALL, /* see stall.h */
	HISTOGRAM_SNAPSHOT,
	HISTOGRAM_RESTORE,
	/* Request received to its reply queued. */
	HISTOGRAM_REQUEST_CREATE,
	HISTOGRAM_REQUEST_ATTACH,
	HISTOGRAM_REQUEST_DETACH,
	HISTOGRAM_REQUEST_DROP,
	HISTOGRAM_REQUEST_LIST,
	HISTOGRAM_REQUEST_INSPECT,
	HISTOGRAM_REQUEST_STATS,
	HISTOGRAM_REQUEST_BREAK,
	HISTOGRAM_REQUEST_SNAPSHOT,
	HISTOGRAM_REQUEST_RESTORE,
	HISTOGRAM_REQUEST_EVENTS,
	HISTOGRAM_REQUEST_PREFILL,
	HISTOGRAM_REQUEST_WORKERS,
	HISTOGRAM_REQUEST_CLIENTS,
	HISTOGRAM_REQUEST_KEPT,
	HISTOGRAM_REQUEST_FREEZE,
	HISTOGRAM_REQUEST_FORK,
	HISTOGRAM_REQUEST_LOOKUP,
	HISTOGRAM_REQUEST_PARK,
	HISTOGRAM_REQUEST_KEEP,
	HISTOGRAMS,
};

struct histogram {
	uint64_t bucket[HISTOGRAM_BUCKETS];
	uint64_t sum; /* ns */
};

/* What one thread has seen. */
struct histograms {
	struct histogram at[HISTOGRAMS];
};

struct histogram_row {
	const char *name; /* as clients see it */
	const char *family; /* Prometheus', without prefix and unit */
	const char *type; /* its label of that name, or NULL */
	const char *help; /* the same for all of a family */
	/* What is exposed: bounds 2^low, 2^(low + step), ... 2^high ns. */
	unsigned int low;
	unsigned int high;
	unsigned int step;
};

extern const struct histogram_row histogram_rows[HISTOGRAMS];

/* HISTOGRAMS: one that is not timed. */
enum histogram_id histogram_of_request(Treekv__Request__BodyCase request);

/* @n values of @ns each, by the thread whose histogram it is. */
static inline void histogram_add(struct histogram *own, uint64_t ns, uint64_t n)
{
	uint64_t *bucket = &own->bucket[histogram_bucket(ns)];

	shm_store_relaxed(bucket, *bucket + n);
	shm_store_relaxed(&own->sum, own->sum + ns * n);
}

/* Adds what a thread has counted to a sum; by any thread. */
void histogram_sum(struct histogram *sum, const struct histogram *of);

/* How many values; of a sum, so that it agrees with the buckets. */
uint64_t histogram_count(const struct histogram *sum);

#endif /* TREEKVD_HISTOGRAM_H */
