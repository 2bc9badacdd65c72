// SPDX-License-Identifier: BSD-2-Clause
/*
 * daemon/policy.c and daemon/order.c against tests/unit/reference.c, slot for
 * slot: which rows stay and in what sequence, where each freed slot waits in
 * the queue, what rank[] says, where the walk stands. In lockstep both are fed
 * one token after the other; a batch is one random state, given to both, from
 * which k rows are taken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/side.h"

#define LOCKSTEP_SHAPES 600 /* of each policy */
#define BATCH_SHAPES	900

static void run_lockstep(const struct shape *shape)
{
	struct reference *ref = side_reference(shape);
	uint64_t rng = ~shape->seed;
	float weights[WEIGHTS_MAX];
	struct side side;

	side_init(&side, shape);
	for (uint32_t t = 0; t < shape->steps; t++) {
		for (uint32_t i = 0; i <= t; i++)
			weights[i] = side_weight(&rng, shape->weights);
		side_lockstep(&side, ref, weights, t);
		/* An order may be published anew though nothing leaves. */
		if (side_draw_below(&rng, 16) == 0) {
			side_compact(&side, 0);
			side_compare(&side, ref, t);
		}
	}
	side_exit(&side);
	reference_free(ref);
}

static void lockstep_shapes(const char *name)
{
	const struct policy *policy = policy_by_name(name);
	uint64_t rng = side_seed();
	struct shape shape;

	assert_non_null(policy);
	for (int i = 0; i < LOCKSTEP_SHAPES; i++) {
		side_shape(&shape, policy, side_draw(&rng));
		run_lockstep(&shape);
	}
}

static void test_treekv_in_lockstep_is_algorithm_1(void **state)
{
	(void)state;
	lockstep_shapes("treekv");
}

static void test_treekv_left_in_lockstep_is_the_reference(void **state)
{
	(void)state;
	lockstep_shapes("treekv-left");
}

static void test_treekv_skip_in_lockstep_is_the_reference(void **state)
{
	(void)state;
	lockstep_shapes("treekv-skip");
}

static void test_streaming_in_lockstep_is_the_reference(void **state)
{
	(void)state;
	lockstep_shapes("streaming");
}

static void test_h2o_in_lockstep_is_the_reference(void **state)
{
	(void)state;
	lockstep_shapes("h2o");
}

static void test_tova_in_lockstep_is_the_reference(void **state)
{
	(void)state;
	lockstep_shapes("tova");
}

/* From one state: k at once, k one by one, and the reference's k. */
static void run_batch(const struct shape *shape, uint32_t live)
{
	uint64_t rng = ~shape->seed, again;
	uint32_t selected = shape->budget - shape->sinks - shape->recent;
	uint32_t walk = 1 + side_draw_below(&rng, selected ? selected : 1);
	uint32_t ranked = live - side_draw_below(&rng, live + 1);
	struct side batch, single;
	struct reference *ref;

	again = rng;
	side_init(&batch, shape);
	side_init(&single, shape);
	batch.walk = single.walk = walk;
	side_scramble(&batch, &rng, live, ranked);
	side_scramble(&single, &again, live, ranked);
	ref = side_copy_reference(&batch);
	for (uint32_t j = 0; j < shape->steps; j++) {
		reference_evict(ref);
		side_compact(&single, 1);
	}
	side_compact(&batch, shape->steps);
	side_compare(&batch, ref, shape->steps);
	side_compare(&single, ref, shape->steps);
	reference_free(ref);
	side_exit(&single);
	side_exit(&batch);
}

/* k: one, within a lap, exactly a lap, one more, several laps. */
static uint32_t draw_k(uint64_t *rng, uint32_t selected)
{
	switch (side_draw_below(rng, 5)) {
	case 0:
		return 1 + side_draw_below(rng, 3);
	case 1:
		return selected ? selected : 1;
	case 2:
		return selected + 1;
	case 3:
		return 2 * selected + 1 +
		       side_draw_below(rng, 5 * selected + 1);
	}
	return 1 + side_draw_below(rng, 64);
}

static void run_random_batch(const struct policy *policy, uint64_t seed)
{
	uint64_t rng = seed + 1;
	struct shape shape;
	uint32_t live;

	side_shape(&shape, policy, seed);
	shape.steps = draw_k(&rng, shape.budget - shape.sinks - shape.recent);
	live = shape.budget + shape.steps;
	shape.slots =
		live + side_draw_below(&rng, 3) * side_draw_below(&rng, 40);
	run_batch(&shape, live);
}

