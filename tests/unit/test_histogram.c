// SPDX-License-Identifier: BSD-2-Clause
/*
 * proto/histogram.c and daemon/histogram.c against counting by hand: buckets
 * against a loop that doubles, quantiles against the sorted values themselves.
 * And stall.c, whose writer here is a liar when it suits him.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/cache.h"
#include "daemon/histogram.h"
#include "daemon/stall.h"

#define VALUES 5000

static unsigned int bucket_by_hand(uint64_t ns)
{
	unsigned int i = 0;

	while (i < 63 && ns >= UINT64_C(2) << i)
		i++;
	return i;
}

static void test_a_value_is_in_the_bucket_of_its_power(void **state)
{
	(void)state;
	assert_int_equal(histogram_bucket(0), 0);
	assert_int_equal(histogram_bucket(1), 0);
	assert_int_equal(histogram_bucket(UINT64_MAX), 63);
	for (unsigned int i = 1; i < 64; i++) {
		uint64_t low = UINT64_C(1) << i;

		assert_int_equal(histogram_bucket(low), i);
		assert_int_equal(histogram_bucket(low - 1), i - 1);
		assert_int_equal(histogram_bucket(low | 1),
				 bucket_by_hand(low | 1));
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* It cannot be nearer than its bucket, and must not be farther away. */
static void test_a_quantile_is_in_the_bucket_of_the_true_one(void **state)
{
	static const double shares[] = { 0.01, 0.25, 0.5, 0.9, 0.99, 1 };
	static uint64_t values[VALUES];
	struct histogram h = { 0 };
	uint64_t sum = 0;

	(void)state;
	srandom(1);
	for (size_t i = 0; i < VALUES; i++) {
		values[i] = (uint64_t)random() >> (random() % 31);
		sum += values[i];
		histogram_add(&h, values[i], 1);
	}
	assert_int_equal(histogram_count(&h), VALUES);
	assert_int_equal(h.sum, sum);
	qsort(values, VALUES, sizeof(*values), compare);
	for (size_t i = 0; i < sizeof(shares) / sizeof(*shares); i++) {
		size_t at = (size_t)(shares[i] * VALUES);
		uint64_t truth = values[at ? at - 1 : 0];
		double q = histogram_quantile(h.bucket, HISTOGRAM_BUCKETS,
					      shares[i]);
		unsigned int b = bucket_by_hand(truth);

		assert_true(q >= (b ? (double)(UINT64_C(1) << b) : 0));
		assert_true(q <= (double)(UINT64_C(2) << b));
	}
}

static void test_quantiles_of_few_values(void **state)
{
	uint64_t bucket[HISTOGRAM_BUCKETS] = { 0 };

	(void)state;
	assert_true(histogram_quantile(bucket, 0, 0.5) == 0);
	assert_true(histogram_quantile(bucket, HISTOGRAM_BUCKETS, 0.5) == 0);
	bucket[10] = 4; /* 1024 to 2048 */
	assert_true(histogram_quantile(bucket, 11, 0.5) == 1536);
	assert_true(histogram_quantile(bucket, 11, 1) == 2048);
	assert_true(histogram_quantile(bucket, 11, 0) == 1024);
	bucket[20] = 4;
	assert_true(histogram_quantile(bucket, 21, 0.5) == 2048);
	assert_true(histogram_quantile(bucket, 21, 1) == 0x1p21);
	memset(bucket, 0, sizeof(bucket));
	bucket[63] = 1;
	assert_true(histogram_quantile(bucket, HISTOGRAM_BUCKETS, 1) == 0x1p64);
}

static void test_each_row_of_the_table_is_whole(void **state)
{
	(void)state;
	for (size_t i = 0; i < HISTOGRAMS; i++) {
		const struct histogram_row *row = &histogram_rows[i];

		assert_non_null(row->name);
		assert_non_null(row->family);
		assert_non_null(row->help);
		assert_true(row->step && row->low < row->high);
		assert_int_equal((row->high - row->low) % row->step, 0);
		assert_true(row->high < HISTOGRAM_BUCKETS);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(row->name,
						histogram_rows[j].name);
	}
}

static atomic_bool is_over;

static void *add_values(void *own)
{
	for (uint64_t i = 0; i < 1000000; i++)
		histogram_add(own, i, 1);
	is_over = true;
	return NULL;
}

/* Without a lock, and TSan has nothing to say. */
static void test_a_reader_sees_a_writer_go_on(void **state)
{
	static struct histogram own;
	struct histogram sum;
	uint64_t n, last = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, add_values, &own), 0);
	do {
		sum = (struct histogram){ 0 };
		histogram_sum(&sum, &own);
		n = histogram_count(&sum);
		assert_true(n >= last);
		last = n;
	} while (!is_over);
	pthread_join(thread, NULL);
	sum = (struct histogram){ 0 };
	histogram_sum(&sum, &own);
	histogram_sum(&sum, &own);
	assert_int_equal(histogram_count(&sum), 2000000);
	assert_int_equal(sum.sum, UINT64_C(1000000) * 999999);
}

