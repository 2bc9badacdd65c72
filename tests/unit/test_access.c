// SPDX-License-Identifier: BSD-2-Clause
/*
 * access_check() against a table that is made another way: for every mode, of
 * what kind of person who is and of what each kind may do, one letter at a time.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/access.h"
#include "daemon/name.h"
#include "daemon/store.h"

#define OWNER 1000
#define GROUP 100

static const gid_t none[] = { 7, 8 };
static const gid_t in_it[] = { 7, GROUP, 8 };

/* Everybody who can come, and which of "rw-rw-rw-"'s thirds is about him. */
static const struct {
	const char *what;
	struct access_who who;
	int third; /* -1: the mode is not asked */
} people[] = {
	{ "owner", { OWNER, 7, none, 2, false }, 0 },
	{ "owner in the group", { OWNER, GROUP, in_it, 3, false }, 0 },
	{ "by his group", { 1, GROUP, none, 2, false }, 1 },
	{ "by a group more", { 1, 7, in_it, 3, false }, 1 },
	{ "by groups that are there, not counted",
	  { 1, 7, in_it, 1, false },
	  2 },
	{ "somebody", { 1, 7, none, 2, false }, 2 },
	{ "of no further group", { 1, 7, NULL, 0, false }, 2 },
	{ "whose uid is the gid", { GROUP, OWNER, NULL, 0, false }, 2 },
	{ "root", { 0, 0, NULL, 0, true }, -1 },
	{ "root, not privileged", { 0, 0, NULL, 0, false }, 2 },
	{ "the daemon's own", { 999, 999, NULL, 0, true }, -1 },
};

static void letters(char ret[10], uint32_t mode)
{
	strcpy(ret, "---------");
	for (int i = 0; i < 3; i++) {
		uint32_t digit = mode / (i == 0 ? 64 : i == 1 ? 8 : 1) % 8;

		if (digit == 4 || digit == 6)
			ret[3 * i] = 'r';
		if (digit == 2 || digit == 6)
			ret[3 * i + 1] = 'w';
	}
}

static int naive(size_t person, const char *mode, enum access_right right)
{
	int third = people[person].third;
	bool r, w, owner = third == 0;

	if (third < 0)
		return 0;
	r = mode[3 * third] == 'r';
	w = mode[3 * third + 1] == 'w';
	if ((right == ACCESS_READ && r) || (right == ACCESS_WRITE && r && w) ||
	    (right == ACCESS_OWN && owner))
		return 0;
	return r || owner ? -EACCES : -ENOENT;
}

static void test_every_mode(void **state)
{
	static const enum access_right rights[] = { ACCESS_READ, ACCESS_WRITE,
						    ACCESS_OWN };
	char mode[10];

	(void)state;
	for (uint32_t m = 0; m <= 0666; m++) {
		struct access_what what = { OWNER, GROUP, m };

		if (m & ~ACCESS_MODE_MASK)
			continue;
		letters(mode, m);
		for (size_t p = 0; p < sizeof(people) / sizeof(*people); p++)
			for (size_t i = 0; i < 3; i++) {
				int r = access_check(&people[p].who, &what,
						     rights[i]);

				if (r == naive(p, mode, rights[i]))
					continue;
				fail_msg("%s, %s, right %zu: %d",
					 people[p].what, mode, i, r);
			}
	}
}

static void test_sees_what_he_may_know_of(void **state)
{
	(void)state;
	for (uint32_t m = 0; m <= 0666; m++)
		for (size_t p = 0; p < sizeof(people) / sizeof(*people); p++) {
			struct access_what what = { OWNER, GROUP, m };

			assert_int_equal(access_sees(&people[p].who, &what),
					 access_check(&people[p].who, &what,
						      ACCESS_READ) != -ENOENT);
		}
}

/* ---- names ---- */

static void test_names(void **state)
{
	static const struct {
		const char *text;
		int r;
		uint64_t space;
		const char *own;
	} names[] = {
		{ "x", 0, 5, "x" },
		{ "", 0, 5, "" },
		{ "@x", 0, 5, "@x" },
		{ "~x", 0, 5, "~x" },
		{ "~7/x", 0, 7, "x" },
		{ "~0/x", 0, 0, "x" },
		{ "@7/x", 0, NAME_GROUP | 7, "x" },
		{ "@4294967294/x", 0, NAME_GROUP | 4294967294, "x" },
		{ "@7/", 0, NAME_GROUP | 7, "" },
		{ "@7/a/b", 0, NAME_GROUP | 7, "a/b" },
		{ "@4294967295/x", -EINVAL, 0, "" },
		{ "@4294967296/x", -EINVAL, 0, "" },
		{ "@18446744073709551616/x", -EINVAL, 0, "" },
		{ "@/x", -EINVAL, 0, "" },
		{ "~/x", -EINVAL, 0, "" },
		{ "/x", -EINVAL, 0, "" },
		{ "7/x", -EINVAL, 0, "" },
		{ "~07/x", -EINVAL, 0, "" },
		{ "~-7/x", -EINVAL, 0, "" },
		{ "~+7/x", -EINVAL, 0, "" },
		{ "~ 7/x", -EINVAL, 0, "" },
		{ "~7x/x", -EINVAL, 0, "" },
		{ "@wheel/x", -EINVAL, 0, "" },
		{ "@@7/x", -EINVAL, 0, "" },
	};
	struct name name;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		int r = name_parse(&name, names[i].text, 5);

		if (r != names[i].r)
			fail_msg("%s: %d", names[i].text, r);
		if (r)
			continue;
		assert_int_equal(name.space, names[i].space);
		assert_string_equal(name.own, names[i].own);
	}
	assert_int_equal(store_name_check("a/b"), -EINVAL);
}

/* What is printed for somebody, he can say; the longest as well. */
static void test_names_back(void **state)
{
	static const uint64_t spaces[] = { 0,
					   5,
					   4294967294,
					   NAME_GROUP,
					   NAME_GROUP | 5,
					   NAME_GROUP | 4294967294 };
	char own[SHM_NAME_MAX + 1], text[SHM_NAME_FULL + 1];
	char folder[NAME_FOLDER_MAX + 1];
	struct name name;
	uint64_t space;

	(void)state;
	memset(own, 'n', SHM_NAME_MAX);
	own[SHM_NAME_MAX] = '\0';
	for (size_t i = 0; i < sizeof(spaces) / sizeof(*spaces); i++)
		for (uid_t viewer = 4; viewer < 6; viewer++) {
			name_print(text, spaces[i], own, viewer);
			assert_int_equal(name_parse(&name, text, viewer), 0);
			assert_int_equal(name.space, spaces[i]);
			assert_string_equal(name.own, own);
			name_folder(folder, spaces[i]);
			assert_int_equal(name_of_folder(&space, folder), 0);
			assert_int_equal(space, spaces[i]);
		}
	assert_int_equal(name_of_folder(&space, "05"), -EINVAL);
	assert_int_equal(name_of_folder(&space, "5.tmp"), -EINVAL);
	assert_int_equal(name_of_folder(&space, ".."), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_mode),
		cmocka_unit_test(test_sees_what_he_may_know_of),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_names_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
