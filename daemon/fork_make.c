// SPDX-License-Identifier: BSD-2-Clause
/*
 * A fork has rows and an index of its own, which begin as if it had read the
 * prefix itself: the order names the parent's slots, every array by slot has
 * the parent's first, and none of K and V is copied.
 *
 * A frozen cache's order speaks of all its rows (base_tail is its tail). Where
 * it holds all tokens, rank and token are one, and a fork may begin with fewer
 * of them. The scores are then those of queries which that fork never asked;
 * so they begin anew, as they do where the parent's policy keeps another kind.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/fork_make.h"
#include "daemon/order.h"
#include "daemon/segment.h"
#include "daemon/spec.h"
#include "proto/barrier.h"

static const struct shm_layer *layers_of(const struct cache *cache)
{
	return (const void *)((const char *)cache->index +
			      cache->index->layers);
}

static bool is_whole(const struct fork_plan *plan)
{
	return plan->tokens == plan->parent->index->frozen_tail;
}

/* Rows of a layer that the fork begins with. */
static uint32_t live_of(const struct fork_plan *plan, uint32_t layer)
{
	return is_whole(plan) ? cache_levels(plan->parent)[layer].n_live :
				(uint32_t)plan->tokens;
}

static int check_tokens(const struct fork_plan *plan, char *why, size_t size)
{
	uint64_t tail = plan->parent->index->frozen_tail;

	if (plan->tokens > tail) {
		snprintf(why, size, "%llu tokens of it are wanted, it has %llu",
			 (unsigned long long)plan->tokens,
			 (unsigned long long)tail);
		return -EINVAL;
	}
	if (plan->tokens < tail && !cache_is_exact(plan->parent)) {
		snprintf(why, size,
			 "it does not hold all of its %llu tokens: fork all of "
			 "it, not %llu",
			 (unsigned long long)tail,
			 (unsigned long long)plan->tokens);
		return -EINVAL;
	}
	return 0;
}

static int check_layer(struct fork_plan *plan, uint32_t l, char *why,
		       size_t size)
{
	uint32_t live = live_of(plan, l);

	plan->layer[l].slots = layers_of(plan->parent)[l].capacity;
	plan->layer[l].pinned = plan->evict_prefix ? 0 : live;
	if (live <= plan->budgets[l])
		return 0;
	snprintf(why, size,
		 "the prefix has %u rows in layer %u, its budget is %u; give a "
		 "larger one",
		 live, l, plan->budgets[l]);
	return -EINVAL;
}

int fork_check(struct fork_plan *plan, char *why, size_t size)
{
	const struct shm_spec *parent = &plan->parent->index->spec;
	struct layout_error error;
	int r = spec_compare_rows(parent, &plan->spec, why, size);

	if (!r)
		r = check_tokens(plan, why, size);
	if (plan->spec.policy == SHM_POLICY_FULL)
		plan->evict_prefix = false;
	if (parent->ids < plan->tokens && parent->ids < plan->spec.ids)
		plan->spec.ids = parent->ids;
	for (uint32_t l = 0; !r && l < plan->spec.layers; l++)
		r = check_layer(plan, l, why, size);
	if (r)
		return r;
	r = layout_check_fork(&plan->spec, plan->budgets, plan->layer, &error);
	if (r)
		snprintf(why, size, "%s%s", error.text,
			 plan->evict_prefix ? "" : "; or evict the prefix");
	return r;
}

uint64_t fork_limit(const struct fork_plan *plan)
{
	bool full = plan->spec.policy == SHM_POLICY_FULL;
	uint64_t limit = UINT64_MAX, besides = 0;

	/* A row of its own beside what is pinned, as layout_check_fork(). */
	if (full)
		besides = 1;
	else if (!plan->evict_prefix)
		besides = (uint64_t)plan->spec.recent +
			  policy_by_id(plan->spec.policy)->selected_min;
	for (uint32_t l = 0; l < plan->spec.layers; l++) {
		uint64_t room = plan->budgets[l] > besides ?
					plan->budgets[l] - besides :
					0;

		limit = room < limit ? room : limit;
	}
	return limit;
}

/* ---- filling ---- */

/* What is carried over from parent to child, beside order, ids and token. */
struct carried {
	const struct fork_plan *plan;
	struct cache *child;
	struct shm_rows *rows; /* the child's, writable */
	bool scores;
	bool walks;
};

static enum policy_scores scores_of(const struct shm_spec *spec)
{
	return policy_by_id(spec->policy)->scores;
}

bool fork_carries_scores(const struct shm_index *parent, uint64_t tokens,
			 const struct shm_spec *fork)
{
	return tokens == parent->frozen_tail &&
	       scores_of(&parent->spec) == scores_of(fork);
}

