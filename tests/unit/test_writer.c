// SPDX-License-Identifier: BSD-2-Clause
/*
 * What client/treekv.h promises about steps, on private mappings: errors and
 * their texts, what a commit makes permanent and what it forgets, scores, the
 * words that the daemon and readers go by, and lockstep against
 * tests/unit/reference.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/local.h"
#include "proto/barrier.h"
#include "tests/unit/fixture.h"
#include "tests/unit/reference.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define STEP_MAX      16
#define ROW_MAX	      64
#define HEADS_MAX     4
#define SLOTS_MAX     256
#define TOKENS_MAX    600

static uint8_t k_rows[STEP_MAX * HEADS_MAX * ROW_MAX];
static uint8_t v_rows[STEP_MAX * HEADS_MAX * ROW_MAX];

static uint8_t content(uint32_t layer, uint32_t head, uint64_t token)
{
	return (uint8_t)(1 + token * 7 + layer * 3 + head);
}

/* A weight for everybody: never 0, no two sums alike. */
static float weight(uint32_t layer, uint32_t head, uint64_t query,
		    uint64_t token)
{
	uint32_t x = (uint32_t)(query * 2654435761U + token * 40503U +
				layer * 97U + head * 31U);

	return token > query ? 0 : 1e-3F + (float)(x >> 8 & 0xffff) * 0x1p-17F;
}

static void assert_text(const char *words)
{
	if (!strstr(treekv_error(), words))
		fail_msg("\"%s\" does not say \"%s\"", treekv_error(), words);
}

static void fill_rows(const struct treekv_cache *cache, uint32_t layer,
		      uint32_t n)
{
	uint32_t heads = cache->spec.kv_heads;

	for (uint32_t j = 0; j < n; j++)
		for (uint32_t h = 0; h < heads; h++) {
			uint8_t byte = content(layer, h, cache->tail + j);

			memset(k_rows + (j * heads + h) * cache->spec.k_row,
			       byte, cache->spec.k_row);
			memset(v_rows + (j * heads + h) * cache->spec.v_row,
			       ~byte, cache->spec.v_row);
		}
}

static void append_layer(struct treekv_cache *cache, uint32_t layer, uint32_t n)
{
	fill_rows(cache, layer, n);
	assert_int_equal(treekv_append(cache, layer, k_rows, v_rows), 0);
}

static void append_all(struct treekv_cache *cache, uint32_t n)
{
	for (uint32_t l = 0; l < cache->spec.layers; l++)
		append_layer(cache, l, n);
}

static void begin(struct treekv_cache *cache, uint32_t n)
{
	assert_int_equal(treekv_step_begin(cache, NULL, n, 0), 0);
}

static void observe_head(struct treekv_cache *cache, uint32_t layer,
			 uint32_t head, uint32_t j)
{
	float weights[SLOTS_MAX] = { 0 };
	struct treekv_view view;

	assert_int_equal(treekv_view(cache, layer, head, &view), 0);
	for (uint32_t s = 0; s < view.slots; s++)
		if (view.rank[s] != TREEKV_FREE)
			weights[s] = weight(layer, head, cache->tail + j,
					    view.token[s]);
	assert_int_equal(treekv_observe(cache, layer, head, j, weights, 1,
					SLOTS_MAX),
			 0);
}

static void observe_all(struct treekv_cache *cache, uint32_t j)
{
	for (uint32_t l = 0; l < cache->spec.layers; l++)
		for (uint32_t h = 0; h < cache->spec.kv_heads; h++)
			observe_head(cache, l, h, j);
}

/* n appended, m observed and committed. */
static void step(struct treekv_cache *cache, uint32_t n, uint32_t m)
{
	begin(cache, n);
	append_all(cache, n);
	for (uint32_t j = 0; j < m; j++)
		observe_all(cache, j);
	assert_int_equal(treekv_commit(cache, m), 0);
}

