// SPDX-License-Identifier: BSD-2-Clause
/*
 * Prefill: a whole prompt, compressed layer by layer as the engine computes it.
 *
 * What the engine hands over of a layer is the prompt's, and far more than the
 * cache holds, so nothing of it is kept: the attention is added up, and when a
 * head's keys and values come, its survivors are chosen and copied straight to
 * their slots, which are all free: nothing is live, so there is no row for head
 * to warn a reader of. One request at the end makes them the cache's content
 * (daemon/compact_prompt.c has why that is safe at any instruction), and the
 * writer's own commit follows when he adopts the order that came of it.
 *
 * A request that was sent and not answered may still be carried out, so from
 * then on there is only asking again, or detaching, which ends the lease that
 * the request speaks of: a step meanwhile would write into rows that a late
 * publication makes live.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cache.h"
#include "daemon/survivors.h"
#include "proto/barrier.h"

#define DEFAULT_BLOCK  16
#define DEFAULT_WINDOW 32
#define DEFAULT_KERNEL 7

#define SAME(method)                                                           \
	static_assert((int)TREEKV_PREFILL_##method == (int)SURVIVORS_##method, \
		      "one numbering")

SAME(TREEKV);
SAME(TREEKV_LEFT);
SAME(TREEKV_SKIP);
SAME(STREAMING);
SAME(H2O);
SAME(TOVA);
SAME(FULL);
SAME(SNAPKV);

/* One KV head of the layer that is being handed over. */
struct prefill_head {
	uint32_t layer;
	uint32_t next; /* the least query that may come; 0: none has */
	float *sums; /* [tokens] */
};

struct cache_prefill {
	struct survivors how; /* budget, recent, score: the head's */
	uint32_t budget; /* at most, in every layer; 0: as many as it has */
	uint32_t recent; /* 0: not said */
	uint32_t counted; /* of the last queries: what since speaks of */
	uint32_t queries; /* whose attention is wanted: these, or none */
	struct cache_prompt prompt;
	bool *written; /* [layers][kv_heads] */
	struct prefill_head *head; /* [kv_heads] */
	float *sums;
	bool asked; /* and not answered */
};

struct cache_prefill *cache_prefill_free(struct cache_prefill *p)
{
	if (!p)
		return NULL;
	free(p->prompt.live);
	free(p->prompt.walk);
	free(p->written);
	free(p->head);
	free(p->sums);
	free(p);
	return NULL;
}

static uint32_t layer_budget(const struct treekv_cache *cache,
			     const struct cache_prefill *p, uint32_t layer)
{
	uint32_t budget = cache->layer[layer].at.budget;

	return p->budget && p->budget < budget ? p->budget : budget;
}

/*
 * The newest tokens that h2o and tova keep, as in decoding; but those are meant
 * for the budget of decoding.
 */
static uint32_t layer_recent(const struct treekv_cache *cache,
			     const struct cache_prefill *p, uint32_t layer)
{
	uint32_t budget = layer_budget(cache, p, layer);
	uint32_t sinks = cache->spec.sinks;

	if (p->recent)
		return p->recent;
	if (cache->spec.policy != SHM_POLICY_FULL &&
	    budget == cache->layer[layer].at.budget)
		return cache->spec.recent;
	return budget > sinks ? (budget - sinks) / 2 : 0;
}

static struct survivors layer_how(const struct treekv_cache *cache,
				  const struct cache_prefill *p, uint32_t layer)
{
	struct survivors how = p->how;

	how.budget = layer_budget(cache, p, layer);
	how.recent = layer_recent(cache, p, layer);
	return how;
}

/* Of the layer with the smallest budget: all have the same queries. */
static uint32_t default_window(const struct treekv_cache *cache,
			       const struct cache_prefill *p)
{
	uint32_t window = 2 * DEFAULT_WINDOW, budget, room;

	for (uint32_t l = 0; l < cache->spec.layers; l++) {
		budget = layer_budget(cache, p, l);
		room = budget > p->how.sinks ? budget - p->how.sinks : 0;
		window = room < window ? room : window;
	}
	return (window + 1) / 2;
}

