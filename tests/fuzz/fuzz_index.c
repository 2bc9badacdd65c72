// SPDX-License-Identifier: BSD-2-Clause
/*
 * An index that a predecessor left. The input is laid over a sound one, four
 * bytes of offset, then what stands there, so that mutations reach all of it;
 * what is accepted is compacted with hostile rows, or, when nothing has been
 * committed, takes a prompt from them.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/adopt.h"
#include "daemon/compact.h"
#include "proto/layout.h"

#define LAYERS 2
#define PATCH  12 /* 4 of offset, 8 to lay there */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct shm_index *sound_index;
static struct shm_rows *sound_rows;
static uint64_t index_size, rows_size;

static void make_sound(void)
{
	struct shm_layer layers[LAYERS];
	uint32_t budgets[LAYERS] = { 8, 6 };
	struct shm_spec spec = {
		.layers = LAYERS,
		.kv_heads = 2,
		.k_row = 4,
		.v_row = 4,
		.dtype = SHM_DTYPE_F32,
		.policy = SHM_POLICY_TREEKV,
		.positions = SHM_POSITIONS_RANK,
		.sinks = 1,
		.recent = 2,
		.slack = 4,
	};
	struct layout layout;

	layout_init(&layout, layers, &spec, budgets, NULL);
	index_size = layout_round(layout.index_size, 0);
	rows_size = layout_round(layout.rows_size, 0);
	sound_index = calloc(1, index_size);
	sound_rows = calloc(1, rows_size);
	if (!sound_index || !sound_rows)
		abort();
	sound_index->index_size = index_size;
	sound_index->rows_size = rows_size;
	strcpy(sound_index->name, "fuzz");
	compact_format(sound_index, sound_rows, &spec, layers, &layout, 7);
	sound_rows->rows_size = rows_size;
	sound_rows->seen = 1;
	sound_rows->head = 12;
	sound_rows->commit = shm_commit_pack(10, 0);
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < 2; h++)
			for (uint32_t s = 0; s < layers[l].slots; s++)
				((uint32_t *)(void *)((char *)sound_rows +
						      layers[l].token))
					[h * layers[l].token_stride / 4 + s] =
						2 * s;
}

static void compact(struct shm_index *index, const struct shm_rows *rows)
{
	uint8_t memory[4096];
	struct order_scratch scratch;
	struct compaction c = {
		.index = index,
		.rows = rows,
		.policy = policy_by_id(index->spec.policy),
		.scratch = &scratch,
	};

	order_scratch_init(&scratch, memory, 64);
	if (!compact_begin(&c))
		return;
	while (compact_heads(&c, 1))
		;
	if (!c.fault)
		compact_publish(&c);
}

static void take_prompt(struct shm_index *index, const struct shm_rows *rows)
{
	static const uint32_t live[LAYERS] = { 7, 6 }, walk[LAYERS] = { 3, 1 };
	const struct compact_prompt prompt = { 20, live, walk };
	struct compaction c = { .index = index, .rows = rows };
	enum compact_fault fault;
	bool more = true;
	const char *why;

	if (index->flags & SHM_CACHE_FROZEN) /* nobody has a lease of it */
		return;
	if (compact_prompt_begin(&c, &prompt) != COMPACT_PROMPT_SOUND)
		return;
	while (more)
		if (compact_prompt_heads(&c, &prompt, 1, &more) !=
		    COMPACT_PROMPT_SOUND)
			return;
	compact_prompt_publish(&c, &prompt);
	fault = compact_check(index, rows);
	/* The words that never change are not what a prompt is asked for. */
	if (adopt_check(index, 7, &why) ||
	    (fault && fault != COMPACT_FAULT_ROWS))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct layout_error error;
	struct shm_index *index;
	struct shm_rows *rows;
	const char *why;
	uint32_t at;

	if (!sound_index)
		make_sound();
	index = malloc(index_size);
	rows = malloc(rows_size);
	if (!index || !rows)
		abort();
	memcpy(index, sound_index, index_size);
	memcpy(rows, sound_rows, rows_size);
	if (size % PATCH == 1)
		rows->commit = rows->head = 0;
	for (; size >= PATCH; bytes += PATCH, size -= PATCH) {
		memcpy(&at, bytes, sizeof(at));
		at %= index_size + rows_size - 16;
		if (at < index_size - 8)
			memcpy((char *)index + at, bytes + 4, 8);
		else if (at >= index_size)
			memcpy((char *)rows + (at - index_size), bytes + 4, 8);
	}
	if (!layout_check_index(index, index_size, &error) &&
	    !adopt_check(index, 7, &why)) {
		take_prompt(index, rows);
		compact(index, rows);
	}
	free(index);
	free(rows);
	return 0;
}
