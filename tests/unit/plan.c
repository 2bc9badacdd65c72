// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/plan.h"

uint64_t plan_seed(void)
{
	const char *text = getenv("TREEKV_SEED");

	return text ? strtoull(text, NULL, 0) : 1;
}

uint64_t plan_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint32_t plan_below(uint64_t *state, uint32_t n)
{
	return (plan_random(state) >> 32) % n;
}

void *plan_alloc(size_t n, size_t size)
{
	void *memory = calloc(n, size);

	assert_non_null(memory);
	return memory;
}

const struct shm_spec plan_spec = {
	.layers = 1,
	.kv_heads = 2,
	.k_row = 64,
	.v_row = 64,
	.dtype = SHM_DTYPE_F32,
	.policy = SHM_POLICY_TREEKV,
	.positions = SHM_POSITIONS_RANK,
	.sinks = 4,
	.recent = 12,
	.slack = 16,
	.ids = 8,
	.entry_size = 2,
};

void plan_draw(struct plan *ret, uint64_t *rng)
{
	bool large = plan_below(rng, 4) == 0;

	memset(ret, 0, sizeof(*ret));
	ret->spec = plan_spec;
	ret->spec.layers = 1 + plan_below(rng, PLAN_LAYERS);
	ret->spec.kv_heads = 1 + plan_below(rng, 9);
	ret->spec.k_row = 1 + plan_below(rng, large ? SHM_ROW_MAX : 300);
	ret->spec.v_row = 1 + plan_below(rng, large ? SHM_ROW_MAX : 300);
	ret->spec.policy = 1 + plan_below(rng, SHM_POLICY_FULL);
	ret->spec.sinks = plan_below(rng, 5);
	ret->spec.recent = plan_below(rng, 5);
	ret->spec.slack = 1 + plan_below(rng, large ? 10000 : 70);
	ret->spec.ids = plan_below(rng, large ? SHM_IDS_MAX : 100);
	ret->spec.entry_size = 0;
	ret->fork = plan_below(rng, 4) == 0;
	for (uint32_t l = 0; l < ret->spec.layers; l++) {
		ret->budgets[l] = 9 + plan_below(rng, large ? 40000 : 300);
		ret->prefix[l].slots = 1 + plan_below(rng, 500);
		if (ret->budgets[l] > 12)
			ret->prefix[l].pinned = plan_below(
				rng,
				ret->prefix[l].slots < ret->budgets[l] - 6 ?
					ret->prefix[l].slots :
					ret->budgets[l] - 6);
	}
	assert_int_equal(layout_check(&ret->spec, ret->budgets, NULL), 0);
	assert_int_equal(layout_check_fork(&ret->spec, ret->budgets,
					   ret->prefix, NULL),
			 0);
	layout_init(&ret->layout, ret->layers, &ret->spec, ret->budgets,
		    ret->fork ? ret->prefix : NULL);
}
