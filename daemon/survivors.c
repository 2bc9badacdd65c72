// SPDX-License-Identifier: BSD-2-Clause
/*
 * A block of tokens plays the part of one token: the walk is the policy's own
 * code, run over an order of blocks. All blocks have been seen by the same
 * queries and have the same length, so sums compare as averages do.
 *
 * The methods that take the highest scores decide once, with the whole prompt
 * in view, and not token by token as they do in decoding: that is how SnapKV is
 * defined, and what implementations of H2O do with a prompt. The least key that
 * stays is found digit by digit, which takes eight passes whatever the scores
 * are; keys order as scores do and, among equals, as tokens do (policy.c).
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "daemon/survivors.h"

#define DIGIT 8 /* bits */

/* Sinks, then blocks of which some stay, then what always stays. */
struct plan {
	uint32_t blocks;
	uint32_t room; /* blocks that stay */
	uint32_t last; /* newest tokens */
};

struct scratch {
	uint64_t *key;
	float *score;
	uint32_t *order;
	uint32_t *since;
	uint32_t *cur;
	uint32_t *evicted;
	uint8_t *gone;
};

bool survivors_scored(enum survivors_method method)
{
	switch (method) {
	case SURVIVORS_TREEKV:
	case SURVIVORS_TREEKV_SKIP:
	case SURVIVORS_H2O:
	case SURVIVORS_TOVA:
	case SURVIVORS_SNAPKV:
		return true;
	case SURVIVORS_TREEKV_LEFT:
	case SURVIVORS_STREAMING:
	case SURVIVORS_FULL:
		return false;
	}
	return false;
}

static bool is_walk(enum survivors_method method)
{
	return method == SURVIVORS_TREEKV || method == SURVIVORS_TREEKV_LEFT ||
	       method == SURVIVORS_TREEKV_SKIP;
}

bool survivors_windowed(enum survivors_method method)
{
	return is_walk(method) || method == SURVIVORS_SNAPKV;
}

enum survivors_fault survivors_check(const struct survivors *s)
{
	if (s->method == SURVIVORS_FULL)
		return s->tokens > s->budget ? SURVIVORS_FAULT_FULL :
					       SURVIVORS_SOUND;
	if (s->sinks > s->budget)
		return SURVIVORS_FAULT_SINKS;
	if (survivors_windowed(s->method) &&
	    (!s->window || s->window > s->budget - s->sinks))
		return SURVIVORS_FAULT_WINDOW;
	if (is_walk(s->method) && !s->block)
		return SURVIVORS_FAULT_BLOCK;
	if (s->method == SURVIVORS_SNAPKV && s->kernel % 2 == 0)
		return SURVIVORS_FAULT_KERNEL;
	return SURVIVORS_SOUND;
}

/* Of a prompt that does not fit: tokens > budget >= sinks + window. */
static struct plan plan_walk(const struct survivors *s)
{
	uint32_t between = s->tokens - s->sinks - s->window;
	uint32_t room = s->budget - s->sinks - s->window;
	uint32_t rem = between % s->block;
	uint32_t kept = rem < room ? rem : room;

	return (struct plan){
		.blocks = between / s->block,
		.room = (room - kept) / s->block,
		.last = s->window + kept,
	};
}

uint32_t survivors_count(const struct survivors *s)
{
	struct plan plan;

	if (s->tokens <= s->budget)
		return s->tokens;
	if (!is_walk(s->method))
		return s->budget;
	plan = plan_walk(s);
	return s->sinks + plan.room * s->block + plan.last;
}

size_t survivors_scratch_size(const struct survivors *s)
{
	return (size_t)s->tokens *
	       (sizeof(uint64_t) + sizeof(float) + 4 * sizeof(uint32_t) + 1);
}

static void scratch_init(struct scratch *ret, void *memory, uint32_t tokens)
{
	ret->key = memory;
	ret->score = (void *)(ret->key + tokens);
	ret->order = (void *)(ret->score + tokens);
	ret->since = ret->order + tokens;
	ret->cur = ret->since + tokens;
	ret->evicted = ret->cur + tokens;
	ret->gone = (void *)(ret->evicted + tokens);
}

static uint32_t emit(uint32_t *ret, uint32_t from, uint32_t to)
{
	for (uint32_t t = from; t < to; t++)
		*ret++ = t;
	return to - from;
}

static void block_scores(const struct survivors *s, uint32_t blocks, float *to)
{
	const float *at = s->score + s->sinks;

	for (uint32_t i = 0; i < blocks; i++) {
		float sum = 0;

		for (uint32_t j = 0; j < s->block; j++)
			sum += *at++;
		to[i] = sum;
	}
}

