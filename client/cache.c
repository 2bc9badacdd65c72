// SPDX-License-Identifier: BSD-2-Clause
/*
 * An attached cache: its two mappings checked against each other, the address
 * of everything in them worked out once, and what it tells of itself.
 */
#include <errno.h>
#include <stdlib.h>

#include "client/cache.h"
#include "proto/barrier.h"
#include "proto/layout.h"

const char *treekv_name(const struct treekv_cache *cache)
{
	return cache->name;
}

uint64_t treekv_tail(const struct treekv_cache *cache)
{
	return cache->tail;
}

uint64_t treekv_ids(const struct treekv_cache *cache, const uint32_t **ret)
{
	*ret = (const void *)((const char *)cache->rows + cache->index->ids);
	return cache->tail < cache->spec.ids ? cache->tail : cache->spec.ids;
}

void treekv_counters(const struct treekv_cache *cache,
		     struct treekv_counters *ret)
{
	const struct shm_rows *rows = cache->rows;

	*ret = (struct treekv_counters){
		.tail = cache->tail,
		.generation = cache->generation,
		.compactions = shm_load_relaxed(&cache->index->compactions),
		.stalls = shm_load_relaxed(&rows->stalls),
		.stall_ns = shm_load_relaxed(&rows->stall_ns),
		.reconnects = cache->reconnects,
		.attach_ns = cache->attach_ns,
		.bytes = cache->rows_size + cache->index_size,
		.shared_bytes = cache->parent_size,
		.huge = !!(cache->index->flags & SHM_CACHE_HUGE),
		.created = cache->created,
	};
	for (uint32_t l = 0; l < cache->spec.layers; l++)
		if (cache_held(cache, l) > ret->held)
			ret->held = cache_held(cache, l);
}

static void map_head(struct treekv_cache *cache, uint32_t l, uint32_t h,
		     uint32_t *rank)
{
	const struct shm_layer *parent = &cache->layer[l].parent;
	const struct shm_layer *at = &cache->layer[l].at;
	struct cache_head *head = cache_head_at(cache, l, h);
	char *rows = (char *)cache->rows;
	char *score = rows + at->score + h * at->score_stride;

	if (cache->parent) {
		head->parent_k = (const uint8_t *)cache->parent + parent->k +
				 h * parent->k_stride;
		head->parent_v = (const uint8_t *)cache->parent + parent->v +
				 h * parent->v_stride;
	}
	head->k = (uint8_t *)rows + at->k + h * at->k_stride;
	head->v = (uint8_t *)rows + at->v + h * at->v_stride;
	head->score[0] = (float *)(void *)score;
	head->score[1] = (float *)(void *)(score + at->score_pad);
	head->since = (void *)(rows + at->since + h * at->since_stride);
	head->token = (void *)(rows + at->token + h * at->token_stride);
	head->rank = rank;
	for (int b = 0; b < 2; b++) {
		const char *buffer =
			(const char *)cache->index + cache->index->buffer[b];

		head->order[b] = buffer + at->order + h * at->order_stride;
		head->published[b] = buffer + at->rank + h * at->rank_stride;
	}
}

static int no_memory(const struct treekv_cache *cache)
{
	return error_set(-ENOMEM, "cache %s: out of memory", cache->name);
}

/* A parent is no fork, and its rows are as large as that makes them. */
static int find_parent(struct treekv_cache *cache)
{
	uint32_t layers = cache->spec.layers;
	struct shm_layer *found = calloc(layers, sizeof(*found));
	struct layout layout;

	if (!found || layout_parent(&layout, found, cache->index)) {
		free(found);
		return no_memory(cache);
	}
	for (uint32_t l = 0; l < layers; l++)
		cache->layer[l].parent = found[l];
	free(found);
	if (layout.rows_size <= cache->parent_size)
		return 0;
	return error_set(
		-EBADMSG,
		"cache %s: its parent's rows have %llu bytes, not %llu",
		cache->name, (unsigned long long)cache->parent_size,
		(unsigned long long)layout.rows_size);
}

