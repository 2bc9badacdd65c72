// SPDX-License-Identifier: BSD-2-Clause
/*
 * daemon/exposition.c and endpoint.c on figures that are made up: what comes
 * out is compared with lines written by hand. That whole pages are sound is for
 * promtool and Prometheus to say, in integration/test_metrics.sh.
 */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/cache.h"
#include "daemon/config.h"
#include "daemon/conn_impl.h"
#include "daemon/control.h"
#include "daemon/endpoint.h"
#include "daemon/exposition.h"
#include "daemon/metrics.h"

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static char *page;
static struct listener nobody; /* connects to it */

static void render(const struct control *control, enum exposition_format format,
		   uint32_t tenants)
{
	size_t size;

	free(page);
	assert_int_equal(exposition_new(&page, &size, control, format, tenants),
			 0);
	assert_int_equal(strlen(page), size);
}

static void assert_has(const char *lines)
{
	if (!strstr(page, lines))
		fail_msg("%s\nlacks:\n%s", page, lines);
}

static void assert_lacks(const char *text)
{
	if (strstr(page, text))
		fail_msg("%s\nhas %s", page, text);
}

static void test_the_format_is_the_one_asked_for(void **state)
{
	static const struct {
		const char *accept;
		enum exposition_format format;
	} cases[] = {
		{ NULL, EXPOSITION_TEXT },
		{ "", EXPOSITION_TEXT },
		{ "*/*", EXPOSITION_TEXT },
		{ "application/openmetrics-text", EXPOSITION_OPENMETRICS },
		{ "application/openmetrics-text; version=1.0.0; q=0.3, "
		  "*/*;q=0.1",
		  EXPOSITION_OPENMETRICS },
		{ "text/plain, application/openmetrics-text",
		  EXPOSITION_OPENMETRICS },
		{ "text/plain;q=0.8,\tapplication/openmetrics-text;q=0.7",
		  EXPOSITION_TEXT },
		{ "application/openmetrics-text;q=0", EXPOSITION_TEXT },
		{ "application/openmetrics-text;q=2", EXPOSITION_TEXT },
		{ "application/openmetrics-text;q=nan", EXPOSITION_TEXT },
		{ "application/openmetrics", EXPOSITION_TEXT },
		{ "xapplication/openmetrics-text", EXPOSITION_TEXT },
		{ ",,, ; ,", EXPOSITION_TEXT },
		{ "application/openmetrics-text;", EXPOSITION_OPENMETRICS },
		{ ";application/openmetrics-text", EXPOSITION_TEXT },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(exposition_choose(cases[i].accept),
				 cases[i].format);
}

static void test_a_counter_is_named_as_its_format_wants(void **state)
{
	struct control control = { .listener = &nobody, .counters.creates = 7 };

	(void)state;
	render(&control, EXPOSITION_TEXT, 0);
	assert_has("# HELP treekvd_creates_total Caches created.\n"
		   "# TYPE treekvd_creates_total counter\n"
		   "treekvd_creates_total 7\n");
	assert_has("# TYPE treekvd_build_info gauge\n"
		   "treekvd_build_info{version=\"" TREEKVD_VERSION "\"} 1\n");
	assert_lacks("# UNIT");
	assert_lacks("# EOF");
	render(&control, EXPOSITION_OPENMETRICS, 0);
	assert_has("# HELP treekvd_creates Caches created.\n"
		   "# TYPE treekvd_creates counter\n"
		   "treekvd_creates_total 7\n");
	assert_has("# TYPE treekvd_snapshot_bytes counter\n"
		   "# UNIT treekvd_snapshot_bytes bytes\n"
		   "treekvd_snapshot_bytes_total 0\n");
	assert_has("# TYPE treekvd_build info\n"
		   "treekvd_build_info{version=\"" TREEKVD_VERSION "\"} 1\n");
	assert_string_equal(page + strlen(page) - 7, "\n# EOF\n");
}

static void test_nanoseconds_become_seconds(void **state)
{
	struct control control = { .listener = &nobody };

	(void)state;
	render(&control, EXPOSITION_OPENMETRICS, 0);
	assert_has("# UNIT treekvd_worker_busy_seconds seconds\n"
		   "treekvd_worker_busy_seconds_total 0.000000000\n");
	assert_lacks("nanoseconds");
}

static void test_a_histogram_accumulates(void **state)
{
	static struct control control;
	struct histogram *at = &control.histograms.at[HISTOGRAM_REQUEST_ATTACH];

	(void)state;
	control = (struct control){ .listener = &nobody };
	histogram_add(at, 3, 1); /* below the first bound */
	histogram_add(at, 4095, 2);
	histogram_add(at, 4096, 1); /* in the bucket that begins there */
	histogram_add(at, 1500000000, 1); /* beyond the last bound */
	render(&control, EXPOSITION_TEXT, 0);
	assert_has("# TYPE treekvd_request_seconds histogram\n");
	assert_has("treekvd_request_seconds_bucket{type=\"attach\","
		   "le=\"4.096e-06\"} 3\n"
		   "treekvd_request_seconds_bucket{type=\"attach\","
		   "le=\"1.6384e-05\"} 4\n");
	assert_has("treekvd_request_seconds_bucket{type=\"attach\","
		   "le=\"1.073741824\"} 4\n"
		   "treekvd_request_seconds_bucket{type=\"attach\","
		   "le=\"+Inf\"} 5\n"
		   "treekvd_request_seconds_sum{type=\"attach\"} "
		   "1.500012289\n"
		   "treekvd_request_seconds_count{type=\"attach\"} 5\n");
	assert_has("treekvd_stall_seconds_bucket{le=\"+Inf\"} 0\n"
		   "treekvd_stall_seconds_sum 0.000000000\n"
		   "treekvd_stall_seconds_count 0\n");
}

/* What is said of a user is said of those who take the most. */
static void test_users_are_bounded(void **state)
{
	static const struct {
		uid_t uid;
		uint64_t bytes;
	} made[] = { { 5, 100 }, { 7, 10 }, { 5, 1 }, { 9, 101 }, { 8, 50 } };
	static struct shm_index index;
	static struct shm_rows rows;
	static struct cache caches[COUNT(made)];
	struct control control = { .listener = &nobody };

	(void)state;
	for (size_t i = 0; i < COUNT(made); i++) {
		caches[i].index = &index;
		caches[i].rows = &rows;
		caches[i].uid = made[i].uid;
		caches[i].rows_size = made[i].bytes;
		snprintf(caches[i].name, sizeof(caches[i].name), "%zu", i);
		store_add(&control.store, &caches[i]);
	}
	caches[4].lease = (struct lease *)&caches[4]; /* there is one */
	render(&control, EXPOSITION_TEXT, 2);
	assert_has("treekvd_tenant_pool_used_bytes{uid=\"5\"} 101\n"
		   "treekvd_tenant_pool_used_bytes{uid=\"9\"} 101\n"
		   "treekvd_tenant_pool_used_bytes{uid=\"other\"} 60\n");
	assert_has("treekvd_tenant_caches{uid=\"5\"} 2\n"
		   "treekvd_tenant_caches{uid=\"9\"} 1\n"
		   "treekvd_tenant_caches{uid=\"other\"} 2\n");
	assert_has("treekvd_tenant_leases{uid=\"other\"} 1\n");
	assert_lacks("uid=\"7\"");
	render(&control, EXPOSITION_TEXT, 100);
	assert_has("treekvd_tenant_caches{uid=\"7\"} 1\n"
		   "treekvd_tenant_caches{uid=\"other\"} 0\n");
	render(&control, EXPOSITION_TEXT, 0);
	assert_has("# TYPE treekvd_tenant_caches gauge\n"
		   "treekvd_tenant_caches{uid=\"other\"} 5\n");
	quota_exit(&control.store.quotas);
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && !strcmp(text + n - m, end);
}

static void test_the_table_follows_the_conventions(void **state)
{
	(void)state;
	for (size_t i = 0; i < metrics_count; i++) {
		const struct metric *m = &metrics[i];
		const char *name = m->name;
		char unit[32];

		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"),
				 strlen(name));
		assert_true(ends_with(name, "_total") == m->counter);
		assert_false(ends_with(m->help, "."));
		assert_null(strpbrk(m->help, "\\\"\n"));
		snprintf(unit, sizeof(unit), "_%s%s", m->unit,
			 m->counter ? "_total" : "");
		assert_true(!*m->unit || ends_with(name, unit));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(name, metrics[j].name);
	}
}

