// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/name.h"
#include "daemon/quota.h"

#define DAEMON 999
#define ALICE  1000
#define TEAM   (NAME_GROUP | 1000)

static struct quotas quotas;

static int setup(void **state)
{
	(void)state;
	quota_init(&quotas, DAEMON);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	quota_exit(&quotas);
	return 0;
}

static void test_refuses_what_is_over(void **state)
{
	char why[QUOTA_TEXT_SIZE];

	(void)state;
	quotas.limit[QUOTA_BYTES] = 100;
	quota_charge(&quotas, ALICE, QUOTA_BYTES, 60);
	assert_int_equal(quota_check(&quotas, ALICE, QUOTA_BYTES, 40, why), 0);
	assert_int_equal(quota_check(&quotas, ALICE, QUOTA_BYTES, 41, why),
			 -EDQUOT);
	assert_non_null(strstr(why, "user 1000"));
	assert_non_null(strstr(why, "60 of 100 bytes"));
	assert_non_null(strstr(why, "takes 41"));
	assert_int_equal(quota_check(&quotas, ALICE, QUOTA_BYTES, UINT64_MAX,
				     why),
			 -EDQUOT);
	/* The group of that number is somebody else. */
	assert_int_equal(quota_check(&quotas, TEAM, QUOTA_BYTES, 100, why), 0);
	assert_int_equal(quota_check(&quotas, TEAM, QUOTA_BYTES, 101, why),
			 -EDQUOT);
	assert_non_null(strstr(why, "group 1000"));
	quota_discharge(&quotas, ALICE, QUOTA_BYTES, 60);
	assert_int_equal(quota_check(&quotas, ALICE, QUOTA_BYTES, 100, why), 0);
}

static void test_lowered_limit_refuses_all(void **state)
{
	char why[QUOTA_TEXT_SIZE];
	uint64_t limit = 1;

	(void)state;
	quota_charge(&quotas, ALICE, QUOTA_CACHES, 5);
	quota_set(&quotas, ALICE, QUOTA_CACHES, &limit);
	assert_int_equal(quota_check(&quotas, ALICE, QUOTA_CACHES, 1, why),
			 -EDQUOT);
	assert_non_null(strstr(why, "5 of 1 caches"));
}

static void test_who_has_no_default(void **state)
{
	uint64_t limit = 3;

	(void)state;
	for (int i = 0; i < QUOTA_KINDS; i++)
		quotas.limit[i] = 7;
	assert_int_equal(quota_limit(&quotas, ALICE, QUOTA_REQUESTS), 7);
	assert_true(quota_limit(&quotas, 0, QUOTA_BYTES) == QUOTA_UNLIMITED);
	assert_true(quota_limit(&quotas, DAEMON, QUOTA_BYTES) ==
		    QUOTA_UNLIMITED);
	assert_int_equal(quota_limit(&quotas, TEAM, QUOTA_CACHES), 7);
	assert_true(quota_limit(&quotas, TEAM, QUOTA_CONNECTIONS) ==
		    QUOTA_UNLIMITED);
	quota_set(&quotas, 0, QUOTA_BYTES, &limit);
	assert_int_equal(quota_limit(&quotas, 0, QUOTA_BYTES), 3);
}

static void test_requests_count_before_configuration(void **state)
{
	uint64_t limit = 5;

	(void)state;
	quotas.limit[QUOTA_CACHES] = 7;
	assert_int_equal(quota_configure(&quotas, "1000 caches=9;@1000 "
						  "caches=none requests=2"),
			 0);
	assert_int_equal(quota_limit(&quotas, ALICE, QUOTA_CACHES), 9);
	assert_true(quota_limit(&quotas, TEAM, QUOTA_CACHES) ==
		    QUOTA_UNLIMITED);
	assert_int_equal(quotas.groups_limited, 1);
	quota_set(&quotas, ALICE, QUOTA_CACHES, &limit);
	assert_int_equal(quota_limit(&quotas, ALICE, QUOTA_CACHES), 5);
	assert_int_equal(quota_configure(&quotas, "1000 caches=11"), 0);
	assert_int_equal(quota_limit(&quotas, ALICE, QUOTA_CACHES), 5);
	assert_int_equal(quota_limit(&quotas, TEAM, QUOTA_CACHES), 7);
	assert_int_equal(quotas.groups_limited, 0);
	quota_set(&quotas, ALICE, QUOTA_CACHES, NULL);
	assert_int_equal(quota_limit(&quotas, ALICE, QUOTA_CACHES), 11);
}

