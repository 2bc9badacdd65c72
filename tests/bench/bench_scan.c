// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_scan SOCKET: attention of one token over a view, with its free slots
 * and with rows that lie as evictions have left them, against the same kernel
 * over dense private arrays in the same kind of pages, where row r is at r and
 * there is nothing else. Both rotate keys as they read them, four query heads
 * share a row. A sample is a token: every head once, all of it more than a
 * core's own caches hold.
 */
#include <math.h>

#include "bench.h"
#include "client/run/kernel.h"

enum {
	HEADS = 8,
	GROUP = 4,
	BUDGET = 1024,
	SLACK = 64,
	SLOTS = BUDGET + SLACK,
	MORE = SLACK / 8, /* tokens beyond the budget while it is measured */
	WARM_UP = 3000, /* tokens: evictions scatter the slots */
	BYTES = 48 << 20, /* of rows, about */
	SAMPLES = 41,
	DIM_MAX = 128,
};

struct shape {
	const char *name;
	enum treekv_dtype dtype;
	uint32_t head_dim;
};

static const struct shape shapes[] = {
	{ "scan.f32.64", TREEKV_F32, 64 },
	{ "scan.f32.128", TREEKV_F32, 128 },
	{ "scan.bf16.64", TREEKV_BF16, 64 },
	{ "scan.bf16.128", TREEKV_BF16, 128 },
};

/* One side: a view of each head. */
struct side {
	struct treekv_view *view; /* [layers * HEADS] */
	float out[GROUP * DIM_MAX];
};

static float rope[SLOTS * DIM_MAX];
static float query[GROUP * DIM_MAX];
static float weights[GROUP * SLOTS + KERNEL_LANES_MAX];
static float dense[GROUP * SLOTS + KERNEL_LANES_MAX];
static uint32_t live[SLOTS + KERNEL_LANES_MAX];

static uint32_t row_size(const struct shape *shape)
{
	return shape->head_dim * (shape->dtype == TREEKV_F32 ? 4 : 2);
}

static uint32_t layers_of(const struct shape *shape)
{
	return BYTES / (HEADS * SLOTS * 2 * row_size(shape));
}

/* Numbers that are as good as any, and no NaN. */
static void fill_row(const struct shape *shape, void *to, uint64_t *random)
{
	for (uint32_t i = 0; i < HEADS * shape->head_dim; i++) {
		float value = bench_uniform(random) - 0.5f;
		uint32_t bits;

		memcpy(&bits, &value, sizeof(bits));
		if (shape->dtype == TREEKV_F32)
			((float *)to)[i] = value;
		else
			((uint16_t *)to)[i] = (uint16_t)(bits >> 16);
	}
}

static void step(struct treekv_cache *cache, const struct shape *shape,
		 const void *row, uint64_t *random)
{
	static float seen[SLOTS];

	bench_check(treekv_step_begin(cache, NULL, 1, 10000), "begin");
	for (uint32_t l = 0; l < layers_of(shape); l++) {
		bench_check(treekv_append(cache, l, row, row), "append");
		for (uint32_t h = 0; h < HEADS; h++) {
			seen[bench_random(random) % SLOTS] =
				bench_uniform(random);
			bench_check(treekv_observe(cache, l, h, 0, seen, 1,
						   SLOTS),
				    "observe");
		}
	}
	bench_check(treekv_commit(cache, 1), "commit");
}

/*
 * So that the order is no longer the slots', and some of the slack is used, but
 * not so much that the daemon would compact.
 */
static void fill(struct treekv_cache *cache, const struct shape *shape)
{
	static uint8_t row[HEADS * DIM_MAX * sizeof(float)];
	struct treekv_counters counters;
	uint64_t random = 1;

	for (uint32_t i = 0; i < WARM_UP; i++) {
		fill_row(shape, row, &random);
		step(cache, shape, row, &random);
	}
	bench_check(treekv_settle(cache, 10000), "settle");
	for (uint32_t i = 0; i < MORE; i++)
		step(cache, shape, row, &random);
	treekv_counters(cache, &counters);
	if (counters.held != BUDGET + MORE)
		bench_die(shape->name, "other rows are held than should be");
}

