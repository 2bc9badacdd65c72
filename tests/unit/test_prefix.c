// SPDX-License-Identifier: BSD-2-Clause
/*
 * Looking prompts up, against a search through all that is known, with hashes
 * of 64 bits and of few enough that most of what is met with is a collision.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/prefix.h"

#define KNOWN_MAX  400
#define TOKENS_MAX 200

/* Sequences, known or not. */
struct known {
	struct prefix prefix;
	uint32_t ids[TOKENS_MAX];
	bool in;
};

static struct known known[KNOWN_MAX];
static uint64_t rng;
static int readers = 1; /* of N, each may have those of every N-th number */

static uint32_t draw(uint32_t below)
{
	rng += UINT64_C(0x9e3779b97f4a7c15);
	return (uint32_t)((rng ^ rng >> 31) * UINT64_C(0xbf58476d1ce4e5b9) >>
			  33) %
	       below;
}

/* Ids that often agree with those of another for a while. */
static void draw_ids(uint32_t *ids, const uint32_t *like, uint32_t agree)
{
	for (uint32_t i = 0; i < TOKENS_MAX; i++)
		ids[i] = like && i < agree ? like[i] : draw(3);
}

static bool is_for(const struct prefix *prefix, const void *arg)
{
	const struct known *k = prefix->owner;

	return (k - known) % readers == *(const int *)arg;
}

static const struct prefix *find(const struct prefixes *all, uint64_t seed,
				 const uint32_t *ids, uint64_t n,
				 uint64_t *tokens)
{
	const struct prefix_prompt prompt = {
		.seed = seed,
		.ids = ids,
		.n = n,
	};

	return prefix_find(all, &prompt, tokens);
}

static bool agrees(const uint32_t *a, const uint32_t *b, uint64_t n)
{
	return !memcmp(a, b, n * sizeof(*a));
}

/* How much of the prompt this one begins, by the words of prefix.h. */
static uint64_t begins(const struct known *k, uint64_t seed,
		       const uint32_t *ids, uint64_t n)
{
	uint64_t blocks = 0;

	if (!k->in || k->prefix.seed != seed)
		return 0;
	if (k->prefix.tokens <= n && agrees(k->ids, ids, k->prefix.tokens))
		return k->prefix.tokens;
	while (k->prefix.partial &&
	       (blocks + 1) * PREFIX_BLOCK <= k->prefix.tokens &&
	       (blocks + 1) * PREFIX_BLOCK <= n &&
	       agrees(k->ids, ids, (blocks + 1) * PREFIX_BLOCK))
		blocks++;
	return blocks * PREFIX_BLOCK;
}

static void compare(const struct prefixes *all, uint64_t seed,
		    const uint32_t *ids, uint64_t n)
{
	int reader = (int)draw((uint32_t)readers);
	const struct prefix_prompt prompt = {
		.seed = seed,
		.ids = ids,
		.n = n,
		.may_have = readers > 1 ? is_for : NULL,
		.arg = &reader,
	};
	const struct prefix *found;
	uint64_t best = 0, tokens = 0;

	for (int i = reader; i < KNOWN_MAX; i += readers) {
		uint64_t one = begins(&known[i], seed, ids, n);

		best = one > best ? one : best;
	}
	found = prefix_find(all, &prompt, &tokens);
	if (!best) {
		assert_null(found);
		return;
	}
	assert_non_null(found);
	assert_int_equal(tokens, best);
	assert_int_equal(begins(found->owner, seed, ids, n), best);
	assert_true(readers == 1 || is_for(found, &reader));
}

static void compare_some(const struct prefixes *all, int times)
{
	uint32_t ids[TOKENS_MAX];

	for (int i = 0; i < times; i++) {
		const struct known *k = &known[draw(KNOWN_MAX)];

		draw_ids(ids, k->ids, draw(TOKENS_MAX + 1));
		compare(all, 1 + draw(3), ids, draw(TOKENS_MAX + 1));
		compare(all, k->prefix.seed, ids, TOKENS_MAX);
		if (k->prefix.tokens)
			compare(all, k->prefix.seed, k->ids, k->prefix.tokens);
	}
}

