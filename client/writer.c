// SPDX-License-Identifier: BSD-2-Clause
/*
 * The writer's side of the order protocol: steps on the two mappings of a
 * cache. What makes it crash-safe is the sequence of stores: head before any
 * row is touched, rows only in slots that are free under the generation in
 * use, scores into the half that the last commit does not name, and one
 * release-store of commit that makes all of it true at once. A process killed
 * between any two instructions here leaves the last commit whole.
 *
 * Ranks are copied to private memory when a generation is adopted, because the
 * writer adds its own appends to them and shared memory has one writer a byte.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "client/cache.h"
#include "proto/barrier.h"
#include "proto/probe.h"

#define LINE	    64
#define ROW_ASKED   512 /* bytes of a row that are asked for ahead */
#define PROGRESS_MS 50 /* between two of the probe progress */

uint32_t cache_slot(const struct treekv_cache *cache, uint32_t layer,
		    const struct cache_head *head, uint64_t i)
{
	return cache_entry(head->order[cache->generation & 1],
			   cache->spec.entry_size,
			   cache->layer[layer].base_live + i);
}

/*
 * What the daemon has just written comes from another core's cache, a line at
 * a time; asked for one head ahead, it is on its way while this one is copied.
 * Heads are adopted in their order, as layers are appended.
 */
static void prefetch_head(const struct treekv_cache *cache, uint32_t layer,
			  const struct cache_head *head)
{
	const struct cache_layer *at = &cache->layer[layer];
	uint32_t size = cache->spec.entry_size;
	const char *rank = head->published[cache->generation & 1];
	const char *order = head->order[cache->generation & 1];

	if (head->generation == cache->generation)
		return;
	__builtin_prefetch(order + (size_t)at->base_live * size);
	for (size_t i = 0; i < (size_t)at->at.slots * size; i += LINE)
		__builtin_prefetch(rank + i);
}

/*
 * The ranks of a head, copied when a step or a view first asks for them: the
 * buffer in use stays as it is until the next adoption (seen), and attaching
 * need not touch all of it.
 */
static void adopt_head(struct treekv_cache *cache, uint32_t layer,
		       struct cache_head *head)
{
	uint64_t own = cache->tail - cache->base_tail;

	if (head->generation == cache->generation)
		return;
	head->generation = cache->generation;
	if (head + 1 <
	    cache->head + (size_t)cache->spec.layers * cache->spec.kv_heads)
		prefetch_head(cache, layer, head + 1);
	cache_copy_ranks(cache, layer, head, cache->generation);
	for (uint64_t i = 0; i < own; i++)
		head->rank[cache_slot(cache, layer, head, i)] =
			cache->layer[layer].base_live + i;
}

static int lose(struct treekv_cache *cache)
{
	cache->lost = true;
	return error_set(-ESTALE,
			 "the lease of cache %s was broken; what was committed "
			 "is safe: detach and attach again",
			 cache->name);
}

/*
 * A lease may be broken in mid-step, and then nobody waits for us to leave the
 * order in use: what has just been read of it counts only if that is not so.
 */
int cache_check_lease(struct treekv_cache *cache)
{
	/* Pairs with the release in compact_publish(). */
	uint64_t generation = shm_load_acquire(&cache->index->generation);
	const struct shm_buffer *buffer;

	if (generation == cache->generation)
		return 0;
	buffer = (const void *)((const char *)cache->index +
				cache->index->buffer[generation & 1]);
	return buffer->rows_inode == cache->rows_inode ? 0 : lose(cache);
}

/*
 * A prompt has been committed by this order: by us a moment ago, or by a
 * predecessor who did not live to see it.
 */
static void take_prefill(struct treekv_cache *cache, uint64_t prefill)
{
	struct shm_rows *rows = cache->rows;

	if (cache->tail >= shm_commit_tail(prefill))
		return;
	cache->tail = shm_commit_tail(prefill);
	cache->parity = shm_commit_parity(prefill);
	if (cache->tail > cache->dirty)
		cache->dirty = cache->tail;
	shm_store_relaxed(&rows->head, cache->dirty);
	/* Pairs with compact_load_commit(): head is not behind. */
	shm_store_release(&rows->commit,
			  shm_commit_pack(cache->tail, cache->parity));
}

