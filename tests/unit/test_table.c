// SPDX-License-Identifier: BSD-2-Clause
/* bpf/rows.c, columns.c, filter.c, format.c: what is in a table, and where. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/format.h"
#include "bpf/rows.h"
#include "tests/unit/sample_fixture.h"

#define SECOND UINT64_C(1000000000)

static const struct columns *caches = &tables[TABLE_OF_CACHES];

struct table {
	Treekv__Sample *before;
	Treekv__Sample *now;
	struct rates *rates;
	struct rows rows;
	struct filter filter;
};

static Treekv__CacheInfo *add(struct table *t, uint64_t id, const char *name,
			      uint64_t tail, uint64_t speed)
{
	Treekv__CacheInfo *info;

	fixture_cache(t->before, id, name)->tail = tail;
	info = fixture_cache(t->now, id, name);
	info->tail = tail + speed;
	info->held = (uint32_t)(info->tail < 128 ? info->tail : 128);
	info->bytes = id << 20;
	return info;
}

/* Four caches; alpha is written, delta has stalled, gamma is as beta. */
static int setup(void **state)
{
	struct table *t = calloc(1, sizeof(*t));
	Treekv__CacheInfo *info;

	t->before = fixture_sample(0);
	t->now = fixture_sample(SECOND);
	info = add(t, 1, "alpha", 1000, 500);
	fixture_writer(t->now, info, 77, "treekv-run --model big");
	fixture_compactions(info, 12, 50);
	add(t, 2, "beta", 20, 0);
	add(t, 3, "gamma", 20, 0);
	info = add(t, 4, "delta", 90000, 20);
	info->stalls = 3;
	info->uid = 5; /* nobody knows his name */
	info->spec->policy = TREEKV__POLICY__H2O;
	fixture_compactions(info, 20, 50);
	assert_int_equal(rates_new(&t->rates, t->before, t->now), 0);
	assert_int_equal(rows_init(&t->rows, TABLE_OF_CACHES, t->now, t->rates),
			 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct table *t = *state;

	rows_exit(&t->rows);
	rates_free(t->rates);
	sample_free(t->before);
	sample_free(t->now);
	free(t);
	return 0;
}

/* "alpha delta beta gamma" */
static const char *names(const struct table *t)
{
	static char text[256];

	*text = '\0';
	for (size_t i = 0; i < t->rows.shown; i++) {
		const struct cache_row *row =
			(const void *)rows_at(&t->rows, i);

		strcat(text, i ? " " : "");
		strcat(text, row->info->name);
	}
	return text;
}

static void arrange(struct table *t, const char *sort, bool descending)
{
	rows_arrange(&t->rows, &t->filter, columns_find(caches, sort),
		     descending);
}

static void test_rows_are_sorted_by_any_column(void **state)
{
	struct table *t = *state;

	arrange(t, "tokens", true);
	assert_string_equal(names(t), "delta alpha beta gamma");
	arrange(t, "tokens", false);
	assert_string_equal(names(t), "beta gamma alpha delta");
	arrange(t, "name", false);
	assert_string_equal(names(t), "alpha beta delta gamma");
	arrange(t, "name", true);
	assert_string_equal(names(t), "gamma delta beta alpha");
	arrange(t, "tokens/s", true);
	assert_string_equal(names(t), "alpha delta beta gamma");
	arrange(t, "memory", true);
	assert_string_equal(names(t), "delta gamma beta alpha");
	arrange(t, "stalls", true);
	assert_string_equal(names(t), "delta alpha beta gamma");
}

static void test_unknown_figures_are_last_both_ways(void **state)
{
	struct table *t = *state;

	arrange(t, "p99", true);
	assert_string_equal(names(t), "delta alpha beta gamma");
	arrange(t, "p99", false);
	assert_string_equal(names(t), "alpha delta beta gamma");
	arrange(t, "pid", true);
	assert_string_equal(names(t), "alpha beta gamma delta");
}

static void test_every_column_can_be_sorted_by(void **state)
{
	struct table *t = *state;
	char cell[CELL_SIZE];

	for (size_t i = 0; i < caches->n; i++) {
		rows_arrange(&t->rows, &t->filter, i, true);
		assert_int_equal(t->rows.shown, 4);
		assert_int_equal(columns_find(caches, caches->column[i].key),
				 i);
		caches->column[i].text(cell, sizeof(cell),
				       rows_at(&t->rows, 0));
		assert_true(strlen(cell) < sizeof(cell));
	}
	assert_int_equal(columns_find(caches, "nothing"), caches->n);
}

static const char *filtered(struct table *t, const char *text)
{
	char why[512] = "";

	assert_int_equal(
		filter_parse(&t->filter, caches, text, why, sizeof(why)), 0);
	arrange(t, "memory", false);
	return names(t);
}

static void test_filters_leave_what_holds(void **state)
{
	struct table *t = *state;

	assert_string_equal(filtered(t, ""), "alpha beta gamma delta");
	assert_string_equal(filtered(t, "  "), "alpha beta gamma delta");
	assert_string_equal(filtered(t, "ETA"), "beta");
	assert_string_equal(filtered(t, "run"), "alpha"); /* its command */
	assert_string_equal(filtered(t, "writing"), "alpha");
	assert_string_equal(filtered(t, "!writing"), "beta gamma delta");
	assert_string_equal(filtered(t, "name=beta"), "beta");
	assert_string_equal(filtered(t, "name=bet"), "");
	assert_string_equal(filtered(t, "name~bet"), "beta");
	assert_string_equal(filtered(t, "name!=beta"), "alpha gamma delta");
	assert_string_equal(filtered(t, "!name=beta"), "alpha gamma delta");
	assert_string_equal(filtered(t, "tokens>20"), "alpha delta");
	assert_string_equal(filtered(t, "tokens>=20"),
			    "alpha beta gamma delta");
	assert_string_equal(filtered(t, "tokens<=20"), "beta gamma");
	assert_string_equal(filtered(t, "tokens<20"), "");
	assert_string_equal(filtered(t, "tokens=1500"), "alpha");
	assert_string_equal(filtered(t, "tokens>1.4k tokens<2k"), "alpha");
	assert_string_equal(filtered(t, "memory>2M"), "gamma delta");
	assert_string_equal(filtered(t, "p99>100us"), "delta");
	assert_string_equal(filtered(t, "p99<100us"), "alpha");
	assert_string_equal(filtered(t, "policy=h2o stalls>0"), "delta");
	assert_string_equal(filtered(t, "owner=root a !alpha"), "beta gamma");
}

static void refuse(struct table *t, const char *text, const char *words)
{
	char why[512] = "";

	assert_int_equal(filter_parse(&t->filter, caches, text, why,
				      sizeof(why)),
			 -EINVAL);
	assert_non_null(strstr(why, words));
}

static void test_senseless_filters_are_refused(void **state)
{
	struct table *t = *state;
	char many[200] = "", why[128];

	assert_string_equal(filtered(t, "name=beta"), "beta");
	refuse(t, "nmae=beta", "no column 'nmae'; there are name owner");
	refuse(t, "tokens>many", "'many' is no figure");
	refuse(t, "tokens>5x", "'5x' is no figure");
	refuse(t, "name>5", "name is a text");
	for (int i = 0; i < FILTER_TERMS + 1; i++)
		strcat(many, "a ");
	refuse(t, many, "terms at most");
	memset(many, 'a', sizeof(many) - 1);
	refuse(t, many, "bytes at most");
	/* and the one before stands */
	arrange(t, "name", false);
	assert_string_equal(names(t), "beta");
	/* a message that does not fit is cut off, not run over */
	assert_int_equal(filter_parse(&t->filter, caches, "nmae=beta", why, 20),
			 -EINVAL);
	assert_int_equal(strlen(why), 19);
}

static void test_rows_are_found_by_key(void **state)
{
	struct table *t = *state;

	filtered(t, "tokens>20");
	assert_int_equal(rows_find(&t->rows, 4), 1);
	assert_int_equal(rows_find(&t->rows, 2), t->rows.shown);
}

/* Those on disk have no number, and yet are not the same. */
static void test_caches_on_disk_have_keys(void **state)
{
	Treekv__Sample *now = fixture_sample(0);
	struct rates *rates;
	struct rows rows;

	(void)state;
	fixture_cache(now, 0, "a");
	fixture_cache(now, 0, "b");
	fixture_cache(now, 0, "a")->uid = 9;
	assert_int_equal(rates_new(&rates, NULL, now), 0);
	assert_int_equal(rows_init(&rows, TABLE_OF_CACHES, now, rates), 0);
	rows_arrange(&rows, &(struct filter){ 0 }, 0, false);
	assert_int_equal(rows.shown, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(rows_find(&rows, rows_at(&rows, i)->key), i);
	rows_exit(&rows);
	rates_free(rates);
	sample_free(now);
}

static void test_clients_have_their_caches(void **state)
{
	Treekv__Sample *now = fixture_sample(0);
	const struct client_row *row;
	struct rates *rates;
	struct rows rows;

	(void)state;
	fixture_client(now, 70, "idler");
	fixture_client(now, 77, "treekv-run")->leases = 1;
	fixture_cache(now, 1, "story")->stalls = 4;
	fixture_writer(now, now->list->cache[0], 77, "treekv-run x");
	assert_int_equal(rates_new(&rates, NULL, now), 0);
	assert_int_equal(rows_init(&rows, TABLE_OF_CLIENTS, now, rates), 0);
	rows_arrange(&rows, &(struct filter){ 0 }, 0, true);
	row = (const void *)rows_at(&rows, 0);
	assert_int_equal(row->client->pid, 77);
	assert_string_equal(row->cache, "story");
	assert_string_equal(row->command, "treekv-run x");
	assert_true(row->stalls == 4);
	row = (const void *)rows_at(&rows, 1);
	assert_string_equal(row->cache, "");
	rows_exit(&rows);
	rates_free(rates);
	sample_free(now);
}

static void test_everybody_is_found(void **state)
{
	Treekv__Sample *now = fixture_sample(0);
	char name[16];

	(void)state;
	for (uint32_t i = 1; i <= 9; i++) {
		snprintf(name, sizeof(name), "cache-%u", i);
		fixture_client(now, 10 * i, "p");
		fixture_writer(now, fixture_cache(now, i, name), 10 * i, name);
	}
	for (uint32_t i = 1; i <= 9; i++) {
		snprintf(name, sizeof(name), "cache-%u", i);
		assert_string_equal(sample_command(now, 10 * i), name);
		assert_string_equal(sample_cache(now, i)->name, name);
		assert_int_equal(sample_client(now, 10 * i), i - 1);
		assert_null(sample_command(now, 10 * i + 1));
		assert_int_equal(sample_client(now, 10 * i - 1), 9);
	}
	assert_null(sample_cache(now, 0));
	assert_null(sample_owner(now, 1));
	assert_string_equal(sample_owner(now, 0), "root");
	assert_true(isnan(sample_metric(now, "none")));
	sample_free(now);
}

/* What a column shows fits the width that it asks for. */
static void test_figures_are_short(void **state)
{
	static const struct {
		void (*format)(char *to, size_t size, double value);
		double value;
		const char *text;
	} figures[] = {
		{ format_count, 0, "0" },
		{ format_count, 9999, "9999" },
		{ format_count, 9999.6, "10.0k" },
		{ format_count, 99960, "100k" },
		{ format_count, 999950, "1.00M" },
		{ format_count, 123456789, "123M" },
		{ format_count, 4294967294.0, "4.29G" },
		{ format_count, NAN, "-" },
		{ format_count, -1, "-" },
		{ format_rate, 0, "0" },
		{ format_rate, 0.25, "0.25" },
		{ format_rate, 12.34, "12.3" },
		{ format_rate, 99.96, "100" },
		{ format_rate, 12345, "12.3k" },
		{ format_bytes, 512, "512B" },
		{ format_bytes, 1024, "1.00K" },
		{ format_bytes, 1536, "1.50K" },
		{ format_bytes, 5.0 * (1 << 30), "5.00G" },
		{ format_time, 0, "0ns" },
		{ format_time, 850, "850ns" },
		{ format_time, 12345, "12.3us" },
		{ format_time, 4.56e6, "4.56ms" },
		{ format_time, 1.2e9, "1.20s" },
		{ format_time, 119e9, "119s" },
		{ format_time, 7200e9, "2h" },
		{ format_age, 59.9, "59s" },
		{ format_age, 120, "2min" },
		{ format_age, 7199, "119min" },
		{ format_age, 7200, "2h" },
		{ format_age, 86400 * 3, "3d" },
		{ format_part, 0, "0%" },
		{ format_part, 0.004, "0.4%" },
		{ format_part, 0.5, "50%" },
		{ format_part, INFINITY, "-" },
	};
	char text[FORMAT_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(figures) / sizeof(*figures); i++) {
		figures[i].format(text, sizeof(text), figures[i].value);
		assert_string_equal(text, figures[i].text);
	}
	for (double value = 1e-3; value < 1e15; value *= 1.07) {
		format_count(text, sizeof(text), value);
		assert_true(strlen(text) <= 5);
		format_rate(text, sizeof(text), value);
		assert_true(strlen(text) <= 5);
		format_bytes(text, sizeof(text), value);
		assert_true(strlen(text) <= 6);
		if (value < 1e14) {
			format_time(text, sizeof(text), value);
			assert_true(strlen(text) <= 6);
		}
	}
}

static void test_figures_are_read(void **state)
{
	double value;

	(void)state;
	assert_int_equal(format_parse(&value, "2.5ms"), 0);
	assert_true(value == 2.5e6);
	assert_int_equal(format_parse(&value, "50%"), 0);
	assert_true(value == 0.5);
	assert_int_equal(format_parse(&value, "4K"), 0);
	assert_true(value == 4096);
	assert_int_equal(format_parse(&value, ""), -EINVAL);
	assert_int_equal(format_parse(&value, "k"), -EINVAL);
	assert_int_equal(format_parse(&value, "nan"), -EINVAL);
	assert_int_equal(format_parse(&value, "inf"), -EINVAL);
	assert_int_equal(format_parse(&value, "5 s"), -EINVAL);
}

static void test_quantiles_are_within_their_bucket(void **state)
{
	uint64_t bucket[HISTOGRAM_BUCKETS] = { 0 };
	double q50, q99;

	(void)state;
	assert_true(isnan(sample_quantile(bucket, HISTOGRAM_BUCKETS, 0.5)));
	/* 99 values of 1,000 ns, one of 1,000,000 */
	bucket[9] = 99;
	bucket[19] = 1;
	q50 = sample_quantile(bucket, HISTOGRAM_BUCKETS, 0.5);
	assert_true(q50 > 512 && q50 < 1024);
	q99 = sample_quantile(bucket, HISTOGRAM_BUCKETS, 0.99);
	assert_true(q99 > q50 && q99 <= 1024);
	q99 = sample_quantile(bucket, HISTOGRAM_BUCKETS, 0.999);
	assert_true(q99 > 524288 && q99 <= 1048576);
	memset(bucket, 0, sizeof(bucket));
	bucket[63] = UINT64_MAX / 2;
	bucket[0] = UINT64_MAX / 2;
	assert_true(sample_quantile(bucket, HISTOGRAM_BUCKETS, 0.25) <= 2);
	assert_true(sample_quantile(bucket, HISTOGRAM_BUCKETS, 0.75) >= 0x1p63);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_rows_are_sorted_by_any_column),
		TEST(test_unknown_figures_are_last_both_ways),
		TEST(test_every_column_can_be_sorted_by),
		TEST(test_filters_leave_what_holds),
		TEST(test_senseless_filters_are_refused),
		TEST(test_rows_are_found_by_key),
		cmocka_unit_test(test_caches_on_disk_have_keys),
		cmocka_unit_test(test_clients_have_their_caches),
		cmocka_unit_test(test_everybody_is_found),
		cmocka_unit_test(test_figures_are_short),
		cmocka_unit_test(test_figures_are_read),
		cmocka_unit_test(test_quantiles_are_within_their_bucket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
