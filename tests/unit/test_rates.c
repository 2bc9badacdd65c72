// SPDX-License-Identifier: BSD-2-Clause
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/history.h"
#include "bpf/rates.h"
#include "tests/unit/sample_fixture.h"

#define SECOND UINT64_C(1000000000)

static struct rates *rates_of(const Treekv__Sample *before,
			      const Treekv__Sample *now)
{
	struct rates *rates;

	assert_int_equal(rates_new(&rates, before, now), 0);
	return rates;
}

static void assert_near(double is, double wanted)
{
	assert_true(fabs(is - wanted) < 1e-9 * (1 + fabs(wanted)));
}

static void set_counters(Treekv__CacheInfo *cache, uint64_t tail,
			 uint64_t evictions, uint64_t stalls, uint64_t stall_ns)
{
	cache->tail = tail;
	cache->evictions = evictions;
	cache->compactions = evictions / 16;
	cache->stalls = stalls;
	cache->stall_ns = stall_ns;
}

static void test_differences_are_a_second(void **state)
{
	Treekv__Sample *before = fixture_sample(0);
	Treekv__Sample *now = fixture_sample(2 * SECOND);
	struct rates *rates;

	(void)state;
	set_counters(fixture_cache(before, 1, "a"), 100, 320, 1, 1000);
	set_counters(fixture_cache(now, 1, "a"), 700, 640, 5, 1000 + SECOND);
	fixture_metric(before, "evictions_total", 1000);
	fixture_metric(now, "evictions_total", 1500);
	rates = rates_of(before, now);
	assert_near(rates->seconds, 2);
	assert_near(rates->cache[0].tokens, 300);
	assert_near(rates->cache[0].evictions, 160);
	assert_near(rates->cache[0].compactions, 10);
	assert_near(rates->cache[0].stalls, 2);
	assert_near(rates->cache[0].stalled, 0.5);
	assert_near(rates->tokens, 300);
	assert_near(rates->evictions, 250);
	assert_true(isnan(rates->stalls)); /* no such metric */
	rates_free(rates);
	sample_free(before);
	sample_free(now);
}

static void test_first_sample_has_no_rates(void **state)
{
	Treekv__Sample *now = fixture_sample(0);
	struct rates *rates;

	(void)state;
	fixture_cache(now, 1, "a");
	fixture_worker(now, 7);
	fixture_client(now, 8, "p");
	rates = rates_of(NULL, now);
	assert_int_equal(rates->caches, 1);
	assert_true(isnan(rates->cache[0].tokens));
	assert_true(isnan(rates->worker[0].load));
	assert_true(isnan(rates->client[0].requests));
	assert_true(isnan(rates->tokens));
	assert_true(isnan(rates->seconds));
	rates_free(rates);
	sample_free(now);
}

static void test_caches_are_matched_in_any_order(void **state)
{
	static const uint64_t ids[] = { 9, 3, 7, 1, 5 };
	Treekv__Sample *before = fixture_sample(0);
	Treekv__Sample *now = fixture_sample(SECOND);
	struct rates *rates;
	char name[8];

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		name[0] = (char)('a' + ids[i]);
		name[1] = '\0';
		fixture_cache(before, ids[i], name)->tail = 10;
	}
	for (size_t i = 5; i--;) {
		name[0] = (char)('a' + ids[i]);
		fixture_cache(now, ids[i], name)->tail = 10 + ids[i];
	}
	fixture_cache(now, 11, "new")->tail = 50;
	rates = rates_of(before, now);
	for (size_t i = 0; i < 5; i++)
		assert_near(rates->cache[i].tokens, (double)ids[4 - i]);
	assert_true(isnan(rates->cache[5].tokens));
	assert_near(rates->tokens, 25);
	rates_free(rates);
	sample_free(before);
	sample_free(now);
}

