// SPDX-License-Identifier: BSD-2-Clause
/*
 * The table of policies, and what each of them evicts, against what was worked
 * out by hand. test_lockstep.c compares them with the reference at random.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/side.h"

#define PAPER_TOKENS 17
#define PAPER_BUDGET 4

/* method.md's names, and what each of them reads. */
static const struct {
	enum shm_policy id;
	const char *name;
	enum policy_scores scores;
	uint32_t selected_min;
	bool refuses;
} known[] = {
	{ SHM_POLICY_TREEKV, "treekv", POLICY_SCORES_SUM, 1, false },
	{ SHM_POLICY_TREEKV_LEFT, "treekv-left", POLICY_SCORES_NONE, 1, false },
	{ SHM_POLICY_TREEKV_SKIP, "treekv-skip", POLICY_SCORES_SUM, 1, false },
	{ SHM_POLICY_STREAMING, "streaming", POLICY_SCORES_NONE, 0, false },
	{ SHM_POLICY_H2O, "h2o", POLICY_SCORES_SUM, 0, false },
	{ SHM_POLICY_TOVA, "tova", POLICY_SCORES_LAST, 0, false },
	{ SHM_POLICY_FULL, "full", POLICY_SCORES_NONE, 0, true },
};

static void test_the_table_has_every_policy_once(void **state)
{
	(void)state;
	assert_int_equal(policies_count, ARRAY_SIZE(known));
	assert_int_equal(SHM_POLICY_FULL, ARRAY_SIZE(known));
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		const struct policy *policy = policy_by_name(known[i].name);

		assert_non_null(policy);
		assert_ptr_equal(policy_by_id(known[i].id), policy);
		assert_int_equal(policy->id, known[i].id);
		assert_string_equal(policy->name, known[i].name);
		assert_int_equal(policy->scores, known[i].scores);
		assert_int_equal(policy->selected_min, known[i].selected_min);
		assert_int_equal(!policy->evict, known[i].refuses);
		for (size_t j = 0; j < i; j++) {
			assert_string_not_equal(policies[i].name,
						policies[j].name);
			assert_int_not_equal(policies[i].id, policies[j].id);
		}
	}
}

