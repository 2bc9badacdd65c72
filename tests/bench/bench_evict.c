// SPDX-License-Identifier: BSD-2-Clause
/*
 * What an eviction costs the daemon: a whole compaction of an 8B-shaped cache,
 * from the look at commit to the release of the new generation, divided by
 * tokens and heads. 256 heads of scores, since, order and rank are 4 MiB and
 * do not stay in a core's own caches from one batch to the next.
 *
 * The other side does the same evictions as one would write them down first:
 * one at a time, the order moved up by memmove, the ranks written anew when
 * the batch is over. Or it is another compaction of the same daemon, which
 * searches for the least as H2O and TOVA do; or it copies what has survived,
 * keys and values, to new arrays, as caches of Hugging Face's transformers do
 * it (the copying alone, into memory that is there already).
 *
 * Keys and values have one byte a row, but for who copies them: a compaction
 * never touches them.
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
	GATHER_ROW = 256, /* head_dim 128, bf16 */
};

enum against {
	AGAINST_NAIVE,
	AGAINST_H2O,
	AGAINST_TOVA,
	AGAINST_GATHER,
};

struct work {
	const char *name;
	enum against against;
	enum shm_policy policy;
	uint32_t entry_size;
	uint32_t batch;
	uint32_t layers;
	uint32_t samples;
};

#define WORK(name, against, policy, ...)                                  \
	{                                                                 \
		name, AGAINST_##against, SHM_POLICY_##policy, __VA_ARGS__ \
	}