static int take_how(struct treekv_cache *cache, struct cache_prefill *p,
		    const struct treekv_prefill *how)
{
	const struct shm_spec *spec = &cache->spec;
	uint32_t method = how->method ? how->method : spec->policy;

	if (method > TREEKV_PREFILL_SNAPKV ||
	    how->pooling > TREEKV_POOLING_MEAN)
		return error_set(
			-EINVAL,
			"cache %s: prefill method %u, pooling %u: there "
			"is no such thing",
			cache->name, method, how->pooling);
	p->budget = how->budget;
	p->recent = how->window;
	p->how.method = (enum survivors_method)method;
	p->how.sinks = spec->sinks;
	p->how.block = how->block ? how->block : DEFAULT_BLOCK;
	p->how.window = how->window ? how->window : default_window(cache, p);
	p->how.kernel = how->kernel ? how->kernel : DEFAULT_KERNEL;
	p->how.mean = how->pooling == TREEKV_POOLING_MEAN;
	return 0;
}

static int refuse(const struct treekv_cache *cache, const struct survivors *how,
		  uint32_t layer, enum survivors_fault fault)
{
	switch (fault) {
	case SURVIVORS_SOUND:
		break;
	case SURVIVORS_FAULT_SINKS:
		return error_set(-EINVAL,
				 "cache %s: a prompt's budget of %u in layer "
				 "%u has no room for %u sinks",
				 cache->name, how->budget, layer, how->sinks);
	case SURVIVORS_FAULT_WINDOW:
		return error_set(-EINVAL,
				 "cache %s: sinks %u + window %u do not fit "
				 "into the prompt's budget of %u in layer %u; "
				 "use a smaller window or a larger budget",
				 cache->name, how->sinks, how->window,
				 how->budget, layer);
	case SURVIVORS_FAULT_BLOCK:
	case SURVIVORS_FAULT_KERNEL:
		return error_set(-EINVAL,
				 "cache %s: a block of %u, a kernel of %u; a "
				 "kernel must be odd",
				 cache->name, how->block, how->kernel);
	case SURVIVORS_FAULT_FULL:
		return error_set(-ENOSPC,
				 "cache %s: a prompt of %u tokens, but layer "
				 "%u holds %u, and full evicts nothing; use a "
				 "larger budget or another prefill method",
				 cache->name, how->tokens, layer, how->budget);
	}
	return 0;
}

/* Bounds, and what will stay of the prompt, layer by layer. */
static int plan(struct treekv_cache *cache, struct cache_prefill *p)
{
	const struct shm_spec *spec = &cache->spec;

	for (uint32_t l = 0; l < spec->layers; l++) {
		uint32_t budget = cache->layer[l].at.budget, selected = 1;
		const struct survivors how = layer_how(cache, p, l);
		enum survivors_fault fault = survivors_check(&how);

		if (fault)
			return refuse(cache, &how, l, fault);
		if (spec->policy != SHM_POLICY_FULL)
			selected = budget - spec->sinks - spec->recent;
		p->prompt.live[l] = survivors_count(&how);
		p->prompt.walk[l] = survivors_walk(&how, selected);
	}
	return 0;
}

/* How many of the last queries make up the scores. */
static uint32_t count_queries(const struct survivors *how)
{
	uint32_t n = 0;

	switch (how->method) {
	case SURVIVORS_TREEKV:
	case SURVIVORS_TREEKV_LEFT:
	case SURVIVORS_TREEKV_SKIP:
	case SURVIVORS_SNAPKV:
		n = how->window;
		break;
	case SURVIVORS_H2O:
		n = how->tokens;
		break;
	case SURVIVORS_TOVA:
		n = 1;
		break;
	case SURVIVORS_STREAMING:
	case SURVIVORS_FULL:
		break;
	}
	return n < how->tokens ? n : how->tokens;
}

static int allocate(const struct treekv_cache *cache, struct cache_prefill *p)
{
	size_t layers = cache->spec.layers, heads = cache->spec.kv_heads;
	size_t tokens = p->how.tokens;

	p->prompt.live = calloc(layers, sizeof(*p->prompt.live));
	p->prompt.walk = calloc(layers, sizeof(*p->prompt.walk));
	p->written = calloc(layers * heads, sizeof(*p->written));
	p->head = calloc(heads, sizeof(*p->head));
	if (!p->prompt.live || !p->prompt.walk || !p->written || !p->head)
		return -ENOMEM;
	p->counted = count_queries(&p->how);
	if (survivors_scored(p->how.method) || cache->scored)
		p->queries = p->counted;
	if (!p->queries)
		return 0;
	p->sums = calloc(heads * tokens, sizeof(*p->sums));
	for (size_t h = 0; p->sums && h < heads; h++)
		p->head[h].sums = p->sums + h * tokens;
	return p->sums ? 0 : -ENOMEM;
}

