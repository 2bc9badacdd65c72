// SPDX-License-Identifier: BSD-2-Clause
/*
 * proto/layout.c and proto/frame.h. What layout_init() lays out is checked by
 * painting: every array that the ABI has is an interval, and no two intervals
 * of a memfd may meet, or leave it. How long an array is comes from shm.h, not
 * from layout.c.
 *
 * All randomness comes from one seed, 1 unless TREEKV_SEED says otherwise.
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

#include "proto/frame.h"
#include "proto/layout.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof(*(a)))
#define RANDOM_SPECS	300
#define RANDOM_LAYERS	9
#define TABLE_FLIPS	2000
#define INTERVALS_FIXED 8
#define INTERVALS_HEAD	8 /* k, v, two scores, since, token, order, rank */

static uint64_t base_seed(void)
{
	const char *text = getenv("TREEKV_SEED");

	return text ? strtoull(text, NULL, 0) : 1;
}

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint32_t draw_below(uint64_t *state, uint32_t n)
{
	return (draw(state) >> 32) % n;
}

static void *allocate(size_t n, size_t size)
{
	void *memory = calloc(n, size);

	assert_non_null(memory);
	return memory;
}

static const struct shm_spec plain = {
	.layers = 1,
	.kv_heads = 2,
	.k_row = 64,
	.v_row = 64,
	.dtype = SHM_DTYPE_F32,
	.policy = SHM_POLICY_TREEKV,
	.positions = SHM_POSITIONS_RANK,
	.sinks = 4,
	.recent = 12,
	.slack = 16,
	.ids = 8,
	.entry_size = 2,
};

