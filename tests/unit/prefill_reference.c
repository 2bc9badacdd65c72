// SPDX-License-Identifier: BSD-2-Clause
/*
 * Slow on purpose. Blocks arrive one by one in a list; as soon as it is too
 * long one of the two at idx is taken out of it by memmove. The highest scores
 * are found by looking at all of them, once for each that stays.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/prefill_reference.h"

static int is(const struct prefill_reference *r, const char *method)
{
	return !strcmp(r->method, method);
}

static double nan_is_lowest(double value)
{
	return isnan(value) ? -INFINITY : value;
}

static double block_score(const struct prefill_reference *r, uint32_t first)
{
	float sum = 0;

	for (uint32_t t = first; t < first + r->block; t++)
		sum += r->score[t];
	return nan_is_lowest((double)sum);
}

/* The first of the two leaves? A tie evicts the older. */
static int older_leaves(const struct prefill_reference *r, const uint32_t *two)
{
	if (is(r, "treekv-left"))
		return 1;
	return !(block_score(r, two[0]) > block_score(r, two[1]));
}

static void walk(const struct prefill_reference *r, uint32_t from, uint32_t to,
		 uint32_t room, uint8_t *kept, uint32_t *idx)
{
	uint32_t *list = calloc((to - from) / r->block + 1, sizeof(*list));
	uint32_t n = 0, at;

	assert(list);
	*idx = 1;
	for (uint32_t first = from; first < to; first += r->block) {
		list[n++] = first;
		if (n <= room)
			continue;
		at = *idx - 1;
		if (!older_leaves(r, list + at))
			at++;
		memmove(list + at, list + at + 1, (n - at - 1) * sizeof(*list));
		n--;
		if (is(r, "treekv-skip"))
			*idx = (*idx + 1) % room + 1; /* line 16 */
		else
			*idx = *idx % room + 1;
	}
	for (uint32_t i = 0; i < n; i++)
		memset(kept + list[i], 1, r->block);
	free(list);
}

static void walk_prompt(const struct prefill_reference *r, uint8_t *kept,
			uint32_t *idx, uint32_t *room)
{
	uint32_t rem = (r->tokens - r->sinks - r->window) % r->block;
	uint32_t end = r->tokens - r->window - rem;
	uint32_t fit = r->budget - r->sinks - r->window;

	memset(kept + r->tokens - r->window, 1, r->window);
	for (uint32_t i = 0; i < rem && i < fit; i++)
		kept[r->tokens - r->window - 1 - i] = 1;
	*room = fit > rem ? (fit - rem) / r->block : 0;
	if (*room)
		walk(r, r->sinks, end, *room, kept, idx);
}

static double pooled(const struct prefill_reference *r, uint32_t at,
		     uint32_t end)
{
	int64_t half = r->kernel / 2;
	float sum = 0;
	double highest = -INFINITY;

	for (int64_t t = (int64_t)at - half; t <= (int64_t)at + half; t++) {
		if (t < 0 || t >= (int64_t)end)
			continue;
		sum += r->score[t];
		if (nan_is_lowest((double)r->score[t]) > highest)
			highest = (double)r->score[t];
	}
	return r->mean ? nan_is_lowest((double)(sum / (float)r->kernel)) :
			 highest;
}

/* One after the other, whatever is the highest of what does not stay yet. */
static void highest(const struct prefill_reference *r, uint8_t *kept,
		    uint32_t last)
{
	uint32_t end = r->tokens - last;

	memset(kept + end, 1, last);
	for (uint32_t n = r->sinks + last; n < r->budget; n++) {
		uint32_t best = UINT32_MAX;
		double best_score = 0, score;

		for (uint32_t t = r->sinks; t < end; t++) {
			if (kept[t])
				continue;
			score = is(r, "snapkv") ?
					pooled(r, t, end) :
					nan_is_lowest((double)r->score[t]);
			if (best == UINT32_MAX || score >= best_score) {
				best = t; /* a tie keeps the newer */
				best_score = score;
			}
		}
		kept[best] = 1;
	}
}

uint32_t prefill_reference(const struct prefill_reference *r, uint8_t *kept,
			   uint32_t *idx, uint32_t *room)
{
	uint32_t n = 0, free_rows = r->budget - r->sinks;

	*idx = 0;
	*room = 0;
	memset(kept, 0, r->tokens);
	if (r->tokens <= r->budget) {
		memset(kept, 1, r->tokens);
		return r->tokens;
	}
	memset(kept, 1, r->sinks);
	if (!strncmp(r->method, "treekv", 6))
		walk_prompt(r, kept, idx, room);
	else if (is(r, "snapkv"))
		highest(r, kept, r->window);
	else if (is(r, "h2o") || is(r, "tova"))
		highest(r, kept, r->recent < free_rows ? r->recent : free_rows);
	else if (is(r, "streaming"))
		memset(kept + r->tokens - free_rows, 1, free_rows);
	else
		abort();
	for (uint32_t t = 0; t < r->tokens; t++)
		n += kept[t];
	return n;
}
