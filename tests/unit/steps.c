// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/local.h"
#include "tests/unit/steps.h"

uint8_t step_k_rows[STEP_MAX * STEP_HEADS_MAX * STEP_ROW_MAX];
uint8_t step_v_rows[STEP_MAX * STEP_HEADS_MAX * STEP_ROW_MAX];

uint8_t step_content(uint32_t layer, uint32_t head, uint64_t token)
{
	return (uint8_t)(1 + token * 7 + layer * 3 + head);
}

float step_weight(uint32_t layer, uint32_t head, uint64_t query, uint64_t token)
{
	uint32_t x = (uint32_t)(query * 2654435761U + token * 40503U +
				layer * 97U + head * 31U);

	return token > query ? 0 : 1e-3F + (float)(x >> 8 & 0xffff) * 0x1p-17F;
}

void assert_text(const char *words)
{
	if (!strstr(treekv_error(), words))
		fail_msg("\"%s\" does not say \"%s\"", treekv_error(), words);
}

static void fill_rows(const struct treekv_cache *cache, uint32_t layer,
		      uint32_t n)
{
	uint32_t heads = cache->spec.kv_heads;

	for (uint32_t j = 0; j < n; j++)
		for (uint32_t h = 0; h < heads; h++) {
			uint8_t byte = step_content(layer, h, cache->tail + j);

			memset(step_k_rows +
				       (j * heads + h) * cache->spec.k_row,
			       byte, cache->spec.k_row);
			memset(step_v_rows +
				       (j * heads + h) * cache->spec.v_row,
			       ~byte, cache->spec.v_row);
		}
}

void step_append_layer(struct treekv_cache *cache, uint32_t layer, uint32_t n)
{
	fill_rows(cache, layer, n);
	assert_int_equal(treekv_append(cache, layer, step_k_rows, step_v_rows),
			 0);
}

void step_append(struct treekv_cache *cache, uint32_t n)
{
	for (uint32_t l = 0; l < cache->spec.layers; l++)
		step_append_layer(cache, l, n);
}

void step_begin(struct treekv_cache *cache, uint32_t n)
{
	assert_int_equal(treekv_step_begin(cache, NULL, n, 0), 0);
}

void step_observe_head(struct treekv_cache *cache, uint32_t layer,
		       uint32_t head, uint32_t j)
{
	float weights[STEP_SLOTS_MAX] = { 0 };
	struct treekv_view view;

	assert_int_equal(treekv_view(cache, layer, head, &view), 0);
	for (uint32_t s = 0; s < view.slots; s++)
		if (view.rank[s] != TREEKV_FREE)
			weights[s] = step_weight(layer, head, cache->tail + j,
						 view.token[s]);
	assert_int_equal(treekv_observe(cache, layer, head, j, weights, 1,
					STEP_SLOTS_MAX),
			 0);
}

void step_observe(struct treekv_cache *cache, uint32_t j)
{
	for (uint32_t l = 0; l < cache->spec.layers; l++)
		for (uint32_t h = 0; h < cache->spec.kv_heads; h++)
			step_observe_head(cache, l, h, j);
}

void step(struct treekv_cache *cache, uint32_t n, uint32_t m)
{
	step_begin(cache, n);
	step_append(cache, n);
	for (uint32_t j = 0; j < m; j++)
		step_observe(cache, j);
	assert_int_equal(treekv_commit(cache, m), 0);
}

uint32_t slot_of_token(struct treekv_cache *cache, uint32_t layer,
		       uint32_t head, uint32_t token)
{
	struct treekv_view view;

	assert_int_equal(treekv_view(cache, layer, head, &view), 0);
	for (uint32_t s = 0; s < view.slots; s++)
		if (view.rank[s] != TREEKV_FREE && view.token[s] == token)
			return s;
	return TREEKV_FREE;
}

float committed_score(struct treekv_cache *cache, uint32_t layer, uint32_t head,
		      uint32_t token)
{
	uint32_t slot = slot_of_token(cache, layer, head, token);

	assert_int_not_equal(slot, TREEKV_FREE);
	return cache_head_at(cache, layer, head)->score[cache->parity][slot];
}

void assert_same_float(float a, float b)
{
	assert_memory_equal(&a, &b, sizeof(a));
}

struct treekv_cache *open_local(const struct treekv_spec *spec)
{
	struct treekv_cache *cache;

	assert_int_equal(local_open(&cache, spec), 0);
	return cache;
}
