// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/kept.h"
#include "tests/helpers/selfcheck.h"

#define SLOTS 64
#define TAIL  1000

static uint64_t edges_of_ten[] = { 0,	100, 200, 300, 400, 500,
				   600, 700, 800, 900, 1000 };
static const struct kept_axis ten = { edges_of_ten, 10 };

/* The definition, slowly. */
static size_t naive_bucket(const struct kept_axis *axis, uint64_t token)
{
	for (size_t i = 0; i < axis->buckets; i++)
		if (axis->edge[i] <= token && token < axis->edge[i + 1])
			return i;
	return axis->buckets;
}

static void test_edges_must_rise(void **state)
{
	uint64_t edge[KEPT_BUCKETS_MAX + 2];

	(void)state;
	for (size_t i = 0; i < KEPT_BUCKETS_MAX + 2; i++)
		edge[i] = i;
	assert_int_equal(kept_axis_check(edge, 0), -EINVAL);
	assert_int_equal(kept_axis_check(edge, 1), -EINVAL);
	assert_int_equal(kept_axis_check(edge, 2), 0);
	assert_int_equal(kept_axis_check(edge, KEPT_BUCKETS_MAX + 1), 0);
	assert_int_equal(kept_axis_check(edge, KEPT_BUCKETS_MAX + 2), -EINVAL);
	edge[5] = edge[4];
	assert_int_equal(kept_axis_check(edge, 5), 0);
	assert_int_equal(kept_axis_check(edge, 6), -EINVAL);
	edge[5] = 3;
	assert_int_equal(kept_axis_check(edge, 6), -EINVAL);
}

static void test_bucket_is_found_from_any_hint(void **state)
{
	uint64_t edge[KEPT_BUCKETS_MAX + 1] = { 17 };
	uint64_t random = 1;

	(void)state;
	for (size_t edges = 2; edges <= KEPT_BUCKETS_MAX + 1; edges += 51) {
		struct kept_axis axis = { edge, edges - 1 };

		for (size_t i = 1; i < edges; i++)
			edge[i] = edge[i - 1] + 1 + selfcheck_mix(random++) % 9;
		for (uint64_t token = 0; token < edge[edges - 1] + 20; token++)
			assert_int_equal(
				kept_bucket(&axis, token,
					    selfcheck_mix(random++) % edges),
				naive_bucket(&axis, token));
		assert_int_equal(kept_bucket(&axis, UINT64_MAX, 0), edges - 1);
	}
}

/* Rows whose tokens are given, in slots that are mixed up. */
struct rows {
	uint16_t order16[SLOTS];
	uint32_t order32[SLOTS];
	uint32_t token[SLOTS];
	struct kept_head head;
};

static void rows_init(struct rows *rows, const uint32_t *token, uint32_t live)
{
	for (uint32_t i = 0; i < live; i++) {
		uint32_t slot = (i * 37 + 11) % SLOTS;

		rows->order16[i] = (uint16_t)slot;
		rows->order32[i] = slot;
		rows->token[slot] = token[i];
	}
	rows->head = (struct kept_head){
		.order = rows->order16,
		.entry_size = 2,
		.live = live,
		.token = rows->token,
		.slots = SLOTS,
		.tail = TAIL,
		.stride = 1,
	};
}

/* A tree's tokens: few of the old, all of the new. */
static const uint32_t tree[] = { 0,   1,   128, 384, 512, 640, 768, 800,
				 832, 864, 896, 912, 928, 944, 960, 968,
				 976, 984, 992, 994, 996, 997, 998, 999 };
#define TREE (sizeof(tree) / sizeof(*tree))

static void test_rows_are_counted_by_token(void **state)
{
	static const uint64_t expected[] = { 2, 1, 0, 1, 0, 1, 1, 1, 4, 13 };
	uint64_t count[10];
	struct rows rows = { 0 };

	(void)state;
	rows_init(&rows, tree, TREE);
	for (int wide = 0; wide < 2; wide++) {
		memset(count, 0, sizeof(count));
		rows.head.order = wide ? (void *)rows.order32 : rows.order16;
		rows.head.entry_size = wide ? 4 : 2;
		assert_int_equal(kept_count(count, &ten, &rows.head), 0);
		assert_memory_equal(count, expected, sizeof(count));
	}
	/* a second head is added to the first */
	kept_count(count, &ten, &rows.head);
	assert_int_equal(count[9], 26);
}

