// SPDX-License-Identifier: BSD-2-Clause
/*
 * What client/treekv.h promises about prefill, on private mappings: what of a
 * prompt is written where, that decoding goes on as tests/unit/reference.c
 * would from the same rows, scores and counts, and what is refused.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/prefill_fixture.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))

static void check(const struct cache_ops *ops, const struct expected *e,
		  const struct treekv_prefill *how, uint32_t steps)
{
	struct treekv_spec spec = prefill_spec(e->policy);
	struct fixture *f = fixture_new(&spec, ops);
	struct references r;
	const uint32_t *ids;

	prefill(&f->cache, how, e->tokens);
	assert_int_equal(treekv_tail(&f->cache), e->tokens);
	assert_int_equal(treekv_ids(&f->cache, &ids),
			 e->tokens < 60 ? e->tokens : 60);
	for (uint32_t t = 0; t < 60 && t < e->tokens; t++)
		assert_int_equal(ids[t], 1000 + t);
	assert_int_equal(((uint8_t *)treekv_note(&f->cache))[255], 0x5a);
	expect_prompt(&r, f, e);
	expect_compare(f, e, &r);
	expect_steps(f, e, &r, steps);
	expect_free(&r);
	fixture_free(f);
}

/* ---- tests ---- */

static void test_every_policy_goes_on_as_the_reference_does(void **state)
{
	static const uint32_t lengths[] = { 1,	5,  14, 15, 16,	    17,
					    20, 21, 22, 23, PROMPT, 90 };
	static const struct expected kinds[] = {
		{ TREEKV_POLICY_TREEKV, "treekv", 0, 6, 3, 0, 6, true, 5 },
		{ TREEKV_POLICY_TREEKV_LEFT, "treekv-left", 0, 6, 3, 0, 6,
		  false, 5 },
		{ TREEKV_POLICY_TREEKV_SKIP, "treekv-skip", 0, 6, 3, 0, 6, true,
		  5 },
		{ TREEKV_POLICY_STREAMING, "streaming", 0, 6, 3, 0, 0, false,
		  5 },
		{ TREEKV_POLICY_H2O, "h2o", 0, 6, 3, 0, TOKENS_MAX, true, 6 },
		{ TREEKV_POLICY_TOVA, "tova", 0, 6, 3, 0, 1, true, 6 },
	};
	const struct treekv_prefill how = { .block = 3, .window = 6 };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		for (size_t j = 0; j < ARRAY_SIZE(lengths); j++) {
			struct expected e = kinds[i];

			e.tokens = lengths[j];
			if (e.queries > e.tokens)
				e.queries = e.tokens;
			check(*state, &e, &how, 60);
		}
}