/* A daemon without a keeper begins with number 1 again. */
static void test_another_cache_of_the_number_is_another(void **state)
{
	Treekv__Sample *before = fixture_sample(0);
	Treekv__Sample *now = fixture_sample(SECOND);
	struct rates *rates;

	(void)state;
	fixture_cache(before, 1, "a")->tail = 10;
	fixture_cache(before, 2, "b")->tail = 10;
	fixture_cache(now, 1, "other")->tail = 500;
	fixture_cache(now, 2, "b")->tail = 500;
	now->list->cache[1]->created++;
	/* on disk only: no number at all */
	fixture_cache(before, 0, "d")->tail = 1;
	fixture_cache(now, 0, "d")->tail = 2;
	rates = rates_of(before, now);
	assert_true(isnan(rates->cache[0].tokens));
	assert_true(isnan(rates->cache[1].tokens));
	assert_true(isnan(rates->cache[2].tokens));
	assert_near(rates->tokens, 0);
	rates_free(rates);
	sample_free(before);
	sample_free(now);
}

static void test_restart_is_no_rate(void **state)
{
	Treekv__Sample *before = fixture_sample(0);
	Treekv__Sample *now = fixture_sample(SECOND);
	struct rates *rates;

	(void)state;
	set_counters(fixture_cache(before, 1, "a"), 100, 160, 0, 0);
	set_counters(fixture_cache(now, 1, "a"), 150, 16, 0, 0);
	fixture_metric(before, "evictions_total", 1000);
	fixture_metric(now, "evictions_total", 5000);
	now->pid = 101;
	fixture_worker(before, 7)->busy_ns = 500;
	fixture_worker(now, 8)->busy_ns = 100;
	rates = rates_of(before, now);
	assert_near(rates->cache[0].tokens, 50); /* the cache outlived it */
	assert_true(isnan(rates->cache[0].evictions)); /* has fallen */
	assert_true(isnan(rates->evictions)); /* another daemon's */
	assert_true(isnan(rates->worker[0].load));
	assert_true(isnan(rates->load));
	rates_free(rates);
	sample_free(before);
	sample_free(now);
}

static void test_time_that_stands_still_is_no_rate(void **state)
{
	Treekv__Sample *before = fixture_sample(SECOND);
	Treekv__Sample *now = fixture_sample(SECOND);
	struct rates *rates;

	(void)state;
	fixture_cache(before, 1, "a")->tail = 10;
	fixture_cache(now, 1, "a")->tail = 20;
	rates = rates_of(before, now);
	assert_true(isnan(rates->cache[0].tokens));
	rates_free(rates);
	now->clock = before->clock - 5;
	rates = rates_of(before, now);
	assert_true(isnan(rates->cache[0].tokens));
	rates_free(rates);
	sample_free(before);
	sample_free(now);
}

static void test_workers_share_their_time(void **state)
{
	Treekv__Sample *before = fixture_sample(0);
	Treekv__Sample *now = fixture_sample(SECOND);
	Treekv__Worker *worker;
	struct rates *rates;

	(void)state;
	fixture_worker(before, 7);
	fixture_worker(before, 8);
	worker = fixture_worker(now, 8);
	worker->busy_ns = SECOND / 4;
	worker->has_cpu_ns = worker->has_delay_ns = true;
	worker->delay_ns = SECOND / 10;
	worker = fixture_worker(now, 7);
	worker->busy_ns = SECOND / 2;
	before->workers->worker[1]->has_cpu_ns = true;
	before->workers->worker[1]->has_delay_ns = true;
	rates = rates_of(before, now);
	assert_near(rates->worker[0].load, 0.25);
	assert_near(rates->worker[0].delay, 0.1);
	assert_near(rates->worker[1].load, 0.5);
	assert_true(isnan(rates->worker[1].delay)); /* the kernel counts none */
	assert_near(rates->load, 0.5); /* the busiest */
	rates_free(rates);
	sample_free(before);
	sample_free(now);
}

