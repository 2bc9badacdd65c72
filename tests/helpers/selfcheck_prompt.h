/* SPDX-License-Identifier: BSD-2-Clause */
/* A self-checking cache's prompt, taken in as a whole. */
#ifndef TREEKV_TESTS_SELFCHECK_PROMPT_H
#define TREEKV_TESTS_SELFCHECK_PROMPT_H

#include "tests/helpers/selfcheck.h"

/*
 * The cache will begin with a prompt of that many tokens. As many of the newest
 * as decoding keeps stay, so that selfcheck_ranks() holds from the beginning.
 */
static inline void selfcheck_prompt_set(struct selfcheck *s, uint32_t tokens)
{
	uint32_t window = s->spec->recent ? s->spec->recent : 1;

	s->prompt = tokens;
	switch (s->spec->policy) {
	case TREEKV_POLICY_TREEKV:
	case TREEKV_POLICY_TREEKV_LEFT:
	case TREEKV_POLICY_TREEKV_SKIP:
		s->counted = window < tokens ? window : tokens;
		break;
	case TREEKV_POLICY_H2O:
		s->counted = tokens;
		break;
	case TREEKV_POLICY_TOVA:
		s->counted = 1;
		break;
	case TREEKV_POLICY_STREAMING:
	case TREEKV_POLICY_FULL:
		s->counted = 0;
		break;
	}
}

static inline int selfcheck_prompt_observe(struct selfcheck *s, uint32_t layer,
					   uint32_t head, float *weights)
{
	uint32_t queries = treekv_prefill_queries(s->cache);
	int r = 0;

	for (uint32_t q = s->prompt - queries; !r && q < s->prompt; q++) {
		uint64_t before = selfcheck_observed_tail(s, layer, head, q);

		if (!selfcheck_observes(s, layer, head, q))
			continue;
		for (uint32_t t = 0; t <= q; t++)
			weights[t] =
				selfcheck_weight(s, layer, head, q, before, t);
		r = treekv_prefill_observe(s->cache, layer, head, q, weights, 1,
					   s->prompt);
	}
	return r;
}

static inline int selfcheck_prompt_head(struct selfcheck *s, uint32_t layer,
					uint32_t head)
{
	size_t k_row = s->spec->k_row, v_row = s->spec->v_row;
	float *weights = selfcheck_alloc(s->prompt, sizeof(*weights));
	char *k = selfcheck_alloc(s->prompt, k_row);
	char *v = selfcheck_alloc(s->prompt, v_row);
	int r;

	for (uint32_t t = 0; t < s->prompt; t++) {
		uint64_t place = selfcheck_place(s, layer, head, t);

		selfcheck_fill(k + t * k_row, k_row, place, SELFCHECK_K);
		selfcheck_fill(v + t * v_row, v_row, place, SELFCHECK_V);
	}
	r = selfcheck_prompt_observe(s, layer, head, weights);
	if (!r)
		r = treekv_prefill_head(s->cache, layer, head, k, k_row, v,
					v_row);
	free(weights);
	free(k);
	free(v);
	return r;
}

/* Into an empty cache. Return: 0, or what the library said. */
static inline int selfcheck_prompt(struct selfcheck *s)
{
	struct selfcheck_note note = { SELFCHECK_MAGIC, s->prompt,
				       selfcheck_chain(s, s->prompt) };
	const struct treekv_prefill how = {
		.block = 3,
		.window = s->spec->recent ? s->spec->recent : 1,
	};
	uint32_t *ids = selfcheck_alloc(s->prompt, sizeof(*ids));
	int r;

	for (uint32_t t = 0; t < s->prompt; t++)
		ids[t] = selfcheck_id(s, t);
	selfcheck_before(s, SELFCHECK_PROMPT);
	r = treekv_prefill_begin(s->cache, &how, ids, s->prompt);
	free(ids);
	for (uint32_t l = 0; !r && l < s->spec->layers; l++)
		for (uint32_t h = 0; !r && h < s->spec->kv_heads; h++) {
			selfcheck_before(s, SELFCHECK_PROMPT);
			r = selfcheck_prompt_head(s, l, h);
		}
	if (r)
		return r;
	memcpy(treekv_note(s->cache), &note, sizeof(note));
	selfcheck_before(s, SELFCHECK_PROMPT_COMMIT);
	return treekv_prefill_commit(s->cache, s->timeout_ms);
}

#endif /* TREEKV_TESTS_SELFCHECK_PROMPT_H */
