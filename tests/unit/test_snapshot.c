// SPDX-License-Identifier: BSD-2-Clause
/*
 * Snapshots without a daemon: a cache with its memfds, a writer on the same
 * mappings whose rows check themselves, and jobs whose slices are run by hand,
 * so that the writer goes on between any two of them.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/snapshot.h"
#include "proto/barrier.h"
#include "tests/helpers/selfcheck.h"
#include "tests/unit/fixture.h"

static char root[] = "/tmp/treekv-snapshot.XXXXXX";
static struct loop loop;
static struct staging *staging;

/* A cache and its writer. */
struct bed {
	struct cache *cache;
	struct shm_rows *rows;
	struct treekv_cache writer;
	struct treekv_spec spec;
	struct selfcheck check;
	struct order_scratch scratch;
	void *memory;
};

static void compact(struct bed *bed)
{
	struct compaction *c = &bed->cache->compaction;

	if (bed->cache->holds || !compact_begin(c))
		return;
	while (compact_heads(c, 1))
		;
	assert_int_equal(c->fault, COMPACT_SOUND);
	compact_publish(c);
}

static void ring(struct treekv_cache *cache)
{
	(void)cache;
}

/* A stalled step runs the compaction it waits for. */
static int wait_for(struct treekv_cache *cache, uint64_t generation,
		    int timeout_ms)
{
	(void)generation;
	(void)timeout_ms;
	compact(cache->owner);
	return 0;
}

static void keep(struct treekv_cache *cache, int timeout_ms)
{
	(void)cache;
	(void)timeout_ms;
}

static const struct cache_ops ops = {
	.ring = ring,
	.wait = wait_for,
	.renew = ring,
	.release = keep,
};

static void attach(struct bed *bed)
{
	struct cache *cache = bed->cache;

	bed->rows = mmap(NULL, cache->rows_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED, cache->rows_fd, 0);
	assert_ptr_not_equal(bed->rows, MAP_FAILED);
	bed->writer = (struct treekv_cache){
		.ops = &ops,
		.owner = bed,
		.index = cache->index,
		.rows = bed->rows,
		.index_size = cache->index_size,
		.rows_size = cache->rows_size,
		.rows_inode = ((struct shm_buffer *)((char *)cache->index +
						     cache->index->buffer[1]))
				      ->rows_inode,
		.name = "bed",
	};
	assert_int_equal(cache_init(&bed->writer), 0);
	bed->memory = malloc(order_scratch_size(cache->slots));
	order_scratch_init(&bed->scratch, bed->memory, cache->slots);
	cache->compaction.scratch = &bed->scratch;
	bed->check = (struct selfcheck){
		.cache = &bed->writer,
		.seed = 7,
		.random = 99 + bed->writer.tail,
		.per_step = 3,
		.timeout_ms = 1000,
	};
	selfcheck_init(&bed->check, &bed->spec);
}

static void make_shm_spec(struct shm_spec *to, const struct treekv_spec *from)
{
	*to = (struct shm_spec){
		.layers = from->layers,
		.kv_heads = from->kv_heads,
		.k_row = from->k_row,
		.v_row = from->v_row,
		.dtype = from->dtype,
		.policy = from->policy,
		.positions = from->positions,
		.sinks = from->sinks,
		.recent = from->recent,
		.slack = from->slack,
		.ids = from->ids,
	};
}

static struct cache *cache_make(const struct treekv_spec *from,
				const char *name)
{
	uint32_t budgets[SHM_LAYERS_MAX];
	struct cache_error why;
	struct shm_spec spec;
	struct cache *cache;

	make_shm_spec(&spec, from);
	for (uint32_t l = 0; l < from->layers; l++)
		budgets[l] = from->budgets ? from->budgets[l] : from->budget;
	assert_int_equal(layout_check(&spec, budgets, NULL), 0);
	assert_int_equal(cache_new(&cache, name, &spec, budgets,
				   HUGE_PAGES_NEVER, &why),
			 0);
	cache->uid = 1234;
	return cache;
}

static struct bed *bed_new(const struct treekv_spec *spec, const char *name)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	bed->spec = *spec;
	bed->cache = cache_make(spec, name);
	cache_format(bed->cache);
	attach(bed);
	return bed;
}

static void bed_free(struct bed *bed)
{
	if (!bed)
		return;
	munmap(bed->rows, bed->cache->rows_size);
	cache_exit(&bed->writer);
	selfcheck_exit(&bed->check);
	cache_free(bed->cache);
	free(bed->memory);
	free(bed);
}

