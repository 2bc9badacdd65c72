// SPDX-License-Identifier: BSD-2-Clause
/*
 * proto/layout.c. What layout_init() lays out is checked by painting: every
 * array that the ABI has is an interval, and no two intervals of a memfd may
 * meet, or leave it. How long an array is comes from shm.h, not from layout.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/plan.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof(*(a)))
#define INTERVALS_FIXED 8
#define INTERVALS_HEAD	8 /* k, v, two scores, since, token, order, rank */

static uint32_t *same_budgets(uint32_t layers, uint32_t budget)
{
	uint32_t *budgets = plan_alloc(layers ? layers : 1, sizeof(*budgets));

	for (uint32_t l = 0; l < layers; l++)
		budgets[l] = budget;
	return budgets;
}

static void assert_accepted(const struct shm_spec *spec, uint32_t budget)
{
	uint32_t *budgets = same_budgets(spec->layers, budget);
	struct layout_error error = { "" };
	int r = layout_check(spec, budgets, &error);

	if (r)
		fail_msg("refused with %d: %s", r, error.text);
	assert_int_equal(layout_check(spec, budgets, NULL), 0);
	free(budgets);
}

/* The text must have the field and the figure. */
static void assert_refused(const struct shm_spec *spec, uint32_t budget,
			   const char *field, uint32_t figure)
{
	/* A number of layers that is refused says nothing of the array. */
	uint32_t layers = spec->layers > SHM_LAYERS_MAX ? 1 : spec->layers;
	uint32_t *budgets = same_budgets(layers, budget);
	struct layout_error error = { "" };
	char number[16];

	assert_int_equal(layout_check(spec, budgets, &error), -EINVAL);
	assert_int_equal(layout_check(spec, budgets, NULL), -EINVAL);
	snprintf(number, sizeof(number), "%u", figure);
	if (!strstr(error.text, field) || !strstr(error.text, number))
		fail_msg("\"%s\" lacks \"%s\" or \"%s\"", error.text, field,
			 number);
	free(budgets);
}

/* Every field with bounds of its own; the rest of the spec leaves it room. */
static const struct {
	const char *name;
	size_t at;
	uint32_t min;
	uint32_t max;
	uint32_t budget;
} limits[] = {
	{ "layers", offsetof(struct shm_spec, layers), 1, 512, 32 },
	{ "kv_heads", offsetof(struct shm_spec, kv_heads), 1, 512, 32 },
	{ "k_row", offsetof(struct shm_spec, k_row), 1, 65536, 32 },
	{ "v_row", offsetof(struct shm_spec, v_row), 1, 65536, 32 },
	{ "dtype", offsetof(struct shm_spec, dtype), 1, 3, 32 },
	{ "policy", offsetof(struct shm_spec, policy), 1, 7, 32 },
	{ "positions", offsetof(struct shm_spec, positions), 1, 2, 32 },
	{ "slack", offsetof(struct shm_spec, slack), 1, (1U << 24) - 32, 32 },
	{ "ids", offsetof(struct shm_spec, ids), 0, 1U << 28, 32 },
};

static void test_check_takes_every_limit_and_nothing_beyond(void **state)
{
	(void)state;
	assert_accepted(&plan_spec, 32);
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		const uint32_t wild[] = { limits[i].max + 1, UINT32_MAX };
		struct shm_spec spec = plan_spec;
		uint32_t *field = (void *)((char *)&spec + limits[i].at);

		*field = limits[i].min;
		assert_accepted(&spec, limits[i].budget);
		*field = limits[i].max;
		assert_accepted(&spec, limits[i].budget);
		for (size_t j = 0; j < ARRAY_SIZE(wild); j++) {
			*field = wild[j];
			assert_refused(&spec, limits[i].budget, limits[i].name,
				       wild[j]);
		}
		if (!limits[i].min)
			continue;
		*field = limits[i].min - 1;
		assert_refused(&spec, limits[i].budget, limits[i].name,
			       limits[i].min - 1);
	}
}

