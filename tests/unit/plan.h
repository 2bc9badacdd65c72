/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Specs drawn at random and laid out, for tests of layouts. All randomness comes
 * from one seed, 1 unless TREEKV_SEED says otherwise. Included after cmocka.h.
 */
#ifndef TREEKV_TESTS_PLAN_H
#define TREEKV_TESTS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/layout.h"

#define PLANS	    300 /* that a test draws */
#define PLAN_LAYERS 9

/* What a cache of some spec is, as drawn. */
struct plan {
	struct shm_spec spec;
	uint32_t budgets[PLAN_LAYERS];
	struct layout_fork prefix[PLAN_LAYERS];
	bool fork;
	struct layout layout;
	struct shm_layer layers[PLAN_LAYERS];
};

/* A spec that is sound, of one layer with two heads. */
extern const struct shm_spec plan_spec;

uint64_t plan_seed(void);

/* splitmix64; and a number below n. */
uint64_t plan_random(uint64_t *state);
uint32_t plan_below(uint64_t *state, uint32_t n);

void plan_draw(struct plan *ret, uint64_t *rng);

/* calloc() that does not fail. */
void *plan_alloc(size_t n, size_t size);

#endif /* TREEKV_TESTS_PLAN_H */
