// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/prefill_fixture.h"
#include "tests/unit/prefill_reference.h"

enum daemon_does daemon_does;

enum compact_prompt_answer prefill_publish(struct fixture *f,
					   const struct cache_prompt *from)
{
	const struct compact_prompt prompt = { from->tail, from->live,
					       from->walk };
	struct compaction *c = &f->compaction;
	enum compact_prompt_answer answer = compact_prompt_begin(c, &prompt);
	bool more = true;

	while (answer == COMPACT_PROMPT_SOUND && more)
		answer = compact_prompt_heads(c, &prompt, 1, &more);
	if (answer == COMPACT_PROMPT_SOUND)
		compact_prompt_publish(c, &prompt);
	return answer;
}

static int ask(struct treekv_cache *cache, const struct cache_prompt *prompt,
	       int timeout_ms)
{
	enum compact_prompt_answer answer = COMPACT_PROMPT_SOUND;

	(void)timeout_ms;
	if (daemon_does != DAEMON_IS_AWAY)
		answer = prefill_publish(cache->owner, prompt);
	if (daemon_does != DAEMON_ANSWERS)
		return error_set(-ETIMEDOUT, "no answer");
	if (answer == COMPACT_PROMPT_SOUND || answer == COMPACT_PROMPT_DONE)
		return 0;
	return error_set(-EINVAL, "%s", compact_prompt_text(answer));
}

int prefill_set_up(void **state)
{
	static struct cache_ops ops;

	(void)state;
	daemon_does = DAEMON_ANSWERS;
	ops = fixture_ops;
	ops.prefill = ask;
	*state = &ops;
	return 0;
}

struct treekv_spec prefill_spec(enum treekv_policy policy)
{
	static const uint32_t budgets[LAYERS] = { 21, 16 };
	struct treekv_spec spec = fixture_spec();

	spec.policy = policy;
	spec.k_row = K_ROW;
	spec.v_row = V_ROW;
	spec.budgets = budgets;
	spec.sinks = 2;
	spec.recent = 5;
	spec.slack = 3;
	spec.ids = 60;
	return spec;
}

static uint8_t content(uint32_t layer, uint32_t head, uint32_t token)
{
	return (uint8_t)(1 + token * 7 + layer * 3 + head);
}

/* A weight for everybody: never 0, no two alike. */
static float weight(uint32_t layer, uint32_t head, uint32_t query,
		    uint32_t token)
{
	uint32_t x =
		query * 2654435761U + token * 40503U + layer * 97U + head * 31U;

	return token > query ? 0 : 1e-3F + (float)(x >> 8 & 0xffff) * 0x1p-17F;
}

void prefill_assert_text(const char *words)
{
	if (!strstr(treekv_error(), words))
		fail_msg("\"%s\" does not say \"%s\"", treekv_error(), words);
}

/* ---- handing a prompt over ---- */

static void observe(struct treekv_cache *cache, uint32_t layer, uint32_t head,
		    uint32_t n)
{
	float weights[TOKENS_MAX];

	for (uint32_t query = 0; query < n; query++) {
		for (uint32_t t = 0; t <= query; t++)
			weights[t] = weight(layer, head, query, t);
		assert_int_equal(treekv_prefill_observe(cache, layer, head,
							query, weights, 1,
							TOKENS_MAX),
				 0);
	}
}

int prefill_hand_over(struct treekv_cache *cache, uint32_t layer, uint32_t head,
		      uint32_t n)
{
	static uint8_t k[TOKENS_MAX * (K_ROW + 3)], v[TOKENS_MAX * V_ROW];

	for (uint32_t t = 0; t < n; t++) {
		memset(k + t * (K_ROW + 3), content(layer, head, t), K_ROW);
		memset(v + t * V_ROW, ~content(layer, head, t), V_ROW);
	}
	return treekv_prefill_head(cache, layer, head, k, K_ROW + 3, v, V_ROW);
}

void prefill_write(struct treekv_cache *cache, const struct treekv_prefill *how,
		   uint32_t n)
{
	uint32_t ids[TOKENS_MAX];

	for (uint32_t t = 0; t < n; t++)
		ids[t] = 1000 + t;
	assert_int_equal(treekv_prefill_begin(cache, how, ids, n), 0);
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++) {
			observe(cache, l, h, n);
			assert_int_equal(prefill_hand_over(cache, l, h, n), 0);
		}
	memset(treekv_note(cache), 0x5a, TREEKV_NOTE_SIZE);
}

void prefill(struct treekv_cache *cache, const struct treekv_prefill *how,
	     uint32_t n)
{
	prefill_write(cache, how, n);
	assert_int_equal(treekv_prefill_commit(cache, 0), 0);
}

void prefill_step(struct treekv_cache *cache)
{
	uint32_t token = (uint32_t)cache->tail, id = 1000 + token;
	uint8_t k[HEADS * K_ROW], v[HEADS * V_ROW];
	float weights[SLOTS_MAX];
	struct treekv_view view;

	assert_int_equal(treekv_step_begin(cache, &id, 1, 0), 0);
	for (uint32_t l = 0; l < LAYERS; l++) {
		for (uint32_t h = 0; h < HEADS; h++) {
			memset(k + h * K_ROW, content(l, h, token), K_ROW);
			memset(v + h * V_ROW, ~content(l, h, token), V_ROW);
		}
		assert_int_equal(treekv_append(cache, l, k, v), 0);
		for (uint32_t h = 0; h < HEADS; h++) {
			assert_int_equal(treekv_view(cache, l, h, &view), 0);
			for (uint32_t s = 0; s < view.slots; s++)
				weights[s] = weight(l, h, token, view.token[s]);
			assert_int_equal(treekv_observe(cache, l, h, 0, weights,
							1, SLOTS_MAX),
					 0);
		}
	}
	assert_int_equal(treekv_commit(cache, 1), 0);
}