static void write_tokens(struct bed *bed, uint64_t n)
{
	uint64_t end = bed->writer.tail + n;

	while (bed->writer.tail < end) {
		assert_int_equal(selfcheck_step(&bed->check, end), 0);
		compact(bed);
	}
	assert_int_equal(bed->check.wrong, 0);
}

static void run(struct snapshot_job *job)
{
	while (!job->task.over)
		if (!job->task.slice(&job->task, staging) && !job->task.over)
			loop_turn(&loop);
}

static void save(struct bed *bed)
{
	struct snapshot_job *job;

	assert_int_equal(snapshot_save(&job, bed->cache, root, 0), 0);
	run(job);
	assert_string_equal(job->why.text, "");
	assert_int_equal(job->error, 0);
	assert_false(bed->cache->holds);
	snapshot_job_free(job);
}

/* What a load says; *ret is set when it succeeds. */
static int load_file(struct bed **ret, const struct treekv_spec *spec,
		     const char *name, struct snapshot_error *why)
{
	struct snapshot_info *info;
	struct snapshot_job *job;
	struct bed *bed;
	int r;

	r = snapshot_peek(&info, root, 1234, name, why);
	if (r)
		return r;
	bed = calloc(1, sizeof(*bed));
	bed->spec = *spec;
	bed->cache = cache_make(spec, name);
	assert_int_equal(snapshot_load(&job, bed->cache, root, info), 0);
	run(job);
	r = job->error;
	*why = job->why;
	snapshot_job_free(job);
	if (r) {
		cache_free(bed->cache);
		free(bed);
		return r;
	}
	attach(bed);
	*ret = bed;
	return 0;
}

static struct bed *load(const struct treekv_spec *spec, const char *name)
{
	struct snapshot_error why = { .text = "" };
	struct bed *bed = NULL;
	int r = load_file(&bed, spec, name, &why);

	assert_string_equal(why.text, "");
	assert_int_equal(r, 0);
	return bed;
}

static void assert_verified(struct bed *bed)
{
	selfcheck_verify(&bed->check);
	assert_string_equal(bed->check.text, "");
}

static void assert_same_head(struct bed *a, struct bed *b, uint32_t l,
			     uint32_t h)
{
	struct cache_head *x = cache_head_at(&a->writer, l, h);
	struct cache_head *y = cache_head_at(&b->writer, l, h);
	uint32_t slots = a->writer.layer[l].at.slots;
	struct treekv_view view;

	/* Ranks are copied when they are asked for. */
	assert_int_equal(treekv_view(&a->writer, l, h, &view), 0);
	assert_int_equal(treekv_view(&b->writer, l, h, &view), 0);
	assert_memory_equal(x->rank, y->rank, slots * sizeof(uint32_t));
	assert_memory_equal(x->order[a->writer.generation & 1],
			    y->order[b->writer.generation & 1],
			    (size_t)slots * a->writer.spec.entry_size);
	for (uint32_t s = 0; s < slots; s++) {
		if (x->rank[s] == SHM_FREE32)
			continue;
		assert_memory_equal(x->k + (size_t)s * a->spec.k_row,
				    y->k + (size_t)s * a->spec.k_row,
				    a->spec.k_row);
		assert_memory_equal(x->v + (size_t)s * a->spec.v_row,
				    y->v + (size_t)s * a->spec.v_row,
				    a->spec.v_row);
		assert_memory_equal(&x->score[a->writer.parity][s],
				    &y->score[b->writer.parity][s],
				    sizeof(float));
		assert_int_equal(x->since[s], y->since[s]);
		assert_int_equal(x->token[s], y->token[s]);
	}
}

static void assert_same(struct bed *a, struct bed *b)
{
	const uint32_t *ids_a, *ids_b;

	assert_int_equal(cache_adopt(&a->writer), 0);
	assert_int_equal(cache_adopt(&b->writer), 0);
	assert_int_equal(a->rows->commit, b->rows->commit);
	assert_int_equal(a->writer.generation, b->writer.generation);
	assert_int_equal(a->writer.base_tail, b->writer.base_tail);
	assert_int_equal(a->writer.free, b->writer.free);
	assert_int_equal(a->writer.ring_at, b->writer.ring_at);
	assert_memory_equal(treekv_note(&a->writer), treekv_note(&b->writer),
			    SHM_NOTE_SIZE);
	assert_int_equal(treekv_ids(&a->writer, &ids_a),
			 treekv_ids(&b->writer, &ids_b));
	assert_memory_equal(ids_a, ids_b,
			    treekv_ids(&a->writer, &ids_a) * sizeof(*ids_a));
	for (uint32_t l = 0; l < a->spec.layers; l++) {
		assert_int_equal(cache_levels(a->cache)[l].n_live,
				 cache_levels(b->cache)[l].n_live);
		assert_memory_equal(cache_walks(a->cache, l),
				    cache_walks(b->cache, l),
				    a->spec.kv_heads * sizeof(uint32_t));
		for (uint32_t h = 0; h < a->spec.kv_heads; h++)
			assert_same_head(a, b, l, h);
	}
}

