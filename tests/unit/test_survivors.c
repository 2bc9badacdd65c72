// SPDX-License-Identifier: BSD-2-Clause
/*
 * daemon/survivors.c against tests/unit/prefill_reference.c, token for token,
 * over random shapes and scores and at the edges of shapes; and a prompt that
 * was worked out by hand.
 *
 * All randomness comes from one seed, 1 unless TREEKV_SEED says otherwise; what
 * fails prints it, with the shape.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/survivors.h"
#include "tests/unit/prefill_reference.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define SHAPES	      4000 /* of each method */
#define TOKENS_MAX    400

static const struct {
	enum survivors_method method;
	const char *name;
} methods[] = {
	{ SURVIVORS_TREEKV, "treekv" },
	{ SURVIVORS_TREEKV_LEFT, "treekv-left" },
	{ SURVIVORS_TREEKV_SKIP, "treekv-skip" },
	{ SURVIVORS_STREAMING, "streaming" },
	{ SURVIVORS_H2O, "h2o" },
	{ SURVIVORS_TOVA, "tova" },
	{ SURVIVORS_SNAPKV, "snapkv" },
};

static const char *name_of(enum survivors_method method)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (methods[i].method == method)
			return methods[i].name;
	return "full";
}

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
	return (uint32_t)((draw(state) >> 32) % n);
}

static float draw_score(uint64_t *rng, uint32_t kind)
{
	static const float special[] = {
		NAN,	   -NAN,       INFINITY,    -INFINITY, 0.0F, -0.0F,
		0x1p-149F, 0x1.8p127F, -0x1.8p127F, -1.0F,     1.0F,
	};
	float uniform = (float)(draw(rng) >> 40) * 0x1p-24F;

	switch (kind) {
	case 0:
		return uniform;
	case 1:
		return (float)draw_below(rng, 3); /* ties */
	case 2:
		return 0;
	case 3:
		return draw_below(rng, 8) ? uniform * 0x1p-10F : uniform;
	default:
		return special[draw_below(rng, ARRAY_SIZE(special))];
	}
}

static void run(const struct survivors *s, uint32_t *ret)
{
	void *scratch = malloc(survivors_scratch_size(s));

	assert_non_null(scratch);
	survivors_choose(s, ret, scratch);
	free(scratch);
}

static struct prefill_reference reference_of(const struct survivors *s)
{
	return (struct prefill_reference){
		.method = name_of(s->method),
		.tokens = s->tokens,
		.budget = s->budget,
		.sinks = s->sinks,
		.recent = s->recent,
		.window = s->window,
		.block = s->block,
		.kernel = s->kernel,
		.mean = s->mean,
		.score = s->score,
	};
}

__attribute__((noreturn)) static void blame(const struct survivors *s,
					    const char *what)
{
	fail_msg("%s: tokens %u, budget %u, sinks %u, recent %u, window %u, "
		 "block %u, kernel %u, mean %d, TREEKV_SEED %llu: %s",
		 name_of(s->method), s->tokens, s->budget, s->sinks, s->recent,
		 s->window, s->block, s->kernel, s->mean,
		 (unsigned long long)base_seed(), what);
	abort();
}

/* The token at which the walk over the blocks stands, as decoding counts. */
static uint32_t place_of(const struct survivors *s, uint32_t idx,
			 uint32_t selected)
{
	uint64_t place = ((uint64_t)idx - 1) * s->block + 1;

	return idx && place <= selected ? (uint32_t)place : 1;
}

static void compare(const struct survivors *s)
{
	const struct prefill_reference r = reference_of(s);
	static uint32_t chosen[TOKENS_MAX];
	static uint8_t kept[TOKENS_MAX];
	uint32_t idx, room, n = prefill_reference(&r, kept, &idx, &room);

	if (survivors_check(s) != SURVIVORS_SOUND)
		blame(s, "it is refused");
	if (survivors_count(s) != n || n > s->budget)
		blame(s, "another number of tokens stays");
	run(s, chosen);
	for (uint32_t i = 0, t = 0; t < s->tokens; t++)
		if (kept[t] && (i >= n || chosen[i++] != t))
			blame(s, "other tokens stay");
	for (uint32_t m = 0; m < 3 * s->budget; m += 1 + s->budget / 3)
		if (survivors_walk(s, m) != place_of(s, idx, m))
			blame(s, "the walk goes on elsewhere");
}

