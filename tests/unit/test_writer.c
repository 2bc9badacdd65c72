// SPDX-License-Identifier: BSD-2-Clause
/*
 * What client/treekv.h promises about steps, on private mappings: errors and
 * their texts, what a commit makes permanent and what it forgets, and the words
 * that the daemon and readers go by.
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
#include "tests/unit/steps.h"

/* ---- errors ---- */

static void test_begin_twice_is_refused(void **state)
{
	struct fixture *f = *state;

	step_begin(&f->cache, 1);
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
	step_begin(&f->cache, 4);
}

static void test_append_without_step_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(treekv_append(&f->cache, 0, step_k_rows, step_v_rows),
			 -EINVAL);
	assert_text("no step is running");
}

static void test_append_twice_is_refused(void **state)
{
	struct fixture *f = *state;
	void *k[STEP_MAX], *v[STEP_MAX];

	step_begin(&f->cache, 1);
	step_append_layer(&f->cache, 1, 1);
	assert_int_equal(treekv_append(&f->cache, 1, step_k_rows, step_v_rows),
			 -EINVAL);
	assert_text("layer 1 has been appended");
	assert_int_equal(treekv_append_at(&f->cache, 1, k, v), -EINVAL);
	assert_text("layer 1 has been appended");
	assert_int_equal(treekv_append(&f->cache, 2, step_k_rows, step_v_rows),
			 -EINVAL);
	assert_text("layer 2, but it has 2");
}

static void test_view_checks_its_arguments(void **state)
{
	struct fixture *f = *state;
	struct treekv_view view;

	assert_int_equal(treekv_view(&f->cache, 2, 0, &view), -EINVAL);
	assert_text("layer 2, head 0, but it has 2 layers of 2");
	assert_int_equal(treekv_view(&f->cache, 0, 2, &view), -EINVAL);
	step_begin(&f->cache, 1);
	assert_int_equal(treekv_view(&f->cache, 0, 0, &view), -EINVAL);
	assert_text("layer 0 has not been appended");
}

static void test_observe_out_of_turn_is_refused(void **state)
{
	struct fixture *f = *state;
	struct treekv_cache *cache = &f->cache;
	float w[STEP_SLOTS_MAX] = { 0 };

	assert_int_equal(treekv_observe(cache, 0, 0, 0, w, 1, 0), -EINVAL);
	step_begin(cache, 3);
	assert_int_equal(treekv_observe(cache, 0, 0, 0, w, 1, 0), -EINVAL);
	assert_text("layer 0 has not been appended");
	step_append(cache, 3);
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
	step_begin(&f->cache, 1);
	step_append_layer(&f->cache, 0, 1);
	assert_int_equal(treekv_commit(&f->cache, 1), -EINVAL);
	assert_text("layer 1 was not appended");
	step_append_layer(&f->cache, 1, 1);
	assert_int_equal(treekv_commit(&f->cache, 1), 0);
}

static void test_commit_of_more_than_the_step_is_refused(void **state)
{
	struct fixture *f = *state;

	step_begin(&f->cache, 2);
	step_append(&f->cache, 2);
	assert_int_equal(treekv_commit(&f->cache, 3), -EINVAL);
	assert_text("commit of 3 tokens in a step of 2");
	assert_int_equal(treekv_commit(&f->cache, 2), 0);
}

static void test_commit_of_less_than_was_observed_is_refused(void **state)
{
	struct fixture *f = *state;

	step_begin(&f->cache, 3);
	step_append(&f->cache, 3);
	step_observe_head(&f->cache, 1, 0, 0);
	step_observe_head(&f->cache, 1, 0, 1);
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
	step_begin(&f->cache, 2);
	step_append(&f->cache, 2);
	assert_int_equal(treekv_rewind(&f->cache, 3), -EOPNOTSUPP);
	assert_text("rewind of 3 tokens, but 2 are uncommitted; committed ones "
		    "cannot be taken back");
}

static void test_rewind_of_observed_tokens_is_all_or_nothing(void **state)
{
	struct fixture *f = *state;

	step_begin(&f->cache, 3);
	step_append(&f->cache, 3);
	step_observe(&f->cache, 0);
	step_observe(&f->cache, 1);
	assert_int_equal(treekv_rewind(&f->cache, 2), -EINVAL);
	assert_text("rewind all 3");
	assert_int_equal(treekv_rewind(&f->cache, 1), 0);
	assert_int_equal(treekv_rewind(&f->cache, 2), 0);
	assert_int_equal(treekv_tail(&f->cache), 0);
	step_begin(&f->cache, 4);
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
	assert_text(
		"has seen 4294967294 tokens, the most one sequence can have");
	f->cache.tail = SHM_TAIL_MAX - 1;
	assert_int_equal(treekv_step_begin(&f->cache, NULL, 2, 0), -EOVERFLOW);
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
		assert_int_equal(k, step_content(1, 1, t));
		assert_int_equal(v, (uint8_t)~step_content(1, 1, t));
	}
}

