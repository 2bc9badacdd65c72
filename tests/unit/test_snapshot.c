// SPDX-License-Identifier: BSD-2-Clause
/* What a snapshot brings back, also when its writer goes on meanwhile. */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fixture.h"
#include "tests/unit/snapshot_fixture.h"

/* ---- what comes back ---- */

static void round_trip(const struct treekv_spec *spec, uint64_t tokens)
{
	struct bed *first = bed_new(spec, "round"), *second;

	bed_write(first, tokens);
	bed_save(first);
	second = bed_load(spec, "round");
	assert_same(first, second);
	assert_verified(second);
	first->check.random = second->check.random = 5;
	bed_write(first, 100);
	bed_write(second, 100);
	assert_same(first, second);
	assert_verified(second);
	bed_free(first);
	bed_free(second);
}

static void test_a_loaded_cache_goes_on_as_the_saved_one(void **state)
{
	struct treekv_spec spec = fixture_spec();

	(void)state;
	round_trip(&spec, 0);
	round_trip(&spec, 1);
	round_trip(&spec, 7);
	for (uint64_t n = 50; n < 60; n++)
		round_trip(&spec, n);
}

static void test_layers_may_differ(void **state)
{
	const uint32_t budgets[] = { 12, 7, 300 };
	struct treekv_spec spec = fixture_spec();

	(void)state;
	spec.layers = 3;
	spec.budgets = budgets;
	spec.slack = 5;
	round_trip(&spec, 400);
}

static void test_policies_and_wide_entries(void **state)
{
	struct treekv_spec spec = fixture_spec();

	(void)state;
	spec.policy = TREEKV_POLICY_TOVA;
	round_trip(&spec, 100);
	spec.policy = TREEKV_POLICY_H2O;
	round_trip(&spec, 100);
	spec.policy = TREEKV_POLICY_FULL;
	spec.budget = 200;
	round_trip(&spec, 60);
	spec = fixture_spec();
	spec.layers = spec.kv_heads = 1;
	spec.budget = 40000;
	round_trip(&spec, 50);
}

/* Whatever was in the file: gaps, and what the cache has not used so far. */
static void test_all_pages_of_a_loaded_cache_are_there(void **state)
{
	struct treekv_spec spec = bed_large_spec();
	struct bed *bed;
	struct stat st;

	(void)state;
	spec.ids = 5000;
	for (uint64_t tokens = 0; tokens < 200; tokens += 66) {
		bed = bed_new(&spec, "pages");
		bed_write(bed, tokens);
		bed_save(bed);
		bed_free(bed);
		bed = bed_load(&spec, "pages");
		assert_int_equal(bed->cache->faulted_in, bed->cache->rows_size);
		assert_int_equal(fstat(bed->cache->rows_fd, &st), 0);
		assert_int_equal((uint64_t)st.st_blocks * 512,
				 bed->cache->rows_size);
		assert_verified(bed);
		bed_free(bed);
	}
}

/* Of a head that is used in part, only those pages. */
static void test_a_file_is_as_short_as_its_cache(void **state)
{
	struct treekv_spec spec = bed_large_spec();
	struct bed *bed = bed_new(&spec, "short");
	struct snapshot_info *info;
	struct snapshot_error why;

	(void)state;
	bed_write(bed, 10);
	bed_save(bed);
	assert_int_equal(snapshot_peek(&info, bed_root, BED_UID, "short", &why),
			 0);
	assert_true(info->header.file_size < bed->cache->rows_size / 4);
	assert_true(info->header.part[SNAPSHOT_ROWS].size >
		    10 * 2 * (uint64_t)spec.layers * spec.kv_heads * 4000);
	free(info);
	bed_free(bed);
}

/* What changes with every step has no place in it; nor has another cache's. */
static void test_words_are_not_in_the_file(void **state)
{
	static const uint8_t zeroes[sizeof(struct shm_rows)];
	struct treekv_spec spec = fixture_spec();
	const struct snapshot_header *header;
	struct bed *bed;
	struct file file;

	(void)state;
	bed_save_one(&spec, "words");
	file = file_read("words");
	header = (const void *)file.bytes;
	assert_memory_equal(file.bytes + header->part[SNAPSHOT_ROWS].at, zeroes,
			    sizeof(zeroes));
	free(file.bytes);
	bed = bed_load(&spec, "words");
	assert_int_equal(bed->rows->magic, SHM_ROWS_MAGIC);
	assert_int_equal(bed->rows->cache_id, bed->cache->id);
	assert_int_equal(bed->rows->rows_size, bed->cache->rows_size);
	bed_free(bed);
}

/* ---- while the writer goes on ---- */

