/* SPDX-License-Identifier: BSD-2-Clause */
/* Where things are in an index; what compact*.c share, for nobody else. */
#ifndef TREEKVD_COMPACT_IMPL_H
#define TREEKVD_COMPACT_IMPL_H

#include "daemon/compact.h"

static inline struct shm_buffer *buffer_of(const struct shm_index *index,
					   uint64_t generation)
{
	return (void *)((char *)index + index->buffer[generation & 1]);
}

static inline struct shm_level *levels_of(const struct shm_index *index,
					  const struct shm_buffer *buffer)
{
	return (void *)((char *)buffer + index->level);
}

static inline uint32_t *walks_of(const struct shm_index *index,
				 const struct shm_buffer *buffer,
				 uint32_t layer)
{
	uint32_t *walk = (void *)((char *)buffer + index->walk);

	return walk + (size_t)layer * index->spec.kv_heads;
}

static inline const struct shm_layer *layer_of(const struct shm_index *index,
					       uint32_t layer)
{
	const struct shm_layer *table =
		(const void *)((const char *)index + index->layers);

	return &table[layer];
}

static inline struct order order_of(const struct shm_buffer *buffer,
				    const struct shm_layer *layer,
				    uint32_t head)
{
	char *base = (char *)buffer;

	return (struct order){
		.order = base + layer->order + head * layer->order_stride,
		.rank = base + layer->rank + head * layer->rank_stride,
		.parent = layer->parent_capacity,
	};
}

/* A checked copy of commit, by c->generation; c->fault is set when it lies. */
uint64_t compact_load_commit(struct compaction *c);

/*
 * Completes the next buffer, whose levels, walks and orders are made, and
 * publishes it. @prefill: its own.
 */
void compact_finish(struct compaction *c, uint64_t rows_inode,
		    uint64_t prefill);

#endif /* TREEKVD_COMPACT_IMPL_H */
