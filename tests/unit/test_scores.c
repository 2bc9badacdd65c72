// SPDX-License-Identifier: BSD-2-Clause
/*
 * Scores as client/writer.c adds them up, and lockstep, where they decide who
 * leaves, against tests/unit/reference.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/local.h"
#include "tests/unit/fixture.h"
#include "tests/unit/reference.h"
#include "tests/unit/steps.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define TOKENS_MAX    600

static void test_group_mean_counts(void **state)
{
	struct treekv_spec spec = fixture_spec();
	enum {
		GROUP = 3,
		STRIDE = 150
	};
	static float weights[GROUP * STRIDE];
	struct treekv_cache *cache;
	float sum[STRIDE] = { 0 };

	(void)state;
	spec.budget = 100;
	spec.slack = 31;
	cache = open_local(&spec);
	for (uint32_t t = 0; t < 120; t++) {
		step_begin(cache, 1);
		step_append(cache, 1);
		for (int i = 0; i < GROUP * STRIDE; i++)
			weights[i] = step_weight(0, 0, (uint64_t)i * 77 + t, i);
		assert_int_equal(treekv_observe(cache, 0, 0, 0, weights, GROUP,
						STRIDE),
				 0);
		for (uint32_t s = 0; s <= t; s++) {
			float mean = weights[s];

			for (int g = 1; g < GROUP; g++)
				mean += weights[g * STRIDE + s];
			mean /= GROUP;
			sum[s] = sum[s] + mean;
		}
		assert_int_equal(treekv_commit(cache, 1), 0);
		for (uint32_t s = 0; s <= t; s++) /* slots are taken in turn */
			assert_same_float(committed_score(cache, 0, 0, s),
					  sum[s]);
	}
	treekv_detach(cache);
}

static void test_tova_replaces(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct treekv_cache *cache;

	(void)state;
	spec.policy = TREEKV_POLICY_TOVA;
	cache = open_local(&spec);
	for (uint32_t t = 1; t <= 8; t++) {
		step(cache, 1, 1);
		for (uint32_t i = 0; i < t; i++)
			assert_same_float(committed_score(cache, 1, 1, i),
					  step_weight(1, 1, t - 1, i));
	}
	treekv_detach(cache);
}

static void test_unobserved_heads_keep_their_scores(void **state)
{
	struct fixture *f = *state;
	float kept, moved;

	step(&f->cache, 2, 2);
	kept = committed_score(&f->cache, 0, 0, 0);
	moved = committed_score(&f->cache, 1, 1, 0);
	for (uint32_t t = 2; t < 5; t++) {
		step_begin(&f->cache, 1);
		step_append(&f->cache, 1);
		step_observe_head(&f->cache, 1, 1, 0);
		assert_int_equal(treekv_commit(&f->cache, 1), 0);
		moved += step_weight(1, 1, t, 0);
	}
	assert_same_float(committed_score(&f->cache, 0, 0, 0), kept);
	assert_same_float(committed_score(&f->cache, 1, 1, 0), moved);
	assert_same_float(committed_score(&f->cache, 0, 0, 4), 0);
}

static void test_several_tokens_a_step_equal_one_by_one(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct treekv_cache *a, *b;

	(void)state;
	spec.budget = 40;
	spec.slack = 8;
	a = open_local(&spec);
	b = open_local(&spec);
	for (int i = 0; i < 39; i++)
		step(a, 1, 1);
	step(b, 8, 8);
	step(b, 8, 3); /* the rest comes again */
	step(b, 1, 1);
	step(b, 5, 0);
	step(b, 7, 7);
	for (int i = 0; i < 4; i++)
		step(b, 5, 5);
	assert_int_equal(treekv_tail(b), 39);
	for (uint32_t l = 0; l < spec.layers; l++)
		for (uint32_t t = 0; t < 39; t++) {
			assert_int_equal(slot_of_token(a, l, 1, t),
					 slot_of_token(b, l, 1, t));
			assert_same_float(committed_score(a, l, 1, t),
					  committed_score(b, l, 1, t));
		}
	treekv_detach(a);
	treekv_detach(b);
}

/* ---- lockstep ---- */

struct lockstep {
	struct treekv_spec spec;
	const char *policy;
	struct treekv_cache *cache;
	struct reference *reference[4][STEP_HEADS_MAX];
};

static void compare_head(struct lockstep *t, uint32_t layer, uint32_t head)
{
	const struct reference *r = t->reference[layer][head];
	struct treekv_view view;

	assert_int_equal(treekv_view(t->cache, layer, head, &view), 0);
	assert_int_equal(view.live, r->live);
	for (uint32_t i = 0; i < r->live; i++) {
		uint32_t slot = r->tokens[i].slot;

		if (view.rank[slot] != i ||
		    view.token[slot] != r->tokens[i].number)
			fail_msg("%s, layer %u, head %u, rank %u: slot %u has "
				 "rank %u and token %u, not %u",
				 t->policy, layer, head, i, slot,
				 view.rank[slot], view.token[slot],
				 r->tokens[i].number);
	}
}

static void lockstep_step(struct lockstep *t, uint32_t token)
{
	static float weights[TOKENS_MAX];

	step(t->cache, 1, 1);
	assert_int_equal(treekv_settle(t->cache, -1), 0);
	for (uint32_t l = 0; l < t->spec.layers; l++)
		for (uint32_t h = 0; h < t->spec.kv_heads; h++) {
			for (uint32_t i = 0; i <= token; i++)
				weights[i] = step_weight(l, h, token, i);
			reference_step(t->reference[l][h], weights);
			compare_head(t, l, h);
		}
}

static void run_lockstep(const char *policy, uint32_t slack)
{
	static const uint32_t budgets[] = { 9, 24, 11, 40 };
	struct lockstep t = { .spec = fixture_spec(), .policy = policy };

	t.spec.layers = ARRAY_SIZE(budgets);
	t.spec.budgets = budgets;
	t.spec.slack = slack;
	t.spec.sinks = 2;
	t.spec.recent = 3;
	assert_int_equal(treekv_policy_parse(&t.spec.policy, policy), 0);
	t.cache = open_local(&t.spec);
	for (uint32_t l = 0; l < t.spec.layers; l++)
		for (uint32_t h = 0; h < t.spec.kv_heads; h++)
			t.reference[l][h] = reference_new(policy, budgets[l],
							  t.spec.sinks,
							  t.spec.recent,
							  budgets[l] + slack);
	for (uint32_t token = 0; token < TOKENS_MAX; token++)
		lockstep_step(&t, token);
	for (uint32_t l = 0; l < t.spec.layers; l++)
		for (uint32_t h = 0; h < t.spec.kv_heads; h++)
			reference_free(t.reference[l][h]);
	treekv_detach(t.cache);
}

static void test_lockstep_follows_the_reference(void **state)
{
	static const char *const policies_named[] = {
		"treekv",    "treekv-left", "treekv-skip",
		"streaming", "h2o",	    "tova",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(policies_named); i++) {
		run_lockstep(policies_named[i], 1);
		run_lockstep(policies_named[i], 7);
	}
}

#define with_fixture(f) \
	cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_group_mean_counts),
		cmocka_unit_test(test_tova_replaces),
		with_fixture(test_unobserved_heads_keep_their_scores),
		cmocka_unit_test(test_several_tokens_a_step_equal_one_by_one),
		cmocka_unit_test(test_lockstep_follows_the_reference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
