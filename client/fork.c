// SPDX-License-Identifier: BSD-2-Clause
/* Forks: caches that begin with the rows of a frozen one. */
#include <errno.h>
#include <stdio.h>

#include "client/cache.h"
#include "client/conn.h"
#include "client/lease.h"
#include "client/name.h"

#define FORK_FLAGS (TREEKV_EPHEMERAL | TREEKV_EVICT_PREFIX)
#define IDS_MAX	   250000 /* that fit into a request with all else */

static int check_flags(unsigned int flags, unsigned int known)
{
	if (!(flags & ~known))
		return 0;
	return error_set(-EINVAL, "flags 0x%x do not go with this call",
			 flags & ~known);
}

static int check_spec(const struct treekv_spec *spec)
{
	if (spec->layers >= 1 && spec->layers <= SHM_LAYERS_MAX)
		return 0;
	return error_set(-EINVAL, "layers is %u, but must be 1 to %u",
			 spec->layers, SHM_LAYERS_MAX);
}

static int check_prompt(const struct treekv_spec *spec, size_t n)
{
	if (n > IDS_MAX)
		return error_set(-EINVAL,
				 "%zu ids to look up, but %d are the most", n,
				 IDS_MAX);
	return check_spec(spec);
}

void open_fill_prefix(struct treekv_prefix *to, const Treekv__Prefix *from)
{
	*to = (struct treekv_prefix){ .tokens = 0 };
	if (!from)
		return;
	snprintf(to->name, sizeof(to->name), "%s", from->name);
	to->tokens = from->tokens;
	to->tail = from->tail;
	to->compacted = from->compacted;
	to->scores = from->scores;
}

static void fill_fork(Treekv__Fork *to, char *name, uint64_t nonce,
		      const struct treekv_spec *spec, unsigned int flags)
{
	treekv__fork__init(to);
	to->name = name;
	to->has_mode = spec && spec->mode;
	to->mode = to->has_mode ? spec->mode : 0;
	to->has_evict_prefix = to->has_ephemeral = to->has_compacted = 1;
	to->evict_prefix = !!(flags & TREEKV_EVICT_PREFIX);
	to->ephemeral = !!(flags & TREEKV_EPHEMERAL);
	to->compacted = !!(flags & TREEKV_COMPACTED);
	to->has_nonce = 1;
	to->nonce = nonce;
}

int treekv_fork(struct treekv_cache **ret, struct treekv *kv, const char *name,
		const char *parent, uint64_t tokens,
		const struct treekv_spec *spec, unsigned int flags)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	char full[SHM_NAME_FULL + 1] = "", of[SHM_NAME_FULL + 1];
	uint64_t nonce = lease_nonce();
	Treekv__Spec wanted;
	Treekv__Fork fork;
	int r = check_flags(flags, FORK_FLAGS);

	if (!r && spec)
		r = check_spec(spec);
	if (!r && name)
		r = name_resolve(full, name);
	if (!r)
		r = name_resolve(of, parent);
	if (r)
		return r;
	fill_fork(&fork, full, nonce, spec, flags);
	fork.parent = of;
	fork.has_tokens = tokens != 0;
	fork.tokens = tokens;
	if (spec) {
		open_fill_spec(&wanted, spec);
		fork.spec = &wanted;
	}
	request.body_case = TREEKV__REQUEST__BODY_FORK;
	request.fork = &fork;
	return open_granted(ret, kv, &request, nonce, false, NULL);
}

int treekv_fork_prefix(struct treekv_cache **ret, struct treekv_prefix *prefix,
		       struct treekv *kv, const char *name,
		       const struct treekv_spec *spec, const uint32_t *ids,
		       size_t n, unsigned int flags)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	char full[SHM_NAME_FULL + 1] = "";
	uint64_t nonce = lease_nonce();
	Treekv__Spec wanted;
	Treekv__Fork fork;
	int r = check_flags(flags, FORK_FLAGS | TREEKV_COMPACTED);

	if (!r)
		r = check_prompt(spec, n);
	if (!r && name)
		r = name_resolve(full, name);
	if (r)
		return r;
	fill_fork(&fork, full, nonce, spec, flags);
	open_fill_spec(&wanted, spec);
	fork.spec = &wanted;
	fork.has_ids = 1;
	fork.ids.data = (uint8_t *)(uintptr_t)ids;
	fork.ids.len = n * sizeof(*ids);
	request.body_case = TREEKV__REQUEST__BODY_FORK;
	request.fork = &fork;
	return open_granted(ret, kv, &request, nonce, false, prefix);
}

int treekv_lookup(struct treekv *kv, struct treekv_prefix *ret,
		  const struct treekv_spec *spec, const uint32_t *ids, size_t n,
		  unsigned int flags)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Lookup lookup = TREEKV__LOOKUP__INIT;
	Treekv__Reply *reply;
	Treekv__Spec wanted;
	int r = check_flags(flags, TREEKV_COMPACTED);

	if (!r)
		r = check_prompt(spec, n);
	if (r)
		return r;
	open_fill_spec(&wanted, spec);
	lookup.spec = &wanted;
	lookup.ids.data = (uint8_t *)(uintptr_t)ids;
	lookup.ids.len = n * sizeof(*ids);
	lookup.has_compacted = 1;
	lookup.compacted = !!(flags & TREEKV_COMPACTED);
	request.body_case = TREEKV__REQUEST__BODY_LOOKUP;
	request.lookup = &lookup;
	r = conn_call(kv, &request, &reply, NULL, NULL);
	if (r)
		return r;
	open_fill_prefix(ret, reply->lookup->prefix);
	r = reply->lookup->prefix ? 0 : -ENOENT;
	treekv__reply__free_unpacked(reply, NULL);
	return r;
}
