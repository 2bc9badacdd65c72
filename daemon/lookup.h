/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frozen caches by what they hold: whoever has read a prompt, or its beginning,
 * need not read it again. Control thread only.
 */
#ifndef TREEKVD_LOOKUP_H
#define TREEKVD_LOOKUP_H

#include <stdbool.h>

#include "daemon/cache.h"
#include "daemon/conn.h"

/* What was found. */
struct lookup_result {
	struct cache *cache; /* NULL: nothing */
	uint64_t tokens; /* of the prompt */
	bool compacted; /* it does not hold all of its tokens */
	bool scores; /* a fork goes on with its scores */
};

/*
 * A frozen cache can be found from here on, if it has kept the ids of all of
 * its tokens. Takes no harm from others.
 */
void lookup_add(struct cache *cache);

/* And no longer. Takes no harm from others, either. */
void lookup_remove(struct cache *cache);

/* Who looks for what. */
struct lookup_query {
	const struct conn *conn;
	uint64_t space; /* where he looks (name.h) */
	const struct shm_spec *spec; /* that is wanted */
	const uint32_t *budgets; /* spec->layers of them */
	const uint32_t *ids;
	size_t n;
	uint32_t *copy; /* of ids, or NULL */
};

/**
 * lookup_begin - ready a query whose ids came in a message
 * @ids: little-endian u32, need not be aligned
 * @why: @size bytes for the reason
 *
 * Return: 0; -EINVAL they are no whole number of tokens; -ENOMEM.
 */
int lookup_begin(struct lookup_query *query, const ProtobufCBinaryData *ids,
		 char *why, size_t size);
void lookup_end(struct lookup_query *query);

/*
 * The longest beginning of the prompt among caches that hold every token's row:
 * their rows depend on nothing but the tokens, whatever their policies and
 * budgets. Of equals, one whose scores a fork can go on with.
 */
void lookup_exact(struct lookup_result *ret, const struct lookup_query *query);

/* Among those that do not: of the very same fingerprint, and as a whole. */
void lookup_compacted(struct lookup_result *ret,
		      const struct lookup_query *query);

/* One prompt more that was looked up. */
void lookup_count(const struct lookup_result *found);

/* As a message to the peer; it points to @room, which has the cache's name. */
void lookup_describe(Treekv__Prefix *ret, const struct lookup_result *found,
		     const struct conn *conn, char room[SHM_NAME_FULL + 1]);

void lookup_on_lookup(struct conn *conn, uint64_t id,
		      const Treekv__Lookup *request);

#endif /* TREEKVD_LOOKUP_H */