/* Marks the blocks that leave; some do. */
static void walk_blocks(const struct survivors *s, const struct plan *plan,
			const struct scratch *scratch)
{
	const struct policy *policy = policy_by_id(s->method);
	const struct policy_scratch room = { .rank = scratch->cur,
					     .key = scratch->key };
	const struct policy_scope scope = {
		.order = scratch->order,
		.entry_size = sizeof(*scratch->order),
		.live = plan->blocks,
		.score = scratch->score,
		.since = scratch->since,
		.tail = 1, /* seen once, all of them */
		.selected = plan->room,
		.walk = 1,
	};
	uint32_t k = plan->blocks - plan->room;

	memset(scratch->since, 0, plan->blocks * sizeof(*scratch->since));
	emit(scratch->order, 0, plan->blocks);
	if (survivors_scored(s->method))
		block_scores(s, plan->blocks, scratch->score);
	policy->evict(&scope, k, scratch->evicted, &room);
	for (uint32_t j = 0; j < k; j++)
		scratch->gone[scratch->evicted[j]] = 1;
}

static void choose_blocks(const struct survivors *s, uint32_t *ret,
			  const struct scratch *scratch)
{
	struct plan plan = plan_walk(s);

	memset(scratch->gone, !plan.room, plan.blocks);
	if (plan.room)
		walk_blocks(s, &plan, scratch);
	ret += emit(ret, 0, s->sinks);
	for (uint32_t i = 0; i < plan.blocks; i++) {
		uint32_t first = s->sinks + i * s->block;

		if (!scratch->gone[i])
			ret += emit(ret, first, first + s->block);
	}
	emit(ret, s->tokens - plan.last, s->tokens);
}

/* The @k-th highest of @n keys, no two of which are equal. */
static uint64_t kth_highest(const uint64_t *key, uint32_t n, uint32_t k)
{
	uint64_t prefix = 0, known = 0;

	for (int shift = 64 - DIGIT; shift >= 0; shift -= DIGIT) {
		uint32_t count[1 << DIGIT] = { 0 };
		uint32_t digit = (1 << DIGIT) - 1;

		for (uint32_t i = 0; i < n; i++)
			if ((key[i] & known) == prefix)
				count[key[i] >> shift & digit]++;
		for (; k > count[digit]; digit--)
			k -= count[digit];
		prefix |= (uint64_t)digit << shift;
		known |= (uint64_t)((1 << DIGIT) - 1) << shift;
	}
	return prefix;
}

/* What is pooled beyond the ends is no score: it counts as 0 in a mean. */
static float pooled(const struct survivors *s, uint32_t at, uint32_t end)
{
	uint32_t half = s->kernel / 2;
	uint32_t from = at > half ? at - half : 0;
	uint32_t to = end - at > half ? at + half + 1 : end;
	float value = s->mean ? 0 : -INFINITY;

	for (uint32_t t = from; t < to; t++)
		if (s->mean)
			value += s->score[t];
		else if (s->score[t] > value)
			value = s->score[t];
	return s->mean ? value / (float)s->kernel : value;
}

/* The highest between the sinks and the @last newest. */
static void choose_highest(const struct survivors *s, uint32_t *ret,
			   const struct scratch *scratch, uint32_t last)
{
	uint32_t end = s->tokens - last, n = end - s->sinks;
	uint32_t k = s->budget - s->sinks - last;
	uint64_t least = UINT64_MAX;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t t = s->sinks + i;

		scratch->key[i] = policy_key(s->method == SURVIVORS_SNAPKV ?
						     pooled(s, t, end) :
						     s->score[t],
					     t);
	}
	if (k)
		least = kth_highest(scratch->key, n, k);
	ret += emit(ret, 0, s->sinks);
	for (uint32_t i = 0; k && i < n; i++)
		if (scratch->key[i] >= least)
			*ret++ = s->sinks + i;
	emit(ret, end, s->tokens);
}

static void choose_recent(const struct survivors *s, uint32_t *ret)
{
	ret += emit(ret, 0, s->sinks);
	emit(ret, s->tokens - (s->budget - s->sinks), s->tokens);
}

void survivors_choose(const struct survivors *s, uint32_t *ret, void *memory)
{
	uint32_t room = s->budget - s->sinks;
	struct scratch scratch;

	scratch_init(&scratch, memory, s->tokens);
	if (s->tokens <= s->budget) {
		emit(ret, 0, s->tokens);
		return;
	}
	switch (s->method) {
	case SURVIVORS_TREEKV:
	case SURVIVORS_TREEKV_LEFT:
	case SURVIVORS_TREEKV_SKIP:
		choose_blocks(s, ret, &scratch);
		return;
	case SURVIVORS_STREAMING:
		choose_recent(s, ret);
		return;
	case SURVIVORS_H2O:
	case SURVIVORS_TOVA:
		choose_highest(s, ret, &scratch,
			       s->recent < room ? s->recent : room);
		return;
	case SURVIVORS_SNAPKV:
		choose_highest(s, ret, &scratch, s->window);
		return;
	case SURVIVORS_FULL:
		break;
	}
	assert(!"a prompt that survivors_check() refuses");
}

uint32_t survivors_walk(const struct survivors *s, uint32_t selected)
{
	uint64_t steps, place;
	struct plan plan;

	if (!is_walk(s->method) || s->tokens <= s->budget)
		return 1;
	plan = plan_walk(s);
	if (!plan.room)
		return 1;
	steps = plan.blocks - plan.room;
	if (s->method == SURVIVORS_TREEKV_SKIP)
		steps *= 2;
	place = steps % plan.room * s->block + 1;
	return place <= selected ? (uint32_t)place : 1;
}