static void test_check_needs_a_selected_row_for_a_walk(void **state)
{
	struct shm_spec spec = plan_spec;

	(void)state;
	for (uint32_t p = SHM_POLICY_TREEKV; p <= SHM_POLICY_TOVA; p++) {
		bool walks = p <= SHM_POLICY_TREEKV_SKIP;

		spec.policy = p;
		assert_accepted(&spec, 16 + walks);
		assert_refused(&spec, 15 + walks, "budget of layer 0",
			       15 + walks);
		assert_refused(&spec, 15 + walks, "sinks", 4);
		assert_refused(&spec, 15 + walks, "recent", 12);
	}
	spec.policy = SHM_POLICY_STREAMING;
	spec.sinks = spec.recent = 0;
	assert_accepted(&spec, 1);
	assert_refused(&spec, 0, "budget of layer 0", 0);
	spec.policy = SHM_POLICY_TREEKV;
	assert_accepted(&spec, 1);
}

static void test_check_bounds_sinks_and_recent_without_wrapping(void **state)
{
	struct shm_spec spec = plan_spec;

	(void)state;
	spec.sinks = UINT32_MAX;
	spec.recent = 1;
	assert_refused(&spec, 32, "sinks", UINT32_MAX);
	spec.sinks = 1;
	spec.recent = UINT32_MAX;
	assert_refused(&spec, 32, "recent", UINT32_MAX);
	spec.sinks = spec.recent = SHM_CAPACITY_MAX;
	assert_refused(&spec, 32, "sinks", SHM_CAPACITY_MAX);
}

static void test_check_bounds_the_capacity_of_each_layer(void **state)
{
	uint32_t budgets[] = { 32, SHM_CAPACITY_MAX - 16, 32 };
	struct shm_spec spec = plan_spec;
	struct layout_error error;

	(void)state;
	spec.layers = 3;
	assert_int_equal(layout_check(&spec, budgets, NULL), 0);
	budgets[1]++;
	assert_int_equal(layout_check(&spec, budgets, &error), -EINVAL);
	assert_non_null(strstr(error.text, "layer 1"));
	assert_non_null(strstr(error.text, "16777201"));
	assert_non_null(strstr(error.text, "16777216"));
	budgets[1] = UINT32_MAX;
	assert_int_equal(layout_check(&spec, budgets, &error), -EINVAL);
	budgets[1] = 32;
	budgets[2] = 16;
	assert_int_equal(layout_check(&spec, budgets, &error), -EINVAL);
	assert_non_null(strstr(error.text, "layer 2"));
}

/* full evicts nothing: the budget is all there is, sinks mean nothing. */
static void test_check_gives_full_no_slack(void **state)
{
	struct shm_spec spec = plan_spec;

	(void)state;
	spec.policy = SHM_POLICY_FULL;
	assert_accepted(&spec, 1);
	assert_accepted(&spec, SHM_CAPACITY_MAX);
	assert_refused(&spec, SHM_CAPACITY_MAX + 1, "budget",
		       SHM_CAPACITY_MAX + 1);
}

struct interval {
	uint64_t begin;
	uint64_t end;
	char what[48];
};

struct canvas {
	struct interval *interval;
	size_t n;
	uint64_t size;
};

__attribute__((format(printf, 4, 5))) static void paint(struct canvas *canvas,
							uint64_t begin,
							uint64_t size,
							const char *format, ...)
{
	struct interval *i = &canvas->interval[canvas->n];
	va_list args;

	if (!size)
		return;
	canvas->n++;
	i->begin = begin;
	i->end = begin + size;
	va_start(args, format);
	vsnprintf(i->what, sizeof(i->what), format, args);
	va_end(args);
	assert_true(i->end > i->begin);
	if (i->end > canvas->size)
		fail_msg("%s ends at %llu, behind the end %llu", i->what,
			 (unsigned long long)i->end,
			 (unsigned long long)canvas->size);
}

static int compare_begin(const void *a, const void *b)
{
	const struct interval *x = a, *y = b;

	return (x->begin > y->begin) - (x->begin < y->begin);
}

static void assert_disjoint(struct canvas *canvas)
{
	qsort(canvas->interval, canvas->n, sizeof(*canvas->interval),
	      compare_begin);
	for (size_t i = 1; i < canvas->n; i++) {
		const struct interval *x = &canvas->interval[i - 1];

		if (x->end > x[1].begin)
			fail_msg("%s and %s overlap", x->what, x[1].what);
	}
}

