/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Steps on small caches for the tests of client/writer.c: rows and weights that
 * are functions of whose they are, and what a cache then ought to say. Each
 * asserts that the library takes it. Included after cmocka.h.
 */
#ifndef TREEKV_TESTS_STEPS_H
#define TREEKV_TESTS_STEPS_H

#include <stdint.h>

#include "client/cache.h"

#define STEP_MAX       16
#define STEP_ROW_MAX   64
#define STEP_HEADS_MAX 4
#define STEP_SLOTS_MAX 256

/* [token][head] rows, as they were last appended. */
extern uint8_t step_k_rows[STEP_MAX * STEP_HEADS_MAX * STEP_ROW_MAX];
extern uint8_t step_v_rows[STEP_MAX * STEP_HEADS_MAX * STEP_ROW_MAX];

/* Every byte of a K row; those of the V row are its complement. */
uint8_t step_content(uint32_t layer, uint32_t head, uint64_t token);

/* A weight for everybody: never 0, no two sums alike. */
float step_weight(uint32_t layer, uint32_t head, uint64_t query,
		  uint64_t token);

void step_begin(struct treekv_cache *cache, uint32_t n);
void step_append_layer(struct treekv_cache *cache, uint32_t layer, uint32_t n);
void step_append(struct treekv_cache *cache, uint32_t n);

/* The step's token @j pays everybody his weight. */
void step_observe_head(struct treekv_cache *cache, uint32_t layer,
		       uint32_t head, uint32_t j);
void step_observe(struct treekv_cache *cache, uint32_t j);

/* n appended, m observed and committed. */
void step(struct treekv_cache *cache, uint32_t n, uint32_t m);

/* TREEKV_FREE: it is not held. */
uint32_t slot_of_token(struct treekv_cache *cache, uint32_t layer,
		       uint32_t head, uint32_t token);
float committed_score(struct treekv_cache *cache, uint32_t layer, uint32_t head,
		      uint32_t token);

/* To the bit. */
void assert_same_float(float a, float b);

/* treekv_error() has these words. */
void assert_text(const char *words);

struct treekv_cache *open_local(const struct treekv_spec *spec);

#endif /* TREEKV_TESTS_STEPS_H */