/* ---- stalls ---- */

static struct {
	struct shm_index index;
	struct shm_buffer buffer; /* no prompt has been committed under it */
} order;
static struct shm_rows rows;
static uint64_t n, ns;

static struct cache writer_of(uint64_t tail, uint64_t stalls, uint64_t sum)
{
	rows = (struct shm_rows){ .commit = shm_commit_pack(tail, 0),
				  .stalls = stalls,
				  .stall_ns = sum };
	order.index.buffer[0] = sizeof(order.index);
	return (struct cache){ .rows = &rows, .index = &order.index };
}

static void test_a_stall_is_seen_once_with_its_length(void **state)
{
	struct cache cache = writer_of(1000, 3, 5000000);

	(void)state;
	stall_begin(&cache, 0);
	assert_false(stall_look(&cache, 10000000, &n, &ns));
	rows.stalls = 4;
	rows.stall_ns += 700000;
	assert_true(stall_look(&cache, 11000000, &n, &ns));
	assert_int_equal(n, 1);
	assert_int_equal(ns, 700000);
	assert_false(stall_look(&cache, 12000000, &n, &ns));
	rows.stalls = 7;
	rows.stall_ns += 300000;
	assert_true(stall_look(&cache, 13000000, &n, &ns));
	assert_int_equal(n, 3);
	assert_int_equal(ns, 100000);
}

/* The writer stores two words: a look may come between. */
static void test_half_a_stall_is_none_yet(void **state)
{
	struct cache cache = writer_of(1000, 0, 0);

	(void)state;
	stall_begin(&cache, 0);
	rows.stalls = 1;
	assert_false(stall_look(&cache, 1000000, &n, &ns));
	rows.stall_ns = 4321;
	assert_true(stall_look(&cache, 2000000, &n, &ns));
	assert_int_equal(n, 1);
	assert_int_equal(ns, 4321);
}

/* Who stalls all the time is in the next stall when the last one is seen. */
static void test_a_stall_may_have_begun_before_the_last_look(void **state)
{
	struct cache cache = writer_of(1000, 0, 0);

	(void)state;
	stall_begin(&cache, 1000000);
	for (uint64_t i = 1; i <= 20; i++) {
		rows.stalls = i;
		rows.stall_ns = i * 990000;
		assert_true(stall_look(&cache, 1000000 + i * 1000000, &n, &ns));
		assert_int_equal(n, 1);
		assert_int_equal(ns, 990000);
	}
}

static void test_a_liar_is_believed_what_he_had_time_for(void **state)
{
	struct cache cache = writer_of(SHM_TAIL_MAX - 1, 0, 0);

	(void)state;
	stall_begin(&cache, 1000000);
	assert_false(stall_look(&cache, 2000000, &n, &ns));
	rows.stalls = 1;
	rows.stall_ns = UINT64_MAX;
	assert_true(stall_look(&cache, 3000000, &n, &ns));
	assert_int_equal(n, 1);
	assert_int_equal(ns, 2000000);
	rows.stalls = 4000000000;
	rows.stall_ns = 5; /* backwards */
	assert_false(stall_look(&cache, 4000000, &n, &ns));
	rows.stalls = 4000000001;
	rows.stall_ns = 6;
	assert_true(stall_look(&cache, 5000000, &n, &ns));
	assert_int_equal(ns, 1);
	rows.stalls = 0;
	rows.stall_ns = 7;
	assert_false(stall_look(&cache, 6000000, &n, &ns));
	rows.stalls = UINT64_MAX; /* no more than tokens */
	rows.stall_ns = 8;
	assert_true(stall_look(&cache, 7000000, &n, &ns));
	assert_int_equal(n, 2000000 / 1000 + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_value_is_in_the_bucket_of_its_power),
		cmocka_unit_test(
			test_a_quantile_is_in_the_bucket_of_the_true_one),
		cmocka_unit_test(test_quantiles_of_few_values),
		cmocka_unit_test(test_each_row_of_the_table_is_whole),
		cmocka_unit_test(test_a_reader_sees_a_writer_go_on),
		cmocka_unit_test(test_a_stall_is_seen_once_with_its_length),
		cmocka_unit_test(test_half_a_stall_is_none_yet),
		cmocka_unit_test(
			test_a_stall_may_have_begun_before_the_last_look),
		cmocka_unit_test(test_a_liar_is_believed_what_he_had_time_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
