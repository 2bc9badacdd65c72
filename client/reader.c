// SPDX-License-Identifier: BSD-2-Clause
/*
 * The reader's side of the order protocol. A reader takes no part in it: nobody
 * waits for him, and he stores nothing that anybody else sees. So the daemon
 * may rewrite the buffer that he copies, and the writer use a slot again that
 * he looks at; what he has got counts only if neither has happened.
 *
 * For the order that is so while the generation stays what it was: only the
 * other buffer is written. Until that has been looked at, whatever was copied
 * may be a mixture of two orders, and is kept within bounds.
 *
 * For the rows: the free queue is first in, first out, so what is live under a
 * generation stays intact until the writer's head passes that generation's
 * base_tail + free, whatever is published meanwhile. He stores head before he
 * touches a row (treekv_step_begin()), and it is loaded here after the rows.
 *
 * Rows that are frozen stay as they are, and index says where they stand.
 *
 * tests/model/order.pml has the same sequence of loads.
 */
#include <errno.h>
#include <string.h>

#include "client/cache.h"
#include "proto/barrier.h"

#define TRIES 1000 /* of one treekv_read_begin(): some 100 ms at worst */

static const struct shm_buffer *buffer_at(const struct treekv_cache *cache,
					  uint64_t generation)
{
	return (const void *)((const char *)cache->index +
			      cache->index->buffer[generation & 1]);
}

static bool is_newest(const struct treekv_cache *cache, uint64_t generation)
{
	/* What was copied before is copied before this is loaded. */
	shm_load_barrier();
	return shm_load_relaxed(&cache->index->generation) == generation;
}

/*
 * The note of a commit is written again by the second one after it. Commits of
 * nothing may bring the word commit back to its value; so the note is copied
 * twice and compared.
 */
static bool copy_note(struct treekv_cache *cache, uint64_t word)
{
	const struct shm_rows *rows = cache->rows;
	const uint8_t *from = rows->note[cache->parity];
	uint8_t again[SHM_NOTE_SIZE];

	shm_copy(cache->note, from, SHM_NOTE_SIZE);
	shm_load_barrier();
	shm_copy(again, from, SHM_NOTE_SIZE);
	shm_load_barrier();
	return (cache->frozen || shm_load_relaxed(&rows->commit) == word) &&
	       !memcmp(cache->note, again, SHM_NOTE_SIZE);
}

/* Ranks of the tokens from base_tail + @from to base_tail + @to. */
static bool add_ranks(const struct treekv_cache *cache, uint32_t layer,
		      const struct cache_head *head, uint64_t from, uint64_t to)
{
	const struct cache_layer *at = &cache->layer[layer];
	uint32_t slot;

	if (at->base_live + to > at->at.slots)
		return false;
	for (uint64_t i = from; i < to; i++) {
		slot = cache_entry(head->order[cache->generation & 1],
				   cache->spec.entry_size, at->base_live + i);
		if (slot >= at->at.slots)
			return false;
		head->rank[slot] = at->base_live + (uint32_t)i;
	}
	return true;
}

/* Return: false when what is there cannot be one order. */
static bool copy_orders(struct treekv_cache *cache, uint64_t from, uint64_t to)
{
	for (uint32_t l = 0; l < cache->spec.layers; l++)
		for (uint32_t h = 0; h < cache->spec.kv_heads; h++) {
			struct cache_head *head = cache_head_at(cache, l, h);

			if (head->generation != cache->generation)
				cache_copy_ranks(cache, l, head,
						 cache->generation);
			head->generation = cache->generation;
			if (!add_ranks(cache, l, head, from, to))
				return false;
		}
	return true;
}

static void take_buffer(struct treekv_cache *cache, uint64_t generation)
{
	const struct shm_buffer *buffer = buffer_at(cache, generation);
	const struct shm_level *level =
		(const void *)((const char *)buffer + cache->index->level);

	cache->base_tail = shm_load_relaxed(&buffer->base_tail);
	cache->free = shm_load_relaxed(&buffer->free);
	for (uint32_t l = 0; l < cache->spec.layers; l++)
		cache->layer[l].base_live =
			shm_load32_relaxed(&level[l].n_live);
	cache->generation = generation;
	cache->tail = cache->base_tail;
}

