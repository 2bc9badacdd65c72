/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the daemon and a writer have between them: two buffers of an order taken
 * in turns, and scores and since by slot. Tests feed a side and the naive
 * reference (reference.h) the same weights and compare the two, slot for slot.
 *
 * All randomness comes from one seed, 1 unless TREEKV_SEED says otherwise; what
 * fails prints it, with the policy, the shape and the step.
 */
#ifndef TREEKV_SIDE_H
#define TREEKV_SIDE_H

#include <stdint.h>

#include "daemon/order.h"
#include "daemon/policy.h"
#include "tests/unit/reference.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define WEIGHTS_MAX   1024

enum weights {
	WEIGHTS_UNIFORM,
	WEIGHTS_SKEWED,
	WEIGHTS_TIES,
	WEIGHTS_ZERO,
	WEIGHTS_SPECIAL_RARE,
	WEIGHTS_SPECIAL,
	WEIGHTS_KINDS,
};

struct shape {
	const struct policy *policy;
	uint64_t seed;
	uint32_t budget;
	uint32_t sinks;
	uint32_t recent;
	uint32_t slots;
	uint32_t entry_size;
	enum weights weights;
	uint32_t steps; /* of a lockstep, k of a batch */
};

struct side {
	const struct shape *shape;
	struct order order[2];
	unsigned int current;
	uint32_t tail;
	uint32_t live;
	uint32_t ranked;
	uint32_t walk;
	float *score; /* by slot, as all three */
	uint32_t *since;
	uint32_t *token;
	void *memory;
	struct order_scratch scratch;
	uint8_t *seen;
};

uint64_t side_seed(void);
uint64_t side_draw(uint64_t *state);
uint32_t side_draw_below(uint64_t *state, uint32_t n);
float side_weight(uint64_t *rng, enum weights kind);
void side_shape(struct shape *ret, const struct policy *policy, uint64_t seed);

void side_init(struct side *ret, const struct shape *shape);
void side_exit(struct side *side);
uint32_t side_slot(const struct side *side, uint32_t i);
uint32_t side_rank(const struct side *side, uint32_t slot);
uint32_t side_append(struct side *side);
void side_compact(struct side *side, uint32_t k);
void side_put(const struct side *side, void *entries, uint32_t i,
	      uint32_t value);
void side_scramble(struct side *side, uint64_t *rng, uint32_t live,
		   uint32_t ranked);

/* The reference of a shape, new or in the state that the side is in. */
struct reference *side_reference(const struct shape *shape);
struct reference *side_copy_reference(const struct side *side);

/* One token on both; fails unless they agree, before and after. */
void side_lockstep(struct side *side, struct reference *ref,
		   const float *weights, uint32_t step);
void side_compare(struct side *side, const struct reference *ref,
		  uint32_t step);

#endif