/* Would one walk over the other's rows go on in the same place? */
static bool same_walk(const struct fork_plan *plan)
{
	const struct shm_spec *parent = &plan->parent->index->spec;
	const struct shm_spec *child = &plan->spec;

	if (!plan->evict_prefix || parent->policy != child->policy ||
	    parent->sinks != child->sinks || parent->recent != child->recent)
		return false;
	for (uint32_t l = 0; l < child->layers; l++)
		if (layers_of(plan->parent)[l].budget != plan->budgets[l])
			return false;
	return true;
}

static void *at(const void *base, uint64_t offset, uint64_t stride,
		uint32_t head)
{
	return (char *)(uintptr_t)base + offset + head * stride;
}

static void fill_slot(const struct carried *c, uint32_t l, uint32_t h,
		      uint32_t slot)
{
	const struct cache *parent = c->plan->parent;
	const struct shm_layer *from = &layers_of(parent)[l];
	const struct shm_layer *to = &layers_of(c->child)[l];
	const float *score =
		at(parent->rows, from->score, from->score_stride, h);
	const uint32_t *since =
		at(parent->rows, from->since, from->since_stride, h);
	const uint32_t *token =
		at(parent->rows, from->token, from->token_stride, h);

	score +=
		parent->index->frozen_parity * from->score_pad / sizeof(*score);
	((uint32_t *)at(c->rows, to->token, to->token_stride, h))[slot] =
		token[slot];
	((uint32_t *)at(c->rows, to->since, to->since_stride, h))[slot] =
		c->scores ? since[slot] : (uint32_t)c->plan->tokens;
	if (c->scores)
		((float *)at(c->rows, to->score, to->score_stride, h))[slot] =
			score[slot];
}

/* One (layer, head) of the buffer of generation 2. */
static void fill_head(const struct carried *c, uint32_t l, uint32_t h)
{
	const struct cache *parent = c->plan->parent;
	const struct shm_index *index = c->child->index;
	const struct shm_layer *to = &layers_of(c->child)[l];
	uint32_t entry_size = parent->index->spec.entry_size;
	const void *entries = cache_order(parent, l, h);
	char *buffer = (char *)c->child->index + index->buffer[0];
	uint32_t live = live_of(c->plan, l);
	const struct order order = {
		.order = at(buffer, to->order, to->order_stride, h),
		.rank = at(buffer, to->rank, to->rank_stride, h),
		.parent = to->parent_capacity,
	};
	uint32_t *walk = at(buffer, index->walk, 0, 0);

	order_fork(&order, to->capacity, index->spec.entry_size, entries,
		   entry_size, live);
	walk += (size_t)l * index->spec.kv_heads;
	walk[h] = c->walks ? cache_walks(parent, l)[h] : 1;
	for (uint32_t i = 0; i < live; i++)
		fill_slot(c, l, h, order_entry(entries, entry_size, i));
}

static void fill_words(const struct carried *c)
{
	const struct fork_plan *plan = c->plan;
	const struct cache *parent = plan->parent;
	uint64_t ids = plan->spec.ids;
	unsigned int parity = parent->index->frozen_parity & 1;

	ids = ids < plan->tokens ? ids : plan->tokens;
	memcpy(at(c->rows, c->child->index->ids, 0, 0),
	       at(parent->rows, parent->index->ids, 0, 0),
	       ids * sizeof(uint32_t));
	if (is_whole(plan))
		memcpy(c->rows->note[0], parent->rows->note[parity],
		       SHM_NOTE_SIZE);
	c->rows->head = plan->tokens;
	c->rows->commit = shm_commit_pack(plan->tokens, 0);
}

static void fill_index(const struct carried *c)
{
	const struct fork_plan *plan = c->plan;
	struct shm_index *index = c->child->index;
	struct shm_level *level =
		at(index, index->buffer[0] + index->level, 0, 0);

	index->parent_id = plan->parent->id;
	index->parent_inode = cache_rows_inode(plan->parent);
	index->parent_ids = plan->parent->index->spec.ids;
	if (plan->evict_prefix)
		cache_mark(c->child, SHM_CACHE_EVICT_PREFIX, true);
	for (uint32_t l = 0; l < index->spec.layers; l++) {
		level[l].n_live = live_of(plan, l);
		for (uint32_t h = 0; h < index->spec.kv_heads; h++)
			fill_head(c, l, h);
	}
}

int fork_fill(struct cache *child, const struct fork_plan *plan)
{
	struct carried c = {
		.plan = plan,
		.child = child,
		.scores = fork_carries_scores(plan->parent->index, plan->tokens,
					      &plan->spec),
		.walks = is_whole(plan) && same_walk(plan),
	};

	void *rows;
	int r = segment_map(&rows, child->rows_fd, child->rows_size);

	if (r)
		return r;
	c.rows = rows;
	fill_index(&c);
	fill_words(&c);
	munmap(c.rows, child->rows_size);
	return compact_resume(child->index, 2, plan->tokens);
}