int cache_adopt(struct treekv_cache *cache)
{
	/* Pairs with the release in compact_publish(). */
	uint64_t generation = shm_load_acquire(&cache->index->generation);
	const char *base = (const char *)cache->index;
	const struct shm_buffer *buffer;
	const struct shm_level *level;

	if (generation == cache->generation)
		return 0;
	base += cache->index->buffer[generation & 1];
	buffer = (const void *)base;
	level = (const void *)(base + cache->index->level);
	if (buffer->rows_inode != cache->rows_inode)
		return lose(cache);
	take_prefill(cache, buffer->prefill);
	if (cache->tail < buffer->base_tail ||
	    cache->tail > buffer->base_tail + buffer->free)
		return error_set(-EUCLEAN,
				 "cache %s: its last writer left a tail that "
				 "no order has room for; drop it",
				 cache->name);
	cache->generation = generation;
	cache->base_tail = buffer->base_tail;
	cache->free = buffer->free;
	cache->ring_at = buffer->ring_at;
	for (uint32_t l = 0; l < cache->spec.layers; l++)
		cache->layer[l].base_live = level[l].n_live;
	shm_store_relaxed(&cache->rows->adoptions, cache->rows->adoptions + 1);
	/* Pairs with the acquire in compact_begin(): the old buffer is free. */
	shm_store_release(&cache->rows->seen, generation);
	shm_full_barrier();
	if (shm_load_relaxed(&cache->index->waiting))
		cache->ops->ring(cache);
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Rings, then sleeps until there is another generation or time is up. */
static int await_daemon(struct treekv_cache *cache, uint64_t begin,
			int timeout_ms)
{
	int left = -1, r;

	if (timeout_ms >= 0) {
		uint64_t gone = (now_ns() - begin) / 1000000;

		if (gone >= (uint64_t)timeout_ms)
			return error_set(-ETIMEDOUT,
					 "cache %s: treekvd has not made room "
					 "within %d ms; is it running?",
					 cache->name, timeout_ms);
		left = timeout_ms - (int)gone;
	}
	if (shm_load_relaxed(&cache->index->quarantined))
		return error_set(-EUCLEAN,
				 "cache %s is quarantined: treekvd found its "
				 "words damaged; 'treekvctl inspect %s' says "
				 "how",
				 cache->name, cache->name);
	/*
	 * The last commit may have been below the mark and so without its
	 * barrier: the ring must not overtake it (tests/model: STALL_BARRIER).
	 */
	shm_full_barrier();
	cache->ops->ring(cache);
	r = cache->ops->wait(cache, cache->generation, left);
	return r ? r : cache_adopt(cache);
}

static bool has_room(const struct treekv_cache *cache, uint32_t n)
{
	return cache->tail + n <= cache->base_tail + cache->free;
}

static int stall(struct treekv_cache *cache, uint32_t n, int timeout_ms)
{
	struct shm_rows *rows = cache->rows;
	uint64_t begin = now_ns(), gone;
	int r = 0;

	if (cache->spec.policy == SHM_POLICY_FULL)
		return error_set(-ENOSPC,
				 "cache %s is full: %llu tokens held, %u more "
				 "do not fit, and policy full evicts nothing; "
				 "use a larger budget or another policy",
				 cache->name, (unsigned long long)cache->tail,
				 n);
	PROBE(libtreekv, stall_begin, cache->index->cache_id, cache->name,
	      cache->tail, cache->stalled);
	while (!r && !has_room(cache, n))
		r = await_daemon(cache, begin, timeout_ms);
	gone = now_ns() - begin;
	if (!cache->stalled)
		shm_store_relaxed(&rows->stalls, rows->stalls + 1);
	cache->stalled = true; /* if time is up, until the step begins */
	shm_store_relaxed(&rows->stall_ns, rows->stall_ns + gone);
	PROBE(libtreekv, stall_end, cache->index->cache_id, cache->name, gone,
	      r);
	return r;
}

static int refuse_reader(const struct treekv_cache *cache)
{
	return error_set(-EROFS,
			 "cache %s was attached for reading; detach, and "
			 "attach without TREEKV_READ",
			 cache->name);
}

int cache_check_idle(const struct treekv_cache *cache)
{
	if (cache->reader)
		return refuse_reader(cache);
	if (cache->lost)
		return error_set(-ESTALE,
				 "the lease of cache %s is lost; detach and "
				 "attach again",
				 cache->name);
	if (cache->step || cache->prefill)
		return error_set(-EBUSY, "cache %s: a %s is running",
				 cache->name, cache->step ? "step" : "prefill");
	return 0;
}

static int check_begin(const struct treekv_cache *cache, uint32_t n)
{
	int r = cache_check_idle(cache);

	if (r)
		return r;
	if (!n ||
	    (cache->spec.policy != SHM_POLICY_FULL && n > cache->spec.slack))
		return error_set(-EINVAL,
				 "cache %s: a step of %u tokens, but 1 to %u "
				 "(its slack) is possible",
				 cache->name, n, cache->spec.slack);
	if (cache->tail + n > SHM_TAIL_MAX)
		return error_set(-EOVERFLOW,
				 "cache %s has seen %llu tokens, the most one "
				 "sequence can have",
				 cache->name, (unsigned long long)cache->tail);
	return 0;
}

void cache_record_ids(struct treekv_cache *cache, const uint32_t *ids,
		      uint32_t n)
{
	uint32_t *to = (void *)((char *)cache->rows + cache->index->ids);

	for (uint32_t j = 0; j < n; j++)
		if (cache->tail + j < cache->spec.ids)
			to[cache->tail + j] = ids ? ids[j] : 0;
}

int treekv_step_begin(struct treekv_cache *cache, const uint32_t *ids,
		      uint32_t n, int timeout_ms)
{
	struct shm_rows *rows = cache->rows;
	int r = check_begin(cache, n);

	if (r)
		return r;
	if (shm_load_acquire(&cache->index->epoch) != cache->epoch)
		cache->ops->renew(cache);
	r = check_begin(cache, n); /* renewing may have lost the lease */
	if (!r)
		r = cache_adopt(cache);
	if (!r && !has_room(cache, n))
		r = stall(cache, n, timeout_ms);
	if (r)
		return r;
	cache->stalled = false;
	if (cache->tail + n > cache->dirty)
		cache->dirty = cache->tail + n;
	/* A reader who accepts a row has seen no later head (load barrier). */
	shm_store_relaxed(&rows->head, cache->dirty);
	shm_store_barrier();
	cache_record_ids(cache, ids, n);
	memcpy(rows->note[!cache->parity], rows->note[cache->parity],
	       SHM_NOTE_SIZE);
	for (uint32_t l = 0; l < cache->spec.layers; l++)
		cache->layer[l].appended = false;
	for (size_t i = 0;
	     i < (size_t)cache->spec.layers * cache->spec.kv_heads; i++)
		cache->head[i].observed = 0;
	cache->step = n;
	cache->steps++;
	PROBE(libtreekv, step, cache->index->cache_id, cache->name, n,
	      cache->tail, cache->generation);
	return 0;
}

static void ask_row(const uint8_t *row, size_t size)
{
	size = size < ROW_ASKED ? size : ROW_ASKED;
	for (size_t i = 0; i < size; i += LINE)
		__builtin_prefetch(row + i, 1);
}

/*
 * What the j-th token of a step is written to lies somewhere else in every head:
 * asked for in all of them at once, it comes at once.
 */
static void ask_slots(const struct treekv_cache *cache, uint32_t layer,
		      uint32_t j)
{
	const struct cache_layer *at = &cache->layer[layer];
	uint64_t i = cache->tail + j - cache->base_tail;

	for (uint32_t h = 0; h < cache->spec.kv_heads; h++) {
		const struct cache_head *head = cache_head_at(cache, layer, h);
		uint32_t slot = cache_slot(cache, layer, head, i);
		size_t own = slot - at->at.parent_capacity;

		ask_row(head->k + own * cache->spec.k_row, cache->spec.k_row);
		ask_row(head->v + own * cache->spec.v_row, cache->spec.v_row);
		__builtin_prefetch(&head->score[0][slot], 1);
		__builtin_prefetch(&head->score[1][slot], 1);
		__builtin_prefetch(&head->since[slot], 1);
		__builtin_prefetch(&head->token[slot], 1);
		__builtin_prefetch(&head->rank[slot], 1);
	}
}

/* The entries that say where the step's tokens go in a layer to come. */
static void ask_entries(const struct treekv_cache *cache, uint32_t layer)
{
	uint64_t i = cache->tail - cache->base_tail;

	if (layer == cache->spec.layers)
		return;
	i += cache->layer[layer].base_live;
	for (uint32_t h = 0; h < cache->spec.kv_heads; h++)
		__builtin_prefetch((const char *)cache_head_at(cache, layer, h)
					   ->order[cache->generation & 1] +
				   i * cache->spec.entry_size);
}

/*
 * Readies the slot of the step's j-th token; returns its number among the own
 * slots: what is free is never the parent's.
 */
static uint32_t take_slot(struct treekv_cache *cache, uint32_t layer,
			  struct cache_head *head, uint32_t j)
{
	uint64_t token = cache->tail + j;
	uint32_t slot =
		cache_slot(cache, layer, head, token - cache->base_tail);

	adopt_head(cache, layer, head);
	head->rank[slot] = cache_held(cache, layer) + j;
	shm_store_f32(&head->score[0][slot], 0);
	shm_store_f32(&head->score[1][slot], 0);
	shm_store32_relaxed(&head->since[slot], (uint32_t)token);
	shm_store32_relaxed(&head->token[slot], (uint32_t)token);
	return slot - cache->layer[layer].at.parent_capacity;
}

static int check_append(const struct treekv_cache *cache, uint32_t layer)
{
	if (!cache->step)
		return error_set(-EINVAL, "cache %s: no step is running",
				 cache->name);
	if (layer >= cache->spec.layers)
		return error_set(-EINVAL, "cache %s: layer %u, but it has %u",
				 cache->name, layer, cache->spec.layers);
	if (cache->layer[layer].appended)
		return error_set(-EINVAL,
				 "cache %s: layer %u has been appended",
				 cache->name, layer);
	return 0;
}

int treekv_append_at(struct treekv_cache *cache, uint32_t layer, void **k,
		     void **v)
{
	uint32_t heads = cache->spec.kv_heads;
	int r = check_append(cache, layer);

	if (r)
		return r;
	ask_entries(cache, layer + 1);
	for (uint32_t j = 0; j < cache->step; j++) {
		ask_slots(cache, layer, j);
		for (uint32_t h = 0; h < heads; h++) {
			struct cache_head *head =
				cache_head_at(cache, layer, h);
			size_t slot = take_slot(cache, layer, head, j);

			*k++ = head->k + slot * cache->spec.k_row;
			*v++ = head->v + slot * cache->spec.v_row;
		}
	}
	cache->layer[layer].appended = true;
	return cache_check_lease(cache);
}

int treekv_append(struct treekv_cache *cache, uint32_t layer, const void *k,
		  const void *v)
{
	size_t k_row = cache->spec.k_row, v_row = cache->spec.v_row;
	uint32_t heads = cache->spec.kv_heads;
	const char *k_from = k, *v_from = v;
	int r = check_append(cache, layer);

	if (r)
		return r;
	ask_entries(cache, layer + 1);
	for (uint32_t j = 0; j < cache->step; j++) {
		ask_slots(cache, layer, j);
		for (uint32_t h = 0; h < heads; h++) {
			struct cache_head *head =
				cache_head_at(cache, layer, h);
			size_t slot = take_slot(cache, layer, head, j);

			shm_copy(head->k + slot * k_row, k_from, k_row);
			shm_copy(head->v + slot * v_row, v_from, v_row);
			k_from += k_row;
			v_from += v_row;
		}
	}
	cache->layer[layer].appended = true;
	return cache_check_lease(cache);
}

static int check_head(const struct treekv_cache *cache, uint32_t layer,
		      uint32_t head)
{
	if (layer >= cache->spec.layers || head >= cache->spec.kv_heads)
		return error_set(-EINVAL,
				 "cache %s: layer %u, head %u, but it has %u "
				 "layers of %u",
				 cache->name, layer, head, cache->spec.layers,
				 cache->spec.kv_heads);
	if (cache->step && !cache->layer[layer].appended)
		return error_set(-EINVAL,
				 "cache %s: layer %u has not been appended",
				 cache->name, layer);
	return 0;
}

static void fill_spans(struct treekv_view *view, const struct cache_head *head,
		       const struct shm_layer *at)
{
	const struct treekv_span own = { head->k, head->v, at->capacity };

	if (at->parent_capacity) {
		view->span[view->spans++] =
			(struct treekv_span){ head->parent_k, head->parent_v,
					      at->parent_capacity };
	} else {
		view->k = own.k;
		view->v = own.v;
	}
	view->span[view->spans++] = own;
}

static int refuse_unread(const struct treekv_cache *cache)
{
	return error_set(-EINVAL,
			 "cache %s: a view, but treekv_read_begin() has not "
			 "succeeded yet",
			 cache->name);
}

int treekv_view(struct treekv_cache *cache, uint32_t layer, uint32_t head,
		struct treekv_view *ret)
{
	struct cache_head *at;
	int r = check_head(cache, layer, head);

	if (r)
		return r;
	at = cache_head_at(cache, layer, head);
	if (cache->reader) {
		r = cache->reading ? 0 : refuse_unread(cache);
	} else {
		adopt_head(cache, layer, at);
		r = cache_check_lease(cache);
	}
	if (r)
		return r;
	*ret = (struct treekv_view){
		.k_stride = cache->spec.k_row,
		.v_stride = cache->spec.v_row,
		.rank = at->rank,
		.token = at->token,
		.slots = cache->layer[layer].at.slots,
		.live = cache_held(cache, layer) + cache->step,
	};
	fill_spans(ret, at, &cache->layer[layer].at);
	return 0;
}

int treekv_observe(struct treekv_cache *cache, uint32_t layer, uint32_t head,
		   uint32_t token, const float *weights, uint32_t group,
		   size_t stride)
{
	struct cache_head *at;
	const float *from;
	float *to;
	int r = check_head(cache, layer, head);

	if (r)
		return r;
	at = cache_head_at(cache, layer, head);
	if (!cache->step || token >= cache->step || token < at->observed ||
	    !group)
		return error_set(-EINVAL,
				 "cache %s: token %u of a step of %u observed "
				 "out of turn, or a group of %u",
				 cache->name, token, cache->step, group);
	if (cache->scored) {
		to = at->score[!cache->parity];
		from = at->observed ? to : at->score[cache->parity];
		cache_add_scores(to, cache->last_only ? NULL : from, weights,
				 group, stride, cache->layer[layer].at.slots);
	}
	at->observed = token + 1;
	return 0;
}

void *treekv_note(struct treekv_cache *cache)
{
	bool coming = cache->step || cache->prefill;

	if (cache->reader)
		return cache->note;
	return cache->rows->note[coming ? !cache->parity : cache->parity];
}

/* Slots of the step's tokens from the m-th on hold nothing. */
static void forget(struct treekv_cache *cache, uint32_t m)
{
	for (uint32_t l = 0; l < cache->spec.layers; l++)
		for (uint32_t h = 0;
		     cache->layer[l].appended && h < cache->spec.kv_heads;
		     h++) {
			struct cache_head *head = cache_head_at(cache, l, h);
			uint64_t at = cache->tail - cache->base_tail;

			for (uint32_t j = m; j < cache->step; j++)
				head->rank[cache_slot(cache, l, head, at + j)] =
					SHM_FREE32;
		}
}

/* Scores nobody added to are carried over. */
static void carry_scores(struct treekv_cache *cache, uint32_t layer)
{
	uint32_t slots = cache->layer[layer].at.slots;

	for (uint32_t h = 0; h < cache->spec.kv_heads; h++) {
		struct cache_head *head = cache_head_at(cache, layer, h);
		const float *from = head->score[cache->parity];
		float *to = head->score[!cache->parity];

		if (head->observed)
			continue;
#if SHM_TSAN
		for (uint32_t s = 0; s < slots; s++)
			shm_store_f32(&to[s], from[s]);
#else
		memcpy(to, from, slots * sizeof(*to));
#endif
	}
}

static int check_commit(const struct treekv_cache *cache, uint32_t m)
{
	uint32_t heads = cache->spec.kv_heads;

	if (!cache->step || m > cache->step)
		return error_set(-EINVAL,
				 "cache %s: commit of %u tokens in a step of "
				 "%u",
				 cache->name, m, cache->step);
	for (uint32_t l = 0; l < cache->spec.layers; l++) {
		if (!cache->layer[l].appended)
			return error_set(-EINVAL,
					 "cache %s: layer %u was not appended",
					 cache->name, l);
		for (uint32_t h = 0; h < heads; h++)
			if (cache_head_at(cache, l, h)->observed > m)
				return error_set(
					-EINVAL,
					"cache %s: %u tokens of layer %u, "
					"head %u were observed and only %u "
					"are committed",
					cache->name,
					cache_head_at(cache, l, h)->observed, l,
					h, m);
	}
	return 0;
}

void cache_tell_progress(struct treekv_cache *cache, bool now)
{
	struct timespec ts;
	int64_t ms;

	if (!PROBE_WANTED(libtreekv, progress))
		return;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
	if (!now && ms < cache->told_ms + PROGRESS_MS)
		return;
	cache->told_ms = ms;
	PROBE(libtreekv, progress, cache->index->cache_id, cache->name,
	      cache->steps, cache->commits, cache->tail - cache->opened_tail);
}

/*
 * Who is armed may have compacted meanwhile, and then this tail may be below
 * the mark of the order that he published: rung for it, he would compact the
 * few tokens since, and we would adopt twice as often as need be. That order's
 * buffer stays as it is until we have left the one in use (seen).
 */
static void ring_if_due(struct treekv_cache *cache)
{
	const struct shm_buffer *newest;
	uint64_t generation;

	shm_full_barrier();
	if (!shm_load_relaxed(&cache->index->armed))
		return;
	/* Pairs with the release in compact_publish(). */
	generation = shm_load_acquire(&cache->index->generation);
	newest = (const void *)((const char *)cache->index +
				cache->index->buffer[generation & 1]);
	if (cache->tail < shm_load_relaxed(&newest->ring_at))
		return;
	shm_store_relaxed(&cache->rows->rings, cache->rows->rings + 1);
	cache->ops->ring(cache);
}

int treekv_commit(struct treekv_cache *cache, uint32_t m)
{
	int r = check_commit(cache, m);

	if (!r)
		r = cache_check_lease(cache);
	if (r)
		return r;
	if (m < cache->step)
		forget(cache, m);
	if (cache->scored)
		for (uint32_t l = 0; l < cache->spec.layers; l++)
			carry_scores(cache, l);
	cache->tail += m;
	cache->parity = !cache->parity;
	cache->step = 0;
	/* Pairs with the acquire in compact_begin() and in every reader. */
	shm_store_release(&cache->rows->commit,
			  shm_commit_pack(cache->tail, cache->parity));
	cache->commits++;
	PROBE(libtreekv, commit, cache->index->cache_id, cache->name, m,
	      cache->tail);
	cache_tell_progress(cache, false);
	if (cache->tail >= cache->ring_at)
		ring_if_due(cache);
	return 0;
}

int treekv_rewind(struct treekv_cache *cache, uint32_t tokens)
{
	size_t heads = (size_t)cache->spec.layers * cache->spec.kv_heads;
	uint32_t left;

	if (tokens > cache->step)
		return error_set(-EOPNOTSUPP,
				 "cache %s: rewind of %u tokens, but %u are "
				 "uncommitted; committed ones cannot be taken "
				 "back",
				 cache->name, tokens, cache->step);
	left = cache->step - tokens;
	for (size_t i = 0; left && i < heads; i++)
		if (cache->head[i].observed > left)
			return error_set(-EINVAL,
					 "cache %s: rewind of %u tokens, but "
					 "they were observed; rewind all %u",
					 cache->name, tokens, cache->step);
	forget(cache, left);
	cache->step = left;
	return 0;
}

static bool settled(const struct treekv_cache *cache)
{
	for (uint32_t l = 0; l < cache->spec.layers; l++)
		if (cache_held(cache, l) > cache->layer[l].at.budget)
			return false;
	return true;
}

int treekv_settle(struct treekv_cache *cache, int timeout_ms)
{
	uint64_t begin = 0;
	int r = cache_check_idle(cache);

	if (!r)
		r = cache_adopt(cache);
	while (!r && !settled(cache)) {
		if (!begin)
			begin = now_ns();
		r = await_daemon(cache, begin, timeout_ms);
	}
	return r;
}
