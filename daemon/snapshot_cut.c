// SPDX-License-Identifier: BSD-2-Clause
/*
 * Two things bound what may be copied. Rows, since and token of whatever is
 * live at the commit stay intact until head passes base_tail + free of the
 * order that was copied (design: the free queue), so they are read at leisure
 * and head is looked at afterwards. The committed half of the scores and its
 * note are not: the second commit after ours writes them again. They are copied
 * at once, and what was copied counts only if commit still is what it was.
 *
 * A commit of nothing leaves the tail, two leave the parity, so the word may
 * come back to its value. Such commits carry every live score over unchanged;
 * only the note may differ, which is therefore copied before and after the
 * scores and compared.
 *
 * The order is safe meanwhile: its only writer is the worker that calls this.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/compact.h"
#include "daemon/order.h"
#include "daemon/snapshot_cut.h"
#include "proto/barrier.h"

static const struct shm_layer *layers_of(const struct shm_index *index)
{
	return (const void *)((const char *)index + index->layers);
}

static const struct shm_buffer *newest(const struct shm_index *index)
{
	uint64_t generation = shm_load_acquire(&index->generation);

	return (const void *)((const char *)index +
			      index->buffer[generation & 1]);
}

int snapshot_cut_init(struct snapshot_cut *cut, const struct shm_index *index)
{
	const struct shm_spec *spec = &index->spec;
	uint64_t entries = 0, heads = (uint64_t)spec->layers * spec->kv_heads;

	*cut = (struct snapshot_cut){ 0 };
	for (uint32_t l = 0; l < spec->layers; l++) {
		entries += layers_of(index)[l].capacity;
		if (layers_of(index)[l].parent_capacity)
			return -EOPNOTSUPP;
	}
	entries *= spec->kv_heads;
	cut->info = snapshot_info_new(spec->layers);
	cut->memory[SNAPSHOT_WALKS] = malloc(heads * sizeof(uint32_t));
	cut->memory[SNAPSHOT_ORDERS] = malloc(entries * spec->entry_size);
	cut->memory[SNAPSHOT_SCORES] = malloc(entries * sizeof(float));
	if (!cut->info || !cut->memory[SNAPSHOT_WALKS] ||
	    !cut->memory[SNAPSHOT_ORDERS] || !cut->memory[SNAPSHOT_SCORES]) {
		snapshot_cut_exit(cut);
		return -ENOMEM;
	}
	cut->memory[SNAPSHOT_LAYERS] = cut->info->layers;
	cut->info->header.spec = *spec;
	return 0;
}

void snapshot_cut_exit(struct snapshot_cut *cut)
{
	free(cut->memory[SNAPSHOT_WALKS]);
	free(cut->memory[SNAPSHOT_ORDERS]);
	free(cut->memory[SNAPSHOT_SCORES]);
	free(cut->info);
	*cut = (struct snapshot_cut){ 0 };
}

/* One past the highest slot among the first @live of an order. */
static uint32_t used_by(const void *order, uint32_t entry_size, uint64_t live)
{
	uint32_t used = 0, slot;

	for (uint64_t i = 0; i < live; i++) {
		slot = order_entry(order, entry_size, (uint32_t)i);
		used = slot >= used ? slot + 1 : used;
	}
	return used;
}

static void copy_orders(struct snapshot_cut *cut, const struct shm_index *index,
			const struct shm_buffer *buffer)
{
	const struct shm_spec *spec = &index->spec;
	const struct shm_level *level =
		(const void *)((const char *)buffer + index->level);
	uint64_t own = cut->info->header.tail - buffer->base_tail;
	uint8_t *to = cut->memory[SNAPSHOT_ORDERS];

	for (uint32_t l = 0; l < spec->layers; l++) {
		const struct shm_layer *layer = &layers_of(index)[l];
		size_t size = (size_t)layer->capacity * spec->entry_size;
		uint32_t used = 0, one;

		for (uint32_t h = 0; h < spec->kv_heads; h++, to += size) {
			memcpy(to,
			       (const char *)buffer + layer->order +
				       h * layer->order_stride,
			       size);
			one = used_by(to, spec->entry_size,
				      level[l].n_live + own);
			used = one > used ? one : used;
		}
		cut->info->layers[l] = (struct snapshot_layer){
			.budget = layer->budget,
			.capacity = layer->capacity,
			.n_live = level[l].n_live,
			.used = used,
		};
	}
	memcpy(cut->memory[SNAPSHOT_WALKS], (const char *)buffer + index->walk,
	       (size_t)spec->layers * spec->kv_heads * sizeof(uint32_t));
}

static void copy_scores(struct snapshot_cut *cut, const struct shm_index *index,
			const struct shm_rows *rows, unsigned int parity)
{
	uint8_t *to = cut->memory[SNAPSHOT_SCORES];

	for (uint32_t l = 0; l < index->spec.layers; l++) {
		const struct shm_layer *layer = &layers_of(index)[l];
		size_t size = cut->info->layers[l].used * sizeof(float);
		const char *from = (const char *)rows + layer->score +
				   parity * layer->score_pad;

		for (uint32_t h = 0; h < index->spec.kv_heads; h++) {
			shm_copy(to, from + h * layer->score_stride, size);
			to += size;
		}
	}
}

int snapshot_cut_take(struct snapshot_cut *cut, const struct shm_index *index,
		      const struct shm_rows *rows)
{
	const struct shm_buffer *buffer = newest(index);
	struct snapshot_header *header = &cut->info->header;
	/* Pairs with the release in treekv_commit(). */
	uint64_t word = shm_load_acquire(&rows->commit);
	uint64_t commit = shm_commit_under(word, buffer->prefill);
	unsigned int parity = shm_commit_parity(commit);
	uint8_t again[SHM_NOTE_SIZE];

	if (compact_check_word(buffer, rows, word))
		return -EUCLEAN;
	/* One that is frozen later is so with another order, its last. */
	header->flags = shm_load32_relaxed(&index->flags) & SNAPSHOT_FLAGS;
	header->tail = shm_commit_tail(commit);
	header->parity = parity;
	header->base_tail = buffer->base_tail;
	header->generation = buffer->generation;
	cut->limit = buffer->base_tail + buffer->free;
	cut->rows_inode = buffer->rows_inode;
	copy_orders(cut, index, buffer);
	shm_copy(header->note, rows->note[parity], SHM_NOTE_SIZE);
	shm_load_barrier();
	copy_scores(cut, index, rows, parity);
	shm_load_barrier();
	shm_copy(again, rows->note[parity], SHM_NOTE_SIZE);
	shm_load_barrier();
	if (shm_load_relaxed(&rows->commit) != word ||
	    memcmp(again, header->note, SHM_NOTE_SIZE))
		return -EAGAIN;
	snapshot_plan(cut->info, layers_of(index), index->ids);
	return 0;
}

bool snapshot_cut_holds(const struct snapshot_cut *cut,
			const struct shm_index *index,
			const struct shm_rows *rows)
{
	/* The rows, then head: the writer's store barrier is the other half. */
	shm_load_barrier();
	return newest(index)->rows_inode == cut->rows_inode &&
	       shm_load_relaxed(&rows->head) <= cut->limit;
}
