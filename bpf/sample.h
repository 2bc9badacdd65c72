/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A sample is one observation of everything: what the daemon answered, what
 * eBPF saw, and what processes are called. It is a protobuf message
 * (sample.proto), made by source.c or read back from a record.
 */
#ifndef TREEKV_SAMPLE_H
#define TREEKV_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/histogram.h"
#include "sample.pb-c.h"

Treekv__Sample *sample_new(const char *socket); /* NULL: no memory */
Treekv__Sample *
sample_free(Treekv__Sample *sample); /* takes NULL, returns it */

/* A copy that is one's own; NULL: no memory. */
Treekv__Sample *sample_copy(const Treekv__Sample *sample);

/**
 * sample_check - is a sample one that can be shown?
 * @why: set to what is wrong with it
 *
 * For those from files: that they are in the order in which they are searched,
 * that arrays are not longer than what they are copied to.
 * Return: 0 or -EBADMSG.
 */
int sample_check(const Treekv__Sample *sample, const char **why);

/* ---- finding: NULL where there is none ---- */

const Treekv__CacheInfo *sample_cache(const Treekv__Sample *sample,
				      uint64_t id);
size_t sample_client(const Treekv__Sample *sample,
		     uint32_t pid); /* or clients */
const char *sample_command(const Treekv__Sample *sample, uint32_t pid);
const char *sample_owner(const Treekv__Sample *sample, uint32_t uid);
const Treekv__SampleHistogram *sample_histogram(const Treekv__Sample *sample,
						const char *name);
const Treekv__SampleWatchCache *sample_watch_cache(const Treekv__Sample *sample,
						   uint64_t id);
const Treekv__SampleWatchProcess *
sample_watch_process(const Treekv__Sample *sample, uint32_t pid);
const Treekv__SampleWatchWorker *
sample_watch_worker(const Treekv__Sample *sample, uint32_t thread);

/* A metric of the daemon's; NAN when it has no such one. */
double sample_metric(const Treekv__Sample *sample, const char *name);

/* Caches and others there are, 0 when the daemon has not said. */
size_t sample_caches(const Treekv__Sample *sample);
size_t sample_workers(const Treekv__Sample *sample);
size_t sample_clients(const Treekv__Sample *sample);

/* histogram_quantile(), but NAN of an empty histogram. */
double sample_quantile(const uint64_t *bucket, size_t buckets, double q);

#endif /* TREEKV_SAMPLE_H */
