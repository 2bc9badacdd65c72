/* SPDX-License-Identifier: BSD-2-Clause */
/* Samples made by hand, as a daemon's answers would make them. */
#ifndef SAMPLE_FIXTURE_H
#define SAMPLE_FIXTURE_H

#include <stdint.h>

#include "bpf/sample.h"

/* Taken @ns after midday of 2026-11-23, UTC, by an otherwise idle daemon 100. */
Treekv__Sample *fixture_sample(uint64_t ns);

/* Added to it; all else is the caller's to set. An idle one of user 0. */
Treekv__CacheInfo *fixture_cache(Treekv__Sample *sample, uint64_t id,
				 const char *name);
Treekv__Worker *fixture_worker(Treekv__Sample *sample, uint32_t thread);
Treekv__Client *fixture_client(Treekv__Sample *sample, uint32_t pid,
			       const char *program);

/* The cache is being written by a process of that command. */
void fixture_writer(Treekv__Sample *sample, Treekv__CacheInfo *cache,
		    uint32_t pid, const char *command);

void fixture_metric(Treekv__Sample *sample, const char *name, uint64_t value);
void fixture_histogram(Treekv__Sample *sample, const char *name,
		       const uint64_t *bucket, size_t n);

/* Times of a cache's compactions: @count in bucket @bucket, none elsewhere. */
void fixture_compactions(Treekv__CacheInfo *cache, size_t bucket,
			 uint64_t count);

/*
 * The detail of a cache with @groups of one layer: of @buckets buckets, each as
 * wide as @tail allows, the last is full, the one before half full, ...
 */
void fixture_detail(Treekv__Sample *sample, const Treekv__CacheInfo *cache,
		    size_t buckets, size_t groups);

#endif /* SAMPLE_FIXTURE_H */
