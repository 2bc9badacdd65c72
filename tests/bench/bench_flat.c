// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_flat SOCKET: what a token costs, and how much memory a cache takes, when
 * so many have come before it: with a budget of 1,024 (ours) and with all of
 * them kept (theirs, policy full). A step is append, attention over all rows,
 * observe and commit; 2 layers x 2 heads x 64, bf16, 4 query heads a row.
 *
 * Ours is one cache that all tokens go through, compacted by the daemon. Theirs
 * is a cache of its own for each length. The tokens before those that are
 * measured are only appended.
 */
#include <math.h>

#include "bench.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES                                                           \
	__attribute__((optimize("O3"),                                   \
		       target_clones("arch=x86-64-v4", "arch=x86-64-v3", \
				     "default")))
#else
#define CLONES
#endif

enum {
	LAYERS = 2,
	HEADS = 2,
	GROUP = 4,
	DIM = 64,
	LANES = 16,
	ROW = DIM * 2,
	BUDGET = 1024,
	SLACK = 64,
	FILL = 16, /* tokens a step before those that are measured */
	FILL_FULL = 1024,
	SAMPLES = 9,
	MOST = 1 << 20,
};

static float *weights; /* [GROUP][MOST + SAMPLES] */
static const size_t stride = MOST + 2 * SAMPLES + SLACK;
static float query[GROUP][DIM];
static float out[GROUP][DIM];
static uint8_t rows[FILL_FULL * HEADS * ROW];

static struct treekv_spec spec_of(enum treekv_policy policy, uint32_t budget)
{
	return (struct treekv_spec){
		.model = "bench",
		.layers = LAYERS,
		.kv_heads = HEADS,
		.k_row = ROW,
		.v_row = ROW,
		.dtype = TREEKV_BF16,
		.policy = policy,
		.positions = TREEKV_POSITIONS_RANK,
		.budget = budget,
		.sinks = 4,
		.recent = BUDGET / 2 - 4,
		.slack = SLACK,
	};
}

static inline float widen(uint16_t half)
{
	uint32_t bits = (uint32_t)half << 16;
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

CLONES static float dot(const float *q, const uint16_t *k)
{
	float sum[LANES] = { 0 }, all = 0;

	for (int d = 0; d < DIM; d += LANES)
		for (int i = 0; i < LANES; i++)
			sum[i] += q[d + i] * widen(k[d + i]);
	for (int i = 0; i < LANES; i++)
		all += sum[i];
	return all;
}

CLONES static void add_value(float *to, const uint16_t *v, float weight)
{
	for (int d = 0; d < DIM; d++)
		to[d] += weight * widen(v[d]);
}

/* Softmax without its maximum: the numbers are small. */
static void attend(const struct treekv_view *view)
{
	const uint16_t *k = view->k, *v = view->v;

	for (int g = 0; g < GROUP; g++) {
		float *w = weights + (size_t)g * stride, sum = 0;

		for (uint32_t s = 0; s < view->slots; s++) {
			w[s] = view->rank[s] == TREEKV_FREE ?
				       0 :
				       expf(dot(query[g], k + (size_t)s * DIM));
			sum += w[s];
		}
		memset(out[g], 0, sizeof(out[g]));
		for (uint32_t s = 0; s < view->slots; s++) {
			w[s] /= sum;
			if (w[s] != 0)
				add_value(out[g], v + (size_t)s * DIM, w[s]);
		}
	}
}

static void append(struct treekv_cache *cache, uint32_t n)
{
	bench_check(treekv_step_begin(cache, NULL, n, 60000), "begin");
	for (uint32_t l = 0; l < LAYERS; l++)
		bench_check(treekv_append(cache, l, rows, rows), "append");
}

static void append_to(struct treekv_cache *cache, uint64_t tail,
		      uint32_t at_once)
{
	while (treekv_tail(cache) < tail) {
		uint64_t left = tail - treekv_tail(cache);
		uint32_t n = left < at_once ? (uint32_t)left : at_once;

		append(cache, n);
		bench_check(treekv_commit(cache, n), "commit");
	}
}

/* us */
static double token(struct treekv_cache *cache)
{
	uint64_t begin = bench_ns();
	struct treekv_view view;

	append(cache, 1);
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++) {
			bench_check(treekv_view(cache, l, h, &view), "view");
			attend(&view);
			bench_check(treekv_observe(cache, l, h, 0, weights,
						   GROUP, stride),
				    "observe");
		}
	bench_check(treekv_commit(cache, 1), "commit");
	return (double)(bench_ns() - begin) / 1000;
}

static void create(struct treekv_cache **cache, struct treekv *kv,
		   enum treekv_policy policy, uint32_t budget)
{
	struct treekv_spec spec = spec_of(policy, budget);

	bench_check(treekv_open(cache, kv, NULL, &spec,
				TREEKV_CREATE | TREEKV_EPHEMERAL),
		    "create");
}

static void measure(struct treekv_cache *ours, struct treekv *kv, uint32_t n)
{
	struct treekv_counters a, b;
	struct bench_row *time, *memory;
	struct treekv_cache *full;
	char name[64];

	create(&full, kv, TREEKV_POLICY_FULL, n + 2 * SAMPLES);
	append_to(full, n, FILL_FULL);
	append_to(ours, n, FILL);
	snprintf(name, sizeof(name), "time.%u", n);
	time = bench_row_new(name);
	for (int i = -1; i < SAMPLES; i++) {
		double us = token(ours), theirs = token(full);

		if (i < 0)
			continue;
		bench_ours(time, us);
		bench_theirs(time, theirs);
	}
	treekv_counters(ours, &a);
	treekv_counters(full, &b);
	snprintf(name, sizeof(name), "memory.%u", n);
	memory = bench_row_new(name);
	bench_ours(memory, (double)a.bytes / (1 << 20));
	bench_theirs(memory, (double)b.bytes / (1 << 20));
	bench_row_end(time);
	bench_row_end(memory);
	treekv_detach(full);
}

int main(int argc, char **argv)
{
	struct treekv_cache *ours;
	uint64_t random = 3;
	struct treekv *kv;

	if (argc < 2)
		bench_die(argv[0], "needs SOCKET");
	weights = calloc(GROUP * stride, sizeof(*weights));
	if (!weights)
		bench_die("weights", "out of memory");
	for (int g = 0; g < GROUP; g++)
		for (int d = 0; d < DIM; d++)
			query[g][d] = (bench_uniform(&random) - 0.5f) / 8;
	for (size_t i = 1; i < sizeof(rows); i += 2) /* about 0.5 each */
		rows[i] = 0x3f;
	bench_check(treekv_connect(&kv, argv[1]), "connect");
	create(&ours, kv, TREEKV_POLICY_TREEKV, BUDGET);
	for (uint32_t n = 1 << 10; n <= MOST; n *= 4)
		measure(ours, kv, n);
	treekv_detach(ours);
	treekv_close(kv);
	return 0;
}