static void test_clients_have_their_caches_tokens(void **state)
{
	Treekv__Sample *before = fixture_sample(0);
	Treekv__Sample *now = fixture_sample(SECOND);
	struct rates *rates;

	(void)state;
	fixture_client(before, 50, "p")->requests = 10;
	fixture_client(now, 40, "new");
	fixture_client(now, 50, "p")->requests = 14;
	for (uint64_t id = 1; id <= 3; id++) {
		char name[] = { (char)('a' + id), '\0' };

		fixture_cache(before, id, name);
		fixture_cache(now, id, name)->tail = 100 * id;
	}
	fixture_writer(now, now->list->cache[0], 50, "p");
	fixture_writer(now, now->list->cache[2], 60, "not connected");
	now->list->cache[1]->has_writer_pid = true;
	now->list->cache[1]->writer_pid = 50;
	rates = rates_of(before, now);
	assert_true(isnan(rates->client[0].requests));
	assert_near(rates->client[0].tokens, 0);
	assert_near(rates->client[1].requests, 4);
	assert_near(rates->client[1].tokens, 300);
	rates_free(rates);
	sample_free(before);
	sample_free(now);
}

/* The daemon was away: nothing is known, and nothing breaks. */
static void test_trouble_between_samples(void **state)
{
	Treekv__Sample *before = fixture_sample(0);
	Treekv__Sample *trouble = sample_new("/run/test.sock");
	struct rates *rates;

	(void)state;
	fixture_cache(before, 1, "a");
	trouble->trouble = strdup("it is away");
	trouble->clock = 5 * SECOND;
	rates = rates_of(before, trouble);
	assert_int_equal(rates->caches, 0);
	assert_true(isnan(rates->tokens));
	rates_free(rates);
	before->clock = 6 * SECOND;
	rates = rates_of(trouble, before);
	assert_true(isnan(rates->cache[0].tokens));
	rates_free(rates);
	sample_free(before);
	sample_free(trouble);
}

static void test_history_is_a_ring(void **state)
{
	static struct history history;
	struct rates rates = { 0 };
	struct cache_rates cache = { 0 };

	(void)state;
	assert_true(isnan(history_at(&history, HISTORY_TOKENS, 0)));
	for (int i = 0; i < HISTORY_LENGTH + 10; i++) {
		rates.tokens = i;
		cache.tokens = 2 * i;
		history_add(&history, &rates, i % 2 ? &cache : NULL);
	}
	for (size_t ago = 0; ago < HISTORY_LENGTH; ago++)
		assert_near(history_at(&history, HISTORY_TOKENS, ago),
			    (double)(HISTORY_LENGTH + 9 - ago));
	assert_true(
		isnan(history_at(&history, HISTORY_TOKENS, HISTORY_LENGTH)));
	assert_near(history_most(&history, HISTORY_TOKENS, 5),
		    HISTORY_LENGTH + 9);
	assert_near(history_most(&history, HISTORY_CACHE, 2),
		    2 * (HISTORY_LENGTH + 9));
	assert_true(isnan(history_at(&history, HISTORY_CACHE, 1)));
	history_forget(&history, HISTORY_CACHE);
	assert_near(history_most(&history, HISTORY_CACHE, HISTORY_LENGTH), 0);
	assert_near(history_at(&history, HISTORY_TOKENS, 0),
		    HISTORY_LENGTH + 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_differences_are_a_second),
		cmocka_unit_test(test_first_sample_has_no_rates),
		cmocka_unit_test(test_caches_are_matched_in_any_order),
		cmocka_unit_test(test_another_cache_of_the_number_is_another),
		cmocka_unit_test(test_restart_is_no_rate),
		cmocka_unit_test(test_time_that_stands_still_is_no_rate),
		cmocka_unit_test(test_workers_share_their_time),
		cmocka_unit_test(test_clients_have_their_caches_tokens),
		cmocka_unit_test(test_trouble_between_samples),
		cmocka_unit_test(test_history_is_a_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