/* ---- what ought to be there ---- */

static float expected_score(const struct expected *e, uint32_t layer,
			    uint32_t head, uint32_t token)
{
	float sum = 0;

	for (uint32_t q = e->tokens - e->queries; q < e->tokens; q++)
		sum += weight(layer, head, q, token);
	return sum;
}

/* The rows of a head right after a prefill, as a reference to go on from. */
static struct reference *expect(const struct expected *e, uint32_t layer,
				uint32_t head, uint32_t budget, uint32_t slots)
{
	const char *policy = treekv_policy_name(e->policy);
	struct reference *r = reference_new(policy, budget, 2, 5, slots);
	float score[TOKENS_MAX];
	uint8_t kept[TOKENS_MAX];
	const struct prefill_reference prompt = {
		.method = e->method,
		.tokens = e->tokens,
		.budget = e->budget ? e->budget : budget,
		.sinks = 2,
		.recent = e->recent,
		.window = e->window,
		.block = e->block,
		.kernel = 7,
		.score = score,
	};
	uint32_t idx, room, first = e->tokens - e->queries;

	if (!r) /* full has no rules: nothing leaves */
		r = reference_new("streaming", budget, 2, 5, slots);
	for (uint32_t t = 0; t < e->tokens; t++)
		score[t] = expected_score(e, layer, head, t);
	prefill_reference(&prompt, kept, &idx, &room);
	for (uint32_t t = 0; t < e->tokens; t++)
		if (kept[t]) {
			uint32_t since = t > first ? t : first;

			r->tokens[r->live] = (struct reference_token){
				.number = t,
				.slot = r->live,
				.sum = e->scored ? score[t] : 0,
				.count = e->tokens - since,
			};
			r->live++;
			r->free_slots--;
		}
	memmove(r->free, r->free + r->live, r->free_slots * sizeof(*r->free));
	r->tokens_seen = e->tokens;
	if (idx && (idx - 1) * e->block < budget - 7)
		r->idx = (idx - 1) * e->block + 1;
	return r;
}

static void compare_row(const struct fixture *f, const struct expected *e,
			const struct reference_token *token, uint32_t layer,
			uint32_t head)
{
	const struct cache_head *at = cache_head_at(&f->cache, layer, head);
	uint32_t slot = token->slot, number = token->number;
	uint8_t byte = content(layer, head, number);

	assert_int_equal(at->token[slot], number);
	assert_int_equal(at->since[slot], f->cache.tail - token->count);
	for (uint32_t i = 0; i < K_ROW; i++)
		assert_int_equal(at->k[slot * K_ROW + i], byte);
	for (uint32_t i = 0; i < V_ROW; i++)
		assert_int_equal(at->v[slot * V_ROW + i], (uint8_t)~byte);
	if (e->scored)
		assert_memory_equal(&at->score[f->cache.parity][slot],
				    &token->sum, sizeof(float));
}

static void compare(struct fixture *f, const struct expected *e,
		    const struct reference *r, uint32_t layer, uint32_t head)
{
	struct treekv_view view;
	const uint32_t *walk;

	assert_int_equal(treekv_view(&f->cache, layer, head, &view), 0);
	assert_int_equal(view.live, r->live);
	for (uint32_t i = 0; i < r->live; i++) {
		assert_int_equal(view.rank[r->tokens[i].slot], i);
		compare_row(f, e, &r->tokens[i], layer, head);
	}
	walk = (const void *)((const char *)f->index +
			      f->index->buffer[f->cache.generation & 1] +
			      f->index->walk);
	assert_int_equal(walk[layer * HEADS + head], r->idx);
}

void expect_compare(struct fixture *f, const struct expected *e,
		    const struct references *r)
{
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++)
			compare(f, e, r->of[l][h], l, h);
}

void expect_prompt(struct references *ret, const struct fixture *f,
		   const struct expected *e)
{
	const struct cache_layer *layer = f->cache.layer;

	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++)
			ret->of[l][h] = expect(e, l, h, layer[l].at.budget,
					       layer[l].at.slots);
}

void expect_free(struct references *r)
{
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++)
			reference_free(r->of[l][h]);
}

void expect_steps(struct fixture *f, const struct expected *e,
		  struct references *r, uint32_t steps)
{
	float weights[TOKENS_MAX];

	for (uint32_t i = 0; i < steps; i++) {
		uint32_t query = (uint32_t)f->cache.tail;

		prefill_step(&f->cache);
		fixture_compact(f);
		assert_int_equal(treekv_settle(&f->cache, 0), 0);
		for (uint32_t l = 0; l < LAYERS; l++)
			for (uint32_t h = 0; h < HEADS; h++) {
				for (uint32_t t = 0; t <= query; t++)
					weights[t] = weight(l, h, query, t);
				reference_step(r->of[l][h], weights);
			}
		expect_compare(f, e, r);
	}
}