static int map_heads(struct treekv_cache *cache)
{
	const struct shm_layer *table =
		(const void *)((const char *)cache->index +
			       cache->index->layers);
	uint32_t layers = cache->spec.layers, heads = cache->spec.kv_heads;
	uint64_t slots = 0;
	uint32_t *rank;

	cache->layer = calloc(layers, sizeof(*cache->layer));
	cache->head = calloc((size_t)layers * heads, sizeof(*cache->head));
	for (uint32_t l = 0; l < layers; l++)
		slots += (uint64_t)table[l].slots * heads;
	cache->ranks = malloc(slots * sizeof(*cache->ranks));
	if (!cache->layer || !cache->head || !cache->ranks)
		return no_memory(cache);
	if (cache->parent) {
		int r = find_parent(cache);

		if (r)
			return r;
	}
	rank = cache->ranks;
	for (uint32_t l = 0; l < layers; l++) {
		cache->layer[l].at = table[l];
		for (uint32_t h = 0; h < heads; h++) {
			map_head(cache, l, h, rank);
			rank += table[l].slots;
		}
	}
	return 0;
}

static int check_parent(const struct treekv_cache *cache)
{
	const struct shm_index *index = cache->index;
	const struct shm_rows *parent = cache->parent;

	if (!index->parent_id && !parent)
		return 0;
	if (index->parent_id && parent && parent->magic == SHM_ROWS_MAGIC &&
	    parent->version == SHM_VERSION &&
	    parent->cache_id == index->parent_id)
		return 0;
	return error_set(-EBADMSG,
			 "cache %s: what was handed out as its parent's rows "
			 "is not that",
			 cache->name);
}

static int check_pair(const struct treekv_cache *cache)
{
	const struct shm_index *index = cache->index;
	const struct shm_rows *rows = cache->rows;
	struct layout_error why;
	int r;

	r = layout_check_index(index, cache->index_size, &why);
	if (r)
		return error_set(r, "cache %s: %s", cache->name, why.text);
	if (rows->magic != SHM_ROWS_MAGIC || rows->version != SHM_VERSION ||
	    rows->cache_id != index->cache_id ||
	    index->rows_size != cache->rows_size)
		return error_set(-EBADMSG,
				 "cache %s: its rows and its index do not "
				 "belong together",
				 cache->name);
	return check_parent(cache);
}

int cache_init(struct treekv_cache *cache)
{
	const struct shm_spec *spec = &cache->index->spec;
	uint64_t commit;
	int r = check_pair(cache);

	if (r)
		return r;
	cache->spec = *spec;
	cache->last_only = spec->policy == SHM_POLICY_TOVA;
	cache->scored = cache->last_only || spec->policy == SHM_POLICY_H2O ||
			spec->policy == SHM_POLICY_TREEKV ||
			spec->policy == SHM_POLICY_TREEKV_SKIP;
	r = map_heads(cache);
	if (r)
		goto fail;
	if (cache->reader) {
		cache->note = calloc(1, SHM_NOTE_SIZE);
		r = cache->note ? 0 : no_memory(cache);
		if (r)
			goto fail;
		return 0; /* the rest is treekv_read_begin()'s */
	}
	commit = shm_load_acquire(&cache->rows->commit);
	cache->tail = shm_commit_tail(commit);
	cache->opened_tail = cache->tail;
	cache->parity = shm_commit_parity(commit);
	cache->dirty = shm_load_relaxed(&cache->rows->head);
	cache->epoch = shm_load_acquire(&cache->index->epoch);
	r = cache_adopt(cache);
	if (r)
		goto fail;
	return 0;
fail:
	cache_exit(cache);
	return r;
}

void cache_exit(struct treekv_cache *cache)
{
	cache->prefill = cache_prefill_free(cache->prefill);
	free(cache->layer);
	free(cache->head);
	free(cache->ranks);
	free(cache->note);
	cache->layer = NULL;
	cache->head = NULL;
	cache->ranks = NULL;
	cache->note = NULL;
}
