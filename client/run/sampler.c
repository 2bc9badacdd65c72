// SPDX-License-Identifier: BSD-2-Clause
/*
 * The generator is xorshift64*, as in llama2.c: eight bytes of state, which
 * travel in the cache's note, so that a successor draws what its predecessor
 * would have drawn.
 */
#include <math.h>

#include "client/run/sampler.h"

uint64_t sampler_seed(uint64_t seed)
{
	/* splitmix64: neighbouring seeds have nothing in common afterwards */
	seed += UINT64_C(0x9e3779b97f4a7c15);
	seed = (seed ^ seed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	seed = (seed ^ seed >> 27) * UINT64_C(0x94d049bb133111eb);
	seed ^= seed >> 31;
	return seed ? seed : 1;
}

/* In [0, 1) */
static float draw(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (float)(*state * UINT64_C(0x2545f4914f6cdd1d) >> 40) * 0x1p-24f;
}

static uint32_t likeliest(const float *logits, uint32_t vocab)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < vocab; i++)
		if (logits[i] > logits[best])
			best = i;
	return best;
}

uint32_t sampler_next(const struct engine *engine, float *logits,
		      uint32_t vocab, float temperature, uint64_t *state)
{
	uint32_t best = likeliest(logits, vocab);
	float left;

	if (!(temperature > 0))
		return best;
	left = engine_exponentials(engine, logits, 1.0f / temperature);
	left *= draw(state);
	for (uint32_t i = 0; i < vocab; i++) {
		left -= logits[i];
		if (left < 0)
			return i;
	}
	return best;
}

double sampler_nll(const struct engine *engine, float *logits, uint32_t vocab,
		   uint32_t id)
{
	double high = logits[likeliest(logits, vocab)];
	double target = logits[id];

	return log(engine_exponentials(engine, logits, 1.0f)) + high - target;
}
