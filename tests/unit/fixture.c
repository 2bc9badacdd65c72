// SPDX-License-Identifier: BSD-2-Clause
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/layout.h"
#include "tests/unit/fixture.h"

static void count_ring(struct treekv_cache *cache)
{
	struct fixture *fixture = cache->owner;

	fixture->rings++;
}

static int count_wait(struct treekv_cache *cache, uint64_t generation,
		      int timeout_ms)
{
	struct fixture *fixture = cache->owner;

	(void)generation;
	(void)timeout_ms;
	fixture->waits++;
	return 0;
}

static void keep(struct treekv_cache *cache, int timeout_ms)
{
	(void)cache;
	(void)timeout_ms;
}

static void do_nothing(struct treekv_cache *cache)
{
	(void)cache;
}

const struct cache_ops fixture_ops = {
	.ring = count_ring,
	.wait = count_wait,
	.renew = do_nothing,
	.release = keep,
};

struct treekv_spec fixture_spec(void)
{
	return (struct treekv_spec){
		.layers = 2,
		.kv_heads = 2,
		.k_row = 16,
		.v_row = 8,
		.dtype = TREEKV_F32,
		.policy = TREEKV_POLICY_TREEKV,
		.positions = TREEKV_POSITIONS_RANK,
		.budget = 8,
		.sinks = 1,
		.recent = 2,
		.slack = 4,
		.ids = 6,
	};
}

struct shm_spec fixture_shm_spec(const struct treekv_spec *from)
{
	struct shm_spec to = {
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

	memcpy(to.model, from->model, sizeof(to.model));
	return to;
}

static void *map_private(uint64_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert(at != MAP_FAILED);
	return at;
}

static void format(struct fixture *f, const struct treekv_spec *from)
{
	struct shm_spec spec = fixture_shm_spec(from);
	uint32_t budgets[SHM_LAYERS_MAX], slots = 0;
	struct layout layout;

	for (uint32_t l = 0; l < spec.layers; l++)
		budgets[l] = from->budgets ? from->budgets[l] : from->budget;
	assert(!layout_check(&spec, budgets, NULL));
	f->layers = calloc(spec.layers, sizeof(*f->layers));
	assert(f->layers);
	layout_init(&layout, f->layers, &spec, budgets, NULL);
	for (uint32_t l = 0; l < spec.layers; l++)
		if (f->layers[l].slots > slots)
			slots = f->layers[l].slots;
	f->cache.index_size = layout_round(layout.index_size, 0);
	f->cache.rows_size = layout_round(layout.rows_size, 0);
	f->index = map_private(f->cache.index_size);
	f->rows = map_private(f->cache.rows_size);
	f->memory = malloc(order_scratch_size(slots));
	assert(f->memory);
	order_scratch_init(&f->scratch, f->memory, slots);
	f->index->index_size = f->cache.index_size;
	f->index->rows_size = f->rows->rows_size = f->cache.rows_size;
	compact_format(f->index, f->rows, &spec, f->layers, &layout, 0);
}

static void attach(struct fixture *f, struct treekv_cache *cache, bool reader)
{
	uint64_t index_size = f->cache.index_size;
	uint64_t rows_size = f->cache.rows_size;
	int r;

	*cache = (struct treekv_cache){
		.ops = f->ops,
		.owner = f,
		.index = f->index,
		.rows = f->rows,
		.index_size = index_size,
		.rows_size = rows_size,
		.name = "fixture",
		.reader = reader,
	};
	r = cache_init(cache);
	assert(!r);
	(void)r;
}

void fixture_reader(struct fixture *f, struct treekv_cache *reader)
{
	attach(f, reader, true);
}

struct fixture *fixture_new(const struct treekv_spec *spec,
			    const struct cache_ops *ops)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert(f);
	f->ops = ops ? ops : &fixture_ops;
	format(f, spec);
	f->compaction = (struct compaction){
		.index = f->index,
		.rows = f->rows,
		.policy = policy_by_id(spec->policy),
		.scratch = &f->scratch,
	};
	attach(f, &f->cache, false);
	return f;
}

struct fixture *fixture_free(struct fixture *f)
{
	if (!f)
		return NULL;
	cache_exit(&f->cache);
	munmap(f->index, f->cache.index_size);
	munmap(f->rows, f->cache.rows_size);
	free(f->layers);
	free(f->memory);
	free(f);
	return NULL;
}

void fixture_reattach(struct fixture *f)
{
	cache_exit(&f->cache);
	attach(f, &f->cache, false);
}

bool fixture_compact(struct fixture *f)
{
	struct compaction *c = &f->compaction;

	if (!compact_begin(c))
		return false;
	while (compact_heads(c, UINT32_MAX))
		;
	if (c->fault)
		return false;
	compact_publish(c);
	return true;
}

int fixture_set_up(void **state)
{
	struct treekv_spec spec = fixture_spec();

	*state = fixture_new(&spec, NULL);
	return 0;
}

int fixture_tear_down(void **state)
{
	fixture_free(*state);
	return 0;
}
