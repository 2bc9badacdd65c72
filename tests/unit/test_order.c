// SPDX-License-Identifier: BSD-2-Clause
/* order_check() on orders with one thing wrong: entry, rank, length. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/side.h"

/* A sound order of 20 slots, 12 of them live, to be damaged. */
static const struct shape damaged_shapes[] = {
	{ .budget = 12, .slots = 20, .entry_size = 2 },
	{ .budget = 12, .slots = 20, .entry_size = 4 },
};

static int check_live(struct side *side, uint32_t n_live)
{
	return order_check(&side->order[0], side->shape->slots, n_live,
			   side->shape->entry_size, side->seen);
}

static int check(struct side *side)
{
	return check_live(side, side->live);
}

static void each_damaged(void (*damage)(struct side *side, uint64_t *rng))
{
	uint64_t rng = side_seed() + 300;

	for (int i = 0; i < 400; i++) {
		struct side side;

		side_init(&side, &damaged_shapes[i & 1]);
		side_scramble(&side, &rng, 12, 12);
		assert_int_equal(check(&side), 0);
		damage(&side, &rng);
		assert_int_equal(check(&side), -EBADMSG);
		side_exit(&side);
	}
}

static void duplicate_entry(struct side *side, uint64_t *rng)
{
	uint32_t i = side_draw_below(rng, 20);
	uint32_t j = (i + 1 + side_draw_below(rng, 19)) % 20;

	side_put(side, side->order[0].order, i, side_slot(side, j));
}

static void test_check_refuses_a_duplicate_entry(void **state)
{
	(void)state;
	each_damaged(duplicate_entry);
}

static void enter_out_of_range(struct side *side, uint64_t *rng)
{
	const uint32_t beyond[] = {
		20,	21, 0x7fff, 0x8000, 0x8000 | side_draw_below(rng, 20),
		0xffff,
	};

	side_put(side, side->order[0].order, side_draw_below(rng, 20),
		 beyond[side_draw_below(rng, ARRAY_SIZE(beyond))]);
}

static void test_check_refuses_an_entry_out_of_range(void **state)
{
	(void)state;
	each_damaged(enter_out_of_range);
}

static void rank_wrongly(struct side *side, uint64_t *rng)
{
	uint32_t rank = side_draw_below(rng, 12);
	uint32_t wrong = (rank + 1 + side_draw_below(rng, 40)) & 0xffff;

	if (side_draw(rng) & 1)
		wrong = SHM_FREE32;
	side_put(side, side->order[0].rank, side_slot(side, rank), wrong);
}

static void test_check_refuses_a_wrong_rank(void **state)
{
	(void)state;
	each_damaged(rank_wrongly);
}

static void rank_free_slot(struct side *side, uint64_t *rng)
{
	side_put(side, side->order[0].rank,
		 side_slot(side, 12 + side_draw_below(rng, 8)),
		 side_draw_below(rng, 20));
}

static void test_check_refuses_a_live_rank_on_a_free_slot(void **state)
{
	(void)state;
	each_damaged(rank_free_slot);
}

static void test_check_refuses_another_number_of_live_rows(void **state)
{
	uint64_t rng = side_seed() + 400;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(damaged_shapes); i++) {
		struct side side;

		side_init(&side, &damaged_shapes[i]);
		side_scramble(&side, &rng, 12, 12);
		for (uint32_t n = 0; n <= 20; n++)
			assert_int_equal(check_live(&side, n),
					 n == 12 ? 0 : -EBADMSG);
		side_exit(&side);
	}
}

/* In 4 byte entries the 2 byte sentinel is a rank, and a wrong one. */
static void test_check_refuses_the_other_sizes_sentinel(void **state)
{
	struct side side;

	(void)state;
	side_init(&side, &damaged_shapes[1]);
	assert_int_equal(check(&side), 0);
	side_put(&side, side.order[0].rank, 7, SHM_FREE16);
	assert_int_equal(check(&side), -EBADMSG);
	side_exit(&side);
}

static void test_check_takes_every_slot_live_and_none(void **state)
{
	uint64_t rng = side_seed() + 500;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(damaged_shapes); i++) {
		struct side side;

		side_init(&side, &damaged_shapes[i]);
		assert_int_equal(check_live(&side, 0), 0);
		side_scramble(&side, &rng, 20, 20);
		assert_int_equal(check(&side), 0);
		side_exit(&side);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_refuses_a_duplicate_entry),
		cmocka_unit_test(test_check_refuses_an_entry_out_of_range),
		cmocka_unit_test(test_check_refuses_a_wrong_rank),
		cmocka_unit_test(test_check_refuses_a_live_rank_on_a_free_slot),
		cmocka_unit_test(
			test_check_refuses_another_number_of_live_rows),
		cmocka_unit_test(test_check_refuses_the_other_sizes_sentinel),
		cmocka_unit_test(test_check_takes_every_slot_live_and_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
