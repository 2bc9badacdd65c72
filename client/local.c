// SPDX-License-Identifier: BSD-2-Clause
/*
 * The writer of writer.c on private mappings, with the daemon's compaction in
 * place of a daemon: ring does nothing, wait compacts. Linked into programs,
 * not into the library.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client/cache.h"
#include "client/local.h"
#include "daemon/compact.h"
#include "proto/barrier.h"
#include "proto/layout.h"

struct local {
	struct treekv_cache cache;
	struct compaction compaction;
	struct order_scratch scratch;
	struct shm_layer *layers;
	void *memory; /* of scratch */
};

static void local_ring(struct treekv_cache *cache)
{
	(void)cache;
}

static int local_wait(struct treekv_cache *cache, uint64_t generation,
		      int timeout_ms)
{
	struct local *local = cache->owner;
	struct compaction *c = &local->compaction;

	(void)generation;
	(void)timeout_ms;
	if (!compact_begin(c))
		return error_set(-EUCLEAN, "local cache: %s",
				 compact_fault_text(c->fault));
	while (compact_heads(c, UINT32_MAX))
		;
	compact_publish(c);
	return 0;
}

static int local_prefill(struct treekv_cache *cache,
			 const struct cache_prompt *from, int timeout_ms)
{
	struct local *local = cache->owner;
	struct compaction *c = &local->compaction;
	const struct compact_prompt prompt = {
		.tail = from->tail,
		.live = from->live,
		.walk = from->walk,
	};
	enum compact_prompt_answer answer = compact_prompt_begin(c, &prompt);
	bool more = true;

	(void)timeout_ms;
	while (answer == COMPACT_PROMPT_SOUND && more)
		answer = compact_prompt_heads(c, &prompt, UINT32_MAX, &more);
	if (answer != COMPACT_PROMPT_SOUND)
		return error_set(-EINVAL, "local cache: %s",
				 compact_prompt_text(answer));
	compact_prompt_publish(c, &prompt);
	return 0;
}

static void local_renew(struct treekv_cache *cache)
{
	(void)cache;
}

static void local_release(struct treekv_cache *cache, int timeout_ms)
{
	struct local *local = cache->owner;

	(void)timeout_ms;
	if (cache->index)
		munmap((void *)(uintptr_t)cache->index, cache->index_size);
	if (cache->rows)
		munmap(cache->rows, cache->rows_size);
	free(local->layers);
	free(local->memory);
	free(local);
}

static const struct cache_ops local_ops = {
	.ring = local_ring,
	.wait = local_wait,
	.renew = local_renew,
	.prefill = local_prefill,
	.release = local_release,
};

static void *map_private(uint64_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	madvise(at, size, MADV_DONTDUMP); /* as where there is a daemon */
	return at;
}

static void spec_fill(struct shm_spec *to, const struct treekv_spec *from)
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
	memcpy(to->model, from->model, sizeof(to->model));
}

/* Budgets, then the check; the caller frees *budgets. */
static int spec_check(struct shm_spec *spec, uint32_t **budgets,
		      const struct treekv_spec *from)
{
	struct layout_error why;

	spec_fill(spec, from);
	if (from->layers < 1 || from->layers > SHM_LAYERS_MAX)
		return error_set(-EINVAL, "layers is %u, but must be 1 to %u",
				 from->layers, SHM_LAYERS_MAX);
	*budgets = calloc(from->layers, sizeof(**budgets));
	if (!*budgets)
		return error_set(-ENOMEM, "local cache: out of memory");
	for (uint32_t l = 0; l < from->layers; l++)
		(*budgets)[l] = from->budgets ? from->budgets[l] : from->budget;
	if (layout_check(spec, *budgets, &why))
		return error_set(-EINVAL, "%s", why.text);
	return 0;
}

static int local_map(struct local *local, struct shm_spec *spec,
		     const uint32_t *budgets)
{
	struct treekv_cache *cache = &local->cache;
	struct shm_index *index;
	struct layout layout;
	uint32_t slots = 0;

	local->layers = calloc(spec->layers, sizeof(*local->layers));
	if (!local->layers)
		return -ENOMEM;
	layout_init(&layout, local->layers, spec, budgets, NULL);
	for (uint32_t l = 0; l < spec->layers; l++)
		if (local->layers[l].slots > slots)
			slots = local->layers[l].slots;
	cache->index_size = layout_round(layout.index_size, 0);
	cache->rows_size = layout_round(layout.rows_size, 0);
	cache->index = index = map_private(cache->index_size);
	cache->rows = map_private(cache->rows_size);
	local->memory = malloc(order_scratch_size(slots));
	if (!index || !cache->rows || !local->memory)
		return -ENOMEM;
	order_scratch_init(&local->scratch, local->memory, slots);
	index->index_size = cache->index_size;
	index->rows_size = cache->rows->rows_size = cache->rows_size;
	compact_format(index, cache->rows, spec, local->layers, &layout, 0);
	local->compaction = (struct compaction){
		.index = index,
		.rows = cache->rows,
		.policy = policy_by_id(spec->policy),
		.scratch = &local->scratch,
	};
	return 0;
}

int local_open(struct treekv_cache **ret, const struct treekv_spec *spec)
{
	struct local *local = calloc(1, sizeof(*local));
	uint32_t *budgets = NULL;
	struct shm_spec checked;
	int r;

	if (!local)
		return error_set(-ENOMEM, "local cache: out of memory");
	local->cache.ops = &local_ops;
	local->cache.owner = local;
	strcpy(local->cache.name, "(local)");
	r = spec_check(&checked, &budgets, spec);
	if (r)
		goto out;
	r = local_map(local, &checked, budgets);
	if (r) {
		error_set(r, "local cache: out of memory");
		goto out;
	}
	r = cache_init(&local->cache);
	if (r)
		goto out;
	local->cache.created = true;
	*ret = &local->cache;
out:
	free(budgets);
	if (r)
		local_release(&local->cache, 0);
	return r;
}