static uint32_t slot_of_token(struct treekv_cache *cache, uint32_t layer,
			      uint32_t head, uint32_t token)
{
	struct treekv_view view;

	assert_int_equal(treekv_view(cache, layer, head, &view), 0);
	for (uint32_t s = 0; s < view.slots; s++)
		if (view.rank[s] != TREEKV_FREE && view.token[s] == token)
			return s;
	return TREEKV_FREE;
}

static float committed_score(struct treekv_cache *cache, uint32_t layer,
			     uint32_t head, uint32_t token)
{
	uint32_t slot = slot_of_token(cache, layer, head, token);

	assert_int_not_equal(slot, TREEKV_FREE);
	return cache_head_at(cache, layer, head)->score[cache->parity][slot];
}

static void assert_same_float(float a, float b)
{
	assert_memory_equal(&a, &b, sizeof(a));
}

static struct treekv_cache *open_local(const struct treekv_spec *spec)
{
	struct treekv_cache *cache;

	assert_int_equal(local_open(&cache, spec), 0);
	return cache;
}

static int set_up(void **state)
{
	struct treekv_spec spec = fixture_spec();

	*state = fixture_new(&spec, NULL);
	return 0;
}

static int tear_down(void **state)
{
	fixture_free(*state);
	return 0;
}

/* ---- errors ---- */

static void test_begin_twice_is_refused(void **state)
{
	struct fixture *f = *state;

	begin(&f->cache, 1);
	assert_int_equal(treekv_step_begin(&f->cache, NULL, 1, 0), -EBUSY);
	assert_text("cache fixture: a step is running");
	assert_int_equal(treekv_settle(&f->cache, 0), -EBUSY);
}

static void test_step_larger_than_slack_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(treekv_step_begin(&f->cache, NULL, 5, 0), -EINVAL);
	assert_text("a step of 5 tokens, but 1 to 4 (its slack) is possible");
	assert_int_equal(treekv_step_begin(&f->cache, NULL, 0, 0), -EINVAL);
	assert_text("a step of 0 tokens");
	begin(&f->cache, 4);
}

static void test_append_without_step_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(treekv_append(&f->cache, 0, k_rows, v_rows), -EINVAL);
	assert_text("no step is running");
}

static void test_append_twice_is_refused(void **state)
{
	struct fixture *f = *state;
	void *k[STEP_MAX], *v[STEP_MAX];

	begin(&f->cache, 1);
	append_layer(&f->cache, 1, 1);
	assert_int_equal(treekv_append(&f->cache, 1, k_rows, v_rows), -EINVAL);
	assert_text("layer 1 has been appended");
	assert_int_equal(treekv_append_at(&f->cache, 1, k, v), -EINVAL);
	assert_text("layer 1 has been appended");
	assert_int_equal(treekv_append(&f->cache, 2, k_rows, v_rows), -EINVAL);
	assert_text("layer 2, but it has 2");
}

static void test_view_checks_its_arguments(void **state)
{
	struct fixture *f = *state;
	struct treekv_view view;

	assert_int_equal(treekv_view(&f->cache, 2, 0, &view), -EINVAL);
	assert_text("layer 2, head 0, but it has 2 layers of 2");
	assert_int_equal(treekv_view(&f->cache, 0, 2, &view), -EINVAL);
	begin(&f->cache, 1);
	assert_int_equal(treekv_view(&f->cache, 0, 0, &view), -EINVAL);
	assert_text("layer 0 has not been appended");
}

static void test_observe_out_of_turn_is_refused(void **state)
{
	struct fixture *f = *state;
	struct treekv_cache *cache = &f->cache;
	float w[SLOTS_MAX] = { 0 };

	assert_int_equal(treekv_observe(cache, 0, 0, 0, w, 1, 0), -EINVAL);
	begin(cache, 3);
	assert_int_equal(treekv_observe(cache, 0, 0, 0, w, 1, 0), -EINVAL);
	assert_text("layer 0 has not been appended");
	append_all(cache, 3);
	assert_int_equal(treekv_observe(cache, 0, 0, 3, w, 1, 0), -EINVAL);
	assert_text("token 3 of a step of 3 observed out of turn");
	assert_int_equal(treekv_observe(cache, 0, 0, 0, w, 0, 0), -EINVAL);
	assert_text("a group of 0");
	assert_int_equal(treekv_observe(cache, 0, 0, 1, w, 1, 0), 0);
	assert_int_equal(treekv_observe(cache, 0, 0, 1, w, 1, 0), -EINVAL);
	assert_int_equal(treekv_observe(cache, 0, 0, 0, w, 1, 0), -EINVAL);
	assert_int_equal(treekv_observe(cache, 0, 0, 2, w, 1, 0), 0);
}