/* Sound ones, with the corners more often than chance has them. */
static void draw_shape(struct survivors *s, enum survivors_method method,
		       uint64_t *rng, const float *score)
{
	uint32_t room;

	*s = (struct survivors){
		.method = method,
		.tokens = 1 + draw_below(rng, TOKENS_MAX),
		.budget = 1 + draw_below(rng, 80),
		.kernel = 1 + 2 * draw_below(rng, draw_below(rng, 4) ? 5 : 40),
		.mean = draw(rng) & 1,
		.score = score,
	};
	if (draw_below(rng, 4) == 0)
		s->tokens = s->budget + draw_below(rng, 3);
	s->sinks = draw_below(rng, draw(rng) & 1 ? s->budget : 5);
	s->sinks = s->sinks < s->budget ? s->sinks : s->budget - 1;
	room = s->budget - s->sinks;
	s->window = 1 + draw_below(rng, room);
	if (draw_below(rng, 8) == 0)
		s->window = room;
	s->recent = draw_below(rng, s->budget + 1);
	s->block = 1 + draw_below(rng, draw(rng) & 1 ? 4 : 40);
	if (draw_below(rng, 4) == 0)
		s->block = 1;
	if (survivors_windowed(method) && s->tokens > s->budget)
		assert_true(s->tokens > s->sinks + s->window);
}

static void test_random_prompts_keep_what_the_reference_keeps(void **state)
{
	uint64_t rng = base_seed();
	float score[TOKENS_MAX];
	struct survivors s;

	(void)state;
	for (uint32_t i = 0; i < SHAPES; i++)
		for (size_t m = 0; m < ARRAY_SIZE(methods); m++) {
			uint32_t kind = draw_below(&rng, 5);

			draw_shape(&s, methods[m].method, &rng, score);
			for (uint32_t t = 0; t < s.tokens; t++)
				score[t] = draw_score(&rng, kind);
			compare(&s);
		}
}

/* Every prompt length around every edge of one small shape. */
static void test_all_lengths_of_small_shapes(void **state)
{
	uint64_t rng = base_seed() + 1;
	float score[TOKENS_MAX];

	(void)state;
	for (uint32_t t = 0; t < TOKENS_MAX; t++)
		score[t] = draw_score(&rng, 0);
	for (size_t m = 0; m < ARRAY_SIZE(methods); m++)
		for (uint32_t tokens = 1; tokens < 60; tokens++)
			for (uint32_t window = 1; window <= 10; window++)
				for (uint32_t block = 1; block < 9; block++) {
					const struct survivors s = {
						.method = methods[m].method,
						.tokens = tokens,
						.budget = 12,
						.sinks = 2,
						.recent = 5,
						.window = window,
						.block = block,
						.kernel = 3,
						.score = score,
					};

					compare(&s);
				}
}

/*
 * 15 tokens, 1 sink, window 2, blocks of 2: rem = 12 % 2 = 0, six blocks, and a
 * budget of (9 - 1 - 2) / 2 = 3 of them. Sums: A 5, B 1, C 4, D 2, E 3, F 6.
 *
 *	list A B C D, idx 1: A 5 > B 1, B leaves    A C D
 *	list A C D E, idx 2: C 4 > D 2, D leaves    A C E
 *	list A C E F, idx 3: E 3 < F 6, E leaves    A C F
 *
 * and idx is 1 again, after three of three.
 */
static void test_a_prompt_worked_out_by_hand(void **state)
{
	static const float score[15] = { 9, 2, 3, 1, 0, 4, 0, 1,
					 1, 1, 2, 3, 3, 7, 7 };
	static const uint32_t expected[9] = { 0, 1, 2, 5, 6, 11, 12, 13, 14 };
	const struct survivors s = {
		.method = SURVIVORS_TREEKV,
		.tokens = 15,
		.budget = 9,
		.sinks = 1,
		.window = 2,
		.block = 2,
		.score = score,
	};
	uint32_t chosen[9];

	(void)state;
	assert_int_equal(survivors_count(&s), 9);
	run(&s, chosen);
	assert_memory_equal(chosen, expected, sizeof(expected));
	assert_int_equal(survivors_walk(&s, 6), 1);
}