static void test_rows_outside_are_told(void **state)
{
	static const uint64_t middle[] = { 100, 500 };
	const struct kept_axis axis = { middle, 1 };
	struct rows rows = { 0 };
	uint64_t count[1] = { 0 };

	(void)state;
	rows_init(&rows, tree, TREE);
	assert_int_equal(kept_count(count, &axis, &rows.head), TREE - 2);
	assert_int_equal(count[0], 2);
}

static void test_lies_are_outside(void **state)
{
	uint64_t count[10] = { 0 };
	struct rows rows = { 0 };

	(void)state;
	rows_init(&rows, tree, TREE);
	rows.order16[3] = SLOTS; /* no slot */
	rows.order16[4] = UINT16_MAX;
	rows.token[rows.order16[5]] = TAIL; /* not yet committed */
	rows.token[rows.order16[6]] = UINT32_MAX;
	assert_int_equal(kept_count(count, &ten, &rows.head), 4);
	/* a bucket for it would not make it true */
	rows_init(&rows, tree, TREE);
	rows.head.tail = 500;
	memset(count, 0, sizeof(count));
	assert_int_equal(kept_count(count, &ten, &rows.head), TREE - 4);
	assert_int_equal(count[5] + count[9], 0);
	/* and going backwards does not matter */
	rows_init(&rows, tree, TREE);
	for (uint32_t i = 0; i < TREE / 2; i++) {
		uint16_t entry = rows.order16[i];

		rows.order16[i] = rows.order16[TREE - 1 - i];
		rows.order16[TREE - 1 - i] = entry;
	}
	memset(count, 0, sizeof(count));
	assert_int_equal(kept_count(count, &ten, &rows.head), 0);
	assert_int_equal(count[9], 13);
}

static void test_stride_takes_every_so_many(void **state)
{
	uint64_t count[10] = { 0 }, sum = 0;
	struct rows rows = { 0 };

	(void)state;
	rows_init(&rows, tree, TREE);
	rows.head.stride = 5;
	assert_int_equal(kept_count(count, &ten, &rows.head), 0);
	for (size_t i = 0; i < 10; i++)
		sum += count[i];
	assert_int_equal(sum, (TREE + 4) / 5);
	assert_int_equal(count[0], 1); /* ranks 0, 5, 10, 15, 20 */
	assert_int_equal(count[6], 1);
	assert_int_equal(count[9], 2);
}

static void test_rank_has_its_bucket(void **state)
{
	struct rows rows = { 0 };

	(void)state;
	rows_init(&rows, tree, TREE);
	for (uint32_t i = 0; i < TREE; i++)
		assert_int_equal(kept_at(&ten, &rows.head, i), tree[i] / 100);
	assert_int_equal(kept_at(&ten, &rows.head, TREE), 10);
	assert_int_equal(kept_at(&ten, &rows.head, UINT64_MAX), 10);
}

static void test_nothing_held(void **state)
{
	uint64_t count[10] = { 0 };
	struct rows rows = { 0 };

	(void)state;
	rows_init(&rows, tree, 0);
	rows.head.tail = 0;
	assert_int_equal(kept_count(count, &ten, &rows.head), 0);
	assert_int_equal(kept_at(&ten, &rows.head, 0), 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edges_must_rise),
		cmocka_unit_test(test_bucket_is_found_from_any_hint),
		cmocka_unit_test(test_rows_are_counted_by_token),
		cmocka_unit_test(test_rows_outside_are_told),
		cmocka_unit_test(test_lies_are_outside),
		cmocka_unit_test(test_stride_takes_every_so_many),
		cmocka_unit_test(test_rank_has_its_bucket),
		cmocka_unit_test(test_nothing_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
