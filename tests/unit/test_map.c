// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/map.h"
#include "tests/unit/sample_fixture.h"

static uint64_t edge[MAP_BUCKETS_MAX + 1];

static const uint64_t tails[] = {
	1,
	2,
	63,
	64,
	65,
	100,
	512,
	513,
	100000,
	10000000,
	UINT32_MAX - 1,
	UINT64_C(1) << 40,
	UINT64_MAX / 2,
};
#define TAILS (sizeof(tails) / sizeof(*tails))

/* Every token is in one bucket, and no bucket is empty. */
static void test_edges_divide_the_whole(void **state)
{
	(void)state;
	for (size_t t = 0; t < TAILS; t++)
		for (size_t wanted = 1; wanted <= MAP_BUCKETS_MAX; wanted += 7)
			for (int scale = MAP_EVEN; scale <= MAP_BY_AGE;
			     scale++) {
				size_t n = map_edges(edge, wanted, tails[t],
						     (enum map_scale)scale);

				assert_int_equal(n, wanted < tails[t] ?
							    wanted :
							    tails[t]);
				assert_int_equal(edge[0], 0);
				assert_int_equal(edge[n], tails[t]);
				for (size_t i = 1; i <= n; i++)
					assert_true(edge[i] > edge[i - 1]);
			}
	assert_int_equal(map_edges(edge, 64, 0, MAP_EVEN), 0);
	assert_int_equal(map_edges(edge, 64, 0, MAP_BY_AGE), 0);
}

static void test_even_buckets_are_even(void **state)
{
	size_t n = map_edges(edge, 60, 1003, MAP_EVEN);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		uint64_t width = edge[i + 1] - edge[i];

		assert_true(width == 16 || width == 17);
	}
}

static void test_newer_buckets_are_finer(void **state)
{
	size_t n = map_edges(edge, 80, 1000000, MAP_BY_AGE);

	(void)state;
	for (size_t i = 1; i < n; i++)
		assert_true(edge[i + 1] - edge[i] <= edge[i] - edge[i - 1] + 1);
	assert_int_equal(edge[n] - edge[n - 1], 1);
	assert_true(edge[1] > 100000);
}

static void test_level_halves_by_one(void **state)
{
	(void)state;
	assert_int_equal(map_level(0), 0);
	assert_int_equal(map_level(NAN), 0);
	assert_int_equal(map_level(-1), 0);
	for (unsigned int i = 0; i < 7; i++)
		assert_int_equal(map_level(ldexp(1, -(int)i)), 8 - i);
	assert_int_equal(map_level(1e-9), 1); /* something is there */
	assert_int_equal(map_level(1.5), 8);
	assert_int_equal(map_level(INFINITY), 8);
}

static void test_density_is_the_part_that_is_held(void **state)
{
	Treekv__Sample *sample = fixture_sample(0);
	Treekv__CacheInfo *cache = fixture_cache(sample, 1, "a");
	Treekv__KeptReply *kept;

	(void)state;
	cache->tail = 64; /* eight buckets of eight tokens */
	fixture_detail(sample, cache, 8, 2);
	kept = sample->detail->even;
	assert_int_equal(map_check(kept), 0);
	assert_true(map_density(kept, 0, 7) == 1);
	assert_true(map_density(kept, 0, 6) == 0.5);
	assert_true(map_density(kept, 1, 4) == 0.125);
	/* every third row only, of which there are so many fewer */
	kept->group[0]->stride = 3;
	kept->group[0]->rows[6] = 3;
	assert_true(map_density(kept, 0, 6) == 9.0 / 16);
	sample_free(sample);
}

static void assert_refused(Treekv__KeptReply *kept)
{
	assert_int_equal(map_check(kept), -EBADMSG);
}

static void test_maps_that_cannot_be_drawn_are_refused(void **state)
{
	Treekv__Sample *sample = fixture_sample(0);
	Treekv__CacheInfo *cache = fixture_cache(sample, 1, "a");
	Treekv__KeptReply *kept;
	uint64_t saved;

	(void)state;
	cache->tail = 64;
	fixture_detail(sample, cache, 8, 2);
	kept = sample->detail->even;
	saved = kept->edge[3];
	kept->edge[3] = kept->edge[4];
	assert_refused(kept);
	kept->edge[3] = saved;
	kept->group[1]->heads = 0;
	assert_refused(kept);
	kept->group[1]->heads = 1;
	kept->group[1]->stride = 0;
	assert_refused(kept);
	kept->group[1]->stride = 1;
	kept->group[1]->n_scope = 3;
	assert_refused(kept);
	kept->group[1]->n_scope = 0; /* a policy without */
	assert_int_equal(map_check(kept), 0);
	kept->group[1]->n_rows--;
	assert_refused(kept);
	kept->group[1]->n_rows++;
	kept->n_edge = 1;
	assert_refused(kept);
	kept->n_edge = 9;
	sample_free(sample);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edges_divide_the_whole),
		cmocka_unit_test(test_even_buckets_are_even),
		cmocka_unit_test(test_newer_buckets_are_finer),
		cmocka_unit_test(test_level_halves_by_one),
		cmocka_unit_test(test_density_is_the_part_that_is_held),
		cmocka_unit_test(test_maps_that_cannot_be_drawn_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
