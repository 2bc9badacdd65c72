// SPDX-License-Identifier: BSD-2-Clause
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/fixture.h"
#include "tests/unit/snapshot_fixture.h"

char bed_root[] = "/tmp/treekv-snapshot.XXXXXX";
struct loop bed_loop;
struct staging *bed_staging;
static enum config_huge_pages huge_pages = HUGE_PAGES_NEVER;

void bed_compact(struct bed *bed)
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
	bed_compact(cache->owner);
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
	assert_int_equal(cache_new(&cache, name, &spec, budgets, NULL,
				   huge_pages, &why),
			 0);
	cache->uid = BED_UID;
	return cache;
}

struct bed *bed_new(const struct treekv_spec *spec, const char *name)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	bed->spec = *spec;
	bed->cache = cache_make(spec, name);
	cache_format(bed->cache);
	attach(bed);
	return bed;
}

void bed_free(struct bed *bed)
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

void bed_write(struct bed *bed, uint64_t n)
{
	uint64_t end = bed->writer.tail + n;

	while (bed->writer.tail < end) {
		assert_int_equal(selfcheck_step(&bed->check, end), 0);
		bed_compact(bed);
	}
	assert_int_equal(bed->check.wrong, 0);
}

void bed_run(struct snapshot_job *job)
{
	while (!job->task.over)
		if (!job->task.slice(&job->task, bed_staging) &&
		    !job->task.over)
			loop_turn(&bed_loop);
}

void bed_save(struct bed *bed)
{
	struct snapshot_job *job;

	assert_int_equal(snapshot_save(&job, bed->cache, bed_root, 0), 0);
	bed_run(job);
	assert_string_equal(job->why.text, "");
	assert_int_equal(job->error, 0);
	assert_false(bed->cache->holds);
	snapshot_job_free(job);
}

/* What a load says; *ret is set when it succeeds. */
int bed_load_file(struct bed **ret, const struct treekv_spec *spec,
		  const char *name, struct snapshot_error *why)
{
	struct snapshot_info *info;
	struct snapshot_job *job;
	struct bed *bed;
	int r;

	r = snapshot_peek(&info, bed_root, BED_UID, name, why);
	if (r)
		return r;
	bed = calloc(1, sizeof(*bed));
	bed->spec = *spec;
	bed->cache = cache_make(spec, name);
	assert_int_equal(snapshot_load(&job, bed->cache, bed_root, info), 0);
	bed_run(job);
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

struct bed *bed_load(const struct treekv_spec *spec, const char *name)
{
	struct snapshot_error why = { .text = "" };
	struct bed *bed = NULL;
	int r = bed_load_file(&bed, spec, name, &why);

	assert_string_equal(why.text, "");
	assert_int_equal(r, 0);
	return bed;
}

void assert_verified(struct bed *bed)
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

void assert_same(struct bed *a, struct bed *b)
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

/* ---- files ---- */

struct file file_read(const char *name)
{
	struct file file;
	struct stat st;
	int fd;

	snprintf(file.path, sizeof(file.path), "%s/%u/%s.tkv", bed_root,
		 BED_UID, name);
	fd = open(file.path, O_RDONLY);
	assert_int_equal(fstat(fd, &st), 0);
	file.size = (size_t)st.st_size;
	file.bytes = malloc(file.size);
	assert_int_equal(read(fd, file.bytes, file.size), file.size);
	close(fd);
	return file;
}

void file_write(const struct file *file, size_t size)
{
	int fd = open(file->path, O_WRONLY | O_TRUNC | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, file->bytes, size), size);
	close(fd);
}

void bed_save_one(const struct treekv_spec *spec, const char *name)
{
	struct bed *bed = bed_new(spec, name);

	bed_write(bed, 60);
	bed_save(bed);
	bed_free(bed);
}

struct treekv_spec bed_large_spec(void)
{
	struct treekv_spec spec = fixture_spec();

	spec.k_row = 4096;
	spec.v_row = 4000;
	spec.budget = 128;
	spec.slack = 16;
	return spec;
}

int bed_set_up(void **state)
{
	const char *why = "";

	(void)state;
	if (getenv("TREEKV_TEST_HUGE"))
		huge_pages = HUGE_PAGES_REQUIRE;
	if (!mkdtemp(bed_root) || loop_init(&bed_loop, 64, &why) ||
	    staging_new(&bed_staging, &bed_loop, true)) {
		print_error("%s\n", why);
		return -1;
	}
	return 0;
}

int bed_tear_down(void **state)
{
	char command[sizeof(bed_root) + 16];

	(void)state;
	staging_free(bed_staging);
	loop_exit(&bed_loop);
	snprintf(command, sizeof(command), "rm -rf '%s'", bed_root);
	return system(command);
}
