/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the daemon knows of stalls: the two words in which a writer counts them,
 * looked at by the cache's worker when a compaction begins and when a lease
 * ends.
 */
#ifndef TREEKVD_STALL_H
#define TREEKVD_STALL_H

#include <stdbool.h>
#include <stdint.h>

struct cache;

struct stall_look {
	uint64_t stalls; /* the words, as they stood at the last look */
	uint64_t ns;
	uint64_t at; /* when that was */
	uint64_t since; /* no stall that is still to come began before */
};

/**
 * stall_begin - what stands in the words by now is history
 * @since: when its first stall can have begun: 0 for an adopted cache
 */
void stall_begin(struct cache *cache, uint64_t since);

/**
 * stall_look - has the writer stalled since the last look?
 * @now: clock_ns()
 * @n: how often
 * @ns: for how long each, on average
 *
 * A writer stalls until a publication gives him room, so between two
 * compactions one stall at most comes to an end, and what is returned is exact;
 * several are steps that gave up at their deadline. His words are believed as
 * far as he had the time for what they say.
 *
 * Return: whether he has.
 */
bool stall_look(struct cache *cache, uint64_t now, uint64_t *n, uint64_t *ns);

#endif /* TREEKVD_STALL_H */
