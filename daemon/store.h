/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All caches: found by space and name, listed by age, charged to the pool.
 * Control thread only.
 */
#ifndef TREEKVD_STORE_H
#define TREEKVD_STORE_H

#include <stdint.h>
#include <sys/types.h>

#include "daemon/cache.h"
#include "daemon/park_queue.h"
#include "daemon/quota.h"

#define STORE_BUCKETS 4096

struct store {
	struct cache *bucket[STORE_BUCKETS];
	struct cache *first; /* oldest */
	struct cache *last;
	uint64_t pool; /* bytes all caches may take */
	uint64_t used; /* charged, the dropped but still held included */
	uint32_t caches;
	uint32_t dropped; /* of these, no longer found by name */
	uint32_t leaving; /* held by nobody any more, but charged */
	uint64_t leaving_bytes;
	uint32_t parking; /* to leave once they are on disk */
	uint64_t parking_bytes;
	uint64_t settled; /* have left, or stay after all, or are restored */
	bool changed; /* since park_look() has looked: more is used, or idle */
	struct park_queue queue; /* those with a name: who is parked first */
	struct quotas quotas;
};

void store_init(struct store *store, uint64_t pool);

/* Bytes that may still be charged. What is adopted may be more than the pool. */
static inline uint64_t store_left(const struct store *store)
{
	return store->pool > store->used ? store->pool - store->used : 0;
}

/* NULL when there is none of that name in that space (name.h). */
struct cache *store_find(const struct store *store, uint64_t space,
			 const char *name);

/* Takes a cache in and charges it; its name must be free. */
void store_add(struct store *store, struct cache *cache);

/* Frees the name; the cache stays charged until store_release(). */
void store_unname(struct store *store, struct cache *cache);

/*
 * A cache is being parked; and no longer: @stays, or is on its way out now.
 */
void store_park(struct store *store, struct cache *cache);
void store_parked(struct store *store, struct cache *cache, bool stays);

/* It is somebody else's from now on; its name must be free there. */
void store_give(struct store *store, struct cache *cache,
		const struct access_what *what);

/*
 * Memory that is not a cache's, or not yet: charged to the pool and to a space;
 * and given back.
 */
void store_charge(struct store *store, uint64_t space, uint64_t bytes);
void store_discharge(struct store *store, uint64_t space, uint64_t bytes);

/* A cache is on its way out: is forgotten; gives its bytes back to the pool. */
void store_leave(struct store *store, const struct cache *cache);
void store_remove(struct store *store, struct cache *cache);
void store_release(struct store *store, const struct cache *cache);

/**
 * store_name_check - may a cache be called this?
 *
 * 1 to 127 bytes of printable ASCII without blanks or '/'.
 * Return: 0 or -EINVAL.
 */
int store_name_check(const char *name);

#endif /* TREEKVD_STORE_H */
