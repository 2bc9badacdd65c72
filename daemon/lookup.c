// SPDX-License-Identifier: BSD-2-Clause
/*
 * Exact caches and compacted ones are kept apart by their seeds, as are users:
 * what cannot be served is not even met with. An exact cache's seed is made of
 * what its rows are a function of beside the tokens, and of the kind of scores
 * that it has kept; a compacted one's of its whole fingerprint, since which rows
 * it has given up depends on that.
 *
 * The ids are those in the sealed rows: nobody can change them any more.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/control_impl.h"
#include "daemon/event.h"
#include "daemon/log.h"
#include "daemon/lookup.h"
#include "daemon/policy.h"
#include "daemon/spec.h"

/* Prefixes by the scores that they keep: most daemons know one kind only. */
static uint32_t known[POLICY_SCORES_LAST + 1];

/* Without padding, since its bytes are hashed. */
struct seed {
	uint8_t model[SHM_MODEL_SIZE];
	uint64_t budgets; /* their hash; of exact ones 0, as the next three */
	uint32_t policy;
	uint32_t sinks;
	uint32_t recent;
	uint32_t scores; /* of exact ones: what their policy keeps */
	uint32_t layers;
	uint32_t kv_heads;
	uint32_t k_row;
	uint32_t v_row;
	uint32_t dtype;
	uint32_t positions;
	uint64_t space; /* whose: see name.h */
};

static_assert(sizeof(struct seed) == SHM_MODEL_SIZE + 56, "no padding");

static struct seed seed_rows(uint64_t space, const struct shm_spec *spec)
{
	struct seed seed = {
		.layers = spec->layers,
		.kv_heads = spec->kv_heads,
		.k_row = spec->k_row,
		.v_row = spec->v_row,
		.dtype = spec->dtype,
		.positions = spec->positions,
		.space = space,
	};

	memcpy(seed.model, spec->model, SHM_MODEL_SIZE);
	return seed;
}

static enum policy_scores scores_of(const struct shm_spec *spec)
{
	return policy_by_id(spec->policy)->scores;
}

static uint64_t seed_exact(uint64_t space, const struct shm_spec *spec,
			   enum policy_scores scores)
{
	struct seed seed = seed_rows(space, spec);

	seed.scores = scores;
	return prefix_seed(&seed, sizeof(seed));
}

static uint64_t seed_compacted(uint64_t space, const struct shm_spec *spec,
			       const uint32_t *budgets)
{
	struct seed seed = seed_rows(space, spec);

	seed.budgets = prefix_seed(budgets, spec->layers * sizeof(*budgets));
	seed.policy = spec->policy;
	seed.sinks = spec->sinks;
	seed.recent = spec->recent;
	return prefix_seed(&seed, sizeof(seed));
}

void lookup_add(struct cache *cache)
{
	const struct shm_index *index = cache->index;
	const struct shm_spec *spec = &index->spec;
	const struct shm_layer *layers =
		(const void *)((const char *)index + index->layers);
	uint32_t budgets[SHM_LAYERS_MAX];

	if (!cache_is_frozen(cache) || cache_fault(cache) ||
	    !index->frozen_tail || spec->ids < index->frozen_tail ||
	    index->flags & SHM_CACHE_DROPPED || cache->prefix.nodes)
		return;
	for (uint32_t l = 0; l < spec->layers; l++)
		budgets[l] = layers[l].budget;
	cache->prefix = (struct prefix){
		.ids = (const void *)((const char *)cache->rows + index->ids),
		.tokens = index->frozen_tail,
		.partial = cache_is_exact(cache),
		.owner = cache,
	};
	cache->prefix.seed =
		cache->prefix.partial ?
			seed_exact(cache_space(cache), spec, scores_of(spec)) :
			seed_compacted(cache_space(cache), spec, budgets);
	if (prefix_add(&treekvd.prefixes, &cache->prefix))
		log_warning("cannot be looked up",
			    "name=%s error=\"out of memory\"", cache->name);
	else
		known[scores_of(spec)]++;
}

void lookup_remove(struct cache *cache)
{
	if (!cache->prefix.nodes)
		return;
	known[scores_of(&cache->index->spec)]--;
	prefix_remove(&treekvd.prefixes, &cache->prefix);
}

int lookup_begin(struct lookup_query *query, const ProtobufCBinaryData *ids,
		 char *why, size_t size)
{
	query->n = ids->len / sizeof(uint32_t);
	query->ids = (const void *)ids->data;
	query->copy = NULL;
	if (ids->len % sizeof(uint32_t)) {
		snprintf(why, size,
			 "ids are %zu bytes, but must be 4 for each token",
			 ids->len);
		return -EINVAL;
	}
	if (!((uintptr_t)ids->data % _Alignof(uint32_t)))
		return 0;
	query->copy = malloc(ids->len);
	if (!query->copy) {
		snprintf(why, size, "out of memory");
		return -ENOMEM;
	}
	query->ids = memcpy(query->copy, ids->data, ids->len);
	return 0;
}

