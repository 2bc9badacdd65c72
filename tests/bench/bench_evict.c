// SPDX-License-Identifier: BSD-2-Clause
/*
 * What an eviction costs the daemon: a whole compaction of an 8B-shaped cache,
 * from the look at commit to the release of the new generation, divided by
 * tokens and heads. 256 heads of scores, since, order and rank are 4 MiB and
 * do not stay in a core's own caches from one batch to the next.
 *
 * The other side does the same evictions as one would write them down first:
 * one at a time, the order moved up by memmove, the ranks written anew when
 * the batch is over.
 *
 * Keys and values have one byte a row: a compaction never touches them.
 */
#include "bench.h"
#include "daemon/compact.h"
#include "proto/barrier.h"

enum {
	LAYERS = 32, /* at most */
	HEADS = 8,
	BUDGET = 1024,
	SLACK = 64,
	SLOTS = BUDGET + SLACK,
	SINKS = 4,
	RECENT = BUDGET / 2 - SINKS,
	SELECTED = BUDGET - SINKS - RECENT,
	WARM_UP = 5,
};

struct work {
	const char *name;
	enum shm_policy policy;
	uint32_t entry_size;
	uint32_t batch;
	uint32_t layers;
	uint32_t samples;
};

static const struct work works[] = {
	{ "evict.16", SHM_POLICY_TREEKV, 2, 16, 32, 301 },
	{ "evict.16.layer", SHM_POLICY_TREEKV, 2, 16, 1, 2001 },
	{ "evict.1", SHM_POLICY_TREEKV, 2, 1, 32, 501 },
	{ "evict.64", SHM_POLICY_TREEKV, 2, 64, 32, 101 },
	{ "evict.16.u32", SHM_POLICY_TREEKV, 4, 16, 32, 301 },
	{ "evict.16.h2o", SHM_POLICY_H2O, 2, 16, 32, 25 },
	{ "evict.16.tova", SHM_POLICY_TOVA, 2, 16, 32, 25 },
};

/* A cache as the daemon sees it, and the part of its writer. */
struct bed {
	struct compaction c;
	struct shm_rows *rows;
	struct order_scratch scratch;
	void *scratch_memory;
	size_t rows_size;
	size_t index_size;
	uint64_t tail;
	uint64_t random;
};

/* The naive side: plain arrays. */
struct naive_head {
	uint32_t order[SLOTS];
	uint32_t rank[SLOTS];
	float score[SLOTS];
	uint32_t since[SLOTS];
	uint32_t walk;
};

struct naive {
	struct naive_head head[LAYERS * HEADS];
	uint32_t heads; /* in use */
	uint64_t tail;
	uint64_t random;
};

static const struct shm_layer *layer_at(const struct bed *bed, uint32_t l)
{
	const struct shm_layer *table =
		(const void *)((const char *)bed->c.index +
			       bed->c.index->layers);

	return &table[l];
}

static uint32_t slot_at(const struct bed *bed, uint32_t l, uint32_t h,
			uint64_t i)
{
	const struct shm_index *index = bed->c.index;
	const struct shm_layer *layer = layer_at(bed, l);
	const char *buffer =
		(const char *)index + index->buffer[index->generation & 1];
	const struct shm_level *level = (const void *)(buffer + index->level);

	return order_entry(buffer + layer->order + h * layer->order_stride,
			   index->spec.entry_size, level[l].n_live + i);
}

/* What a writer leaves in a slot that it has just used. */
static void append_slot(struct bed *bed, uint32_t l, uint32_t h, uint32_t slot)
{
	const struct shm_layer *layer = layer_at(bed, l);
	char *rows = (char *)bed->rows;
	float *score = (void *)(rows + layer->score + h * layer->score_stride);
	uint32_t *since =
		(void *)(rows + layer->since + h * layer->since_stride);

	score[slot] = bench_uniform(&bed->random);
	since[slot] = (uint32_t)bed->tail;
}

static void append(struct bed *bed, uint32_t n)
{
	const struct shm_index *index = bed->c.index;
	const struct shm_buffer *buffer =
		(const void *)((const char *)index +
			       index->buffer[index->generation & 1]);

	for (uint32_t j = 0; j < n; j++, bed->tail++)
		for (uint32_t l = 0; l < index->spec.layers; l++)
			for (uint32_t h = 0; h < HEADS; h++)
				append_slot(
					bed, l, h,
					slot_at(bed, l, h,
						bed->tail - buffer->base_tail));
	bed->rows->seen = index->generation;
	bed->rows->head = bed->tail;
	bed->rows->commit = shm_commit_pack(bed->tail, 0);
}

static void compact(struct bed *bed)
{
	if (!compact_begin(&bed->c))
		bench_die("compact_begin", compact_fault_text(bed->c.fault));
	while (compact_heads(&bed->c, UINT32_MAX))
		;
	compact_publish(&bed->c);
}

/*
 * u32 entries come with caches of more than 32,767 slots; to have them at the
 * same size, the arrays are laid out for twice as many slots of u16.
 */