static void test_a_writer_between_all_slices(void **state)
{
	struct treekv_spec spec = bed_large_spec();
	struct bed *bed = bed_new(&spec, "busy"), *other;
	struct snapshot_job *job;
	uint64_t before, steps = 0;
	bool was_held = false;

	(void)state;
	bed_write(bed, 300);
	before = bed->writer.tail;
	assert_int_equal(snapshot_save(&job, bed->cache, bed_root, 0), 0);
	while (!job->task.over) {
		bool more = job->task.slice(&job->task, bed_staging);

		was_held |= bed->cache->holds;
		for (int i = 0; i < 12; i++) {
			if (bed->cache->holds &&
			    bed->writer.tail + 1 >
				    bed->writer.base_tail + bed->writer.free)
				break; /* he would stall */
			assert_int_equal(selfcheck_step(&bed->check,
							bed->writer.tail + 1),
					 0);
			bed_compact(bed);
			steps++;
		}
		if (!more && !job->task.over)
			loop_turn(&bed_loop);
	}
	assert_int_equal(job->error, 0);
	assert_int_equal(job->lost, 3);
	assert_true(was_held);
	assert_false(bed->cache->holds);
	assert_true(steps > 20);
	assert_true(job->info->header.tail > before);
	snapshot_job_free(job);
	assert_verified(bed);
	other = bed_load(&spec, "busy");
	assert_verified(other);
	bed_write(other, 200);
	assert_verified(other);
	bed_free(other);
	bed_free(bed);
}

static void test_a_commit_during_the_cut_is_noticed(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct bed *bed = bed_new(&spec, "cut");
	struct snapshot_cut cut;

	(void)state;
	bed_write(bed, 20);
	assert_int_equal(snapshot_cut_init(&cut, bed->cache->index), 0);
	assert_int_equal(snapshot_cut_take(&cut, bed->cache->index,
					   bed->cache->rows),
			 0);
	assert_true(
		snapshot_cut_holds(&cut, bed->cache->index, bed->cache->rows));
	bed_write(bed, 1);
	assert_int_equal(cut.info->header.tail, 20);
	bed_write(bed, 20);
	assert_false(
		snapshot_cut_holds(&cut, bed->cache->index, bed->cache->rows));
	snapshot_cut_exit(&cut);
	bed_free(bed);
}

static void refuse_liar(struct bed *bed)
{
	struct snapshot_job *job;

	assert_int_equal(snapshot_save(&job, bed->cache, bed_root, 0), 0);
	bed_run(job);
	assert_int_equal(job->error, -EUCLEAN);
	snapshot_job_free(job);
}

static void test_a_writer_that_lies_is_not_saved(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct bed *bed = bed_new(&spec, "liar");
	uint64_t commit, head;

	(void)state;
	bed_write(bed, 20);
	commit = bed->rows->commit;
	head = bed->rows->head;
	bed->rows->commit = shm_commit_pack(20000, 0);
	refuse_liar(bed);
	bed->rows->commit = commit;
	bed->rows->head = head - 1;
	refuse_liar(bed);
	bed->rows->head = UINT64_MAX;
	refuse_liar(bed);
	bed_free(bed);
}

/* Until it has opened its temporary file; nothing is in flight then. */
static void run_to_the_rows(struct snapshot_job *job)
{
	while (!job->state.made_temp && !job->task.over)
		if (!job->task.slice(&job->task, bed_staging) &&
		    !job->task.over)
			loop_turn(&bed_loop);
	assert_true(job->state.made_temp);
}

static void test_a_cancelled_job_leaves_nothing(void **state)
{
	struct treekv_spec spec = bed_large_spec();
	struct bed *bed = bed_new(&spec, "cancel");
	struct snapshot_job *job;
	struct stat st;

	(void)state;
	bed_write(bed, 200);
	assert_int_equal(snapshot_save(&job, bed->cache, bed_root, 0), 0);
	run_to_the_rows(job);
	assert_int_equal(stat(job->temp, &st), 0);
	job->cancel = true;
	bed_run(job);
	assert_int_equal(job->error, -ECANCELED);
	assert_int_equal(stat(job->temp, &st), -1);
	snapshot_job_free(job);
	bed_free(bed);
}

/* Dropped in the middle of it, with another of that name being saved by now. */
static void test_who_is_cancelled_leaves_his_heirs_file_alone(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct bed *old = bed_new(&spec, "name"),
		   *heir = bed_new(&spec, "name");
	struct snapshot_job *first, *second;

	(void)state;
	heir->cache->id = old->cache->id + 1;
	bed_write(old, 10);
	bed_write(heir, 20);
	assert_int_equal(snapshot_save(&first, old->cache, bed_root, 0), 0);
	assert_int_equal(snapshot_save(&second, heir->cache, bed_root, 0), 0);
	run_to_the_rows(first);
	run_to_the_rows(second);
	first->cancel = true;
	bed_run(first);
	assert_int_equal(first->error, -ECANCELED);
	bed_run(second);
	assert_int_equal(second->error, 0);
	assert_int_equal(second->info->header.tail, 20);
	snapshot_job_free(first);
	snapshot_job_free(second);
	bed_free(old);
	bed_free(heir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_loaded_cache_goes_on_as_the_saved_one),
		cmocka_unit_test(test_layers_may_differ),
		cmocka_unit_test(test_policies_and_wide_entries),
		cmocka_unit_test(test_all_pages_of_a_loaded_cache_are_there),
		cmocka_unit_test(test_a_file_is_as_short_as_its_cache),
		cmocka_unit_test(test_words_are_not_in_the_file),
		cmocka_unit_test(test_a_writer_between_all_slices),
		cmocka_unit_test(test_a_commit_during_the_cut_is_noticed),
		cmocka_unit_test(test_a_writer_that_lies_is_not_saved),
		cmocka_unit_test(test_a_cancelled_job_leaves_nothing),
		cmocka_unit_test(
			test_who_is_cancelled_leaves_his_heirs_file_alone),
	};

	return cmocka_run_group_tests(tests, bed_set_up, bed_tear_down);
}