/* ---- what comes back ---- */

static void round_trip(const struct treekv_spec *spec, uint64_t tokens)
{
	struct bed *first = bed_new(spec, "round"), *second;

	write_tokens(first, tokens);
	save(first);
	second = load(spec, "round");
	assert_same(first, second);
	assert_verified(second);
	first->check.random = second->check.random = 5;
	write_tokens(first, 100);
	write_tokens(second, 100);
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

static struct treekv_spec large_spec(void)
{
	struct treekv_spec spec = fixture_spec();

	spec.k_row = 4096;
	spec.v_row = 4000;
	spec.budget = 128;
	spec.slack = 16;
	return spec;
}

/* ---- while the writer goes on ---- */

static void test_a_writer_between_all_slices(void **state)
{
	struct treekv_spec spec = large_spec();
	struct bed *bed = bed_new(&spec, "busy"), *other;
	struct snapshot_job *job;
	uint64_t before, steps = 0;
	bool was_held = false;

	(void)state;
	write_tokens(bed, 300);
	before = bed->writer.tail;
	assert_int_equal(snapshot_save(&job, bed->cache, root, 0), 0);
	while (!job->task.over) {
		bool more = job->task.slice(&job->task, staging);

		was_held |= bed->cache->holds;
		for (int i = 0; i < 12; i++) {
			if (bed->cache->holds &&
			    bed->writer.tail + 1 >
				    bed->writer.base_tail + bed->writer.free)
				break; /* he would stall */
			assert_int_equal(selfcheck_step(&bed->check,
							bed->writer.tail + 1),
					 0);
			compact(bed);
			steps++;
		}
		if (!more && !job->task.over)
			loop_turn(&loop);
	}
	assert_int_equal(job->error, 0);
	assert_int_equal(job->lost, 3);
	assert_true(was_held);
	assert_false(bed->cache->holds);
	assert_true(steps > 20);
	assert_true(job->info->header.tail > before);
	snapshot_job_free(job);
	assert_verified(bed);
	other = load(&spec, "busy");
	assert_verified(other);
	write_tokens(other, 200);
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
	write_tokens(bed, 20);
	assert_int_equal(snapshot_cut_init(&cut, bed->cache->index), 0);
	assert_int_equal(snapshot_cut_take(&cut, bed->cache->index,
					   bed->cache->rows),
			 0);
	assert_true(
		snapshot_cut_holds(&cut, bed->cache->index, bed->cache->rows));
	write_tokens(bed, 1);
	assert_int_equal(cut.info->header.tail, 20);
	write_tokens(bed, 20);
	assert_false(
		snapshot_cut_holds(&cut, bed->cache->index, bed->cache->rows));
	snapshot_cut_exit(&cut);
	bed_free(bed);
}

static void test_a_writer_that_lies_is_not_saved(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct bed *bed = bed_new(&spec, "liar");
	struct snapshot_job *job;

	(void)state;
	write_tokens(bed, 20);
	bed->rows->commit = shm_commit_pack(20000, 0);
	assert_int_equal(snapshot_save(&job, bed->cache, root, 0), 0);
	run(job);
	assert_int_equal(job->error, -EUCLEAN);
	snapshot_job_free(job);
	bed_free(bed);
}

static void test_a_cancelled_job_leaves_nothing(void **state)
{
	struct treekv_spec spec = large_spec();
	struct bed *bed = bed_new(&spec, "cancel");
	struct snapshot_job *job;
	struct stat st;
	char path[256];

	(void)state;
	write_tokens(bed, 200);
	assert_int_equal(snapshot_save(&job, bed->cache, root, 0), 0);
	for (int i = 0; i < 4; i++)
		if (!job->task.slice(&job->task, staging))
			loop_turn(&loop);
	job->cancel = true;
	run(job);
	assert_int_equal(job->error, -ECANCELED);
	snapshot_job_free(job);
	snprintf(path, sizeof(path), "%s/1234/cancel.tmp", root);
	assert_int_equal(stat(path, &st), -1);
	bed_free(bed);
}

/* ---- files that are not what they ought to be ---- */

struct file {
	char path[256];
	uint8_t *bytes;
	size_t size;
};

static struct file file_read(const char *name)
{
	struct file file;
	struct stat st;
	int fd;

	snprintf(file.path, sizeof(file.path), "%s/1234/%s.tkv", root, name);
	fd = open(file.path, O_RDONLY);
	assert_int_equal(fstat(fd, &st), 0);
	file.size = (size_t)st.st_size;
	file.bytes = malloc(file.size);
	assert_int_equal(read(fd, file.bytes, file.size), file.size);
	close(fd);
	return file;
}

static void file_write(const struct file *file, size_t size)
{
	int fd = open(file->path, O_WRONLY | O_TRUNC | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, file->bytes, size), size);
	close(fd);
}

