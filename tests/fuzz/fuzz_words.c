// SPDX-License-Identifier: BSD-2-Clause
/*
 * A writer's words while they are being read: between any two heads of a
 * compaction, or of a prompt, commit, head, seen, scores, since and tokens may
 * become something else. Whatever they say, each order that is published must
 * be one that a next daemon would adopt.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/adopt.h"
#include "daemon/compact.h"
#include "proto/barrier.h"
#include "proto/layout.h"
#include "tests/fuzz/input.h"

#define LAYERS	4
#define HEADS	2
#define SCRATCH (64 << 10)
#define INODE	7

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

struct peer {
	struct input input;
	struct shm_index *index;
	struct shm_rows *rows;
	uint64_t rows_size;
	struct shm_layer layers[LAYERS];
	struct compaction compaction;
	struct order_scratch scratch;
	uint8_t *memory;
	bool running;
	bool prompting;
	struct compact_prompt prompt;
	uint32_t live[LAYERS], walk[LAYERS];
};

static const struct shm_buffer *newest(const struct peer *p)
{
	uint64_t generation = shm_load_relaxed(&p->index->generation);

	return (const void *)((const char *)p->index +
			      p->index->buffer[generation & 1]);
}

/* Return: false when there is no such spec. */
static bool make(struct peer *p)
{
	struct shm_spec spec = {
		.dtype = SHM_DTYPE_F32,
		.positions = SHM_POSITIONS_RANK,
		.k_row = 4,
		.v_row = 4,
	};
	uint32_t budgets[LAYERS];
	struct layout layout;

	spec.layers = input_8(&p->input) % LAYERS + 1;
	spec.kv_heads = input_8(&p->input) % HEADS + 1;
	spec.policy = input_8(&p->input) % SHM_POLICY_FULL + 1;
	spec.sinks = input_8(&p->input) % 8;
	spec.recent = input_8(&p->input) % 32;
	spec.slack = input_8(&p->input) % 32;
	spec.ids = input_8(&p->input) % 32;
	for (uint32_t l = 0; l < spec.layers; l++)
		budgets[l] = input_8(&p->input);
	if (layout_check(&spec, budgets, NULL))
		return false;
	layout_init(&layout, p->layers, &spec, budgets, NULL);
	p->rows_size = layout_round(layout.rows_size, 0);
	p->index = calloc(1, layout_round(layout.index_size, 0));
	p->rows = calloc(1, p->rows_size);
	p->memory = malloc(SCRATCH);
	if (!p->index || !p->rows || !p->memory)
		abort();
	p->index->index_size = layout_round(layout.index_size, 0);
	p->index->rows_size = p->rows->rows_size = p->rows_size;
	strcpy(p->index->name, "fuzz");
	compact_format(p->index, p->rows, &spec, p->layers, &layout, INODE);
	p->rows->rows_size = p->rows_size;
	order_scratch_init(&p->scratch, p->memory, 1024);
	p->compaction.index = p->index;
	p->compaction.rows = p->rows;
	p->compaction.policy = policy_by_id(spec.policy);
	p->compaction.scratch = &p->scratch;
	return true;
}

static void check(const struct peer *p)
{
	struct layout_error error;
	const char *why;

	if (layout_check_index(p->index, p->index->index_size, &error) ||
	    adopt_check(p->index, INODE, &why))
		abort();
	compact_check(p->index, p->rows);
	compact_slack_left(&p->compaction);
	compact_due(&p->compaction);
	compact_in_grace(&p->compaction);
}

/* As an honest writer would, if there is room. */
static void step(struct peer *p, uint32_t n)
{
	const struct shm_buffer *b = newest(p);
	uint64_t word = shm_commit_under(p->rows->commit, b->prefill);
	uint64_t tail = shm_commit_tail(word);

	if (tail < b->base_tail || n > b->base_tail + b->free - tail)
		return;
	p->rows->seen = p->index->generation;
	if (p->rows->head < tail + n)
		p->rows->head = tail + n;
	p->rows->commit = shm_commit_pack(tail + n, !(word & 1));
}