static void test_partial_commit_forgets_the_rest(void **state)
{
	struct fixture *f = *state;
	struct treekv_view view;

	step_begin(&f->cache, 4);
	step_append(&f->cache, 4);
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
	step_begin(&f->cache, 3);
	step_append(&f->cache, 3);
	assert_int_equal(treekv_commit(&f->cache, 0), 0);
	assert_int_equal(treekv_tail(&f->cache), 2);
	assert_same_float(committed_score(&f->cache, 0, 1, 1), before);
}

static void test_head_never_falls(void **state)
{
	struct fixture *f = *state;

	step_begin(&f->cache, 4);
	assert_int_equal(f->rows->head, 4);
	step_append(&f->cache, 4);
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

	step_begin(&f->cache, 2);
	step_append(&f->cache, 2);
	step_observe(&f->cache, 0);
	step_observe(&f->cache, 1);
	strcpy(treekv_note(&f->cache), "two");
	assert_int_equal(treekv_commit(&f->cache, 2), 0);
	before = committed_score(&f->cache, 1, 0, 0);
	step_begin(&f->cache, 3);
	strcpy(treekv_note(&f->cache), "five");
	step_append(&f->cache, 3);
	step_observe(&f->cache, 0);

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
	step_begin(&f->cache, 1);
	note = treekv_note(&f->cache);
	memset(note, 'a', TREEKV_NOTE_SIZE);
	step_append(&f->cache, 1);
	assert_int_equal(treekv_commit(&f->cache, 1), 0);
	assert_ptr_equal(treekv_note(&f->cache), note);
	step_begin(&f->cache, 1);
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
	step_append(&f->cache, 4);
	assert_int_equal(treekv_commit(&f->cache, 2), 0);
	assert_int_equal(treekv_ids(&f->cache, &ids), 2);
	assert_int_equal(treekv_step_begin(&f->cache, second, 3, 0), 0);
	step_append(&f->cache, 3);
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
	step_begin(a, 3);
	step_begin(b, 3);
	for (uint32_t l = 0; l < spec.layers; l++) {
		step_append_layer(a, l, 3);
		assert_int_equal(treekv_append_at(b, l, k, v), 0);
		for (uint32_t i = 0; i < 3 * spec.kv_heads; i++) {
			memcpy(k[i], step_k_rows + i * spec.k_row, spec.k_row);
			memcpy(v[i], step_v_rows + i * spec.v_row, spec.v_row);
		}
	}
	assert_int_equal(treekv_commit(a, 3), 0);
	assert_int_equal(treekv_commit(b, 3), 0);
	assert_int_equal(a->rows_size, b->rows_size);
	assert_memory_equal(a->rows, b->rows, a->rows_size);
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

/* Published while a step runs: its commit is below the mark of that order. */
static void test_commit_rings_by_the_newest_order(void **state)
{
	struct fixture *f = *state;

	step(&f->cache, 4, 4);
	step(&f->cache, 4, 4);
	step(&f->cache, 1, 1);
	step_begin(&f->cache, 1);
	step_append(&f->cache, 1);
	assert_true(fixture_compact(f)); /* its mark: 10 */
	shm_store_relaxed(&f->index->armed, 1);
	assert_int_equal(treekv_commit(&f->cache, 0), 0);
	assert_int_equal(f->rings, 0);
	step(&f->cache, 1, 1);
	assert_int_equal(f->rings, 1);
}

/* Likewise, and it reaches that mark: nobody else will ring for it. */
static void test_commit_rings_for_an_order_not_yet_adopted(void **state)
{
	struct fixture *f = *state;

	step(&f->cache, 4, 4);
	step(&f->cache, 4, 4);
	step(&f->cache, 1, 1);
	step_begin(&f->cache, 1);
	step_append(&f->cache, 1);
	assert_true(fixture_compact(f));
	shm_store_relaxed(&f->index->armed, 1);
	assert_int_equal(treekv_commit(&f->cache, 1), 0);
	assert_int_equal(f->rings, 1);
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
	step_begin(&f->cache, 1);
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

#define with_fixture(f) \
	cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)

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
		with_fixture(test_stall_has_a_deadline),
		with_fixture(test_a_stall_that_goes_on_is_counted_once),
		with_fixture(test_quarantine_ends_a_stall),
		with_fixture(test_settling_is_no_stall),
		with_fixture(test_commit_rings_past_the_mark_when_armed),
		with_fixture(test_commit_rings_by_the_newest_order),
		with_fixture(test_commit_rings_for_an_order_not_yet_adopted),
		with_fixture(test_adoption_rings_for_who_waits),
		with_fixture(test_order_of_other_rows_ends_the_lease),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
