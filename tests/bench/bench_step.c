// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_step SOCKET: what libtreekv adds to a step of an 8B-shaped model, the
 * daemon compacting on another core meanwhile. Ours: begin, append, view,
 * observe and commit for all 32 layers. Theirs: the same writes into private
 * arrays, slot for slot, in memory of the same kind: rows, their since, token
 * and rank, and the mean weight of the group added from one half of the scores
 * to the other. It evicts nothing and is told its slots.
 *
 * A second row has the other side add its scores in place, which an engine may
 * do that need not survive a kill: the price of the two halves is in it.
 *
 * A sample is a block of steps, so that what comes once a batch (the daemon's
 * publication, its adoption) is in every sample. The model's own work is left
 * out: with it, the ratio would be nearer to 1.
 */
#include "bench.h"
#include "client/cache.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES                                                           \
	__attribute__((optimize("O3"),                                   \
		       target_clones("arch=x86-64-v4", "arch=x86-64-v3", \
				     "default")))
#else
#define CLONES
#endif

enum {
	LAYERS = 32,
	HEADS = 8,
	GROUP = 4, /* query heads of a KV head */
	ROW = 256, /* head_dim 128, bf16 */
	BUDGET = 1024,
	SLACK = 64,
	SLOTS = BUDGET + SLACK,
	WEIGHTS_SPAN = 512,
	BLOCK = 64, /* steps a sample */
	WARM_UP = 64, /* blocks: evictions scatter the slots */
	SAMPLES = 61,
};

static const struct treekv_spec spec = {
	.model = "bench",
	.layers = LAYERS,
	.kv_heads = HEADS,
	.k_row = ROW,
	.v_row = ROW,
	.dtype = TREEKV_BF16,
	.policy = TREEKV_POLICY_TREEKV,
	.positions = TREEKV_POSITIONS_RANK,
	.budget = BUDGET,
	.sinks = 4,
	.recent = BUDGET / 2 - 4,
	.slack = SLACK,
};

struct private_head {
	uint8_t k[SLOTS * ROW];
	uint8_t v[SLOTS * ROW];
	float score[2][SLOTS];
	uint32_t since[SLOTS];
	uint32_t token[SLOTS];
	uint32_t rank[SLOTS];
	uint8_t pad[64]; /* an odd number of cache lines: no aliasing */
};

struct private
{
	struct private_head *head; /* [LAYERS * HEADS] */
	uint32_t tail;
	int halves;
};

static uint8_t rows[HEADS * ROW];
static float weights[GROUP * SLOTS + WEIGHTS_SPAN];
static uint16_t used[BLOCK][LAYERS * HEADS]; /* slots, of ours */

/* Other heads and steps see other weights. */
static const float *weights_of(uint32_t tail, uint32_t head)
{
	return weights + (tail * 7 + head * 5) * 16 % WEIGHTS_SPAN;
}

CLONES static void add_scores(float *to, const float *from, const float *w)
{
	for (uint32_t s = 0; s < SLOTS; s++) {
		float sum = w[s];

		for (uint32_t g = 1; g < GROUP; g++)
			sum += w[g * SLOTS + s];
		to[s] = from[s] + sum / GROUP;
	}
}

static void step_private(struct private *p, const uint16_t *slots)
{
	int to = p->halves ? p->tail & 1 : 0;
	int from = p->halves ? !to : 0;

	for (uint32_t i = 0; i < LAYERS * HEADS; i++) {
		struct private_head *head = &p->head[i];
		size_t at = (size_t)slots[i] * ROW, h = i % HEADS;
		uint32_t slot = slots[i];

		memcpy(head->k + at, rows + h * ROW, ROW);
		memcpy(head->v + at, rows + h * ROW, ROW);
		head->score[0][slot] = 0;
		head->score[1][slot] = 0;
		head->since[slot] = p->tail;
		head->token[slot] = p->tail;
		head->rank[slot] = slot;
		add_scores(head->score[to], head->score[from],
			   weights_of(p->tail, i));
	}
	p->tail++;
}