/* The same, always the older of the two: A, C and E leave. */
static void test_left_worked_out_by_hand(void **state)
{
	static const uint32_t expected[9] = { 0, 3, 4, 7, 8, 11, 12, 13, 14 };
	const struct survivors s = {
		.method = SURVIVORS_TREEKV_LEFT,
		.tokens = 15,
		.budget = 9,
		.sinks = 1,
		.window = 2,
		.block = 2,
	};
	uint32_t chosen[9];

	(void)state;
	run(&s, chosen);
	assert_memory_equal(chosen, expected, sizeof(expected));
}

/* A pooled neighbour lifts tokens that would not stay by themselves. */
static void test_pooling_by_hand(void **state)
{
	static const float score[10] = { 0, 1, 2, 9, 0, 3, 4, 5, 0, 0 };
	static const uint32_t alone[6] = { 0, 3, 6, 7, 8, 9 };
	static const uint32_t pooled[6] = { 0, 2, 3, 4, 8, 9 };
	struct survivors s = {
		.method = SURVIVORS_SNAPKV,
		.tokens = 10,
		.budget = 6,
		.sinks = 1,
		.window = 2,
		.kernel = 1,
		.score = score,
	};
	uint32_t chosen[6];

	(void)state;
	run(&s, chosen);
	assert_memory_equal(chosen, alone, sizeof(alone));
	s.kernel = 3;
	run(&s, chosen);
	assert_memory_equal(chosen, pooled, sizeof(pooled));
}

/* What does not fit of the remainder leaves, the oldest first. */
static void test_a_remainder_that_does_not_fit(void **state)
{
	const struct survivors s = {
		.method = SURVIVORS_TREEKV_LEFT,
		.tokens = 30,
		.budget = 10,
		.sinks = 2,
		.window = 5,
		.block = 8, /* rem is 23 % 8 = 7, and 3 fit */
	};
	static const uint32_t expected[10] = { 0,  1,  22, 23, 24,
					       25, 26, 27, 28, 29 };
	uint32_t chosen[10];

	(void)state;
	assert_int_equal(survivors_count(&s), 10);
	run(&s, chosen);
	assert_memory_equal(chosen, expected, sizeof(expected));
	assert_int_equal(survivors_walk(&s, 5), 1);
}

static void test_shapes_that_cannot_be_are_refused(void **state)
{
	const struct survivors sound = {
		.method = SURVIVORS_SNAPKV,
		.tokens = 3, /* also where nothing has to leave */
		.budget = 8,
		.sinks = 3,
		.window = 5,
		.block = 4,
		.kernel = 5,
	};
	struct survivors s = sound;

	(void)state;
	assert_int_equal(survivors_check(&s), SURVIVORS_SOUND);
	s.window = 6;
	assert_int_equal(survivors_check(&s), SURVIVORS_FAULT_WINDOW);
	s.method = SURVIVORS_H2O;
	assert_int_equal(survivors_check(&s), SURVIVORS_SOUND);
	s.sinks = 9;
	assert_int_equal(survivors_check(&s), SURVIVORS_FAULT_SINKS);
	s = sound;
	s.window = 0;
	assert_int_equal(survivors_check(&s), SURVIVORS_FAULT_WINDOW);
	s = sound;
	s.kernel = 4;
	assert_int_equal(survivors_check(&s), SURVIVORS_FAULT_KERNEL);
	s.method = SURVIVORS_TREEKV;
	assert_int_equal(survivors_check(&s), SURVIVORS_SOUND);
	s.block = 0;
	assert_int_equal(survivors_check(&s), SURVIVORS_FAULT_BLOCK);
	s.method = SURVIVORS_FULL;
	assert_int_equal(survivors_check(&s), SURVIVORS_SOUND);
	s.tokens = 9;
	assert_int_equal(survivors_check(&s), SURVIVORS_FAULT_FULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_random_prompts_keep_what_the_reference_keeps),
		cmocka_unit_test(test_all_lengths_of_small_shapes),
		cmocka_unit_test(test_a_prompt_worked_out_by_hand),
		cmocka_unit_test(test_left_worked_out_by_hand),
		cmocka_unit_test(test_pooling_by_hand),
		cmocka_unit_test(test_a_remainder_that_does_not_fit),
		cmocka_unit_test(test_shapes_that_cannot_be_are_refused),
	};

	return cmocka_run_group_tests_name("survivors", tests, NULL, NULL);
}
