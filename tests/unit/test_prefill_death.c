// SPDX-License-Identifier: BSD-2-Clause
/*
 * What becomes of a prompt when its writer or the daemon dies anywhere between
 * the first row and the last word, what the daemon believes of what it is told,
 * and that every state on the way is one that adoption, snapshots and attaching
 * take for sound.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/adopt.h"
#include "daemon/snapshot_cut.h"
#include "proto/barrier.h"
#include "tests/unit/prefill_fixture.h"

/* ---- deaths ---- */

static const struct expected prompt_expected = {
	TREEKV_POLICY_TREEKV, "treekv", PROMPT, 6, 3, 0, 6, true, 5
};
static const struct treekv_prefill prompt_how = { .block = 3, .window = 6 };

static void assert_empty(struct fixture *f)
{
	struct treekv_view view;

	assert_int_equal(treekv_tail(&f->cache), 0);
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++) {
			assert_int_equal(treekv_view(&f->cache, l, h, &view),
					 0);
			assert_int_equal(view.live, 0);
		}
}

/* As the daemon finds it, and as the next one adopts it. */
static void assert_sound(struct fixture *f, uint64_t tail)
{
	struct snapshot_cut cut;
	const char *why;

	assert_int_equal(compact_check(f->index, f->rows), COMPACT_SOUND);
	assert_int_equal(adopt_check(f->index, 0, &why), 0);
	assert_int_equal(snapshot_cut_init(&cut, f->index), 0);
	assert_int_equal(snapshot_cut_take(&cut, f->index, f->rows), 0);
	assert_int_equal(cut.info->header.tail, tail);
	assert_true(snapshot_cut_holds(&cut, f->index, f->rows));
	if (tail == PROMPT)
		assert_int_equal(cut.info->header.note[255], 0x5a);
	snapshot_cut_exit(&cut);
}

static void assert_whole(struct fixture *f)
{
	struct references r;

	assert_int_equal(treekv_tail(&f->cache), PROMPT);
	assert_int_equal(((uint8_t *)treekv_note(&f->cache))[0], 0x5a);
	expect_prompt(&r, f, &prompt_expected);
	expect_compare(f, &prompt_expected, &r);
	expect_steps(f, &prompt_expected, &r, 30);
	expect_free(&r);
}

static void test_a_writer_who_dies_before_he_asks_leaves_it_empty(void **state)
{
	struct treekv_spec spec = prefill_spec(TREEKV_POLICY_TREEKV);
	struct fixture *f = fixture_new(&spec, *state);

	prefill_write(&f->cache, &prompt_how, PROMPT);
	assert_sound(f, 0);
	fixture_reattach(f);
	assert_empty(f);
	prefill_step(&f->cache);
	assert_sound(f, 1);
	fixture_free(f);
	/* and if nobody steps, the next may take it as a whole */
	f = fixture_new(&spec, *state);
	prefill_write(&f->cache, NULL, 90);
	fixture_reattach(f);
	prefill(&f->cache, &prompt_how, PROMPT);
	assert_whole(f);
	fixture_free(f);
}

static void test_a_writer_who_dies_unanswered_has_committed(void **state)
{
	struct treekv_spec spec = prefill_spec(TREEKV_POLICY_TREEKV);
	struct fixture *f = fixture_new(&spec, *state);

	daemon_does = DAEMON_LOSES_THE_ANSWER;
	prefill_write(&f->cache, &prompt_how, PROMPT);
	assert_int_equal(treekv_prefill_commit(&f->cache, 0), -ETIMEDOUT);
	assert_int_equal(shm_commit_tail(f->rows->commit), 0);
	assert_sound(f, PROMPT);
	assert_false(compact_due(&f->compaction));
	fixture_reattach(f);
	assert_sound(f, PROMPT);
	assert_whole(f);
	fixture_free(f);
}

static void test_an_unanswered_writer_can_only_ask_again(void **state)
{
	struct treekv_spec spec = prefill_spec(TREEKV_POLICY_TREEKV);
	struct fixture *f = fixture_new(&spec, *state);

	daemon_does = DAEMON_IS_AWAY;
	prefill_write(&f->cache, &prompt_how, PROMPT);
	assert_int_equal(treekv_prefill_commit(&f->cache, 0), -ETIMEDOUT);
	assert_int_equal(treekv_prefill_abort(&f->cache), -EINPROGRESS);
	assert_int_equal(treekv_step_begin(&f->cache, NULL, 1, 0), -EBUSY);
	daemon_does = DAEMON_LOSES_THE_ANSWER;
	assert_int_equal(treekv_prefill_commit(&f->cache, 0), -ETIMEDOUT);
	daemon_does = DAEMON_ANSWERS;
	assert_int_equal(treekv_prefill_commit(&f->cache, 0), 0);
	assert_whole(f);
	fixture_free(f);
}

/* A daemon that dies in the middle leaves a torn spare buffer, no more. */
static void test_a_daemon_who_dies_before_he_publishes(void **state)
{
	struct treekv_spec spec = prefill_spec(TREEKV_POLICY_TREEKV);
	struct fixture *f = fixture_new(&spec, *state);
	uint32_t live[LAYERS] = { 20, 14 }, walk[LAYERS] = { 1, 1 };
	const struct compact_prompt prompt = { PROMPT, live, walk };
	bool more;

	prefill_write(&f->cache, &prompt_how, PROMPT);
	assert_int_equal(compact_prompt_begin(&f->compaction, &prompt),
			 COMPACT_PROMPT_SOUND);
	for (int i = 0; i < 3; i++)
		assert_int_equal(compact_prompt_heads(&f->compaction, &prompt,
						      1, &more),
				 COMPACT_PROMPT_SOUND);
	assert_true(more);
	assert_sound(f, 0);
	assert_int_equal(treekv_prefill_commit(&f->cache, 0), 0);
	assert_whole(f);
	fixture_free(f);
}