static bool has_moved(const struct treekv_cache *cache, uint64_t generation)
{
	return shm_load_relaxed(&buffer_at(cache, generation)->rows_inode) !=
	       cache->rows_inode;
}

/*
 * What he would see of it stands still for ever: it may have been brought back
 * by now, and written to. A frozen one has not.
 */
static bool is_parked(const struct treekv_cache *cache)
{
	return !cache->frozen &&
	       shm_load32_relaxed(&cache->index->flags) & SHM_CACHE_PARKED;
}

static uint64_t load_commit(struct treekv_cache *cache)
{
	const struct shm_index *index = cache->index;

	/* Pairs with the release in cache_mark(). */
	cache->frozen = shm_load32_acquire(&index->flags) & SHM_CACHE_FROZEN;
	if (cache->frozen)
		return shm_commit_pack(index->frozen_tail,
				       index->frozen_parity & 1);
	/* Pairs with the release in treekv_commit(). */
	return shm_load_acquire(&cache->rows->commit);
}

/* Return: 0, -EAGAIN, -ESTALE. */
static int look(struct treekv_cache *cache)
{
	/* Pairs with the release in compact_publish(). */
	uint64_t generation = shm_load_acquire(&cache->index->generation);
	uint64_t word, commit, tail, have;

	if (has_moved(cache, generation))
		return is_newest(cache, generation) ? -ESTALE : -EAGAIN;
	if (cache->generation != generation)
		take_buffer(cache, generation);
	word = load_commit(cache);
	if (is_parked(cache))
		return -ESTALE;
	commit = shm_commit_under(
		word, shm_load_relaxed(&buffer_at(cache, generation)->prefill));
	tail = shm_commit_tail(commit);
	have = cache->tail;
	cache->tail = tail;
	cache->parity = shm_commit_parity(commit);
	if (tail < have || tail - cache->base_tail > cache->free ||
	    !copy_orders(cache, have - cache->base_tail,
			 tail - cache->base_tail) ||
	    !copy_note(cache, word) || !is_newest(cache, generation)) {
		cache->generation = 0; /* nothing of it is good for more */
		return -EAGAIN;
	}
	return 0;
}

int treekv_read_begin(struct treekv_cache *cache)
{
	int r = -EAGAIN;

	if (!cache->reader)
		return error_set(-EINVAL,
				 "cache %s: a read, but this is its writer",
				 cache->name);
	cache->reading = false;
	for (int i = 0; r == -EAGAIN && i < TRIES; i++)
		r = look(cache);
	cache->reading = !r;
	if (r == -ESTALE)
		return error_set(r,
				 "the memory of cache %s is another one by "
				 "now; detach and attach again",
				 cache->name);
	if (r && shm_load_relaxed(&cache->index->quarantined))
		return error_set(-EUCLEAN,
				 "cache %s is quarantined: treekvd found its "
				 "words damaged; 'treekvctl inspect %s' says "
				 "how",
				 cache->name, cache->name);
	if (r)
		return error_set(r,
				 "cache %s: its writer was too quick for %d "
				 "tries; begin the read again",
				 cache->name, TRIES);
	return 0;
}

int treekv_read_end(struct treekv_cache *cache)
{
	if (!cache->reading)
		return error_set(-EINVAL, "cache %s: no read has begun",
				 cache->name);
	/* The rows, then head: the other half is the writer's store barrier. */
	shm_load_barrier();
	if (cache->frozen || shm_load_relaxed(&cache->rows->head) <=
				     cache->base_tail + cache->free)
		return 0;
	return error_set(-EAGAIN,
			 "cache %s: its writer has used slots again that were "
			 "being read; begin the read again",
			 cache->name);
}