static uint32_t *same_budgets(uint32_t layers, uint32_t budget)
{
	uint32_t *budgets = allocate(layers ? layers : 1, sizeof(*budgets));

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
	assert_accepted(&plain, 32);
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		const uint32_t wild[] = { limits[i].max + 1, UINT32_MAX };
		struct shm_spec spec = plain;
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
	struct shm_spec spec = plain;

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
	struct shm_spec spec = plain;

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
	struct shm_spec spec = plain;
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
	struct shm_spec spec = plain;

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

/* What a cache of some spec is, as drawn. */
struct plan {
	struct shm_spec spec;
	uint32_t budgets[RANDOM_LAYERS];
	struct shm_layer parent[RANDOM_LAYERS];
	bool fork;
	struct layout layout;
	struct shm_layer layers[RANDOM_LAYERS];
};

static void draw_plan(struct plan *ret, uint64_t *rng)
{
	bool large = draw_below(rng, 4) == 0;

	memset(ret, 0, sizeof(*ret));
	ret->spec = plain;
	ret->spec.layers = 1 + draw_below(rng, RANDOM_LAYERS);
	ret->spec.kv_heads = 1 + draw_below(rng, 9);
	ret->spec.k_row = 1 + draw_below(rng, large ? SHM_ROW_MAX : 300);
	ret->spec.v_row = 1 + draw_below(rng, large ? SHM_ROW_MAX : 300);
	ret->spec.policy = 1 + draw_below(rng, SHM_POLICY_FULL);
	ret->spec.sinks = draw_below(rng, 5);
	ret->spec.recent = draw_below(rng, 5);
	ret->spec.slack = 1 + draw_below(rng, large ? 10000 : 70);
	ret->spec.ids = draw_below(rng, large ? SHM_IDS_MAX : 100);
	ret->spec.entry_size = 0;
	ret->fork = draw_below(rng, 4) == 0;
	for (uint32_t l = 0; l < ret->spec.layers; l++) {
		ret->budgets[l] = 9 + draw_below(rng, large ? 40000 : 300);
		ret->parent[l].capacity = 1 + draw_below(rng, 500);
	}
	assert_int_equal(layout_check(&ret->spec, ret->budgets, NULL), 0);
	layout_init(&ret->layout, ret->layers, &ret->spec, ret->budgets,
		    ret->fork ? ret->parent : NULL);
}

static void canvas_init(struct canvas *ret, const struct plan *plan,
			uint64_t size)
{
	ret->n = 0;
	ret->size = size;
	ret->interval =
		allocate(INTERVALS_FIXED + INTERVALS_HEAD * plan->spec.layers *
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
	uint64_t rng = base_seed();

	(void)state;
	for (int i = 0; i < RANDOM_SPECS; i++) {
		struct plan plan;

		draw_plan(&plan, &rng);
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
	uint64_t rng = base_seed() + 1;

	(void)state;
	for (int i = 0; i < RANDOM_SPECS; i++) {
		struct plan plan;

		draw_plan(&plan, &rng);
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
	uint64_t rng = base_seed() + 2;

	(void)state;
	for (int i = 0; i < RANDOM_SPECS; i++) {
		struct plan plan;

		draw_plan(&plan, &rng);
		for (uint32_t l = 0; l < plan.spec.layers; l++) {
			const struct shm_layer *at = &plan.layers[l];
			bool full = plan.spec.policy == SHM_POLICY_FULL;

			assert_int_equal(at->budget, plan.budgets[l]);
			assert_int_equal(at->capacity,
					 at->budget +
						 (full ? 0 : plan.spec.slack));
			assert_int_equal(at->parent_capacity,
					 plan.fork ? plan.parent[l].capacity :
						     0);
			assert_int_equal(at->slots,
					 at->capacity + at->parent_capacity);
		}
	}
}

static uint32_t entry_size_of(uint32_t first, uint32_t second, uint32_t slack,
			      const struct shm_layer *parent)
{
	const uint32_t budgets[] = { first, second };
	struct shm_spec spec = plain;
	struct shm_layer layers[2];
	struct layout layout;

	spec.layers = 2;
	spec.slack = slack;
	spec.entry_size = 0;
	layout_init(&layout, layers, &spec, budgets, parent);
	return spec.entry_size;
}

static void test_entries_grow_beyond_32767_slots(void **state)
{
	struct shm_layer parent[2] = { { .capacity = 100 },
				       { .capacity = 32767 - 110 } };

	(void)state;
	assert_int_equal(entry_size_of(100, 32767 - 16, 16, NULL), 2);
	assert_int_equal(entry_size_of(100, 32767 - 15, 16, NULL), 4);
	assert_int_equal(entry_size_of(32767 - 15, 100, 16, NULL), 4);
	assert_int_equal(entry_size_of(32766, 32766, 1, NULL), 2);
	assert_int_equal(entry_size_of(100, 100, 32767, NULL), 4);
	assert_int_equal(entry_size_of(100, 100, 10, parent), 2);
	assert_int_equal(entry_size_of(100, 101, 10, parent), 4);
	parent[0].capacity = 32768;
	parent[1].capacity = 1;
	assert_int_equal(entry_size_of(100, 100, 10, parent), 4);
}

/* 2^58 bytes: the sums in 128 bits must come to the same. */
static void test_the_largest_spec_does_not_overflow(void **state)
{
	struct shm_layer *layers = allocate(SHM_LAYERS_MAX, sizeof(*layers));
	uint32_t *budgets = same_budgets(SHM_LAYERS_MAX, SHM_CAPACITY_MAX - 1);
	struct shm_spec spec = plain;
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

/* An index as the daemon leaves it; free() it. */
static struct shm_index *write_index(const struct plan *plan, uint32_t flags,
				     uint64_t *size)
{
	const struct layout *layout = &plan->layout;
	struct shm_index *index;

	*size = layout_round(layout->index_size, flags & SHM_CACHE_INDEX_HUGE);
	index = aligned_alloc(4096, *size);
	assert_non_null(index);
	memset(index, 0, *size);
	index->magic = SHM_INDEX_MAGIC;
	index->version = SHM_VERSION;
	index->header_size = sizeof(*index);
	index->index_size = *size;
	index->rows_size =
		layout_round(layout->rows_size, flags & SHM_CACHE_HUGE);
	index->layers = layout->layers;
	index->buffer[0] = layout->buffer[0];
	index->buffer[1] = layout->buffer[1];
	index->buffer_size = layout->buffer_size;
	index->level = layout->level;
	index->walk = layout->walk;
	index->ids = layout->ids;
	index->spec = plan->spec;
	index->flags = flags;
	memcpy((char *)index + layout->layers, plan->layers,
	       plan->spec.layers * sizeof(*plan->layers));
	return index;
}

static void test_index_check_takes_what_was_just_written(void **state)
{
	uint64_t rng = base_seed() + 3;

	(void)state;
	for (int i = 0; i < RANDOM_SPECS; i++) {
		struct layout_error error = { "" };
		struct shm_index *index;
		struct plan plan;
		uint64_t size;
		int r;

		draw_plan(&plan, &rng);
		index = write_index(&plan,
				    draw(&rng) & (SHM_CACHE_EPHEMERAL |
						  SHM_CACHE_HUGE |
						  SHM_CACHE_INDEX_HUGE),
				    &size);
		r = layout_check_index(index, size, &error);
		if (r)
			fail_msg("spec %d: %d, %s", i, r, error.text);
		free(index);
	}
}

static void small_plan(struct plan *ret, bool fork)
{
	memset(ret, 0, sizeof(*ret));
	ret->spec = plain;
	ret->spec.layers = 3;
	ret->fork = fork;
	for (uint32_t l = 0; l < 3; l++) {
		ret->budgets[l] = 100 * (l + 1);
		ret->parent[l].capacity = 50 + l;
	}
	layout_init(&ret->layout, ret->layers, &ret->spec, ret->budgets,
		    fork ? ret->parent : NULL);
}

#define HEADER_FIELD(field, bits, error)                                    \
	{                                                                   \
#field, offsetof(struct shm_index, field),                  \
			sizeof(((struct shm_index *)0)->field), bits, error \
	}

/*
 * What the check answers for. Every single bit of some fields matters; of
 * others, such as a row size that may grow within its padding, only that the
 * field cannot be turned over whole.
 */
static const struct {
	const char *name;
	size_t at;
	size_t size;
	uint64_t bits; /* that may not flip alone */
	int error;
} header_fields[] = {
	HEADER_FIELD(magic, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(version, UINT32_MAX, -EPROTO),
	HEADER_FIELD(header_size, UINT32_MAX, -EPROTO),
	HEADER_FIELD(index_size, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(rows_size, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(layers, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(buffer[0], UINT64_MAX, -EBADMSG),
	HEADER_FIELD(buffer[1], UINT64_MAX, -EBADMSG),
	HEADER_FIELD(buffer_size, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(level, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(walk, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(ids, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(spec.layers, UINT32_MAX, -EBADMSG),
	HEADER_FIELD(spec.kv_heads, UINT32_MAX, -EBADMSG),
	HEADER_FIELD(spec.k_row, UINT32_MAX << 1, -EBADMSG),
	HEADER_FIELD(spec.v_row, UINT32_MAX << 1, -EBADMSG),
	HEADER_FIELD(spec.dtype, UINT32_MAX << 2, -EBADMSG),
	HEADER_FIELD(spec.policy, UINT32_MAX << 3, -EBADMSG),
	HEADER_FIELD(spec.positions, UINT32_MAX << 2, -EBADMSG),
	HEADER_FIELD(spec.sinks, UINT32_MAX << 7, -EBADMSG),
	HEADER_FIELD(spec.recent, UINT32_MAX << 7, -EBADMSG),
	HEADER_FIELD(spec.slack, UINT32_MAX, -EBADMSG),
	HEADER_FIELD(spec.ids, UINT32_MAX << 5, -EBADMSG),
	HEADER_FIELD(spec.entry_size, UINT32_MAX, -EBADMSG),
	HEADER_FIELD(flags, SHM_CACHE_HUGE | SHM_CACHE_INDEX_HUGE, -EBADMSG),
};

static void assert_index_refused(const struct shm_index *index, uint64_t size,
				 int error, const char *what, uint64_t mask)
{
	struct layout_error text = { "" };
	int r = layout_check_index(index, size, &text);

	if (r != error || !text.text[0])
		fail_msg("%s ^ %#llx: %d \"%s\", not %d", what,
			 (unsigned long long)mask, r, text.text, error);
	assert_int_equal(layout_check_index(index, size, NULL), error);
}

static void flip_field(struct shm_index *index, uint64_t size, size_t i)
{
	uint8_t *field = (uint8_t *)index + header_fields[i].at;
	uint64_t old = 0, new;

	memcpy(&old, field, header_fields[i].size);
	for (unsigned int b = 0; b <= 8 * header_fields[i].size; b++) {
		uint64_t mask = UINT64_C(1) << (b % 64);

		if (b == 8 * header_fields[i].size)
			mask = UINT64_MAX;
		else if (!(header_fields[i].bits & mask))
			continue;
		new = old ^ mask;
		memcpy(field, &new, header_fields[i].size);
		assert_index_refused(index, size, header_fields[i].error,
				     header_fields[i].name, mask);
	}
	memcpy(field, &old, header_fields[i].size);
}

static void test_index_check_refuses_each_damaged_field(void **state)
{
	(void)state;
	for (int fork = 0; fork < 2; fork++) {
		struct shm_index *index;
		struct plan plan;
		uint64_t size;

		small_plan(&plan, fork);
		index = write_index(&plan, 0, &size);
		for (size_t i = 0; i < ARRAY_SIZE(header_fields); i++)
			flip_field(index, size, i);
		assert_int_equal(layout_check_index(index, size, NULL), 0);
		free(index);
	}
}

static void test_index_check_refuses_a_damaged_table_of_layers(void **state)
{
	uint64_t rng = base_seed() + 4;

	(void)state;
	for (int i = 0; i < TABLE_FLIPS; i++) {
		struct shm_index *index;
		struct plan plan;
		uint64_t size;
		uint32_t at;

		small_plan(&plan, i & 1);
		index = write_index(&plan, 0, &size);
		at = draw_below(&rng, 3 * sizeof(struct shm_layer));
		((uint8_t *)index)[plan.layout.layers + at] ^=
			1 + draw_below(&rng, 255);
		assert_index_refused(index, size, -EBADMSG, "layers, byte", at);
		free(index);
	}
}

static void test_index_check_refuses_another_size(void **state)
{
	struct shm_index *index;
	struct plan plan;
	uint64_t size;

	(void)state;
	small_plan(&plan, false);
	index = write_index(&plan, 0, &size);
	for (uint64_t s = 0; s <= 2 * size; s += s < 5000 ? 61 : 4096)
		if (s != size)
			assert_index_refused(index, s, -EBADMSG, "size", s);
	free(index);
}

/* Only what is there may be read; AddressSanitizer looks on. */
static void test_index_check_stays_within_the_mapping(void **state)
{
	struct shm_index *index;
	struct plan plan;
	uint64_t size;
	void *page;

	(void)state;
	small_plan(&plan, false);
	index = write_index(&plan, 0, &size);
	page = aligned_alloc(4096, sizeof(*index));
	assert_non_null(page);
	memcpy(page, index, sizeof(*index));
	assert_index_refused(page, sizeof(*index), -EBADMSG, "a page", 0);
	((struct shm_index *)page)->spec.layers = SHM_LAYERS_MAX;
	assert_index_refused(page, sizeof(*index), -EBADMSG, "a page", 0);
	free(page);
	page = aligned_alloc(64, 64);
	assert_non_null(page);
	memcpy(page, index, 64);
	assert_index_refused(page, 64, -EBADMSG, "a line", 0);
	free(page);
	free(index);
}

static void test_index_check_names_both_versions(void **state)
{
	struct layout_error error;
	struct shm_index *index;
	struct plan plan;
	uint64_t size;

	(void)state;
	small_plan(&plan, false);
	index = write_index(&plan, 0, &size);
	index->version = 4711;
	assert_int_equal(layout_check_index(index, size, &error), -EPROTO);
	assert_non_null(strstr(error.text, "version 4711"));
	assert_non_null(strstr(error.text, "speaks 1"));
	free(index);
}

static void test_a_frame_is_whole_from_its_last_byte_on(void **state)
{
	uint8_t bytes[FRAME_HEADER + 10] = { 0 };
	uint32_t body = 4711;

	(void)state;
	frame_header(bytes, 7);
	for (size_t n = 0; n < FRAME_HEADER + 7; n++) {
		assert_int_equal(frame_check(bytes, n, 100, &body), 0);
		assert_int_equal(body, 4711);
	}
	for (size_t n = FRAME_HEADER + 7; n <= sizeof(bytes); n++) {
		body = 4711;
		assert_int_equal(frame_check(bytes, n, 100, &body), 1);
		assert_int_equal(body, 7);
	}
}

static void test_a_frame_may_be_empty(void **state)
{
	const uint8_t bytes[FRAME_HEADER] = { 0 };
	uint32_t body = 4711;

	(void)state;
	assert_int_equal(frame_check(bytes, 3, 0, &body), 0);
	assert_int_equal(frame_check(bytes, 4, 0, &body), 1);
	assert_int_equal(body, 0);
}

static void test_a_frame_over_the_cap_is_refused_at_its_header(void **state)
{
	static const uint32_t caps[] = { 0, 1, FRAME_REQUEST_MAX,
					 FRAME_REPLY_MAX };
	uint8_t bytes[FRAME_HEADER];
	uint32_t body = 4711;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
		const uint32_t over[] = { caps[i] + 1, 0x80000000, UINT32_MAX };

		for (size_t j = 0; j < ARRAY_SIZE(over); j++) {
			frame_header(bytes, over[j]);
			assert_int_equal(frame_check(bytes, sizeof(bytes),
						     caps[i], &body),
					 -EMSGSIZE);
			assert_int_equal(frame_check(bytes, 3, caps[i], &body),
					 0);
		}
		frame_header(bytes, caps[i]);
		assert_int_equal(frame_check(bytes, sizeof(bytes), caps[i],
					     &body),
				 caps[i] == 0);
	}
}

static void test_a_frames_length_is_little_endian(void **state)
{
	uint8_t bytes[FRAME_HEADER];

	(void)state;
	frame_header(bytes, 0x04030201);
	for (uint8_t i = 0; i < FRAME_HEADER; i++)
		assert_int_equal(bytes[i], i + 1);
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
		cmocka_unit_test(test_entries_grow_beyond_32767_slots),
		cmocka_unit_test(test_the_largest_spec_does_not_overflow),
		cmocka_unit_test(test_sizes_are_rounded_to_pages),
		cmocka_unit_test(test_index_check_takes_what_was_just_written),
		cmocka_unit_test(test_index_check_refuses_each_damaged_field),
		cmocka_unit_test(
			test_index_check_refuses_a_damaged_table_of_layers),
		cmocka_unit_test(test_index_check_refuses_another_size),
		cmocka_unit_test(test_index_check_stays_within_the_mapping),
		cmocka_unit_test(test_index_check_names_both_versions),
		cmocka_unit_test(test_a_frame_is_whole_from_its_last_byte_on),
		cmocka_unit_test(test_a_frame_may_be_empty),
		cmocka_unit_test(
			test_a_frame_over_the_cap_is_refused_at_its_header),
		cmocka_unit_test(test_a_frames_length_is_little_endian),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
