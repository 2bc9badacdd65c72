// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_top SOCKET COUNT: makes so many caches, each with some tokens and some
 * compactions, for treekv-top to show. They stay when it ends.
 */
#include "bench.h"

enum {
	TOKENS = 200,
};

static const struct treekv_spec spec = {
	.model = "bench",
	.layers = 32,
	.kv_heads = 1,
	.k_row = 8,
	.v_row = 8,
	.dtype = TREEKV_BF16,
	.policy = TREEKV_POLICY_TREEKV,
	.positions = TREEKV_POSITIONS_RANK,
	.budget = 64,
	.sinks = 4,
	.recent = 28,
	.slack = 16,
};

static void step(struct treekv_cache *cache, uint32_t token)
{
	static const uint8_t row[8];

	bench_check(treekv_step_begin(cache, &token, 1, 10000), "step");
	for (uint32_t layer = 0; layer < spec.layers; layer++)
		bench_check(treekv_append(cache, layer, row, row), "append");
	bench_check(treekv_commit(cache, 1), "commit");
}

int main(int argc, char **argv)
{
	struct treekv_cache *cache;
	struct treekv *kv;
	char name[32];

	if (argc != 3)
		bench_die("usage", "bench_top SOCKET COUNT");
	bench_check(treekv_connect(&kv, argv[1]), "connect");
	for (int i = 0; i < atoi(argv[2]); i++) {
		snprintf(name, sizeof(name), "session-%04d", i);
		bench_check(treekv_open(&cache, kv, name, &spec, TREEKV_CREATE),
			    "create");
		for (uint32_t t = 0; t < TOKENS; t++)
			step(cache, t);
		treekv_detach(cache);
	}
	treekv_close(kv);
	return 0;
}