static void test_commit_names_the_layer_that_lacks(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(treekv_commit(&f->cache, 0), -EINVAL);
	begin(&f->cache, 1);
	append_layer(&f->cache, 0, 1);
	assert_int_equal(treekv_commit(&f->cache, 1), -EINVAL);
	assert_text("layer 1 was not appended");
	append_layer(&f->cache, 1, 1);
	assert_int_equal(treekv_commit(&f->cache, 1), 0);
}

static void test_commit_of_more_than_the_step_is_refused(void **state)
{
	struct fixture *f = *state;

	begin(&f->cache, 2);
	append_all(&f->cache, 2);
	assert_int_equal(treekv_commit(&f->cache, 3), -EINVAL);
	assert_text("commit of 3 tokens in a step of 2");
	assert_int_equal(treekv_commit(&f->cache, 2), 0);
}

static void test_commit_of_less_than_was_observed_is_refused(void **state)
{
	struct fixture *f = *state;

	begin(&f->cache, 3);
	append_all(&f->cache, 3);
	observe_head(&f->cache, 1, 0, 0);
	observe_head(&f->cache, 1, 0, 1);
	assert_int_equal(treekv_commit(&f->cache, 1), -EINVAL);
	assert_text("2 tokens of layer 1, head 0 were observed and only 1 "
		    "are committed");
	assert_int_equal(treekv_commit(&f->cache, 2), 0);
	assert_int_equal(treekv_tail(&f->cache), 2);
}

static void test_rewind_into_what_is_committed_is_refused(void **state)
{
	struct fixture *f = *state;

	step(&f->cache, 2, 2);
	assert_int_equal(treekv_rewind(&f->cache, 1), -EOPNOTSUPP);
	assert_text("rewind of 1 tokens, but 0 are uncommitted");
	begin(&f->cache, 2);
	append_all(&f->cache, 2);
	assert_int_equal(treekv_rewind(&f->cache, 3), -EOPNOTSUPP);
	assert_text("rewind of 3 tokens, but 2 are uncommitted; committed ones "
		    "cannot be taken back");
}

static void test_rewind_of_observed_tokens_is_all_or_nothing(void **state)
{
	struct fixture *f = *state;

	begin(&f->cache, 3);
	append_all(&f->cache, 3);
	observe_all(&f->cache, 0);
	observe_all(&f->cache, 1);
	assert_int_equal(treekv_rewind(&f->cache, 2), -EINVAL);
	assert_text("rewind all 3");
	assert_int_equal(treekv_rewind(&f->cache, 1), 0);
	assert_int_equal(treekv_rewind(&f->cache, 2), 0);
	assert_int_equal(treekv_tail(&f->cache), 0);
	begin(&f->cache, 4);
}

static void test_policy_full_refuses_when_full(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct treekv_cache *cache;

	(void)state;
	spec.policy = TREEKV_POLICY_FULL;
	cache = open_local(&spec);
	step(cache, 6, 6); /* more than the slack, which full has not */
	step(cache, 2, 2);
	assert_int_equal(treekv_step_begin(cache, NULL, 1, 0), -ENOSPC);
	assert_text("is full: 8 tokens held, 1 more do not fit");
	assert_text("use a larger budget or another policy");
	treekv_detach(cache);
}

static void test_sequence_ends_before_token_numbers_do(void **state)
{
	struct fixture *f = *state;

	f->cache.tail = SHM_TAIL_MAX;
	assert_int_equal(treekv_step_begin(&f->cache, NULL, 1, 0), -EOVERFLOW);
	assert_text("the most one sequence can have");
	f->cache.tail = 0;
}