static void save_one(const struct treekv_spec *spec, const char *name)
{
	struct bed *bed = bed_new(spec, name);

	write_tokens(bed, 60);
	save(bed);
	bed_free(bed);
}

static void test_every_byte_of_the_header_counts(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct snapshot_header header;
	struct snapshot_error why;
	struct file file;

	(void)state;
	save_one(&spec, "header");
	file = file_read("header");
	assert_int_equal(
		snapshot_header_check(&header, file.bytes, file.size, &why), 0);
	for (size_t at = 0; at < SNAPSHOT_PAGE; at++)
		for (int bit = 0; bit < 8; bit += 7) {
			file.bytes[at] ^= 1 << bit;
			assert_true(snapshot_header_check(&header, file.bytes,
							  file.size, &why) < 0);
			file.bytes[at] ^= 1 << bit;
		}
	free(file.bytes);
}

static void assert_flip_is_refused(struct file *file, size_t at,
				   const struct treekv_spec *spec,
				   const char *section)
{
	struct snapshot_error why;
	struct bed *bed = NULL;

	file->bytes[at] ^= 0x10;
	file_write(file, file->size);
	assert_int_equal(load_file(&bed, spec, "flip", &why), -EBADMSG);
	assert_non_null(strstr(why.text, section));
	file->bytes[at] ^= 0x10;
}

static void test_flips_in_every_section_are_refused(void **state)
{
	struct treekv_spec spec = fixture_spec();
	const struct snapshot_header *header;
	uint64_t random = 1;
	struct file file;

	(void)state;
	save_one(&spec, "flip");
	file = file_read("flip");
	header = (const void *)file.bytes;
	for (unsigned int s = 0; s < SNAPSHOT_SECTIONS; s++) {
		const struct snapshot_part *part = &header->part[s];
		const char *name = snapshot_section_name(s);

		assert_true(part->size > 0);
		assert_flip_is_refused(&file, part->at, &spec, name);
		assert_flip_is_refused(&file, part->at + part->size - 1, &spec,
				       name);
		for (int i = 0; i < 8; i++) {
			random = selfcheck_mix(random);
			assert_flip_is_refused(&file,
					       part->at + random % part->size,
					       &spec, name);
		}
	}
	file_write(&file, file.size);
	bed_free(load(&spec, "flip"));
	free(file.bytes);
}

static void test_truncations_are_refused(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct snapshot_error why;
	struct bed *bed = NULL;
	struct file file;

	(void)state;
	save_one(&spec, "cut-off");
	file = file_read("cut-off");
	for (size_t size = 0; size < file.size; size += SNAPSHOT_PAGE)
		for (size_t more = 0; more < 2; more++) {
			file_write(&file, size + more);
			assert_int_equal(load_file(&bed, &spec, "cut-off",
						   &why),
					 -EBADMSG);
			assert_true(strlen(why.text) > 10);
		}
	file_write(&file, file.size - 1);
	assert_int_equal(load_file(&bed, &spec, "cut-off", &why), -EBADMSG);
	free(file.bytes);
}