/* The same rows in their order, one after the other. */
static void copy_dense(struct treekv_view *to, const struct treekv_view *from,
		       uint8_t **memory)
{
	static uint32_t rank[SLOTS];
	size_t k_size = from->k_stride, v_size = from->v_stride;
	uint8_t *k = *memory, *v = k + from->live * k_size;

	for (uint32_t s = 0; s < SLOTS; s++) {
		uint32_t r = from->rank[s];

		rank[s] = s;
		if (r == TREEKV_FREE)
			continue;
		memcpy(k + r * k_size, (const char *)from->k + s * k_size,
		       k_size);
		memcpy(v + r * v_size, (const char *)from->v + s * v_size,
		       v_size);
	}
	*to = *from;
	to->k = k;
	to->v = v;
	to->rank = rank;
	to->slots = from->live;
	to->span[0] = (struct treekv_span){ k, v, from->live };
	/* An odd number of cache lines apart: no aliasing. */
	*memory = v + (from->live * v_size / 64 | 1) * 64;
}

static double attend(struct side *side, const struct shape *shape)
{
	uint32_t heads = layers_of(shape) * HEADS;
	struct kernel_attend a = {
		.dtype = shape->dtype,
		.head_dim = shape->head_dim,
		.group = GROUP,
		.query = query,
		.rope = rope,
		.weights = weights,
		.dense = dense,
		.stride = kernel_pad(SLOTS),
		.out = side->out,
		.live = live,
	};
	const struct kernel *kernel = kernel_pick();
	uint64_t begin = bench_ns();

	for (uint32_t i = 0; i < heads; i++) {
		a.view = &side->view[i];
		kernel->attend(&a);
	}
	return (double)(bench_ns() - begin) / heads / side->view[0].live;
}

/* They computed the same, up to the sequence of their sums. */
static void check(const struct side *a, const struct side *b,
		  const struct shape *shape)
{
	for (uint32_t i = 0; i < GROUP * shape->head_dim; i++)
		if (!(fabsf(a->out[i] - b->out[i]) < 1e-4f))
			bench_die(shape->name, "the two sides differ");
}

static void compare(struct treekv_cache *cache, const struct shape *shape)
{
	struct bench_row *row = bench_row_new(shape->name);
	uint32_t n = layers_of(shape) * HEADS;
	struct treekv_counters counters;
	struct side ours = { calloc(n, sizeof(struct treekv_view)), { 0 } };
	struct side theirs = { calloc(n, sizeof(struct treekv_view)), { 0 } };
	uint8_t *memory, *at;
	size_t size;

	if (!ours.view || !theirs.view)
		bench_die(shape->name, "out of memory");
	treekv_counters(cache, &counters);
	size = (size_t)n * SLOTS * 2 * row_size(shape);
	size = (size + BENCH_HUGE_PAGE - 1) & -BENCH_HUGE_PAGE;
	at = memory = bench_map(size, counters.huge);
	for (uint32_t i = 0; i < n; i++) {
		bench_check(treekv_view(cache, i / HEADS, i % HEADS,
					&ours.view[i]),
			    "view");
		copy_dense(&theirs.view[i], &ours.view[i], &at);
	}
	for (int i = -2; i < SAMPLES; i++) {
		double a = attend(&ours, shape), b = attend(&theirs, shape);

		if (i < 0)
			continue;
		bench_ours(row, a);
		bench_theirs(row, b);
	}
	check(&ours, &theirs, shape);
	bench_row_end(row);
	free(ours.view);
	free(theirs.view);
	munmap(memory, size);
}

static void run(const char *socket, const struct shape *shape)
{
	struct treekv_spec spec = {
		.model = "bench",
		.layers = layers_of(shape),
		.kv_heads = HEADS,
		.k_row = row_size(shape),
		.v_row = row_size(shape),
		.dtype = shape->dtype,
		.policy = TREEKV_POLICY_TREEKV,
		.positions = TREEKV_POSITIONS_RANK,
		.budget = BUDGET,
		.sinks = 4,
		.recent = BUDGET / 2 - 4,
		.slack = SLACK,
	};
	struct treekv_cache *cache;
	struct treekv *kv;

	bench_check(treekv_connect(&kv, socket), "connect");
	bench_check(treekv_open(&cache, kv, NULL, &spec,
				TREEKV_CREATE | TREEKV_EPHEMERAL),
		    "create");
	fill(cache, shape);
	compare(cache, shape);
	treekv_detach(cache);
	treekv_close(kv);
}

int main(int argc, char **argv)
{
	uint64_t random = 7;

	if (argc < 2)
		bench_die(argv[0], "needs SOCKET");
	for (size_t i = 0; i < sizeof(rope) / sizeof(*rope); i += 2) {
		float angle = bench_uniform(&random) * 6.28f;

		rope[i] = cosf(angle);
		rope[i + 1] = sinf(angle);
	}
	for (size_t i = 0; i < sizeof(query) / sizeof(*query); i++)
		query[i] = (bench_uniform(&random) - 0.5f) / 4;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		run(argv[1], &shapes[i]);
	return 0;
}