/* A crowd that comes and goes: nothing stays, and nothing goes that counts. */
static void test_accounts_come_and_go(void **state)
{
	const struct quota_account *a = NULL;
	static uint64_t used[1000];
	uint64_t limit = 3, n = 0;

	(void)state;
	srand(1);
	for (int i = 0; i < 100000; i++) {
		uint32_t who = (uint32_t)rand() % 1000;

		if (rand() % 2 && used[who]) {
			quota_discharge(&quotas, who, QUOTA_CONNECTIONS, 1);
			used[who]--;
		} else {
			quota_charge(&quotas, who, QUOTA_CONNECTIONS, 1);
			used[who]++;
		}
	}
	for (uint32_t who = 0; who < 1000; who++) {
		const struct quota_account *account = quota_find(&quotas, who);

		assert_int_equal(account ? account->used[QUOTA_CONNECTIONS] : 0,
				 used[who]);
		assert_true(!account == !used[who]);
		quota_discharge(&quotas, who, QUOTA_CONNECTIONS, used[who]);
	}
	assert_null(quota_next(&quotas, NULL));
	quota_set(&quotas, ALICE, QUOTA_BYTES, &limit);
	quota_set(&quotas, TEAM, QUOTA_BYTES, &limit);
	while ((a = quota_next(&quotas, a)))
		n++;
	assert_int_equal(n, 2);
}

static void test_refuses_what_is_no_quota(void **state)
{
	static const char *const bad[] = {
		"nosuchuserhere caches=1",
		"@nosuchgrouphere caches=1",
		"1000 caches",
		"1000 caches=",
		"1000 caches=-1",
		"1000 caches=1x",
		"1000 cache=1",
		"1000 =1",
		"1000 caches=1G",
		"4294967295 caches=1",
		"@ caches=1",
		"1000 caches=1;1001 x",
		"1000 caches=18446744073709551616",
	};
	char why[QUOTA_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		*why = '\0';
		if (quota_parse(bad[i], NULL, NULL, why) != -EINVAL || !*why)
			fail_msg("%s: %s", bad[i], why);
	}
	assert_int_equal(quota_parse("", NULL, NULL, why), 0);
	assert_int_equal(quota_parse(";;1000  bytes=1G\tcaches=0 ;", NULL, NULL,
				     why),
			 0);
	assert_int_equal(quota_parse("root caches=1; @root caches=1", NULL,
				     NULL, why),
			 0);
}

static void test_names_become_numbers(void **state)
{
	char why[QUOTA_TEXT_SIZE], *text;

	(void)state;
	assert_int_equal(quota_resolve(&text,
				       "root caches=1 bytes=1K;; 1000 "
				       "requests=none;@root connections=0",
				       why),
			 0);
	assert_string_equal(text, "0 bytes=1024 caches=1;1000 requests=none;"
				  "@0 connections=0");
	free(text);
	assert_int_equal(quota_resolve(&text, "", why), 0);
	assert_string_equal(text, "");
	free(text);
	assert_int_equal(quota_resolve(&text, "root caches=1;nosuchuserhere",
				       why),
			 -EINVAL);
	assert_string_equal(why, "there is no user nosuchuserhere");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refuses_what_is_over,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_lowered_limit_refuses_all,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_has_no_default, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_requests_count_before_configuration, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_accounts_come_and_go,
						setup, teardown),
		cmocka_unit_test(test_refuses_what_is_no_quota),
		cmocka_unit_test(test_names_become_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