static void canvas_init(struct canvas *ret, const struct plan *plan,
			uint64_t size)
{
	ret->n = 0;
	ret->size = size;
	ret->interval = plan_alloc(INTERVALS_FIXED +
					   INTERVALS_HEAD * plan->spec.layers *
						   plan->spec.kv_heads,
				   sizeof(*ret->interval));
}

static void paint_rows(struct canvas *canvas, const struct plan *plan,
		       uint32_t l, uint32_t h)
{
	const struct shm_layer *at = &plan->layers[l];
	uint64_t score = at->score + h * at->score_stride;

	paint(canvas, at->k + h * at->k_stride,
	      (uint64_t)at->capacity * plan->spec.k_row, "K of %u,%u", l, h);
	paint(canvas, at->v + h * at->v_stride,
	      (uint64_t)at->capacity * plan->spec.v_row, "V of %u,%u", l, h);
	paint(canvas, score, at->slots * sizeof(float), "score 0 of %u,%u", l,
	      h);
	paint(canvas, score + at->score_pad, at->slots * sizeof(float),
	      "score 1 of %u,%u", l, h);
	paint(canvas, at->since + h * at->since_stride,
	      at->slots * sizeof(uint32_t), "since of %u,%u", l, h);
	paint(canvas, at->token + h * at->token_stride,
	      at->slots * sizeof(uint32_t), "token of %u,%u", l, h);
}

static void assert_rows_sound(const struct plan *plan)
{
	struct canvas canvas;

	canvas_init(&canvas, plan, plan->layout.rows_size);
	paint(&canvas, 0, sizeof(struct shm_rows), "the header");
	paint(&canvas, plan->layout.ids, plan->spec.ids * sizeof(uint32_t),
	      "ids");
	for (uint32_t l = 0; l < plan->spec.layers; l++)
		for (uint32_t h = 0; h < plan->spec.kv_heads; h++)
			paint_rows(&canvas, plan, l, h);
	assert_disjoint(&canvas);
	free(canvas.interval);
}

static void assert_buffer_sound(const struct plan *plan)
{
	const struct shm_spec *spec = &plan->spec;
	struct canvas canvas;

	canvas_init(&canvas, plan, plan->layout.buffer_size);
	paint(&canvas, 0, sizeof(struct shm_buffer), "the header");
	paint(&canvas, plan->layout.level,
	      spec->layers * sizeof(struct shm_level), "levels");
	paint(&canvas, plan->layout.walk,
	      spec->layers * spec->kv_heads * sizeof(uint32_t), "walks");
	for (uint32_t l = 0; l < spec->layers; l++)
		for (uint32_t h = 0; h < spec->kv_heads; h++) {
			const struct shm_layer *at = &plan->layers[l];
			uint64_t size = (uint64_t)at->slots * spec->entry_size;

			paint(&canvas, at->order + h * at->order_stride, size,
			      "order of %u,%u", l, h);
			paint(&canvas, at->rank + h * at->rank_stride, size,
			      "rank of %u,%u", l, h);
		}
	assert_disjoint(&canvas);
	free(canvas.interval);
}

static void assert_index_sound(const struct plan *plan)
{
	const struct layout *layout = &plan->layout;
	struct canvas canvas;

	canvas_init(&canvas, plan, layout->index_size);
	paint(&canvas, 0, sizeof(struct shm_index), "the header");
	paint(&canvas, layout->layers,
	      plan->spec.layers * sizeof(struct shm_layer), "layers");
	paint(&canvas, layout->buffer[0], layout->buffer_size, "buffer 0");
	paint(&canvas, layout->buffer[1], layout->buffer_size, "buffer 1");
	assert_disjoint(&canvas);
	free(canvas.interval);
}

static void test_no_two_arrays_overlap(void **state)
{
	uint64_t rng = plan_seed();

	(void)state;
	for (int i = 0; i < PLANS; i++) {
		struct plan plan;

		plan_draw(&plan, &rng);
		assert_rows_sound(&plan);
		assert_buffer_sound(&plan);
		assert_index_sound(&plan);
	}
}