static void step(struct treekv_cache *cache)
{
	uint32_t tail = (uint32_t)treekv_tail(cache);
	struct treekv_view view;

	bench_check(treekv_step_begin(cache, NULL, 1, 10000), "begin");
	for (uint32_t l = 0; l < LAYERS; l++) {
		bench_check(treekv_append(cache, l, rows, rows), "append");
		for (uint32_t h = 0; h < HEADS; h++) {
			bench_check(treekv_view(cache, l, h, &view), "view");
			bench_check(
				treekv_observe(cache, l, h, 0,
					       weights_of(tail, l * HEADS + h),
					       GROUP, SLOTS),
				"observe");
		}
	}
	bench_check(treekv_commit(cache, 1), "commit");
}

/* Where the last step wrote. */
static void record(const struct treekv_cache *cache, uint16_t *slots)
{
	uint64_t i = cache->tail - 1 - cache->base_tail;

	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++) {
			const uint16_t *order =
				cache_head_at(cache, l, h)
					->order[cache->generation & 1];

			*slots++ = order[cache->layer[l].base_live + i];
		}
}

static double block_ours(struct treekv_cache *cache)
{
	uint64_t begin, spent = 0;

	for (int i = 0; i < BLOCK; i++) {
		begin = bench_ns();
		step(cache);
		spent += bench_ns() - begin;
		record(cache, used[i]);
	}
	return (double)spent / 1000 / BLOCK;
}

static double block_theirs(struct private *p)
{
	uint64_t begin = bench_ns();

	for (int i = 0; i < BLOCK; i++)
		step_private(p, used[i]);
	return (double)(bench_ns() - begin) / 1000 / BLOCK;
}

static void run(const char *name, struct treekv_cache *cache, struct private *p,
		int halves)
{
	struct bench_row *row = bench_row_new(name);
	uint64_t begin = bench_ns();

	p->halves = halves;
	block_ours(cache);
	block_theirs(p);
	for (int i = 0; bench_goes_on(begin, i, SAMPLES); i++) {
		bench_ours(row, block_ours(cache));
		bench_theirs(row, block_theirs(p));
	}
	bench_row_end(row);
}

static void report_stalls(struct treekv_cache *cache, uint64_t before)
{
	struct bench_row *stalls = bench_row_new("stalls.step");
	struct bench_row *batch = bench_row_new("batch.step");
	struct treekv_counters counters;

	treekv_counters(cache, &counters);
	bench_ours(stalls, (double)(counters.stalls - before));
	bench_ours(batch, (double)(counters.tail - BUDGET) /
				  (double)counters.compactions);
	bench_row_end(stalls);
	bench_row_end(batch);
}

int main(int argc, char **argv)
{
	struct private theirs = { .tail = 0 };
	struct treekv_counters counters;
	struct treekv_cache *cache;
	uint64_t random = 1;
	struct treekv *kv;

	if (argc < 2)
		bench_die(argv[0], "needs SOCKET");
	for (size_t i = 0; i < sizeof(weights) / sizeof(*weights); i++)
		weights[i] = bench_uniform(&random) / BUDGET;
	bench_check(treekv_connect(&kv, argv[1]), "connect");
	bench_check(treekv_open(&cache, kv, "step", &spec,
				TREEKV_CREATE | TREEKV_EPHEMERAL),
		    "create");
	treekv_counters(cache, &counters);
	theirs.head =
		bench_map(LAYERS * HEADS * sizeof(*theirs.head), counters.huge);
	for (int i = 0; i < WARM_UP; i++) {
		block_ours(cache);
		block_theirs(&theirs);
	}
	treekv_counters(cache, &counters);
	run("step", cache, &theirs, 1);
	run("step.in-place", cache, &theirs, 0);
	report_stalls(cache, counters.stalls);
	treekv_detach(cache);
	treekv_close(kv);
	return 0;
}
