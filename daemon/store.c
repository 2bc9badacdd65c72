// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/store.h"

void store_init(struct store *store, uint64_t pool)
{
	memset(store, 0, sizeof(*store));
	store->pool = pool;
	quota_init(&store->quotas, geteuid());
}

void store_charge(struct store *store, uint64_t space, uint64_t bytes)
{
	store->used += bytes;
	quota_charge(&store->quotas, space, QUOTA_BYTES, bytes);
}

void store_discharge(struct store *store, uint64_t space, uint64_t bytes)
{
	store->used -= bytes;
	quota_discharge(&store->quotas, space, QUOTA_BYTES, bytes);
}

/* FNV-1a: the caches are thousands at most, whoever makes them collide. */
static uint64_t hash_of(uint64_t space, const char *name)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ space;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	return hash;
}

static struct cache **bucket_of(const struct store *store, uint64_t space,
				const char *name)
{
	return (struct cache **)&store
		->bucket[hash_of(space, name) % STORE_BUCKETS];
}

struct cache *store_find(const struct store *store, uint64_t space,
			 const char *name)
{
	struct cache *cache = *bucket_of(store, space, name);

	while (cache &&
	       (cache_space(cache) != space || strcmp(cache->name, name)))
		cache = cache->chain;
	return cache;
}

static void chain(struct store *store, struct cache *cache)
{
	struct cache **bucket =
		bucket_of(store, cache_space(cache), cache->name);

	cache->chain = *bucket;
	*bucket = cache;
}

void store_add(struct store *store, struct cache *cache)
{
	chain(store, cache);
	cache->named = true;
	cache->prev = store->last;
	cache->next = NULL;
	*(store->last ? &store->last->next : &store->first) = cache;
	store->last = cache;
	store_charge(store, cache_space(cache), cache_bytes(cache));
	quota_charge(&store->quotas, cache_space(cache), QUOTA_CACHES, 1);
	store->caches++;
	store->changed = true;
	cache->park.key = hash_of(cache_space(cache), cache->name);
	cache->park.bytes = cache_bytes(cache);
	park_queue_add(&store->queue, &cache->park);
}

static void unchain(struct store *store, struct cache *cache)
{
	struct cache **at = bucket_of(store, cache_space(cache), cache->name);

	while (*at != cache)
		at = &(*at)->chain;
	*at = cache->chain;
}

static void uncount(struct store *store, const struct cache *cache)
{
	quota_discharge(&store->quotas, cache_space(cache), QUOTA_CACHES, 1);
}

void store_unname(struct store *store, struct cache *cache)
{
	if (!cache->named)
		return;
	unchain(store, cache);
	cache->named = false;
	store->dropped++;
	if (cache->parked) /* its file counts from now on */
		uncount(store, cache);
	park_queue_remove(&store->queue, &cache->park, cache->parked);
}

void store_give(struct store *store, struct cache *cache,
		const struct access_what *what)
{
	uint64_t bytes = cache_bytes(cache);
	uint64_t space = cache_space(cache);

	unchain(store, cache);
	cache_set_owner(cache, what, cache->shared);
	chain(store, cache);
	cache->park.key = hash_of(cache_space(cache), cache->name);
	store_discharge(store, space, bytes);
	quota_discharge(&store->quotas, space, QUOTA_CACHES, 1);
	space = cache_space(cache);
	store_charge(store, space, bytes);
	quota_charge(&store->quotas, space, QUOTA_CACHES, 1);
}

void store_park(struct store *store, struct cache *cache)
{
	cache->parking = true;
	store->parking++;
	store->parking_bytes += cache_bytes(cache);
}

void store_parked(struct store *store, struct cache *cache, bool stays)
{
	cache->parking = false;
	cache->parked = !stays;
	store->parking--;
	store->parking_bytes -= cache_bytes(cache);
	store->settled += stays;
}

void store_leave(struct store *store, const struct cache *cache)
{
	store->leaving++;
	store->leaving_bytes += cache_bytes(cache);
}

void store_remove(struct store *store, struct cache *cache)
{
	store_unname(store, cache);
	*(cache->prev ? &cache->prev->next : &store->first) = cache->next;
	*(cache->next ? &cache->next->prev : &store->last) = cache->prev;
	store->caches--;
	store->dropped--;
}

void store_release(struct store *store, const struct cache *cache)
{
	store_discharge(store, cache_space(cache), cache_bytes(cache));
	if (!cache->parked)
		uncount(store, cache);
	store->leaving--;
	store->leaving_bytes -= cache_bytes(cache);
	store->settled++;
}

int store_name_check(const char *name)
{
	size_t length = strlen(name);

	if (length < 1 || length > SHM_NAME_MAX)
		return -EINVAL;
	for (; *name; name++)
		if (*name <= ' ' || *name > '~' || *name == '/')
			return -EINVAL;
	return 0;
}
