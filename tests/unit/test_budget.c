// SPDX-License-Identifier: BSD-2-Clause
/*
 * Budgets that differ by layer. The pyramid is checked for what it promises, at
 * every mean and depth that matters; files by what treekvctl and treekv-run say
 * of them, in tests/integration.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/budget.h"
#include "proto/shm.h"

static void load(uint32_t *budgets, uint32_t layers, uint32_t selected)
{
	struct budget_shape shape = {
		.mean = 12 + selected,
		.sinks = 4,
		.recent = 8,
		.recent_given = true,
		.selected_min = 1,
	};
	char why[128];

	assert_int_equal(budget_load(budgets, layers, BUDGET_PYRAMID, &shape,
				     why, sizeof(why)),
			 0);
	assert_int_equal(shape.recent, 8);
}

static void test_a_pyramid_keeps_the_sum_and_falls(void **state)
{
	uint32_t budgets[SHM_LAYERS_MAX];

	(void)state;
	for (uint32_t layers = 1; layers <= 80; layers++)
		for (uint32_t selected = 1; selected <= 300; selected++) {
			uint64_t sum = 0;

			load(budgets, layers, selected);
			for (uint32_t l = 0; l < layers; l++) {
				assert_true(budgets[l] >= 13);
				assert_true(!l || budgets[l] <= budgets[l - 1]);
				sum += budgets[l];
			}
			assert_int_equal(sum, layers * (12 + selected));
		}
}

static void test_a_pyramid_falls_to_a_twentieth_in_even_steps(void **state)
{
	uint32_t budgets[SHM_LAYERS_MAX];

	(void)state;
	load(budgets, 32, 1000);
	assert_int_equal(budgets[0], 12 + 1950);
	assert_int_equal(budgets[31], 12 + 50);
	for (uint32_t l = 1; l < 32; l++) {
		uint32_t step = budgets[l - 1] - budgets[l];

		assert_in_range(step, 61, 62); /* 1900 / 31 */
	}
	load(budgets, SHM_LAYERS_MAX, 1U << 23);
	assert_true(budgets[0] > budgets[SHM_LAYERS_MAX - 1]);
}

static void test_recent_is_half_less_the_sinks(void **state)
{
	struct budget_shape shape = { .mean = 64, .sinks = 4 };
	uint32_t budgets[3];
	char why[128];

	(void)state;
	assert_int_equal(budget_load(budgets, 3, BUDGET_PYRAMID, &shape, why,
				     sizeof(why)),
			 0);
	assert_int_equal(shape.recent, 28);
	assert_int_equal(budgets[1], 64);
	assert_int_equal(budget_recent(64, 4), 28);
	assert_int_equal(budget_recent(8, 4), 0);
	assert_int_equal(budget_recent(7, 100), 0);
}

static void test_a_reason_is_cut_to_its_room(void **state)
{
	struct budget_shape shape = { .mean = 64, .sinks = 4 };
	uint32_t budgets[3];
	char why[9] = "********";

	(void)state;
	assert_true(budget_load(budgets, 3, "/nowhere/at/all", &shape, why,
				sizeof(why)) < 0);
	assert_string_equal(why, "cannot o");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_pyramid_keeps_the_sum_and_falls),
		cmocka_unit_test(
			test_a_pyramid_falls_to_a_twentieth_in_even_steps),
		cmocka_unit_test(test_recent_is_half_less_the_sinks),
		cmocka_unit_test(test_a_reason_is_cut_to_its_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