void lookup_end(struct lookup_query *query)
{
	free(query->copy);
}

/* Of a group's some may be nobody else's, and to others they are not there. */
static bool may_have(const struct prefix *prefix, const void *arg)
{
	const struct access_what what = cache_what(prefix->owner);
	const struct lookup_query *query = arg;

	return !control_check(query->conn, &what, ACCESS_READ);
}

static void find_one(struct lookup_result *ret,
		     const struct lookup_query *query, uint64_t seed,
		     enum policy_scores scores)
{
	const struct prefix_prompt prompt = {
		.seed = seed,
		.ids = query->ids,
		.n = query->n,
		.may_have = may_have,
		.arg = query,
	};
	const struct prefix *found;
	uint64_t tokens;

	found = prefix_find(&treekvd.prefixes, &prompt, &tokens);
	if (!found || tokens <= ret->tokens)
		return;
	ret->cache = found->owner;
	ret->tokens = tokens;
	ret->compacted = !found->partial;
	ret->scores = tokens == found->tokens &&
		      scores == scores_of(query->spec);
}

void lookup_exact(struct lookup_result *ret, const struct lookup_query *query)
{
	static const enum policy_scores all[] = {
		POLICY_SCORES_NONE,
		POLICY_SCORES_SUM,
		POLICY_SCORES_LAST,
	};
	enum policy_scores own = scores_of(query->spec);

	*ret = (struct lookup_result){ .cache = NULL };
	find_one(ret, query, seed_exact(query->space, query->spec, own), own);
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (all[i] != own && known[all[i]])
			find_one(ret, query,
				 seed_exact(query->space, query->spec, all[i]),
				 all[i]);
}

void lookup_compacted(struct lookup_result *ret,
		      const struct lookup_query *query)
{
	*ret = (struct lookup_result){ .cache = NULL };
	find_one(ret, query,
		 seed_compacted(query->space, query->spec, query->budgets),
		 scores_of(query->spec));
}

void lookup_describe(Treekv__Prefix *ret, const struct lookup_result *found,
		     const struct conn *conn, char room[SHM_NAME_FULL + 1])
{
	treekv__prefix__init(ret);
	name_print(room, cache_space(found->cache), found->cache->name,
		   conn_peer(conn)->uid);
	ret->name = room;
	ret->tokens = found->tokens;
	ret->tail = found->cache->prefix.tokens;
	ret->compacted = found->compacted;
	ret->scores = found->scores;
}

void lookup_count(const struct lookup_result *found)
{
	treekvd.counters.lookups++;
	treekvd.counters.lookup_hits += found->cache != NULL;
}

static void find(struct lookup_result *ret, const struct lookup_query *query,
		 bool compacted)
{
	struct lookup_result other = { .cache = NULL };

	lookup_exact(ret, query);
	if (compacted)
		lookup_compacted(&other, query);
	if (other.tokens > ret->tokens)
		*ret = other;
}

void lookup_on_lookup(struct conn *conn, uint64_t id,
		      const Treekv__Lookup *request)
{
	Treekv__LookupReply lookup = TREEKV__LOOKUP_REPLY__INIT;
	Treekv__Reply reply = TREEKV__REPLY__INIT;
	char why[CONTROL_REASON_SIZE] = "";
	uint32_t budgets[SHM_LAYERS_MAX];
	struct shm_spec spec;
	struct lookup_query query = {
		.conn = conn,
		.space = conn_peer(conn)->uid,
		.spec = &spec,
		.budgets = budgets,
	};
	char name[SHM_NAME_FULL + 1];
	struct lookup_result found;
	Treekv__Prefix prefix;
	int r;

	r = spec_load(&spec, budgets, request->spec, why, sizeof(why));
	if (!r)
		r = lookup_begin(&query, &request->ids, why, sizeof(why));
	if (r) {
		control_refuse(conn, id, r, "no prefix is looked up: %s", why);
		return;
	}
	find(&found, &query, request->compacted);
	lookup_end(&query);
	lookup_count(&found);
	if (found.cache) {
		lookup_describe(&prefix, &found, conn, name);
		lookup.prefix = &prefix;
	}
	reply.id = id;
	reply.body_case = TREEKV__REPLY__BODY_LOOKUP;
	reply.lookup = &lookup;
	conn_reply(conn, &reply, NULL, 0);
}