/* @value, or something near to what stands there, or to what is expected. */
static uint64_t near(const struct peer *p, uint64_t was, uint8_t how,
		     uint64_t value)
{
	switch (how % 4) {
	case 0:
		return value;
	case 1:
		return was + (uint64_t)(int64_t)(int8_t)value;
	case 2:
		return shm_commit_pack(newest(p)->base_tail + newest(p)->free +
					       (uint64_t)(int64_t)(int8_t)value,
				       how & 4);
	default:
		return p->index->generation + (uint64_t)(int64_t)(int8_t)value;
	}
}

static void lie(struct peer *p)
{
	uint64_t *const words[] = {
		&p->rows->commit, &p->rows->head,   &p->rows->seen,
		&p->rows->magic,  &p->rows->stalls, &p->rows->rows_size,
	};
	uint8_t which = input_8(&p->input), how = input_8(&p->input);
	uint64_t *word = words[which % 6];

	*word = near(p, *word, how, input_64(&p->input));
}

/* Scores, since and tokens begin behind the words. */
static void scribble(struct peer *p)
{
	uint32_t at = input_32(&p->input), value = input_32(&p->input);
	uint64_t words = (p->rows_size - sizeof(*p->rows)) / 4;
	uint32_t *first = (uint32_t *)(p->rows + 1);
	uint8_t n = input_8(&p->input);

	for (uint32_t i = 0; i <= n; i++)
		first[((uint64_t)at + i) % words] = value;
}

static void compact(struct peer *p, uint8_t heads)
{
	struct compaction *c = &p->compaction;

	if (p->prompting)
		return;
	if (!p->running)
		p->running = compact_begin(c);
	if (!p->running || compact_heads(c, heads % 4 + 1))
		return;
	p->running = false;
	if (!c->fault)
		compact_publish(c);
	check(p);
}

static void prompt(struct peer *p, uint8_t heads)
{
	struct compaction *c = &p->compaction;
	bool more = true;

	if (p->running)
		return;
	if (!p->prompting) {
		p->prompt.tail = input_16(&p->input);
		p->prompt.live = p->live;
		p->prompt.walk = p->walk;
		for (uint32_t l = 0; l < p->index->spec.layers; l++) {
			p->live[l] = input_8(&p->input);
			p->walk[l] = input_8(&p->input);
		}
		p->prompting = compact_prompt_begin(c, &p->prompt) ==
			       COMPACT_PROMPT_SOUND;
		return;
	}
	if (compact_prompt_heads(c, &p->prompt, heads % 4 + 1, &more)) {
		p->prompting = false;
	} else if (!more) {
		p->prompting = false;
		compact_prompt_publish(c, &p->prompt);
	}
	check(p);
}

/* Rising tokens, as a prompt has them. */
static void tokens(struct peer *p, uint8_t gap)
{
	for (uint32_t l = 0; l < p->index->spec.layers; l++)
		for (uint32_t h = 0; h < p->index->spec.kv_heads; h++)
			for (uint32_t s = 0; s < p->layers[l].slots; s++)
				*(uint32_t *)(void *)((char *)p->rows +
						      p->layers[l].token +
						      h * p->layers[l].token_stride +
						      s * 4ULL) =
					s * (gap % 4 + 1U);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct peer p = { .input = { bytes, size } };
	struct compaction *c = &p.compaction;

	if (!make(&p))
		return 0;
	while (p.input.left) {
		uint8_t what = input_8(&p.input), how = what / 8;

		switch (what % 8) {
		case 0:
			lie(&p);
			break;
		case 1:
			scribble(&p);
			break;
		case 2:
			tokens(&p, how);
			break;
		case 3:
			prompt(&p, how);
			break;
		case 4:
		case 5:
			compact(&p, how);
			break;
		default:
			step(&p, how);
		}
		if (!p.running && !p.prompting)
			c->fault = COMPACT_SOUND; /* else it goes nowhere */
	}
	check(&p);
	free(p.index);
	free(p.rows);
	free(p.memory);
	return 0;
}