static void test_other_methods_of_a_cache(void **state)
{
	static const struct {
		struct expected e;
		struct treekv_prefill how;
	} cases[] = {
		{ { TREEKV_POLICY_TREEKV, "snapkv", PROMPT, 4, 1, 0, 4, true,
		    5 },
		  { TREEKV_PREFILL_SNAPKV, 0, 0, 4, TREEKV_POOLING_HIGHEST,
		    0 } },
		{ { TREEKV_POLICY_H2O, "snapkv", PROMPT, 4, 1, 12, 4, true, 5 },
		  { TREEKV_PREFILL_SNAPKV, 12, 0, 4, 0, 7 } },
		{ { TREEKV_POLICY_TREEKV, "h2o", PROMPT, 4, 1, 0, PROMPT, true,
		    5 },
		  { TREEKV_PREFILL_H2O, 0, 0, 0, 0, 0 } },
		{ { TREEKV_POLICY_TREEKV, "treekv-left", PROMPT, 7, 1, 0, 7,
		    true, 5 },
		  { TREEKV_PREFILL_TREEKV_LEFT, 0, 1, 7, 0, 0 } },
		{ { TREEKV_POLICY_H2O, "h2o", PROMPT, 0, 1, 0, PROMPT, true,
		    5 },
		  { 0, 0, 0, 0, 0, 0 } },
		{ { TREEKV_POLICY_H2O, "h2o", PROMPT, 0, 1, 10, PROMPT, true,
		    4 },
		  { 0, 10, 0, 0, 0, 0 } },
		{ { TREEKV_POLICY_FULL, "tova", PROMPT, 0, 1, 9, 1, false, 3 },
		  { TREEKV_PREFILL_TOVA, 9, 0, 0, 0, 0 } },
		{ { TREEKV_POLICY_STREAMING, "treekv", PROMPT, 5, 2, 14, 5,
		    false, 5 },
		  { TREEKV_PREFILL_TREEKV, 14, 2, 5, 0, 0 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check(*state, &cases[i].e, &cases[i].how, 0);
	/* Where the walk is not the policy's, decoding begins on the left. */
	check(*state, &cases[0].e, &cases[0].how, 40);
	check(*state, &cases[2].e, &cases[2].how, 40);
}

/* No scores: the sums of a streaming prompt begin with what comes. */
static void test_streaming_into_a_scored_cache(void **state)
{
	static const struct expected e = {
		TREEKV_POLICY_TREEKV, "streaming", PROMPT, 1, 1, 0, 0, true, 5
	};
	const struct treekv_prefill how = { .method =
						    TREEKV_PREFILL_STREAMING };

	check(*state, &e, &how, 40);
}

static void test_full_keeps_a_prompt_and_makes_room_by_a_method(void **state)
{
	struct treekv_spec spec = prefill_spec(TREEKV_POLICY_FULL);
	struct treekv_prefill how = { .budget = 10,
				      .method = TREEKV_PREFILL_SNAPKV,
				      .window = 4 };
	struct fixture *f = fixture_new(&spec, *state);

	assert_int_equal(treekv_prefill_begin(&f->cache, NULL, NULL, 17),
			 -ENOSPC);
	prefill_assert_text("a prompt of 17 tokens, but layer 1 holds 16");
	prefill(&f->cache, &how, PROMPT);
	assert_int_equal(cache_held(&f->cache, 0), 10);
	for (int i = 0; i < 6; i++)
		prefill_step(&f->cache);
	assert_int_equal(treekv_step_begin(&f->cache, NULL, 1, 0), -ENOSPC);
	fixture_free(f);
	f = fixture_new(&spec, *state);
	prefill(&f->cache, NULL, 16);
	assert_int_equal(cache_held(&f->cache, 1), 16);
	fixture_free(f);
}

static void test_a_group_counts_by_its_mean(void **state)
{
	struct treekv_spec spec = prefill_spec(TREEKV_POLICY_TOVA);
	struct fixture *f = fixture_new(&spec, *state);
	const float weights[2][3] = { { 1, 2, 3 }, { 5, 8, 1 } };
	static const float means[3] = { 3, 5, 2 };

	assert_int_equal(treekv_prefill_begin(&f->cache, NULL, NULL, 3), 0);
	assert_int_equal(treekv_prefill_queries(&f->cache), 1);
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++) {
			assert_int_equal(treekv_prefill_observe(&f->cache, l, h,
								2, weights[0],
								2, 3),
					 0);
			assert_int_equal(prefill_hand_over(&f->cache, l, h, 3),
					 0);
		}
	assert_int_equal(treekv_prefill_commit(&f->cache, 0), 0);
	assert_int_equal(treekv_prefill_queries(&f->cache), 0);
	assert_memory_equal(
		cache_head_at(&f->cache, 1, 1)->score[f->cache.parity], means,
		sizeof(means));
	fixture_free(f);
}

/* ---- out of turn ---- */

static void test_calls_out_of_turn_are_refused(void **state)
{
	struct treekv_spec spec = prefill_spec(TREEKV_POLICY_TREEKV);
	struct fixture *f = fixture_new(&spec, *state);
	struct treekv_cache *cache = &f->cache;
	float weights[8] = { 0 };

	assert_int_equal(treekv_prefill_commit(cache, 0), -EINVAL);
	assert_int_equal(prefill_hand_over(cache, 0, 0, 1), -EINVAL);
	prefill_assert_text("no prefill is running");
	assert_int_equal(treekv_prefill_begin(cache, NULL, NULL, 0), -EINVAL);
	assert_int_equal(treekv_prefill_begin(cache, NULL, NULL, 8), 0);
	assert_int_equal(treekv_prefill_begin(cache, NULL, NULL, 8), -EBUSY);
	assert_int_equal(treekv_step_begin(cache, NULL, 1, 0), -EBUSY);
	prefill_assert_text("a prefill is running");
	assert_int_equal(treekv_settle(cache, 0), -EBUSY);
	assert_int_equal(prefill_hand_over(cache, 2, 0, 8), -EINVAL);
	assert_int_equal(prefill_hand_over(cache, 0, 0, 8), -EINVAL);
	prefill_assert_text("nobody has told");
	assert_int_equal(treekv_prefill_observe(cache, 0, 0, 8, weights, 1, 8),
			 -EINVAL);
	assert_int_equal(treekv_prefill_observe(cache, 0, 0, 7, weights, 0, 8),
			 -EINVAL);
	assert_int_equal(treekv_prefill_observe(cache, 0, 0, 7, weights, 1, 8),
			 0);
	assert_int_equal(treekv_prefill_observe(cache, 0, 0, 7, weights, 1, 8),
			 -EINVAL);
	assert_int_equal(treekv_prefill_observe(cache, 1, 0, 7, weights, 1, 8),
			 -EINVAL);
	prefill_assert_text("before that of layer 0 has been handed over");
	assert_int_equal(prefill_hand_over(cache, 0, 0, 8), 0);
	assert_int_equal(prefill_hand_over(cache, 0, 0, 8), -EINVAL);
	prefill_assert_text("has been handed over");
	assert_int_equal(treekv_prefill_commit(cache, 0), -EINVAL);
	prefill_assert_text("layer 0, head 1 was not handed over");
	assert_int_equal(treekv_prefill_abort(cache), 0);
	assert_int_equal(treekv_prefill_abort(cache), 0);
	prefill_step(cache);
	assert_int_equal(treekv_prefill_begin(cache, NULL, NULL, 8),
			 -ENOTEMPTY);
	prefill_assert_text("has seen 1 tokens");
	assert_int_equal(treekv_step_begin(cache, NULL, 1, 0), 0);
	assert_int_equal(treekv_prefill_begin(cache, NULL, NULL, 8), -EBUSY);
	fixture_free(f);
}

static void test_windows_that_do_not_fit_are_refused(void **state)
{
	struct treekv_spec spec = prefill_spec(TREEKV_POLICY_TREEKV);
	struct treekv_prefill how = { .window = 15 };
	struct fixture *f = fixture_new(&spec, *state);

	assert_int_equal(treekv_prefill_begin(&f->cache, &how, NULL, 3),
			 -EINVAL);
	prefill_assert_text(
		"sinks 2 + window 15 do not fit into the prompt's budget "
		"of 16 in layer 1");
	how = (struct treekv_prefill){ .budget = 1 };
	assert_int_equal(treekv_prefill_begin(&f->cache, &how, NULL, 3),
			 -EINVAL);
	prefill_assert_text("no room for 2 sinks");
	how = (struct treekv_prefill){ .method = TREEKV_PREFILL_SNAPKV,
				       .kernel = 2 };
	assert_int_equal(treekv_prefill_begin(&f->cache, &how, NULL, 3),
			 -EINVAL);
	how.method = (enum treekv_prefill_method)9;
	assert_int_equal(treekv_prefill_begin(&f->cache, &how, NULL, 3),
			 -EINVAL);
	prefill_assert_text("method 9");
	assert_int_equal(treekv_prefill_begin(&f->cache, NULL, NULL, 3), 0);
	assert_int_equal(treekv_prefill_queries(&f->cache), 3);
	treekv_prefill_abort(&f->cache);
	assert_int_equal(treekv_prefill_begin(&f->cache, NULL, NULL, 300), 0);
	assert_int_equal(treekv_prefill_queries(&f->cache), 7); /* 14 / 2 */
	fixture_free(f);
}

#define TEST(name) cmocka_unit_test_setup(name, prefill_set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_policy_goes_on_as_the_reference_does),
		TEST(test_other_methods_of_a_cache),
		TEST(test_streaming_into_a_scored_cache),
		TEST(test_full_keeps_a_prompt_and_makes_room_by_a_method),
		TEST(test_a_group_counts_by_its_mean),
		TEST(test_calls_out_of_turn_are_refused),
		TEST(test_windows_that_do_not_fit_are_refused),
	};

	return cmocka_run_group_tests_name("prefill", tests, NULL, NULL);
}
