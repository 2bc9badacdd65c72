// SPDX-License-Identifier: BSD-2-Clause
/*
 * A stall is counted where it happens, by the writer, when it is over. The
 * daemon could watch for one itself (a ring from a writer without slack), but
 * would then miss those of which it hears too late, and could not tell when the
 * step went on. So it reads the writer's counters, and is late instead: a stall
 * is known when the cache is next compacted, or its lease ends. The metric
 * stalls_total reads the words themselves and is not late.
 *
 * A stall that is over now may have begun before the last look, but not before
 * the one before the look that saw its predecessor: that one had not yet ended.
 */
#include "daemon/cache.h"
#include "daemon/stall.h"
#include "proto/barrier.h"

#define STALL_LEAST 1000 /* ns; whoever says he had more, has not */

static uint64_t stalled_ns(const struct cache *cache)
{
	return shm_load_relaxed(&cache->rows->stall_ns);
}

void stall_begin(struct cache *cache, uint64_t since)
{
	cache->stall = (struct stall_look){
		.stalls = cache_stalls(cache),
		.ns = stalled_ns(cache),
		.at = since,
		.since = since,
	};
}

bool stall_look(struct cache *cache, uint64_t now, uint64_t *n, uint64_t *ns)
{
	const struct stall_look last = cache->stall;
	uint64_t sum = stalled_ns(cache), most = now - last.since;
	uint64_t stalls = cache_stalls(cache);

	cache->stall.at = now;
	/* Or he has stored one of the words, and not yet the other. */
	if (stalls == last.stalls || sum == last.ns)
		return false;
	cache->stall = (struct stall_look){ stalls, sum, now, last.at };
	if (stalls < last.stalls || sum < last.ns)
		return false; /* a liar's */
	*n = stalls - last.stalls;
	if (*n > most / STALL_LEAST + 1)
		*n = most / STALL_LEAST + 1;
	sum -= last.ns;
	*ns = (sum < most ? sum : most) / *n;
	return true;
}
