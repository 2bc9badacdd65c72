// SPDX-License-Identifier: BSD-2-Clause
/*
 * Slow on purpose: each rule stands here as method.md words it, one token at a
 * time, so that a reader can hold the two side by side. Ranks are 0-based; the
 * scope at idx is the pair of ranks sinks + idx - 1 and sinks + idx.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/reference.h"

struct reference_rules {
	const char *name;
	/* The rank that leaves. */
	uint32_t (*choose)(const struct reference *r);
	/* idx afterwards. */
	uint32_t (*advance)(const struct reference *r);
	int last_only; /* a step's weight replaces S */
};

static double nan_is_lowest(double value)
{
	return isnan(value) ? -INFINITY : value;
}

static double savg(const struct reference *r, uint32_t rank)
{
	const struct reference_token *token = &r->tokens[rank];

	return nan_is_lowest((double)token->sum / (double)token->count);
}

/* If Savg[idx] > Savg[idx + 1] evict idx + 1, else evict idx. */
static uint32_t choose_pair(const struct reference *r)
{
	uint32_t left = r->sinks + r->idx - 1;

	return savg(r, left) > savg(r, left + 1) ? left + 1 : left;
}

static uint32_t choose_left(const struct reference *r)
{
	return r->sinks + r->idx - 1;
}

/* Sinks and the most recent stay. */
static uint32_t choose_oldest(const struct reference *r)
{
	return r->sinks;
}

/* The lowest S of the selected region and the one that has just joined it. */
static uint32_t choose_lowest(const struct reference *r)
{
	uint32_t lowest = r->sinks;

	for (uint32_t i = r->sinks + 1; i <= r->sinks + r->selected; i++)
		if (nan_is_lowest(r->tokens[i].sum) <
		    nan_is_lowest(r->tokens[lowest].sum))
			lowest = i;
	return lowest;
}

static uint32_t advance_text(const struct reference *r)
{
	return r->idx % r->selected + 1;
}

static uint32_t advance_listing(const struct reference *r)
{
	return (r->idx + 1) % r->selected + 1;
}

static uint32_t advance_none(const struct reference *r)
{
	return r->idx;
}

static const struct reference_rules rules[] = {
	{ "treekv", choose_pair, advance_text, 0 },
	{ "treekv-left", choose_left, advance_text, 0 },
	{ "treekv-skip", choose_pair, advance_listing, 0 },
	{ "streaming", choose_oldest, advance_none, 0 },
	{ "h2o", choose_lowest, advance_none, 0 },
	{ "tova", choose_lowest, advance_none, 1 },
};

static const struct reference_rules *find_rules(const char *policy)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++)
		if (!strcmp(rules[i].name, policy))
			return &rules[i];
	return NULL;
}

struct reference *reference_new(const char *policy, uint32_t budget,
				uint32_t sinks, uint32_t recent, uint32_t slots)
{
	struct reference *r;

	if (!find_rules(policy))
		return NULL;
	r = calloc(1, sizeof(*r));
	assert(r);
	r->rules = find_rules(policy);
	r->budget = budget;
	r->sinks = sinks;
	r->selected = budget - sinks - recent;
	r->idx = 1;
	r->tokens = calloc(slots, sizeof(*r->tokens));
	r->free = calloc(slots, sizeof(*r->free));
	assert(r->tokens && r->free);
	for (uint32_t i = 0; i < slots; i++)
		r->free[i] = i;
	r->free_slots = slots;
	return r;
}

struct reference *reference_fork(const struct reference_prefix *prefix,
				 const char *policy, uint32_t budget,
				 uint32_t sinks, uint32_t recent,
				 uint32_t slots)
{
	const struct reference *parent = prefix->parent;
	uint32_t kept = prefix->pinned && prefix->tokens > sinks ?
				prefix->tokens :
				sinks;
	struct reference *r = reference_new(policy, budget, kept, recent,
					    slots + prefix->parent_slots);

	r->parent_slots = prefix->parent_slots;
	r->free_slots = slots;
	for (uint32_t i = 0; i < slots; i++)
		r->free[i] = prefix->parent_slots + i;
	for (uint32_t i = 0; i < prefix->tokens; i++) {
		r->tokens[i] = parent->tokens[i];
		r->tokens[i].sum = prefix->sums ? parent->tokens[i].sum : 0;
		r->tokens[i].count = prefix->sums ? parent->tokens[i].count : 0;
	}
	r->live = prefix->tokens;
	r->tokens_seen = prefix->tokens < parent->live ? prefix->tokens :
							 parent->tokens_seen;
	r->idx = prefix->sums && !prefix->pinned ? parent->idx : 1;
	return r;
}

struct reference *reference_free(struct reference *r)
{
	if (r) {
		free(r->tokens);
		free(r->free);
		free(r);
	}
	return NULL;
}

uint32_t reference_append(struct reference *r)
{
	uint32_t slot = r->free[0];

	assert(r->free_slots);
	r->free_slots--;
	memmove(r->free, r->free + 1, r->free_slots * sizeof(*r->free));
	r->tokens[r->live++] = (struct reference_token){
		.number = r->tokens_seen++,
		.slot = slot,
	};
	return slot;
}

void reference_observe(struct reference *r, const float *weights)
{
	for (uint32_t i = 0; i < r->live; i++) {
		struct reference_token *token = &r->tokens[i];

		token->count++;
		if (r->rules->last_only)
			token->sum = weights[token->number];
		else
			token->sum += weights[token->number];
	}
}

uint32_t reference_evict(struct reference *r)
{
	uint32_t rank = r->rules->choose(r);
	uint32_t slot = r->tokens[rank].slot;

	assert(rank < r->live);
	r->live--;
	memmove(&r->tokens[rank], &r->tokens[rank + 1],
		(r->live - rank) * sizeof(*r->tokens));
	if (slot >= r->parent_slots)
		r->free[r->free_slots++] = slot;
	r->idx = r->rules->advance(r);
	return slot;
}

void reference_step(struct reference *r, const float *weights)
{
	reference_append(r);
	reference_observe(r, weights);
	if (r->live > r->budget)
		reference_evict(r);
}
