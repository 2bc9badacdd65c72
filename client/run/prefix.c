// SPDX-License-Identifier: BSD-2-Clause
/*
 * All of a prompt but its last token is read into a cache that is then frozen,
 * and forked: the run itself feeds the last token, whose logits it needs. Where
 * the budget has room for the prompt, that cache keeps every row and is as
 * large as the prompt; the fork pins it. Else it is a cache like the run's own,
 * and what its policy has kept is forked with the scores as they stand.
 *
 * Its name is made of the prompt and the spec, so that whoever has the same to
 * read goes on where somebody else was cut short.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "client/conn.h"
#include "client/run/prefix.h"

static bool evicts(enum treekv_policy policy)
{
	return policy != TREEKV_POLICY_FULL;
}

/* One more may leave: more than the policies ask for, never less. */
static bool has_room(const struct treekv_spec *spec, uint64_t tokens)
{
	return !evicts(spec->policy) || tokens + spec->recent < spec->budget;
}

void prefix_init(struct prefix *prefix, const struct treekv_spec *spec,
		 const struct input *input)
{
	*prefix = (struct prefix){
		.evict = !has_room(spec, input->count - 1),
	};
}

/* Half of it at least; and what is to be evicted needs its scores. */
static bool is_good(const struct prefix *prefix, size_t n)
{
	return prefix->found.tokens >= n / 2 &&
	       (!prefix->evict || prefix->found.scores);
}

/* An anonymous one ends with this; one that has a name must be dropped. */
static void discard(struct treekv *kv, struct treekv_cache *cache,
		    const char *name)
{
	Treekv__Drop drop = TREEKV__DROP__INIT;
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Reply *reply;

	treekv_detach(cache);
	if (!name)
		return;
	drop.name = (char *)(uintptr_t)name;
	request.body_case = TREEKV__REQUEST__BODY_DROP;
	request.drop = &drop;
	if (!conn_call(kv, &request, &reply, NULL, NULL))
		treekv__reply__free_unpacked(reply, NULL);
}

int prefix_fork(struct treekv_cache **ret, struct prefix *prefix,
		struct treekv *kv, const char *name,
		const struct treekv_spec *spec, const struct input *input)
{
	size_t n = input->count - 1;
	struct treekv_cache *cache;
	unsigned int flags = name ? 0 : TREEKV_EPHEMERAL;
	int r;

	if (prefix->evict)
		flags |= TREEKV_EVICT_PREFIX | TREEKV_COMPACTED;
	r = treekv_fork_prefix(&cache, &prefix->found, kv, name, spec,
			       input->ids, n, flags);
	if (r < 0)
		return r;
	if (!is_good(prefix, n)) {
		discard(kv, cache, name);
		return -ENOENT;
	}
	prefix->used = true;
	*ret = cache;
	return 0;
}

static void make_spec(struct treekv_spec *to, const struct prefix *prefix,
		      const struct treekv_spec *spec, uint32_t tokens)
{
	*to = *spec;
	to->ids = tokens;
	if (prefix->evict)
		return;
	to->policy = TREEKV_POLICY_FULL;
	to->budget = tokens;
	to->sinks = to->recent = 0;
	to->slack = 1;
}

static void make_name(char name[TREEKV_NAME_MAX + 1],
		      const struct treekv_spec *spec, const struct input *input)
{
	const uint32_t fields[] = {
		spec->layers, spec->kv_heads,  spec->k_row,  spec->v_row,
		spec->dtype,  spec->positions, spec->policy, spec->budget,
		spec->sinks,  spec->recent,    spec->ids,
	};
	uint64_t hash = XXH3_64bits(spec->model, sizeof(spec->model));

	hash = XXH3_64bits_withSeed(fields, sizeof(fields), hash);
	hash = XXH3_64bits_withSeed(
		input->ids, (input->count - 1) * sizeof(*input->ids), hash);
	snprintf(name, TREEKV_NAME_MAX + 1, "prefix-%016" PRIx64, hash);
}

int prefix_open(struct treekv_cache **ret, const struct prefix *prefix,
		struct treekv *kv, const struct treekv_spec *spec,
		const struct input *input)
{
	char name[TREEKV_NAME_MAX + 1];
	struct treekv_spec own;

	make_spec(&own, prefix, spec, (uint32_t)(input->count - 1));
	make_name(name, &own, input);
	return treekv_open(ret, kv, name, &own, TREEKV_CREATE);
}