/* ---- what a commit makes and forgets ---- */

static void test_rows_are_where_the_view_says(void **state)
{
	struct fixture *f = *state;
	struct treekv_view view;

	step(&f->cache, 3, 3);
	step(&f->cache, 2, 2);
	assert_int_equal(treekv_view(&f->cache, 1, 1, &view), 0);
	assert_int_equal(view.live, 5);
	assert_int_equal(view.slots, 12);
	for (uint32_t t = 0; t < 5; t++) {
		uint32_t s = slot_of_token(&f->cache, 1, 1, t);
		uint8_t k = ((const uint8_t *)view.k)[s * view.k_stride];
		uint8_t v = ((const uint8_t *)view.v)[s * view.v_stride];

		assert_int_equal(view.rank[s], t);
		assert_int_equal(k, content(1, 1, t));
		assert_int_equal(v, (uint8_t)~content(1, 1, t));
	}
}

static void test_partial_commit_forgets_the_rest(void **state)
{
	struct fixture *f = *state;
	struct treekv_view view;

	begin(&f->cache, 4);
	append_all(&f->cache, 4);
	assert_int_equal(treekv_view(&f->cache, 0, 0, &view), 0);
	assert_int_equal(view.live, 4);
	assert_int_not_equal(slot_of_token(&f->cache, 0, 0, 3), TREEKV_FREE);
	assert_int_equal(treekv_commit(&f->cache, 1), 0);
	assert_int_equal(treekv_view(&f->cache, 0, 0, &view), 0);
	assert_int_equal(view.live, 1);
	assert_int_not_equal(slot_of_token(&f->cache, 0, 0, 0), TREEKV_FREE);
	for (uint32_t t = 1; t < 4; t++)
		assert_int_equal(slot_of_token(&f->cache, 0, 0, t),
				 TREEKV_FREE);
	step(&f->cache, 1, 1);
	assert_int_not_equal(slot_of_token(&f->cache, 0, 0, 1), TREEKV_FREE);
}

static void test_commit_of_nothing_keeps_scores(void **state)
{
	struct fixture *f = *state;
	float before;

	step(&f->cache, 2, 2);
	before = committed_score(&f->cache, 0, 1, 1);
	begin(&f->cache, 3);
	append_all(&f->cache, 3);
	assert_int_equal(treekv_commit(&f->cache, 0), 0);
	assert_int_equal(treekv_tail(&f->cache), 2);
	assert_same_float(committed_score(&f->cache, 0, 1, 1), before);
}

static void test_head_never_falls(void **state)
{
	struct fixture *f = *state;

	begin(&f->cache, 4);
	assert_int_equal(f->rows->head, 4);
	append_all(&f->cache, 4);
	assert_int_equal(treekv_commit(&f->cache, 1), 0);
	assert_int_equal(f->rows->head, 4);
	step(&f->cache, 1, 1);
	assert_int_equal(f->rows->head, 4);
	fixture_reattach(f);
	step(&f->cache, 1, 1);
	assert_int_equal(f->rows->head, 4);
	step(&f->cache, 2, 2);
	assert_int_equal(f->rows->head, 5);
}

static void test_abandoned_step_leaves_no_trace(void **state)
{
	struct fixture *f = *state;
	struct treekv_view view;
	float before;

	begin(&f->cache, 2);
	append_all(&f->cache, 2);
	observe_all(&f->cache, 0);
	observe_all(&f->cache, 1);
	strcpy(treekv_note(&f->cache), "two");
	assert_int_equal(treekv_commit(&f->cache, 2), 0);
	before = committed_score(&f->cache, 1, 0, 0);
	begin(&f->cache, 3);
	strcpy(treekv_note(&f->cache), "five");
	append_all(&f->cache, 3);
	observe_all(&f->cache, 0);

	fixture_reattach(f);
	assert_int_equal(treekv_tail(&f->cache), 2);
	assert_string_equal(treekv_note(&f->cache), "two");
	assert_int_equal(treekv_view(&f->cache, 1, 0, &view), 0);
	assert_int_equal(view.live, 2);
	assert_same_float(committed_score(&f->cache, 1, 0, 0), before);
}