static void test_endpoints(void **state)
{
	static const char *const refused[] = {
		"",
		"on",
		"tmp/x",
		"9971",
		":9971",
		"127.0.0.1",
		"127.0.0.1:",
		"127.0.0.1:0",
		"127.0.0.1:65536",
		"127.0.0.1:-1",
		"127.0.0.1:+1",
		"127.0.0.1: 1",
		"127.0.0.1:1x",
		"127.1:9971",
		"128.0.0.1:9971",
		"0.0.0.0:9971",
		"[::]:9971",
		"[::2]:9971",
		"[::ffff:127.0.0.1]:9971",
		"::1:9971",
		"[::1",
		"[:1",
		"[]:1",
		"[::1]x:1",
		"[0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]:9971",
		"localhost:9971",
	};
	struct endpoint e;

	(void)state;
	for (size_t i = 0; i < COUNT(refused); i++)
		assert_int_equal(endpoint_parse(&e, refused[i]), -EINVAL);
	assert_int_equal(endpoint_parse(&e, "off"), 0);
	assert_int_equal(e.kind, ENDPOINT_OFF);
	assert_int_equal(endpoint_parse(&e, "/run/x:1"), 0);
	assert_int_equal(e.kind, ENDPOINT_UNIX);
	assert_int_equal(endpoint_parse(&e, "127.3.2.1:65535"), 0);
	assert_int_equal(e.kind, ENDPOINT_LOOPBACK);
	assert_int_equal(e.address.ss_family, AF_INET);
	assert_int_equal(e.length, sizeof(struct sockaddr_in));
	assert_int_equal(((struct sockaddr_in *)&e.address)->sin_port,
			 htons(65535));
	assert_int_equal(((struct sockaddr_in *)&e.address)->sin_addr.s_addr,
			 htonl(0x7f030201));
	assert_int_equal(endpoint_parse(&e, "[::1]:1"), 0);
	assert_int_equal(e.address.ss_family, AF_INET6);
	assert_int_equal(e.length, sizeof(struct sockaddr_in6));
}

static int forget_page(void **state)
{
	(void)state;
	free(page);
	page = NULL;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_format_is_the_one_asked_for),
		cmocka_unit_test(test_a_counter_is_named_as_its_format_wants),
		cmocka_unit_test(test_nanoseconds_become_seconds),
		cmocka_unit_test(test_a_histogram_accumulates),
		cmocka_unit_test(test_users_are_bounded),
		cmocka_unit_test(test_the_table_follows_the_conventions),
		cmocka_unit_test(test_endpoints),
	};

	return cmocka_run_group_tests(tests, NULL, forget_page);
}
