/* SPDX-License-Identifier: BSD-2-Clause */
/* cc example.c $(pkg-config --cflags --libs libtreekv) -o example */
#include <stdio.h>
#include <stdlib.h>
#include <treekv.h>

#define LAYERS 2
#define HEADS  2
#define DIM    8
#define SLOTS  24 /* budget and slack */
#define TOKENS 5

static void check(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", what, treekv_error());
		exit(1);
	}
}

/* One layer of a model that pays the same attention to every row. */
static void run_layer(struct treekv_cache *cache, uint32_t layer, float token)
{
	float k[HEADS][DIM], v[HEADS][DIM], weights[SLOTS] = { 0 };
	struct treekv_view view;

	for (int i = 0; i < HEADS * DIM; i++)
		k[i / DIM][i % DIM] = v[i / DIM][i % DIM] = token;
	check(treekv_append(cache, layer, k, v), "append");
	for (uint32_t head = 0; head < HEADS; head++) {
		check(treekv_view(cache, layer, head, &view), "view");
		for (uint32_t slot = 0; slot < view.slots; slot++)
			weights[slot] = view.rank[slot] == TREEKV_FREE ?
						0 :
						1.0f / (float)view.live;
		check(treekv_observe(cache, layer, head, 0, weights, 1,
				     view.slots),
		      "observe");
	}
}

int main(void)
{
	struct treekv_spec spec = {
		.model = "made up",
		.layers = LAYERS,
		.kv_heads = HEADS,
		.k_row = DIM * sizeof(float),
		.v_row = DIM * sizeof(float),
		.dtype = TREEKV_F32,
		.policy = TREEKV_POLICY_TREEKV,
		.positions = TREEKV_POSITIONS_RANK,
		.budget = 16,
		.sinks = 2,
		.recent = 4,
		.slack = SLOTS - 16,
		.ids = 1024,
	};
	struct treekv_cache *cache;
	struct treekv *kv;

	check(treekv_connect(&kv, NULL), "connect");
	check(treekv_open(&cache, kv, "example", &spec, TREEKV_CREATE), "open");
	for (uint32_t id = 0; id < TOKENS; id++) {
		check(treekv_step_begin(cache, &id, 1, 1000), "begin");
		for (uint32_t layer = 0; layer < LAYERS; layer++)
			run_layer(cache, layer, (float)treekv_tail(cache));
		snprintf(treekv_note(cache), TREEKV_NOTE_SIZE, "id %u", id);
		check(treekv_commit(cache, 1), "commit");
	}
	printf("%llu tokens committed\n",
	       (unsigned long long)treekv_tail(cache));
	treekv_detach(cache);
	check(treekv_open(&cache, kv, "example", &spec, 0), "open again");
	printf("%llu tokens are still there, the last is '%s'\n",
	       (unsigned long long)treekv_tail(cache),
	       (const char *)treekv_note(cache));
	treekv_detach(cache);
	treekv_close(kv);
	return 0;
}