static void test_note_is_committed_with_the_tokens(void **state)
{
	struct fixture *f = *state;
	char *note = treekv_note(&f->cache);

	assert_int_equal(note[0], 0);
	begin(&f->cache, 1);
	note = treekv_note(&f->cache);
	memset(note, 'a', TREEKV_NOTE_SIZE);
	append_all(&f->cache, 1);
	assert_int_equal(treekv_commit(&f->cache, 1), 0);
	assert_ptr_equal(treekv_note(&f->cache), note);
	begin(&f->cache, 1);
	assert_ptr_not_equal(treekv_note(&f->cache), note);
	assert_memory_equal(treekv_note(&f->cache), note, TREEKV_NOTE_SIZE);
	strcpy(treekv_note(&f->cache), "rewound");
	assert_int_equal(treekv_rewind(&f->cache, 1), 0);
	assert_ptr_equal(treekv_note(&f->cache), note);
	assert_int_equal(note[0], 'a');
}

static void test_ids_of_the_first_tokens_are_kept(void **state)
{
	const uint32_t first[] = { 70, 71, 72, 73 }, second[] = { 81, 82, 83 };
	struct fixture *f = *state;
	const uint32_t *ids;

	assert_int_equal(treekv_ids(&f->cache, &ids), 0);
	assert_int_equal(treekv_step_begin(&f->cache, first, 4, 0), 0);
	append_all(&f->cache, 4);
	assert_int_equal(treekv_commit(&f->cache, 2), 0);
	assert_int_equal(treekv_ids(&f->cache, &ids), 2);
	assert_int_equal(treekv_step_begin(&f->cache, second, 3, 0), 0);
	append_all(&f->cache, 3);
	assert_int_equal(treekv_commit(&f->cache, 3), 0);
	step(&f->cache, 3, 3);
	assert_int_equal(treekv_ids(&f->cache, &ids), 6);
	assert_memory_equal(ids, ((const uint32_t[]){ 70, 71, 81, 82, 83, 0 }),
			    6 * sizeof(*ids));
}

static void test_append_at_equals_append(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct treekv_cache *a = open_local(&spec), *b = open_local(&spec);
	void *k[STEP_MAX], *v[STEP_MAX];

	(void)state;
	begin(a, 3);
	begin(b, 3);
	for (uint32_t l = 0; l < spec.layers; l++) {
		append_layer(a, l, 3);
		assert_int_equal(treekv_append_at(b, l, k, v), 0);
		for (uint32_t i = 0; i < 3 * spec.kv_heads; i++) {
			memcpy(k[i], k_rows + i * spec.k_row, spec.k_row);
			memcpy(v[i], v_rows + i * spec.v_row, spec.v_row);
		}
	}
	assert_int_equal(treekv_commit(a, 3), 0);
	assert_int_equal(treekv_commit(b, 3), 0);
	assert_int_equal(a->rows_size, b->rows_size);
	assert_memory_equal(a->rows, b->rows, a->rows_size);
	treekv_detach(a);
	treekv_detach(b);
}

/* ---- scores ---- */

static void test_group_mean_counts(void **state)
{
	struct treekv_spec spec = fixture_spec();
	enum {
		GROUP = 3,
		STRIDE = 150
	};
	static float weights[GROUP * STRIDE];
	struct treekv_cache *cache;
	float sum[STRIDE] = { 0 };

	(void)state;
	spec.budget = 100;
	spec.slack = 31;
	cache = open_local(&spec);
	for (uint32_t t = 0; t < 120; t++) {
		begin(cache, 1);
		append_all(cache, 1);
		for (int i = 0; i < GROUP * STRIDE; i++)
			weights[i] = weight(0, 0, (uint64_t)i * 77 + t, i);
		assert_int_equal(treekv_observe(cache, 0, 0, 0, weights, GROUP,
						STRIDE),
				 0);
		for (uint32_t s = 0; s <= t; s++) {
			float mean = weights[s];

			for (int g = 1; g < GROUP; g++)
				mean += weights[g * STRIDE + s];
			mean /= GROUP;
			sum[s] = sum[s] + mean;
		}
		assert_int_equal(treekv_commit(cache, 1), 0);
		for (uint32_t s = 0; s <= t; s++) /* slots are taken in turn */
			assert_same_float(committed_score(cache, 0, 0, s),
					  sum[s]);
	}
	treekv_detach(cache);
}