/* Strides also: head h's array begins h strides on. */
static void assert_aligned(uint64_t offset, uint64_t stride)
{
	assert_int_equal(offset % 64, 0);
	assert_int_equal(stride % 64, 0);
	/* An odd number of lines, or heads would share sets of the cache. */
	assert_int_equal(stride / 64 % 2, 1);
}

static void test_arrays_are_aligned_to_cache_lines(void **state)
{
	uint64_t rng = plan_seed() + 1;

	(void)state;
	for (int i = 0; i < PLANS; i++) {
		struct plan plan;

		plan_draw(&plan, &rng);
		assert_int_equal(plan.layout.buffer[0] % 4096, 0);
		assert_int_equal(plan.layout.buffer[1] % 4096, 0);
		assert_int_equal(plan.layout.layers % 8, 0);
		assert_int_equal(plan.layout.ids % 4, 0);
		assert_int_equal(plan.layout.walk % 4, 0);
		for (uint32_t l = 0; l < plan.spec.layers; l++) {
			const struct shm_layer *at = &plan.layers[l];

			assert_aligned(at->k, at->k_stride);
			assert_aligned(at->v, at->v_stride);
			assert_aligned(at->score, at->score_stride);
			assert_aligned(at->since, at->since_stride);
			assert_aligned(at->token, at->token_stride);
			assert_aligned(at->order, at->order_stride);
			assert_aligned(at->rank, at->rank_stride);
			assert_int_equal(at->score_pad % 64, 0);
		}
	}
}

static void test_a_layer_has_budget_slack_and_the_parents_slots(void **state)
{
	uint64_t rng = plan_seed() + 2;

	(void)state;
	for (int i = 0; i < PLANS; i++) {
		struct plan plan;

		plan_draw(&plan, &rng);
		for (uint32_t l = 0; l < plan.spec.layers; l++) {
			const struct shm_layer *at = &plan.layers[l];
			bool full = plan.spec.policy == SHM_POLICY_FULL;

			assert_int_equal(at->budget, plan.budgets[l]);
			uint32_t pinned = plan.fork ? plan.prefix[l].pinned : 0;

			assert_int_equal(at->capacity + pinned,
					 at->budget +
						 (full ? 0 : plan.spec.slack));
			assert_int_equal(shm_kept(&plan.spec, at),
					 pinned > plan.spec.sinks ?
						 pinned :
						 plan.spec.sinks);
			assert_int_equal(at->parent_capacity,
					 plan.fork ? plan.prefix[l].slots : 0);
			assert_int_equal(at->slots,
					 at->capacity + at->parent_capacity);
		}
	}
}

static uint32_t entry_size_of(uint32_t first, uint32_t second, uint32_t slack,
			      const struct layout_fork *fork)
{
	const uint32_t budgets[] = { first, second };
	struct shm_spec spec = plan_spec;
	struct shm_layer layers[2];
	struct layout layout;

	spec.layers = 2;
	spec.slack = slack;
	spec.entry_size = 0;
	layout_init(&layout, layers, &spec, budgets, fork);
	return spec.entry_size;
}

static void test_entries_grow_beyond_32767_slots(void **state)
{
	struct layout_fork fork[2] = { { .slots = 100 },
				       { .slots = 32767 - 110 } };

	(void)state;
	assert_int_equal(entry_size_of(100, 32767 - 16, 16, NULL), 2);
	assert_int_equal(entry_size_of(100, 32767 - 15, 16, NULL), 4);
	assert_int_equal(entry_size_of(32767 - 15, 100, 16, NULL), 4);
	assert_int_equal(entry_size_of(32766, 32766, 1, NULL), 2);
	assert_int_equal(entry_size_of(100, 100, 32767, NULL), 4);
	assert_int_equal(entry_size_of(100, 100, 10, fork), 2);
	assert_int_equal(entry_size_of(100, 101, 10, fork), 4);
	fork[1].pinned = 1;
	assert_int_equal(entry_size_of(100, 101, 10, fork), 2);
	fork[0].slots = 32768;
	fork[1].slots = 1;
	assert_int_equal(entry_size_of(100, 100, 10, fork), 4);
}