static const struct work works[] = {
	WORK("evict.1", NAIVE, TREEKV, 2, 1, 32, 501),
	WORK("evict.1.argmin.h2o", H2O, TREEKV, 2, 1, 32, 101),
	WORK("evict.1.argmin.tova", TOVA, TREEKV, 2, 1, 32, 101),
	WORK("evict.1.gather", GATHER, TREEKV, 2, 1, 32, 15),
	WORK("evict.16", NAIVE, TREEKV, 2, 16, 32, 301),
	WORK("evict.16.layer", NAIVE, TREEKV, 2, 16, 1, 2001),
	WORK("evict.16.argmin.h2o", H2O, TREEKV, 2, 16, 32, 51),
	WORK("evict.16.argmin.tova", TOVA, TREEKV, 2, 16, 32, 51),
	WORK("evict.16.gather", GATHER, TREEKV, 2, 16, 32, 15),
	WORK("evict.64", NAIVE, TREEKV, 2, 64, 32, 101),
	WORK("evict.64.argmin.h2o", H2O, TREEKV, 2, 64, 32, 25),
	WORK("evict.64.argmin.tova", TOVA, TREEKV, 2, 64, 32, 25),
	WORK("evict.64.gather", GATHER, TREEKV, 2, 64, 32, 15),
	WORK("evict.16.u32", NAIVE, TREEKV, 4, 16, 32, 301),
	WORK("evict.16.h2o", NAIVE, H2O, 2, 16, 32, 25),
	WORK("evict.16.tova", NAIVE, TOVA, 2, 16, 32, 25),
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
static void bed_init(struct bed *bed, const struct work *work,
		     enum shm_policy policy)
{
	struct shm_spec spec = {
		.layers = work->layers,
		.kv_heads = HEADS,
		.k_row = 1,
		.v_row = 1,
		.dtype = SHM_DTYPE_BF16,
		.policy = policy,
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
				      .policy = policy_by_id(policy),
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

static void bed_exit(struct bed *bed)
{
	free(bed->scratch_memory);
	munmap(bed->c.index, bed->index_size);
	munmap(bed->rows, bed->rows_size);
}

/* ---- copying what survives ---- */

struct gather {
	uint8_t *from;
	uint8_t *to;
	size_t size; /* of each: K and V of all heads */
};

static void gather_init(struct gather *gather, uint32_t layers)
{
	gather->size = (size_t)layers * HEADS * 2 * SLOTS * GATHER_ROW;
	gather->from = bench_map(gather->size, 0);
	gather->to = bench_map(gather->size, 0);
	memset(gather->from, 1, gather->size);
	memset(gather->to, 1, gather->size);
}

/* What a batch leaves of the rows before it: these of BUDGET + @batch. */
static void gather_choose(uint32_t *keep, uint32_t batch, uint64_t *random)
{
	uint8_t gone[SLOTS] = { 0 };

	for (uint32_t left = batch; left;) {
		uint32_t r =
			SINKS + (uint32_t)(bench_random(random) % SELECTED);

		left -= !gone[r];
		gone[r] = 1;
	}
	for (uint32_t r = 0; r < BUDGET + batch; r++)
		if (!gone[r])
			*keep++ = r;
}

static void gather_copy(struct gather *gather, const uint32_t *keep)
{
	const size_t head = (size_t)SLOTS * GATHER_ROW;
	uint8_t *from = gather->from, *to = gather->to;

	for (size_t at = 0; at < gather->size; at += head)
		for (uint32_t r = 0; r < BUDGET; r++)
			memcpy(to + at + (size_t)r * GATHER_ROW,
			       from + at + (size_t)keep[r] * GATHER_ROW,
			       GATHER_ROW);
	gather->from = to;
	gather->to = from;
}

/* ---- one against the other ---- */

/* The other side: of these the one that is compared with. */
struct other {
	struct naive *naive;
	struct bed bed;
	struct gather gather;
	uint32_t keep[BUDGET];
	uint64_t random;
};

static void other_init(struct other *other, const struct work *work)
{
	*other = (struct other){ .random = 1 };
	switch (work->against) {
	case AGAINST_NAIVE:
		other->naive = naive_new(work->layers);
		return;
	case AGAINST_H2O:
		bed_init(&other->bed, work, SHM_POLICY_H2O);
		return;
	case AGAINST_TOVA:
		bed_init(&other->bed, work, SHM_POLICY_TOVA);
		return;
	case AGAINST_GATHER:
		gather_init(&other->gather, work->layers);
		return;
	}
}

static void other_exit(struct other *other, const struct work *work)
{
	switch (work->against) {
	case AGAINST_NAIVE:
		munmap(other->naive, sizeof(*other->naive));
		return;
	case AGAINST_H2O:
	case AGAINST_TOVA:
		bed_exit(&other->bed);
		return;
	case AGAINST_GATHER:
		munmap(other->gather.from, other->gather.size);
		munmap(other->gather.to, other->gather.size);
		return;
	}
}

/* Tokens come, which is not timed, and as many go, which is: ns. */
static uint64_t other_turn(struct other *other, const struct work *work)
{
	uint64_t begin = 0;

	switch (work->against) {
	case AGAINST_NAIVE:
		naive_append(other->naive, work->batch);
		begin = bench_ns();
		naive_compact(other->naive, work);
		break;
	case AGAINST_H2O:
	case AGAINST_TOVA:
		append(&other->bed, work->batch);
		begin = bench_ns();
		compact(&other->bed);
		break;
	case AGAINST_GATHER:
		gather_choose(other->keep, work->batch, &other->random);
		begin = bench_ns();
		gather_copy(&other->gather, other->keep);
		break;
	}
	return bench_ns() - begin;
}

static void run(const struct work *work)
{
	struct bench_row *row = bench_row_new(work->name);
	double evictions = (double)work->batch * work->layers * HEADS;
	struct other other;
	struct bed bed;

	other_init(&other, work);
	bed_init(&bed, work, work->policy);
	for (uint32_t i = 0; i < WARM_UP + work->samples; i++) {
		uint64_t begin, ours, theirs;

		append(&bed, work->batch);
		begin = bench_ns();
		compact(&bed);
		ours = bench_ns() - begin;
		theirs = other_turn(&other, work);
		if (i < WARM_UP)
			continue;
		bench_ours(row, (double)ours / evictions);
		bench_theirs(row, (double)theirs / evictions);
	}
	bed_exit(&bed);
	other_exit(&other, work);
	bench_row_end(row);
}

/*
 * Counted, not timed, read and written: of ours at most all there is of a head
 * (both scores are never read), for it does not read every score; of the other
 * side K and V of what stays.
 */
static void count_bytes(const char *name, uint32_t batch, uint32_t theirs)
{
	struct bench_row *row = bench_row_new(name);
	double order = 2 * SLOTS * sizeof(uint16_t); /* read, written */
	double rank = SLOTS * sizeof(uint16_t);
	double scores = SLOTS * (sizeof(float) + sizeof(uint32_t));
	double copied = 2.0 * 2 * BUDGET * GATHER_ROW;

	bench_ours(row, (order + rank + scores) / batch);
	bench_theirs(row, copied / theirs);
	bench_row_end(row);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(works) / sizeof(*works); i++)
		run(&works[i]);
	count_bytes("evict.bytes", 16, 1);
	count_bytes("evict.bytes.batch", 16, 16);
	return 0;
}