static void test_tova_replaces(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct treekv_cache *cache;

	(void)state;
	spec.policy = TREEKV_POLICY_TOVA;
	cache = open_local(&spec);
	for (uint32_t t = 1; t <= 8; t++) {
		step(cache, 1, 1);
		for (uint32_t i = 0; i < t; i++)
			assert_same_float(committed_score(cache, 1, 1, i),
					  weight(1, 1, t - 1, i));
	}
	treekv_detach(cache);
}

static void test_unobserved_heads_keep_their_scores(void **state)
{
	struct fixture *f = *state;
	float kept, moved;

	step(&f->cache, 2, 2);
	kept = committed_score(&f->cache, 0, 0, 0);
	moved = committed_score(&f->cache, 1, 1, 0);
	for (uint32_t t = 2; t < 5; t++) {
		begin(&f->cache, 1);
		append_all(&f->cache, 1);
		observe_head(&f->cache, 1, 1, 0);
		assert_int_equal(treekv_commit(&f->cache, 1), 0);
		moved += weight(1, 1, t, 0);
	}
	assert_same_float(committed_score(&f->cache, 0, 0, 0), kept);
	assert_same_float(committed_score(&f->cache, 1, 1, 0), moved);
	assert_same_float(committed_score(&f->cache, 0, 0, 4), 0);
}

static void test_several_tokens_a_step_equal_one_by_one(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct treekv_cache *a, *b;

	(void)state;
	spec.budget = 40;
	spec.slack = 8;
	a = open_local(&spec);
	b = open_local(&spec);
	for (int i = 0; i < 39; i++)
		step(a, 1, 1);
	step(b, 8, 8);
	step(b, 8, 3); /* the rest comes again */
	step(b, 1, 1);
	step(b, 5, 0);
	step(b, 7, 7);
	for (int i = 0; i < 4; i++)
		step(b, 5, 5);
	assert_int_equal(treekv_tail(b), 39);
	for (uint32_t l = 0; l < spec.layers; l++)
		for (uint32_t t = 0; t < 39; t++) {
			assert_int_equal(slot_of_token(a, l, 1, t),
					 slot_of_token(b, l, 1, t));
			assert_same_float(committed_score(a, l, 1, t),
					  committed_score(b, l, 1, t));
		}
	treekv_detach(a);
	treekv_detach(b);
}

/* ---- with the daemon ---- */

static void test_stall_has_a_deadline(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++)
		step(&f->cache, 4, 4);
	assert_int_equal(treekv_step_begin(&f->cache, NULL, 1, 0), -ETIMEDOUT);
	assert_text("treekvd has not made room within 0 ms; is it running?");
	assert_int_equal(f->rows->stalls, 1);
	assert_true(fixture_compact(f));
	step(&f->cache, 4, 4);
	assert_int_equal(f->rows->stalls, 1);
	assert_int_equal(treekv_tail(&f->cache), 16);
}

static void test_a_stall_that_goes_on_is_counted_once(void **state)
{
	struct fixture *f = *state;
	uint64_t ns = 0;

	for (unsigned int stalls = 1; stalls < 4; stalls++) {
		while (f->cache.tail < f->cache.base_tail + f->cache.free)
			step(&f->cache, 1, 1);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(treekv_step_begin(&f->cache, NULL, 1,
							   0),
					 -ETIMEDOUT);
			assert_int_equal(f->rows->stalls, stalls);
			assert_true(f->rows->stall_ns > ns);
			ns = f->rows->stall_ns;
		}
		assert_true(fixture_compact(f));
		step(&f->cache, 1, 1);
		assert_int_equal(f->rows->stalls, stalls);
	}
}