/* Seeds 1 and 2 are of partial ones, 3 is not. */
static void enter(struct prefixes *all, struct known *k)
{
	const struct known *like = &known[draw(KNOWN_MAX)];
	uint64_t seed = 1 + draw(3);

	draw_ids(k->ids, like->prefix.tokens ? like->ids : NULL,
		 draw(TOKENS_MAX + 1));
	k->prefix = (struct prefix){
		.seed = seed,
		.ids = k->ids,
		.tokens = 1 + draw(TOKENS_MAX),
		.partial = seed < 3,
		.owner = k,
	};
	assert_int_equal(prefix_add(all, &k->prefix), 0);
	k->in = true;
}

static void leave(struct prefixes *all, struct known *k)
{
	prefix_remove(all, &k->prefix);
	assert_null(k->prefix.nodes);
	prefix_remove(all, &k->prefix); /* takes no harm */
	k->in = false;
}

static void run(uint64_t mask, uint64_t seed)
{
	struct prefixes all;

	rng = seed;
	memset(known, 0, sizeof(known));
	assert_int_equal(prefixes_init(&all), 0);
	all.mask = mask;
	for (int round = 0; round < 1500; round++) {
		struct known *k = &known[draw(KNOWN_MAX)];

		if (k->in)
			leave(&all, k);
		else
			enter(&all, k);
		if (round % 10 == 0)
			compare_some(&all, 5);
	}
	for (int i = 0; i < KNOWN_MAX; i++)
		if (known[i].in)
			leave(&all, &known[i]);
	assert_int_equal(all.nodes, 0);
	compare_some(&all, 20);
	prefixes_exit(&all);
}

static void test_the_longest_beginning_is_found(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 6; seed++)
		run(UINT64_MAX, seed);
}

/* What others have hides nothing. */
static void test_the_longest_that_one_may_have_is_found(void **state)
{
	(void)state;
	for (readers = 2; readers < 5; readers++) {
		run(UINT64_MAX, (uint64_t)readers);
		run(0xf, (uint64_t)readers);
	}
	readers = 1;
}

static void test_a_collision_is_a_miss(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 4; seed++) {
		run(0x3ff, seed);
		run(0xf, seed);
		run(0, seed);
	}
}

static void test_an_empty_prompt_begins_with_nothing(void **state)
{
	const uint32_t ids[PREFIX_BLOCK] = { 0 };
	struct prefix prefix = { .seed = 1, .ids = ids, .tokens = 5 };
	struct prefixes all;
	uint64_t tokens;

	(void)state;
	assert_int_equal(prefixes_init(&all), 0);
	assert_int_equal(prefix_add(&all, &prefix), 0);
	assert_null(find(&all, 1, NULL, 0, &tokens));
	assert_null(find(&all, 1, ids, 4, &tokens));
	assert_ptr_equal(find(&all, 1, ids, 5, &tokens), &prefix);
	prefix_remove(&all, &prefix);
	prefixes_exit(&all);
}

/* More nodes than buckets, many times over. */
static void test_the_table_grows(void **state)
{
	enum {
		MANY = 3000,
		LENGTH = 100
	};
	uint32_t(*ids)[LENGTH] = calloc(MANY, sizeof(*ids));
	struct prefix *all_of_them = calloc(MANY, sizeof(*all_of_them));
	struct prefixes all;
	uint64_t tokens;

	(void)state;
	assert_true(ids && all_of_them);
	assert_int_equal(prefixes_init(&all), 0);
	for (uint32_t i = 0; i < MANY; i++) {
		for (uint32_t j = 0; j < LENGTH; j++)
			ids[i][j] = j < 40 ? j : i;
		all_of_them[i] = (struct prefix){
			.seed = 9,
			.ids = ids[i],
			.tokens = LENGTH,
			.partial = true,
		};
		assert_int_equal(prefix_add(&all, &all_of_them[i]), 0);
	}
	assert_int_equal(all.nodes, MANY * 7);
	assert_int_equal(all.buckets, all.nodes);
	for (uint32_t i = 0; i < MANY; i++) {
		assert_ptr_equal(find(&all, 9, ids[i], LENGTH, &tokens),
				 &all_of_them[i]);
		assert_int_equal(tokens, LENGTH);
	}
	for (uint32_t i = 0; i < MANY; i++)
		prefix_remove(&all, &all_of_them[i]);
	assert_null(find(&all, 9, ids[0], LENGTH, &tokens));
	prefixes_exit(&all);
	free(all_of_them);
	free(ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_longest_beginning_is_found),
		cmocka_unit_test(test_the_longest_that_one_may_have_is_found),
		cmocka_unit_test(test_a_collision_is_a_miss),
		cmocka_unit_test(test_an_empty_prompt_begins_with_nothing),
		cmocka_unit_test(test_the_table_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