/* 2^58 bytes: the sums in 128 bits must come to the same. */
static void test_the_largest_spec_does_not_overflow(void **state)
{
	struct shm_layer *layers = plan_alloc(SHM_LAYERS_MAX, sizeof(*layers));
	uint32_t *budgets = same_budgets(SHM_LAYERS_MAX, SHM_CAPACITY_MAX - 1);
	struct shm_spec spec = plan_spec;
	unsigned __int128 at;
	struct layout layout;

	(void)state;
	spec.layers = SHM_LAYERS_MAX;
	spec.kv_heads = SHM_KV_HEADS_MAX;
	spec.k_row = spec.v_row = SHM_ROW_MAX;
	spec.slack = 1;
	spec.ids = SHM_IDS_MAX;
	assert_int_equal(layout_check(&spec, budgets, NULL), 0);
	layout_init(&layout, layers, &spec, budgets, NULL);
	at = layers[0].k;
	for (uint32_t l = 0; l < SHM_LAYERS_MAX; l++) {
		const struct shm_layer *layer = &layers[l];

		assert_true(layer->k == at);
		assert_true(layer->k_stride >= (UINT64_C(1) << 40));
		assert_true(layer->v_stride >= (UINT64_C(1) << 40));
		at += (unsigned __int128)SHM_KV_HEADS_MAX *
		      (layer->k_stride + layer->v_stride + layer->score_stride +
		       layer->since_stride + layer->token_stride);
	}
	assert_true(layout.rows_size == at);
	assert_true(at < (unsigned __int128)1 << 63);
	free(budgets);
	free(layers);
}

static void test_sizes_are_rounded_to_pages(void **state)
{
	const uint64_t huge = UINT64_C(2) << 20;

	(void)state;
	assert_int_equal(layout_round(1, 0), 4096);
	assert_int_equal(layout_round(4096, 0), 4096);
	assert_int_equal(layout_round(4097, 0), 8192);
	assert_int_equal(layout_round(1, 1), huge);
	assert_int_equal(layout_round(huge, 1), huge);
	assert_int_equal(layout_round(huge + 1, 1), 2 * huge);
}

static void assert_prefix(uint32_t budget, uint32_t slots, uint32_t pinned,
			  int error)
{
	const struct layout_fork fork = { .slots = slots, .pinned = pinned };
	struct layout_error text = { "" };
	struct shm_spec spec = plan_spec;

	spec.layers = 1;
	spec.sinks = 4;
	spec.recent = 8;
	spec.slack = 16;
	assert_int_equal(layout_check(&spec, &budget, NULL), 0);
	assert_int_equal(layout_check_fork(&spec, &budget, &fork, &text),
			 error);
	assert_int_equal(!!text.text[0], !!error);
}

/* Sinks may be among what is pinned; the recent and one more are not. */
static void test_what_is_pinned_must_fit_into_the_budget(void **state)
{
	(void)state;
	assert_prefix(100, 200, 0, 0);
	assert_prefix(100, 200, 91, 0);
	assert_prefix(100, 200, 92, -EINVAL);
	assert_prefix(100, 50, 50, 0);
	assert_prefix(100, 50, 51, -EINVAL);
	assert_prefix(100, 0, 0, -EINVAL);
	assert_prefix(100, SHM_CAPACITY_MAX - 116, 0, 0);
	assert_prefix(100, SHM_CAPACITY_MAX - 115, 0, -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_check_takes_every_limit_and_nothing_beyond),
		cmocka_unit_test(test_check_needs_a_selected_row_for_a_walk),
		cmocka_unit_test(
			test_check_bounds_sinks_and_recent_without_wrapping),
		cmocka_unit_test(test_check_bounds_the_capacity_of_each_layer),
		cmocka_unit_test(test_check_gives_full_no_slack),
		cmocka_unit_test(test_no_two_arrays_overlap),
		cmocka_unit_test(test_arrays_are_aligned_to_cache_lines),
		cmocka_unit_test(
			test_a_layer_has_budget_slack_and_the_parents_slots),
		cmocka_unit_test(test_what_is_pinned_must_fit_into_the_budget),
		cmocka_unit_test(test_entries_grow_beyond_32767_slots),
		cmocka_unit_test(test_the_largest_spec_does_not_overflow),
		cmocka_unit_test(test_sizes_are_rounded_to_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