static void test_quarantine_ends_a_stall(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++)
		step(&f->cache, 4, 4);
	shm_store_relaxed(&f->index->quarantined, COMPACT_FAULT_HEAD);
	assert_int_equal(treekv_step_begin(&f->cache, NULL, 1, 60000),
			 -EUCLEAN);
	assert_text("cache fixture is quarantined");
	assert_text("'treekvctl inspect fixture' says how");
	assert_int_equal(f->waits, 0);
}

static void test_settling_is_no_stall(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++)
		step(&f->cache, 4, 4);
	assert_int_equal(treekv_settle(&f->cache, 0), -ETIMEDOUT);
	fixture_compact(f);
	assert_int_equal(treekv_settle(&f->cache, 0), 0);
	assert_int_equal(cache_held(&f->cache, 1), 8);
	assert_int_equal(f->rows->stalls, 0);
}

static void test_commit_rings_past_the_mark_when_armed(void **state)
{
	struct fixture *f = *state;

	shm_store_relaxed(&f->index->armed, 1);
	step(&f->cache, 4, 4);
	step(&f->cache, 4, 4);
	assert_int_equal(f->rings, 0); /* a quarter of the slack: at 9 */
	step(&f->cache, 1, 1);
	assert_int_equal(f->rings, 1);
	shm_store_relaxed(&f->index->armed, 0);
	step(&f->cache, 1, 1);
	assert_int_equal(f->rings, 1);
	assert_int_equal(f->rows->rings, 1);
}

static void test_adoption_rings_for_who_waits(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++)
		step(&f->cache, 4, 4);
	assert_true(fixture_compact(f));
	assert_true(compact_in_grace(&f->compaction));
	assert_false(fixture_compact(f));
	shm_store_relaxed(&f->index->waiting, 1);
	f->rings = 0;
	begin(&f->cache, 1);
	assert_int_equal(f->rings, 1);
	assert_false(compact_in_grace(&f->compaction));
	assert_int_equal(f->rows->seen, 2);
}

static void test_order_of_other_rows_ends_the_lease(void **state)
{
	struct fixture *f = *state;
	struct shm_buffer *spare =
		(void *)((char *)f->index + f->index->buffer[0]);

	for (int i = 0; i < 3; i++)
		step(&f->cache, 4, 4);
	assert_true(fixture_compact(f));
	spare->rows_inode = 4711;
	assert_int_equal(treekv_step_begin(&f->cache, NULL, 1, 0), -ESTALE);
	assert_text("the lease of cache fixture was broken");
	assert_int_equal(treekv_step_begin(&f->cache, NULL, 1, 0), -ESTALE);
	assert_int_equal(treekv_tail(&f->cache), 12);
}

/* ---- lockstep ---- */

struct lockstep {
	struct treekv_spec spec;
	const char *policy;
	struct treekv_cache *cache;
	struct reference *reference[4][HEADS_MAX];
};

static void compare_head(struct lockstep *t, uint32_t layer, uint32_t head)
{
	const struct reference *r = t->reference[layer][head];
	struct treekv_view view;

	assert_int_equal(treekv_view(t->cache, layer, head, &view), 0);
	assert_int_equal(view.live, r->live);
	for (uint32_t i = 0; i < r->live; i++) {
		uint32_t slot = r->tokens[i].slot;

		if (view.rank[slot] != i ||
		    view.token[slot] != r->tokens[i].number)
			fail_msg("%s, layer %u, head %u, rank %u: slot %u has "
				 "rank %u and token %u, not %u",
				 t->policy, layer, head, i, slot,
				 view.rank[slot], view.token[slot],
				 r->tokens[i].number);
	}
}