/* The rows are moved while the writer's own word still lags behind. */
static void test_a_lease_broken_right_after_the_publication(void **state)
{
	struct treekv_spec spec = prefill_spec(TREEKV_POLICY_TREEKV);
	struct fixture *f = fixture_new(&spec, *state);

	daemon_does = DAEMON_LOSES_THE_ANSWER;
	prefill_write(&f->cache, &prompt_how, PROMPT);
	assert_int_equal(treekv_prefill_commit(&f->cache, 0), -ETIMEDOUT);
	shm_store_relaxed(&f->rows->seen, f->index->generation);
	compact_move(&f->compaction, f->rows, 0);
	assert_int_equal(f->compaction.fault, COMPACT_SOUND);
	fixture_reattach(f);
	assert_whole(f);
	fixture_free(f);
}

/* ---- what the daemon refuses ---- */

static void refused(struct fixture *f, enum compact_prompt_answer answer,
		    uint64_t tail, const uint32_t *live, const uint32_t *walk)
{
	struct cache_prompt prompt = { tail, (uint32_t *)(uintptr_t)live,
				       (uint32_t *)(uintptr_t)walk };

	assert_int_equal(prefill_publish(f, &prompt), answer);
}

static void test_lies_about_a_prompt_are_refused(void **state)
{
	struct treekv_spec spec = prefill_spec(TREEKV_POLICY_TREEKV);
	struct fixture *f = fixture_new(&spec, *state);
	static const uint32_t live[LAYERS] = { 20, 14 }, one[] = { 1, 1 };
	static const uint32_t none[] = { 20, 0 }, many[] = { 22, 14 };
	static const uint32_t last[] = { 14, 9 }, beyond[] = { 14, 10 };
	static const uint32_t zero[] = { 1, 0 }, more[] = { 20, 15 };
	uint32_t *token;

	prefill_write(&f->cache, &prompt_how, PROMPT);
	refused(f, COMPACT_PROMPT_TAIL, 0, live, one);
	refused(f, COMPACT_PROMPT_TAIL, SHM_TAIL_MAX + 1, live, one);
	refused(f, COMPACT_PROMPT_LIVE, PROMPT, none, one);
	refused(f, COMPACT_PROMPT_LIVE, PROMPT, many, one);
	refused(f, COMPACT_PROMPT_LIVE, 19, live, one);
	refused(f, COMPACT_PROMPT_LIVE, PROMPT, live, zero);
	refused(f, COMPACT_PROMPT_LIVE, PROMPT, live, beyond);
	refused(f, COMPACT_PROMPT_TOKENS, PROMPT - 1, live, one);
	token = cache_head_at(&f->cache, 1, 1)->token;
	token[7]++;
	refused(f, COMPACT_PROMPT_TOKENS, PROMPT, live, one);
	token[7]--;
	shm_store_relaxed(&f->rows->seen, 0);
	refused(f, COMPACT_PROMPT_GRACE, PROMPT, live, one);
	shm_store_relaxed(&f->rows->seen, 1);
	assert_int_equal(f->index->generation, 1);
	refused(f, COMPACT_PROMPT_SOUND, PROMPT, live, last);
	refused(f, COMPACT_PROMPT_DONE, PROMPT, live, last);
	refused(f, COMPACT_PROMPT_USED, PROMPT, more, last);
	refused(f, COMPACT_PROMPT_USED, PROMPT + 1, live, last);
	fixture_reattach(f);
	refused(f, COMPACT_PROMPT_DONE, PROMPT, live, last);
	prefill_step(&f->cache);
	refused(f, COMPACT_PROMPT_USED, PROMPT, live, last);
	shm_store_release(&f->rows->commit, shm_commit_pack(1000, 0));
	refused(f, COMPACT_PROMPT_FAULT, PROMPT, live, last);
	fixture_free(f);
}

/* A commit behind a prompt counts as the prompt's: his own loss. */
static void test_a_commit_behind_the_prompt(void **state)
{
	struct treekv_spec spec = prefill_spec(TREEKV_POLICY_TREEKV);
	struct fixture *f = fixture_new(&spec, *state);

	prefill(&f->cache, &prompt_how, PROMPT);
	shm_store_release(&f->rows->commit, shm_commit_pack(PROMPT - 1, 1));
	assert_sound(f, PROMPT);
	fixture_reattach(f);
	assert_int_equal(treekv_tail(&f->cache), PROMPT);
	fixture_free(f);
}

#define TEST(name) cmocka_unit_test_setup(name, prefill_set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_writer_who_dies_before_he_asks_leaves_it_empty),
		TEST(test_a_writer_who_dies_unanswered_has_committed),
		TEST(test_an_unanswered_writer_can_only_ask_again),
		TEST(test_a_daemon_who_dies_before_he_publishes),
		TEST(test_a_lease_broken_right_after_the_publication),
		TEST(test_lies_about_a_prompt_are_refused),
		TEST(test_a_commit_behind_the_prompt),
	};

	return cmocka_run_group_tests_name("prefill, deaths", tests, NULL,
					   NULL);
}