static void test_unknown_policies_are_null(void **state)
{
	static const char *const names[] = {
		"", "t", "treek", "treekv-", "TreeKV", "treekv ", "fully",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_null(policy_by_name(names[i]));
	assert_null(policy_by_id(0));
	assert_null(policy_by_id(SHM_POLICY_FULL + 1));
	assert_null(policy_by_id(UINT32_MAX));
}

/*
 * The paper's example, tokens 1 to 17 and c = 4, derived by hand from
 * method.md. The scope is the pair at (idx, idx + 1) of the five tokens held;
 * idx cycles through 1, 2, 3, 4, so it is at (1, 2) at steps 5, 9, 13 and 17.
 *
 * treekv-left evicts the token at idx, the left of the scope:
 *
 *	step  held with the new one  idx  evicts
 *	  5    1  2  3  4  5          1    1
 *	  6    2  3  4  5  6          2    3
 *	  7    2  4  5  6  7          3    5
 *	  8    2  4  6  7  8          4    7
 *	  9    2  4  6  8  9          1    2
 *	 10    4  6  8  9 10          2    6
 *	 11    4  8  9 10 11          3    9
 *	 12    4  8 10 11 12          4   11
 *	 13    4  8 10 12 13          1    4
 *	 14    8 10 12 13 14          2   10
 *	 15    8 12 13 14 15          3   13
 *	 16    8 12 14 15 16          4   15
 *	 17    8 12 14 16 17          1    8   leaves 12 14 16 17
 */
static const uint32_t left_evicts[] = {
	1, 3, 5, 7, 2, 6, 9, 11, 4, 10, 13, 15, 8,
};

/*
 * treekv, where token i has the same weight in each step it is held, so that
 * its average is that weight (small integers: the sums are exact).
 */
static const float paper_weights[] = {
	1, 1, 9, 1, 4, 1, 6, 1, 7, 1, 3, 5, 1, 1, 2, 8, 1,
};

/*
 *	step  held with the new one  idx  scope's averages  evicts
 *	  5    1  2  3  4  5          1    1: 1   2: 1       1, a tie
 *	  6    2  3  4  5  6          2    3: 9   4: 1       4
 *	  7    2  3  5  6  7          3    5: 4   6: 1       6
 *	  8    2  3  5  7  8          4    7: 6   8: 1       8
 *	  9    2  3  5  7  9          1    2: 1   3: 9       2
 *	 10    3  5  7  9 10          2    5: 4   7: 6       5
 *	 11    3  7  9 10 11          3    9: 7  10: 1      10
 *	 12    3  7  9 11 12          4   11: 3  12: 5      11
 *	 13    3  7  9 12 13          1    3: 9   7: 6       7
 *	 14    3  9 12 13 14          2    9: 7  12: 5      12
 *	 15    3  9 13 14 15          3   13: 1  14: 1      13, a tie
 *	 16    3  9 14 15 16          4   15: 2  16: 8      15
 *	 17    3  9 14 16 17          1    3: 9   9: 7       9
 *
 * which leaves 3 14 16 17. At step 12 the sums say otherwise, 6 for 11 (held
 * twice) and 5 for 12.
 */
static const uint32_t pair_evicts[] = {
	1, 4, 6, 8, 2, 5, 10, 11, 7, 12, 13, 15, 9,
};

/*
 * treekv-skip, the listing's line 16: idx = (idx + 1) mod 4 + 1, which is 1, 3,
 * 1, 3. Scopes are worded as above, of tokens at places 1 and 2, or 3 and 4.
 *
 *	step  held with the new one  idx  scope's averages  evicts
 *	  5    1  2  3  4  5          1    1: 1   2: 1       1, a tie
 *	  6    2  3  4  5  6          3    4: 1   5: 4       4
 *	  7    2  3  5  6  7          1    2: 1   3: 9       2
 *	  8    3  5  6  7  8          3    6: 1   7: 6       6
 *	  9    3  5  7  8  9          1    3: 9   5: 4       5
 *	 10    3  7  8  9 10          3    8: 1   9: 7       8
 *	 11    3  7  9 10 11          1    3: 9   7: 6       7
 *	 12    3  9 10 11 12          3   10: 1  11: 3      10
 *	 13    3  9 11 12 13          1    3: 9   9: 7       9
 *	 14    3 11 12 13 14          3   12: 5  13: 1      13
 *	 15    3 11 12 14 15          1    3: 9  11: 3      11
 *	 16    3 12 14 15 16          3   14: 1  15: 2      14
 *	 17    3 12 15 16 17          1    3: 9  12: 5      12
 *
 * which leaves 3 15 16 17.
 */
static const uint32_t skip_evicts[] = {
	1, 4, 2, 6, 5, 8, 7, 10, 9, 13, 11, 14, 12,
};

/*
 * The baselines with one sink and a recent window of one, so that three tokens
 * are up for eviction; S is weight times the steps held, tova's the weight.
 *
 *	step  h2o: held, S                       evicts
 *	  5    1 [2: 4  3: 27  4: 2]  5           4
 *	  6    1 [2: 5  3: 36  5: 8]  6           2
 *	  7    1 [3: 45 5: 12  6: 2]  7           6
 *	  8    1 [3: 54 5: 16  7: 12] 8           7
 *	  9    1 [3: 63 5: 20  8: 2]  9           8
 *
 *	step  tova: held, the last weight        evicts
 *	  5    1 [2: 1  3: 9   4: 1]  5           2, a tie
 *	  6    1 [3: 9  4: 1   5: 4]  6           4
 *	  7    1 [3: 9  5: 4   6: 1]  7           6
 *	  8    1 [3: 9  5: 4   7: 6]  8           5
 *	  9    1 [3: 9  7: 6   8: 1]  9           8
 */
static const uint32_t h2o_evicts[] = { 4, 2, 6, 7, 8 };
static const uint32_t tova_evicts[] = { 2, 4, 6, 5, 8 };
static const uint32_t streaming_evicts[] = { 2, 3, 4, 5, 6 };

static void remove_token(uint32_t *held, uint32_t *n, uint32_t token)
{
	uint32_t to = 0;

	for (uint32_t i = 0; i < *n; i++)
		if (held[i] != token)
			held[to++] = held[i];
	assert_int_equal(to + 1, *n);
	*n = to;
}

static void compare_held(const struct side *side, const struct reference *ref,
			 const uint32_t *held, uint32_t n)
{
	assert_int_equal(side->live, n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t slot = side_slot(side, i);

		assert_int_equal(side->token[slot] + 1, held[i]);
		assert_int_equal(ref->tokens[i].number + 1, held[i]);
	}
}

/* Daemon and reference, step by step, against what was worked out by hand. */
static void work_through(const struct shape *shape, const uint32_t *evicts,
			 uint32_t evictions, const uint32_t *walk)
{
	struct reference *ref = side_reference(shape);
	uint32_t held[PAPER_BUDGET + 1], n = 0;
	struct side side;

	side_init(&side, shape);
	for (uint32_t t = 1; t <= PAPER_BUDGET + evictions; t++) {
		if (t > PAPER_BUDGET)
			assert_int_equal(side.walk,
					 walk[(t - PAPER_BUDGET - 1) % 4]);
		side_lockstep(&side, ref, paper_weights, t);
		held[n++] = t;
		if (t > PAPER_BUDGET)
			remove_token(held, &n, evicts[t - PAPER_BUDGET - 1]);
		compare_held(&side, ref, held, n);
	}
	side_exit(&side);
	reference_free(ref);
}

static void work_through_paper(const char *name, const uint32_t *evicts,
			       const uint32_t *walk)
{
	const struct shape shape = {
		.policy = policy_by_name(name),
		.budget = PAPER_BUDGET,
		.slots = PAPER_BUDGET + 1,
		.entry_size = 2,
	};

	work_through(&shape, evicts, PAPER_TOKENS - PAPER_BUDGET, walk);
}

static void work_through_baseline(const char *name, const uint32_t *evicts)
{
	static const uint32_t walk[] = { 1, 1, 1, 1 };
	const struct shape shape = {
		.policy = policy_by_name(name),
		.budget = PAPER_BUDGET,
		.sinks = 1,
		.recent = 1,
		.slots = PAPER_BUDGET + 1,
		.entry_size = 4,
	};

	work_through(&shape, evicts, ARRAY_SIZE(h2o_evicts), walk);
}

static const uint32_t text_walk[] = { 1, 2, 3, 4 };
static const uint32_t listing_walk[] = { 1, 3, 1, 3 };

static void test_treekv_walks_the_papers_17_token_example(void **state)
{
	(void)state;
	work_through_paper("treekv", pair_evicts, text_walk);
}

static void test_treekv_left_walks_the_papers_17_token_example(void **state)
{
	(void)state;
	work_through_paper("treekv-left", left_evicts, text_walk);
}

static void test_treekv_skip_walks_every_second_scope(void **state)
{
	(void)state;
	work_through_paper("treekv-skip", skip_evicts, listing_walk);
}

static void test_h2o_evicts_the_lowest_sum(void **state)
{
	(void)state;
	work_through_baseline("h2o", h2o_evicts);
}

static void test_tova_evicts_the_lowest_last_weight(void **state)
{
	(void)state;
	work_through_baseline("tova", tova_evicts);
}

static void test_streaming_evicts_the_oldest_after_the_sinks(void **state)
{
	(void)state;
	work_through_baseline("streaming", streaming_evicts);
}

/* One pair of averages, S / C each: is the left of the two evicted? */
static bool evicts_left(const char *name, float s0, uint32_t c0, float s1,
			uint32_t c1)
{
	const uint32_t order[] = { 0, 1 }, since[] = { 100 - c0, 100 - c1 };
	const float score[] = { s0, s1 };
	uint32_t room[2], ranks[1] = { SHM_FREE32 };
	uint64_t key[2];
	const struct policy_scope scope = {
		.order = order,
		.entry_size = sizeof(*order),
		.live = 2,
		.score = score,
		.since = since,
		.tail = 100,
		.selected = 1,
		.walk = 1,
	};
	const struct policy_scratch scratch = { room, key };

	assert_int_equal(
		policy_by_name(name)->evict(&scope, 1, ranks, &scratch), 1);
	assert_in_range(ranks[0], 0, 1);
	return ranks[0] == 0;
}

static void test_ties_evict_the_older(void **state)
{
	(void)state;
	assert_true(evicts_left("treekv", 3, 3, 1, 1));
	assert_true(evicts_left("treekv", 0, 3, -0.0f, 1));
	assert_true(evicts_left("treekv", INFINITY, 3, INFINITY, 1));
	assert_true(evicts_left("h2o", 3, 3, 3, 1));
	assert_true(evicts_left("tova", 3, 3, 3, 1));
}

static void test_a_nan_ranks_as_minus_infinity(void **state)
{
	static const char *const names[] = { "treekv", "treekv-skip", "h2o",
					     "tova" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_true(evicts_left(names[i], NAN, 1, NAN, 1));
		assert_true(evicts_left(names[i], NAN, 1, -INFINITY, 1));
		assert_true(evicts_left(names[i], -INFINITY, 1, NAN, 1));
		assert_true(evicts_left(names[i], NAN, 1, -1e38f, 1));
		assert_false(evicts_left(names[i], -1e38f, 1, NAN, 1));
		assert_false(evicts_left(names[i], 0, 1, -NAN, 1));
		assert_false(evicts_left(names[i], INFINITY, 1, NAN, 1));
	}
}

/* 1/3 in f32 is a little more than 1/3; a quotient in f32 would tie. */
static void test_averages_are_compared_in_double(void **state)
{
	const float third = 1.0f / 3;

	(void)state;
	assert_false(evicts_left("treekv", third, 1, 1, 3));
	assert_true(evicts_left("treekv", 1, 3, third, 1));
}

static void test_h2o_compares_sums_and_treekv_averages(void **state)
{
	(void)state;
	assert_true(evicts_left("treekv", 6, 3, 5, 1));
	assert_false(evicts_left("h2o", 6, 3, 5, 1));
	assert_false(evicts_left("tova", 6, 3, 5, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_table_has_every_policy_once),
		cmocka_unit_test(test_unknown_policies_are_null),
		cmocka_unit_test(test_treekv_walks_the_papers_17_token_example),
		cmocka_unit_test(
			test_treekv_left_walks_the_papers_17_token_example),
		cmocka_unit_test(test_treekv_skip_walks_every_second_scope),
		cmocka_unit_test(test_h2o_evicts_the_lowest_sum),
		cmocka_unit_test(test_tova_evicts_the_lowest_last_weight),
		cmocka_unit_test(
			test_streaming_evicts_the_oldest_after_the_sinks),
		cmocka_unit_test(test_ties_evict_the_older),
		cmocka_unit_test(test_a_nan_ranks_as_minus_infinity),
		cmocka_unit_test(test_averages_are_compared_in_double),
		cmocka_unit_test(test_h2o_compares_sums_and_treekv_averages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