static int check_begin(const struct treekv_cache *cache, uint32_t n)
{
	if (cache->tail)
		return error_set(-ENOTEMPTY,
				 "cache %s has seen %llu tokens; only an empty "
				 "one takes a prompt as a whole: go on by "
				 "steps",
				 cache->name, (unsigned long long)cache->tail);
	if (!n || n > SHM_TAIL_MAX)
		return error_set(-EINVAL,
				 "cache %s: a prompt of %u tokens, but 1 to "
				 "%llu are possible",
				 cache->name, n,
				 (unsigned long long)SHM_TAIL_MAX);
	if (shm_load_relaxed(&cache->index->quarantined))
		return error_set(-EUCLEAN,
				 "cache %s is quarantined: treekvd found its "
				 "words damaged; drop it",
				 cache->name);
	return 0;
}

int treekv_prefill_begin(struct treekv_cache *cache,
			 const struct treekv_prefill *how, const uint32_t *ids,
			 uint32_t n)
{
	const struct treekv_prefill defaults = { 0 };
	struct cache_prefill *p;
	int r = cache_check_idle(cache);

	if (r)
		return r;
	if (shm_load_acquire(&cache->index->epoch) != cache->epoch)
		cache->ops->renew(cache);
	r = cache_check_idle(cache); /* renewing may have lost the lease */
	if (!r)
		r = cache_adopt(cache);
	if (!r)
		r = check_begin(cache, n);
	if (r)
		return r;
	p = calloc(1, sizeof(*p));
	if (!p)
		return error_set(-ENOMEM, "cache %s: out of memory",
				 cache->name);
	p->how.tokens = n;
	p->prompt.tail = n;
	r = take_how(cache, p, how ? how : &defaults);
	if (r)
		goto fail;
	r = allocate(cache, p);
	if (r) {
		error_set(r, "cache %s: no memory for a prompt of %u tokens",
			  cache->name, n);
		goto fail;
	}
	r = plan(cache, p);
	if (r)
		goto fail;
	cache_record_ids(cache, ids, n);
	memcpy(cache->rows->note[!cache->parity],
	       cache->rows->note[cache->parity], SHM_NOTE_SIZE);
	cache->prefill = p;
	return 0;
fail:
	cache_prefill_free(p);
	return r;
}

uint32_t treekv_prefill_queries(const struct treekv_cache *cache)
{
	return cache->prefill ? cache->prefill->queries : 0;
}

static int check_head(const struct treekv_cache *cache, uint32_t layer,
		      uint32_t head)
{
	const struct cache_prefill *p = cache->prefill;
	const struct shm_spec *spec = &cache->spec;

	if (!p)
		return error_set(-EINVAL, "cache %s: no prefill is running",
				 cache->name);
	if (layer >= spec->layers || head >= spec->kv_heads)
		return error_set(-EINVAL,
				 "cache %s: layer %u, head %u, but it has %u "
				 "layers of %u",
				 cache->name, layer, head, spec->layers,
				 spec->kv_heads);
	if (p->written[(size_t)layer * spec->kv_heads + head])
		return error_set(-EINVAL,
				 "cache %s: layer %u, head %u has been handed "
				 "over",
				 cache->name, layer, head);
	if (p->head[head].next && p->head[head].layer != layer)
		return error_set(-EINVAL,
				 "cache %s: head %u of layer %u before that of "
				 "layer %u has been handed over",
				 cache->name, head, layer, p->head[head].layer);
	return 0;
}

int treekv_prefill_observe(struct treekv_cache *cache, uint32_t layer,
			   uint32_t head, uint32_t query, const float *weights,
			   uint32_t group, size_t stride)
{
	struct cache_prefill *p = cache->prefill;
	struct prefill_head *at;
	int r = check_head(cache, layer, head);

	if (r)
		return r;
	at = &p->head[head];
	if (query >= p->how.tokens || query < at->next || !group)
		return error_set(-EINVAL,
				 "cache %s: query %u of a prompt of %u "
				 "observed out of turn, or a group of %u",
				 cache->name, query, p->how.tokens, group);
	if (p->how.tokens - query > p->queries)
		return 0;
	at->layer = layer;
	at->next = query + 1;
	cache_add_scores(at->sums, at->sums, weights, group, stride, query + 1);
	return 0;
}