static void test_a_batch_of_k_is_k_single_evictions(void **state)
{
	uint64_t rng = side_seed() + 100;

	(void)state;
	for (int i = 0; i < BATCH_SHAPES; i++)
		for (size_t p = 0; p < policies_count; p++)
			if (policies[p].evict)
				run_random_batch(&policies[p], side_draw(&rng));
}

/* The most slots that 2 byte entries take, and more than they could. */
static void test_long_orders_keep_every_slot(void **state)
{
	static const struct {
		uint32_t slots, entry_size;
	} lengths[] = { { SHM_ENTRY16_MAX, 2 }, { 66000, 4 } };

	(void)state;
	for (size_t i = 0; i < policies_count * ARRAY_SIZE(lengths); i++) {
		uint32_t slots = lengths[i % 2].slots;
		struct shape shape = {
			.policy = &policies[i / 2],
			.seed = side_seed() + i,
			.budget = slots - 100,
			.sinks = 4,
			.recent = slots / 2,
			.slots = slots,
			.entry_size = lengths[i % 2].entry_size,
			.steps = 60,
		};

		if (shape.policy->evict)
			run_batch(&shape, shape.budget + shape.steps);
	}
}

static void test_compaction_of_nothing_ranks_what_was_appended(void **state)
{
	(void)state;
	for (size_t p = 0; p < policies_count; p++) {
		struct shape shape = {
			.policy = &policies[p],
			.budget = 8,
			.slots = 9,
			.entry_size = p & 1 ? 2 : 4,
		};
		struct side side;

		side_init(&side, &shape);
		side_compact(&side, 0);
		assert_int_equal(side_rank(&side, 0), SHM_FREE32);
		for (uint32_t i = 0; i < 5; i++)
			side_append(&side);
		side_compact(&side, 0);
		for (uint32_t s = 0; s < shape.slots; s++) {
			assert_int_equal(side_slot(&side, s), s);
			assert_int_equal(side_rank(&side, s),
					 s < 5 ? s : SHM_FREE32);
		}
		assert_int_equal(side.walk, 1);
		side_exit(&side);
	}
}

/* What the writer appends before it adopts lands in the same slots. */
static void test_appends_have_the_same_slots_under_both_orders(void **state)
{
	const struct shape shape = {
		.policy = policy_by_name("treekv"),
		.budget = 6,
		.sinks = 1,
		.recent = 1,
		.slots = 14,
		.entry_size = 2,
	};
	uint32_t free_slots = shape.slots - (shape.budget + 2);
	struct side side;

	(void)state;
	side_init(&side, &shape);
	for (uint32_t i = 0; i < shape.budget + 2; i++)
		side_append(&side);
	side_compact(&side, 2);
	for (uint32_t j = 0; j < free_slots; j++)
		assert_int_equal(side_slot(&side, side.live + j),
				 order_entry(side.order[!side.current].order,
					     shape.entry_size,
					     side.live + 2 + j));
	side_exit(&side);
}

/* since beyond tail, counts of 0: whatever leaves, the order stays sound. */
static void test_hostile_since_gives_a_sound_order(void **state)
{
	uint64_t rng = side_seed() + 200;

	(void)state;
	for (uint32_t i = 0; i < 200; i++) {
		const struct policy *policy = &policies[i % policies_count];
		struct shape shape;
		struct side side;

		side_shape(&shape, policy, side_draw(&rng));
		shape.slots = shape.budget + 30;
		side_init(&side, &shape);
		side_scramble(&side, &rng, shape.budget + 20, shape.budget);
		side.tail = 5;
		if (policy->evict)
			side_compact(&side, 20);
		assert_int_equal(order_check(&side.order[side.current],
					     shape.slots, side.ranked,
					     shape.entry_size, side.seen),
				 0);
		side_exit(&side);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_treekv_in_lockstep_is_algorithm_1),
		cmocka_unit_test(test_treekv_left_in_lockstep_is_the_reference),
		cmocka_unit_test(test_treekv_skip_in_lockstep_is_the_reference),
		cmocka_unit_test(test_streaming_in_lockstep_is_the_reference),
		cmocka_unit_test(test_h2o_in_lockstep_is_the_reference),
		cmocka_unit_test(test_tova_in_lockstep_is_the_reference),
		cmocka_unit_test(test_a_batch_of_k_is_k_single_evictions),
		cmocka_unit_test(test_long_orders_keep_every_slot),
		cmocka_unit_test(
			test_compaction_of_nothing_ranks_what_was_appended),
		cmocka_unit_test(
			test_appends_have_the_same_slots_under_both_orders),
		cmocka_unit_test(test_hostile_since_gives_a_sound_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