static void bed_init(struct bed *bed, const struct work *work)
{
	struct shm_spec spec = {
		.layers = work->layers,
		.kv_heads = HEADS,
		.k_row = 1,
		.v_row = 1,
		.dtype = SHM_DTYPE_BF16,
		.policy = work->policy,
		.positions = SHM_POSITIONS_RANK,
		.sinks = SINKS,
		.recent = RECENT,
		.slack = SLOTS * work->entry_size / 2 - BUDGET,
	};
	struct shm_layer layers[LAYERS];
	uint32_t budgets[LAYERS];
	struct layout layout;
	void *index;

	for (uint32_t l = 0; l < work->layers; l++)
		budgets[l] = BUDGET;
	layout_init(&layout, layers, &spec, budgets, NULL);
	for (uint32_t l = 0; l < work->layers; l++)
		layers[l].slots = layers[l].capacity = SLOTS;
	spec.slack = SLACK;
	spec.entry_size = work->entry_size;
	*bed = (struct bed){ .rows = bench_map(layout.rows_size, 0),
			     .rows_size = layout.rows_size,
			     .index_size = layout.index_size };
	index = bench_map(layout.index_size, 0);
	bed->scratch_memory = malloc(order_scratch_size(SLOTS));
	if (!bed->scratch_memory)
		bench_die(work->name, "out of memory");
	order_scratch_init(&bed->scratch, bed->scratch_memory, SLOTS);
	compact_format(index, bed->rows, &spec, layers, &layout, 0);
	bed->c = (struct compaction){ .index = index,
				      .rows = bed->rows,
				      .policy = policy_by_id(work->policy),
				      .scratch = &bed->scratch };
	append(bed, BUDGET);
}

static struct naive *naive_new(uint32_t layers)
{
	struct naive *naive = bench_map(sizeof(*naive), 0);

	naive->heads = layers * HEADS;
	for (uint32_t i = 0; i < naive->heads; i++) {
		struct naive_head *head = &naive->head[i];

		head->walk = 1;
		for (uint32_t s = 0; s < SLOTS; s++) {
			head->order[s] = s;
			head->score[s] = bench_uniform(&naive->random);
			head->since[s] = s;
		}
	}
	naive->tail = BUDGET;
	return naive;
}

static void naive_append(struct naive *naive, uint32_t n)
{
	for (uint32_t j = 0; j < n; j++, naive->tail++)
		for (uint32_t i = 0; i < naive->heads; i++) {
			struct naive_head *head = &naive->head[i];
			uint32_t slot = head->order[BUDGET + j];

			head->score[slot] = bench_uniform(&naive->random);
			head->since[slot] = (uint32_t)naive->tail;
		}
}

static double average(const struct naive *naive, const struct naive_head *head,
		      uint32_t rank)
{
	uint32_t slot = head->order[rank];

	return (double)head->score[slot] /
	       ((double)naive->tail - (double)head->since[slot]);
}

static uint32_t naive_choose(const struct naive *naive, struct naive_head *head,
			     enum shm_policy policy)
{
	uint32_t best = SINKS, left = SINKS + head->walk - 1;

	if (policy == SHM_POLICY_TREEKV) {
		head->walk = head->walk % SELECTED + 1;
		return left + (average(naive, head, left) >
			       average(naive, head, left + 1));
	}
	for (uint32_t i = SINKS + 1; i <= SINKS + SELECTED; i++)
		if (head->score[head->order[i]] <
		    head->score[head->order[best]])
			best = i;
	return best;
}

static void naive_compact(struct naive *naive, const struct work *work)
{
	for (uint32_t i = 0; i < naive->heads; i++) {
		struct naive_head *head = &naive->head[i];

		for (uint32_t j = 0; j < work->batch; j++) {
			uint32_t at = naive_choose(naive, head, work->policy);
			uint32_t slot = head->order[at];

			memmove(head->order + at, head->order + at + 1,
				(SLOTS - at - 1) * sizeof(*head->order));
			head->order[SLOTS - 1] = slot;
		}
		for (uint32_t r = 0; r < SLOTS; r++)
			head->rank[head->order[r]] = r < BUDGET ? r :
								  SHM_FREE32;
	}
}

static void run(const struct work *work)
{
	struct bench_row *row = bench_row_new(work->name);
	double evictions = (double)work->batch * work->layers * HEADS;
	struct naive *naive = naive_new(work->layers);
	struct bed bed;
	uint64_t begin;

	bed_init(&bed, work);
	for (uint32_t i = 0; i < WARM_UP + work->samples; i++) {
		append(&bed, work->batch);
		begin = bench_ns();
		compact(&bed);
		if (i >= WARM_UP)
			bench_ours(row,
				   (double)(bench_ns() - begin) / evictions);
		naive_append(naive, work->batch);
		begin = bench_ns();
		naive_compact(naive, work);
		if (i >= WARM_UP)
			bench_theirs(row,
				     (double)(bench_ns() - begin) / evictions);
	}
	munmap(naive, sizeof(*naive));
	free(bed.scratch_memory);
	munmap(bed.c.index, bed.index_size);
	munmap(bed.rows, bed.rows_size);
	bench_row_end(row);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(works) / sizeof(*works); i++)
		run(&works[i]);
	return 0;
}
