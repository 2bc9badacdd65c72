/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of libtreekv share about an attached cache. writer.c runs
 * steps on two mappings and knows nothing of sockets; open.c gets the mappings
 * from the daemon; local.c makes private ones and compacts in place, for
 * programs that want the same cache without a daemon.
 */
#ifndef TREEKV_CACHE_H
#define TREEKV_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/treekv.h"
#include "proto/shm.h"

/* What survived of a prompt: by layer, in every head of it. */
struct cache_prompt {
	uint64_t tail;
	uint32_t *live; /* [layers] rows */
	uint32_t *walk; /* [layers] where decoding's walk begins */
};

struct cache_prefill; /* prefill.c's */

/* How a writer reaches whoever compacts. */
struct cache_ops {
	/* Somebody should look at commit or seen. No wait, no allocation. */
	void (*ring)(struct treekv_cache *cache);
	/*
	 * Sleep until generation is no longer @generation, a while at most.
	 * Return: 0 to look again (also when nothing changed); -ESTALE the
	 * lease is lost; another errno when there is no use in waiting on.
	 */
	int (*wait)(struct treekv_cache *cache, uint64_t generation,
		    int timeout_ms);
	/* The epoch has changed: there is a new daemon. Never waits long. */
	void (*renew)(struct treekv_cache *cache);
	/*
	 * Commit a prompt whose rows are written. Return: 0 when it is; -ESTALE
	 * the lease is lost; -ETIMEDOUT it is not known whether it took place;
	 * another errno: refused, nothing has happened.
	 */
	int (*prefill)(struct treekv_cache *cache,
		       const struct cache_prompt *prompt, int timeout_ms);
	/*
	 * Lets go of the rows and has whoever keeps them freeze them; release
	 * follows. NULL: there is nobody.
	 */
	int (*freeze)(struct treekv_cache *cache);
	/* Unmaps, and tells who is to know within that time, or else later. */
	void (*release)(struct treekv_cache *cache, int timeout_ms);
};

struct cache_layer {
	struct shm_layer at; /* private copy, checked */
	struct shm_layer parent; /* in a fork: K and V of its parent's rows */
	uint32_t base_live; /* n_live of the generation in use */
	bool appended;
};

struct cache_head {
	uint8_t *k; /* of the first own slot */
	uint8_t *v;
	const uint8_t *parent_k; /* of the first slot; NULL: no fork */
	const uint8_t *parent_v;
	float *score[2];
	uint32_t *since;
	uint32_t *token;
	uint32_t *rank; /* private: published ranks and the own appends */
	uint64_t generation; /* that rank is of */
	const void *order[2]; /* of each buffer */
	const void *published[2]; /* ranks, of each buffer */
	uint32_t observed; /* tokens of the running step */
};

struct treekv_cache {
	const struct cache_ops *ops;
	void *owner; /* the ops' own */
	const struct shm_index *index;
	struct shm_rows *rows;
	const void *parent; /* a fork's parent's rows, or NULL */
	uint64_t index_size;
	uint64_t rows_size;
	uint64_t parent_size;
	char name[SHM_NAME_FULL + 1];
	struct shm_spec spec; /* private copy, checked */
	bool scored; /* the policy reads scores */
	bool last_only; /* tova: a weight replaces, it does not add */

	uint64_t epoch; /* of the daemon that was spoken to last */
	uint64_t generation; /* in use, adopted */
	uint64_t base_tail;
	uint64_t free;
	uint64_t ring_at;
	uint64_t rows_inode;
	uint64_t tail; /* committed */
	uint64_t dirty; /* what head says */
	unsigned int parity;
	uint32_t step; /* tokens of the running step, 0: none */
	bool stalled; /* before the step that begins next */
	struct cache_prefill *prefill; /* that is running; NULL: none */

	struct cache_layer *layer; /* [layers] */
	struct cache_head *head; /* [layers][kv_heads] */
	uint32_t *ranks; /* what every head[].rank points into */
	uint64_t attach_ns;
	uint64_t reconnects;
	uint64_t opened_tail;
	uint64_t steps; /* since it was opened */
	uint64_t commits;
	int64_t told_ms; /* when the probe progress last fired */
	bool created;
	bool lost; /* the lease is gone: every step is -ESTALE */

	bool reader; /* rows is mapped read-only */
	bool reading; /* what is above is of a read that has begun */
	bool frozen; /* as that found it */
	uint8_t *note; /* the reader's copy */
};

/**
 * cache_init - ready a cache whose mappings, ops and name are set
 *
 * Checks index and rows against each other, then adopts the newest order.
 * Return: 0, -EPROTO, -EBADMSG, -ENOMEM, with the text set.
 */
int cache_init(struct treekv_cache *cache);

/* Frees what cache_init() made; the mappings are ops->release()'s. */
void cache_exit(struct treekv_cache *cache);

/* Takes the newest order into use. Return: 0, -ESTALE. */
int cache_adopt(struct treekv_cache *cache);

/* Has the lease been broken meanwhile? Return: 0, -ESTALE. */
int cache_check_lease(struct treekv_cache *cache);

/* Neither a step nor a prefill may be running. Return: 0, -ESTALE, -EBUSY. */
int cache_check_idle(const struct treekv_cache *cache);

/* Takes NULL, returns it. */
struct cache_prefill *cache_prefill_free(struct cache_prefill *prefill);

/* The slot of the i-th token since base_tail. */
uint32_t cache_slot(const struct treekv_cache *cache, uint32_t layer,
		    const struct cache_head *head, uint64_t i);

/* Adds the mean of a group's weights to scores. */
void cache_add_scores(float *to, const float *from, const float *weights,
		      uint32_t group, size_t stride, uint32_t n);

/* Stores the ids of @n tokens from the tail on; NULL: 0 each. */
void cache_record_ids(struct treekv_cache *cache, const uint32_t *ids,
		      uint32_t n);

/* The probe progress, if anybody watches: now, or when its time has come. */
void cache_tell_progress(struct treekv_cache *cache, bool now);

/* Entry @i of an order. */
static inline uint32_t cache_entry(const void *entries, uint32_t entry_size,
				   uint64_t i)
{
	if (entry_size == 2)
		return ((const uint16_t *)entries)[i];
	return ((const uint32_t *)entries)[i];
}

/* The ranks as they are published, widened. */
void cache_copy_ranks(const struct treekv_cache *cache, uint32_t layer,
		      const struct cache_head *head, uint64_t generation);

static inline struct cache_head *cache_head_at(const struct treekv_cache *cache,
					       uint32_t layer, uint32_t head)
{
	return &cache->head[(size_t)layer * cache->spec.kv_heads + head];
}

/* Rows of a layer that are committed. */
static inline uint32_t cache_held(const struct treekv_cache *cache,
				  uint32_t layer)
{
	return cache->layer[layer].base_live +
	       (uint32_t)(cache->tail - cache->base_tail);
}

/* Sets this thread's error text and returns @error (negative). */
__attribute__((format(printf, 2, 3))) int error_set(int error,
						    const char *format, ...);

#endif /* TREEKV_CACHE_H */