static void lockstep_step(struct lockstep *t, uint32_t token)
{
	static float weights[TOKENS_MAX];

	step(t->cache, 1, 1);
	assert_int_equal(treekv_settle(t->cache, -1), 0);
	for (uint32_t l = 0; l < t->spec.layers; l++)
		for (uint32_t h = 0; h < t->spec.kv_heads; h++) {
			for (uint32_t i = 0; i <= token; i++)
				weights[i] = weight(l, h, token, i);
			reference_step(t->reference[l][h], weights);
			compare_head(t, l, h);
		}
}

static void run_lockstep(const char *policy, uint32_t slack)
{
	static const uint32_t budgets[] = { 9, 24, 11, 40 };
	struct lockstep t = { .spec = fixture_spec(), .policy = policy };

	t.spec.layers = ARRAY_SIZE(budgets);
	t.spec.budgets = budgets;
	t.spec.slack = slack;
	t.spec.sinks = 2;
	t.spec.recent = 3;
	assert_int_equal(treekv_policy_parse(&t.spec.policy, policy), 0);
	t.cache = open_local(&t.spec);
	for (uint32_t l = 0; l < t.spec.layers; l++)
		for (uint32_t h = 0; h < t.spec.kv_heads; h++)
			t.reference[l][h] = reference_new(policy, budgets[l],
							  t.spec.sinks,
							  t.spec.recent,
							  budgets[l] + slack);
	for (uint32_t token = 0; token < TOKENS_MAX; token++)
		lockstep_step(&t, token);
	for (uint32_t l = 0; l < t.spec.layers; l++)
		for (uint32_t h = 0; h < t.spec.kv_heads; h++)
			reference_free(t.reference[l][h]);
	treekv_detach(t.cache);
}

static void test_lockstep_follows_the_reference(void **state)
{
	static const char *const policies_named[] = {
		"treekv",    "treekv-left", "treekv-skip",
		"streaming", "h2o",	    "tova",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(policies_named); i++) {
		run_lockstep(policies_named[i], 1);
		run_lockstep(policies_named[i], 7);
	}
}

#define with_fixture(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_fixture(test_begin_twice_is_refused),
		with_fixture(test_step_larger_than_slack_is_refused),
		with_fixture(test_append_without_step_is_refused),
		with_fixture(test_append_twice_is_refused),
		with_fixture(test_view_checks_its_arguments),
		with_fixture(test_observe_out_of_turn_is_refused),
		with_fixture(test_commit_names_the_layer_that_lacks),
		with_fixture(test_commit_of_more_than_the_step_is_refused),
		with_fixture(test_commit_of_less_than_was_observed_is_refused),
		with_fixture(test_rewind_into_what_is_committed_is_refused),
		with_fixture(test_rewind_of_observed_tokens_is_all_or_nothing),
		cmocka_unit_test(test_policy_full_refuses_when_full),
		with_fixture(test_sequence_ends_before_token_numbers_do),
		with_fixture(test_rows_are_where_the_view_says),
		with_fixture(test_partial_commit_forgets_the_rest),
		with_fixture(test_commit_of_nothing_keeps_scores),
		with_fixture(test_head_never_falls),
		with_fixture(test_abandoned_step_leaves_no_trace),
		with_fixture(test_note_is_committed_with_the_tokens),
		with_fixture(test_ids_of_the_first_tokens_are_kept),
		cmocka_unit_test(test_append_at_equals_append),
		cmocka_unit_test(test_group_mean_counts),
		cmocka_unit_test(test_tova_replaces),
		with_fixture(test_unobserved_heads_keep_their_scores),
		cmocka_unit_test(test_several_tokens_a_step_equal_one_by_one),
		with_fixture(test_stall_has_a_deadline),
		with_fixture(test_a_stall_that_goes_on_is_counted_once),
		with_fixture(test_quarantine_ends_a_stall),
		with_fixture(test_settling_is_no_stall),
		with_fixture(test_commit_rings_past_the_mark_when_armed),
		with_fixture(test_adoption_rings_for_who_waits),
		with_fixture(test_order_of_other_rows_ends_the_lease),
		cmocka_unit_test(test_lockstep_follows_the_reference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
