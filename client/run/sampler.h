/* SPDX-License-Identifier: BSD-2-Clause */
/* Choosing the next token, and judging the one that came. */
#ifndef RUN_SAMPLER_H
#define RUN_SAMPLER_H

#include <stdint.h>

#include "client/run/engine.h"

/* The state of a seed; never 0. */
uint64_t sampler_seed(uint64_t seed);

/**
 * sampler_next - sample a token
 * @engine: whose logits
 * @logits: spoilt
 * @vocab: how many
 * @temperature: 0: the likeliest, the first of equals
 * @state: the generator's, advanced unless the temperature is 0
 */
uint32_t sampler_next(const struct engine *engine, float *logits,
		      uint32_t vocab, float temperature, uint64_t *state);

/* -ln of the probability of token @id; spoils the logits. */
double sampler_nll(const struct engine *engine, float *logits, uint32_t vocab,
		   uint32_t id);

#endif /* RUN_SAMPLER_H */
