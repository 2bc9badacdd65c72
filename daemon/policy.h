/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The policies: which rows of one (layer, head) leave. Pure: no I/O, no clock,
 * no log, no allocation. One table, policies[], has them all.
 */
#ifndef TREEKVD_POLICY_H
#define TREEKVD_POLICY_H

#include <stddef.h>
#include <stdint.h>

#include "proto/shm.h"

enum policy_scores {
	POLICY_SCORES_NONE, /* never reads them */
	POLICY_SCORES_SUM, /* accumulated over steps */
	POLICY_SCORES_LAST, /* the last token's only */
};

/**
 * struct policy_scope - one (layer, head) as a policy sees it
 * @order: entries, oldest first; the first @live are looked at
 * @entry_size: of @order, 2 or 4 bytes
 * @live: rows held
 * @score: S by slot, in shared memory: hostile, read once each
 * @since: by slot, likewise; C = tail - since
 * @tail: tokens seen so far
 * @sinks: ranks below this one are never evicted
 * @selected: m = budget - sinks - recent
 * @walk: the treekv policies' idx, 1-based
 */
struct policy_scope {
	const void *order;
	uint32_t entry_size;
	uint32_t live;
	const float *score;
	const uint32_t *since;
	uint32_t tail;
	uint32_t sinks;
	uint32_t selected;
	uint32_t walk;
};

/* Room to think in: @live elements each. */
struct policy_scratch {
	uint32_t *rank;
	uint64_t *key;
};

struct policy {
	enum shm_policy id;
	const char *name;
	enum policy_scores scores;
	uint32_t selected_min;

	/**
	 * @evict: choose @k rows, as k single evictions would at these scores
	 * @ranks: set to their ranks (those before the first eviction), in the
	 *	order in which they leave
	 *
	 * Eviction j chooses within the ranks sinks ... sinks + selected of
	 * what the first j - 1 left; k + sinks + selected <= live.
	 *
	 * Return: the walk afterwards. NULL: the policy refuses when full.
	 */
	uint32_t (*evict)(const struct policy_scope *scope, uint32_t k,
			  uint32_t *ranks,
			  const struct policy_scratch *scratch);
};

/*
 * Asks the memory for what a walk over the next k pairs will read; worth it a
 * head ahead, where scores come from another core's cache. Takes no harm from
 * other policies.
 */
void policy_prefetch(const struct policy_scope *scope, uint32_t k);

/*
 * Orders as the score does and, among equals, as the rank does. NaN ranks as
 * -infinity.
 */
uint64_t policy_key(float score, uint32_t rank);

extern const struct policy policies[];
extern const size_t policies_count;

/* NULL when there is none. */
const struct policy *policy_by_id(uint32_t id);
const struct policy *policy_by_name(const char *name);

#endif /* TREEKVD_POLICY_H */