/* Copies the rows of the tokens that stay; @keep has @n of them. */
static void write_head(struct treekv_cache *cache, uint32_t layer,
		       uint32_t head, const uint32_t *keep, uint32_t n,
		       const char *k, size_t k_stride, const char *v,
		       size_t v_stride)
{
	const struct cache_prefill *p = cache->prefill;
	struct cache_head *at = cache_head_at(cache, layer, head);
	const float *sums = p->head[head].sums;
	size_t k_row = cache->spec.k_row, v_row = cache->spec.v_row;
	uint32_t first = p->how.tokens - p->counted;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t token = keep[i];
		size_t slot = cache_slot(cache, layer, at, i);
		float score = sums ? sums[token] : 0;

		shm_copy(at->k + slot * k_row, k + token * k_stride, k_row);
		shm_copy(at->v + slot * v_row, v + token * v_stride, v_row);
		shm_store_f32(&at->score[0][slot], score);
		shm_store_f32(&at->score[1][slot], score);
		shm_store32_relaxed(&at->since[slot],
				    token > first ? token : first);
		shm_store32_relaxed(&at->token[slot], token);
	}
}

static int choose_and_write(struct treekv_cache *cache, uint32_t layer,
			    uint32_t head, const void *k, size_t k_stride,
			    const void *v, size_t v_stride)
{
	struct cache_prefill *p = cache->prefill;
	struct survivors how = layer_how(cache, p, layer);
	uint32_t n = p->prompt.live[layer];
	uint32_t *keep = malloc(n * sizeof(*keep));
	void *scratch = NULL;
	int r = 0;

	how.score = p->head[head].sums;
	if (n < how.tokens)
		scratch = malloc(survivors_scratch_size(&how));
	if (!keep || (n < how.tokens && !scratch)) {
		r = error_set(-ENOMEM,
			      "cache %s: no memory to compress a prompt of %u "
			      "tokens",
			      cache->name, how.tokens);
		goto out;
	}
	survivors_choose(&how, keep, scratch);
	write_head(cache, layer, head, keep, n, k, k_stride, v, v_stride);
out:
	free(scratch);
	free(keep);
	return r;
}

int treekv_prefill_head(struct treekv_cache *cache, uint32_t layer,
			uint32_t head, const void *k, size_t k_stride,
			const void *v, size_t v_stride)
{
	struct cache_prefill *p = cache->prefill;
	struct prefill_head *at;
	int r = check_head(cache, layer, head);

	if (r)
		return r;
	at = &p->head[head];
	if (p->queries && !at->next)
		return error_set(-EINVAL,
				 "cache %s: layer %u, head %u: nobody has told "
				 "what attention was paid to it",
				 cache->name, layer, head);
	r = choose_and_write(cache, layer, head, k, k_stride, v, v_stride);
	if (r)
		return r;
	if (at->sums)
		memset(at->sums, 0, p->how.tokens * sizeof(*at->sums));
	at->next = 0;
	p->written[(size_t)layer * cache->spec.kv_heads + head] = true;
	return cache_check_lease(cache);
}

static int check_commit(const struct treekv_cache *cache)
{
	const struct cache_prefill *p = cache->prefill;
	uint32_t heads = cache->spec.kv_heads;

	if (!p)
		return error_set(-EINVAL, "cache %s: no prefill is running",
				 cache->name);
	for (size_t i = 0; i < (size_t)cache->spec.layers * heads; i++)
		if (!p->written[i])
			return error_set(-EINVAL,
					 "cache %s: layer %zu, head %zu was "
					 "not handed over",
					 cache->name, i / heads, i % heads);
	return 0;
}

int treekv_prefill_commit(struct treekv_cache *cache, int timeout_ms)
{
	int r = check_commit(cache);

	if (!r && cache->lost)
		return error_set(-ESTALE,
				 "the lease of cache %s is lost; detach and "
				 "attach again",
				 cache->name);
	if (!r)
		r = cache_check_lease(cache);
	if (r)
		return r;
	r = cache->ops->prefill(cache, &cache->prefill->prompt, timeout_ms);
	cache->prefill->asked = r == -ETIMEDOUT;
	if (r)
		return r;
	cache->prefill = cache_prefill_free(cache->prefill);
	return cache_adopt(cache);
}

int treekv_prefill_abort(struct treekv_cache *cache)
{
	if (cache->prefill && cache->prefill->asked)
		return error_set(
			-EINPROGRESS,
			"cache %s: treekvd was asked to commit the "
			"prompt and has not answered: commit it again, "
			"or detach",
			cache->name);
	cache->prefill = cache_prefill_free(cache->prefill);
	return 0;
}