static void test_newer_and_foreign_files_are_named(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct snapshot_header *header;
	struct snapshot_error why;
	struct snapshot_info *info;
	struct file file;

	(void)state;
	save_one(&spec, "newer");
	file = file_read("newer");
	header = (void *)file.bytes;
	header->version++;
	file_write(&file, file.size);
	assert_int_equal(snapshot_peek(&info, root, 1234, "newer", &why),
			 -EPROTO);
	assert_non_null(strstr(why.text, "version 2"));
	header->version--;
	header->magic++;
	file_write(&file, file.size);
	assert_int_equal(snapshot_peek(&info, root, 1234, "newer", &why),
			 -EBADMSG);
	assert_non_null(strstr(why.text, "not a snapshot"));
	header->magic--;
	snprintf(file.path, sizeof(file.path), "%s/1234/other.tkv", root);
	file_write(&file, file.size);
	assert_int_equal(snapshot_peek(&info, root, 1234, "other", &why),
			 -EBADMSG);
	assert_non_null(strstr(why.text, "of cache newer"));
	free(file.bytes);
}

/* A header whose hash is right and whose words are not. */
static void assert_crafted_is_refused(struct file *file, const char *says)
{
	uint8_t page[SNAPSHOT_PAGE];
	struct snapshot_error why;
	struct snapshot_info *info;

	memcpy(page, file->bytes, sizeof(page));
	snapshot_seal(file->bytes, (const void *)page);
	file_write(file, file->size);
	assert_int_equal(snapshot_peek(&info, root, 1234, "crafted", &why),
			 -EBADMSG);
	assert_non_null(strstr(why.text, says));
}

static void test_crafted_headers_are_refused(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct snapshot_header *header, good;
	struct file file;

	(void)state;
	save_one(&spec, "crafted");
	file = file_read("crafted");
	header = (void *)file.bytes;
	good = *header;
	header->spec.layers = 1U << 30;
	assert_crafted_is_refused(&file, "layers");
	*header = good;
	header->spec.layers = 512;
	assert_crafted_is_refused(&file, "");
	*header = good;
	header->spec.k_row = 0;
	assert_crafted_is_refused(&file, "k_row");
	*header = good;
	header->spec.k_row *= 100;
	assert_crafted_is_refused(&file, "out of place");
	*header = good;
	header->tail = UINT64_MAX;
	assert_crafted_is_refused(&file, "tail");
	*header = good;
	header->tail += 100;
	assert_crafted_is_refused(&file, "layer 0");
	*header = good;
	header->generation = 0;
	assert_crafted_is_refused(&file, "generation");
	*header = good;
	header->part[SNAPSHOT_V].at = UINT64_MAX - 5;
	assert_crafted_is_refused(&file, "section v");
	free(file.bytes);
}

static void test_what_is_no_snapshot_is_not_replaced(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct bed *bed = bed_new(&spec, "way");
	struct file file = { .bytes = (uint8_t *)(uintptr_t) "a letter" };
	struct snapshot_job *job;
	struct file after;

	(void)state;
	save(bed);
	snprintf(file.path, sizeof(file.path), "%s/1234/way.tkv", root);
	file_write(&file, 8);
	assert_int_equal(snapshot_save(&job, bed->cache, root, 0), 0);
	run(job);
	assert_int_equal(job->error, -EEXIST);
	assert_non_null(strstr(job->why.text, "way.tkv"));
	snapshot_job_free(job);
	after = file_read("way");
	assert_int_equal(after.size, 8);
	assert_memory_equal(after.bytes, "a letter", 8);
	free(after.bytes);
	bed_free(bed);
}

static int set_up(void **state)
{
	const char *why = "";

	(void)state;
	if (!mkdtemp(root) || loop_init(&loop, 64, &why) ||
	    staging_new(&staging, &loop)) {
		print_error("%s\n", why);
		return -1;
	}
	return 0;
}

static int tear_down(void **state)
{
	char command[sizeof(root) + 16];

	(void)state;
	staging_free(staging);
	loop_exit(&loop);
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_loaded_cache_goes_on_as_the_saved_one),
		cmocka_unit_test(test_layers_may_differ),
		cmocka_unit_test(test_policies_and_wide_entries),
		cmocka_unit_test(test_a_writer_between_all_slices),
		cmocka_unit_test(test_a_commit_during_the_cut_is_noticed),
		cmocka_unit_test(test_a_writer_that_lies_is_not_saved),
		cmocka_unit_test(test_a_cancelled_job_leaves_nothing),
		cmocka_unit_test(test_every_byte_of_the_header_counts),
		cmocka_unit_test(test_flips_in_every_section_are_refused),
		cmocka_unit_test(test_truncations_are_refused),
		cmocka_unit_test(test_newer_and_foreign_files_are_named),
		cmocka_unit_test(test_crafted_headers_are_refused),
		cmocka_unit_test(test_what_is_no_snapshot_is_not_replaced),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
