// SPDX-License-Identifier: BSD-2-Clause
/*
 * Create: room, memfds, a worker, and the service manager, which keeps them.
 *
 * Whoever lost the answer asks again with the same nonce (attach.c). It is in
 * the index from the start, so that he is not refused what he made himself,
 * whatever daemon is there by then, and his second connection waits for the
 * very cache that his first one asked for.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/control_impl.h"
#include "daemon/crash.h"
#include "daemon/event.h"
#include "daemon/lease.h"
#include "daemon/persist.h"
#include "daemon/service.h"
#include "daemon/spec.h"
#include "proto/barrier.h"

struct worker *control_least_loaded(void)
{
	struct worker *best = treekvd.worker[0];

	for (uint32_t i = 1; i < treekvd.workers; i++)
		if (worker_caches(treekvd.worker[i]) < worker_caches(best))
			best = treekvd.worker[i];
	return best;
}

static int pool_check(struct shm_spec *spec, const uint32_t *budgets, char *why,
		      size_t size)
{
	uint64_t wanted = cache_bytes_wanted(
		spec, budgets,
		(enum config_huge_pages)treekvd.config->huge_pages);
	uint64_t left = treekvd.store.pool > treekvd.store.used ?
				treekvd.store.pool - treekvd.store.used :
				0;

	if (wanted <= left)
		return 0;
	snprintf(why, size,
		 "the pool is used up: %llu of %llu bytes are in use and this "
		 "cache takes %llu; drop caches (treekvctl list, drop), or "
		 "give the daemon a larger --pool",
		 (unsigned long long)treekvd.store.used,
		 (unsigned long long)treekvd.store.pool,
		 (unsigned long long)wanted);
	return -ENOSPC;
}

static int count_check(char *why, size_t size)
{
	if (!treekvd.kept || treekvd.store.caches < CONTROL_KEPT_MAX)
		return 0;
	snprintf(why, size,
		 "there are %u caches, the most that the service manager can "
		 "keep over a restart; drop some (treekvctl list, drop)",
		 treekvd.store.caches);
	return -ENOSPC;
}

static int make(struct cache **ret, const struct conn_peer *peer,
		const Treekv__Create *request, const char *name, char *why,
		size_t size)
{
	uint32_t budgets[SHM_LAYERS_MAX];
	struct cache_error error;
	struct shm_spec spec;
	struct cache *cache;
	int r;

	r = spec_load(&spec, budgets, request->spec, why, size);
	if (!r)
		r = count_check(why, size);
	if (!r)
		r = pool_check(&spec, budgets, why, size);
	if (r)
		return r;
	r = cache_new(&cache, name, &spec, budgets,
		      (enum config_huge_pages)treekvd.config->huge_pages,
		      &error);
	if (r) {
		snprintf(why, size, "%s", error.text);
		return r;
	}
	cache->uid = cache->index->uid = peer->uid;
	cache->gid = cache->index->gid = peer->gid;
	cache->index->create_nonce = request->nonce;
	cache->ephemeral = request->ephemeral;
	if (cache->ephemeral)
		cache->index->flags |= SHM_CACHE_EPHEMERAL;
	shm_store_relaxed(&cache->index->epoch, 1);
	crash_at(CRASH_CREATE_MADE);
	store_add(&treekvd.store, cache);
	worker_give(control_least_loaded(), cache, &cache->give);
	*ret = cache;
	return 0;
}

/*
 * A cache that is being made answers only when the service manager has both of
 * its memfds: until then its creator could lose what he commits. The barrier's
 * hang-up says so.
 */
struct creation {
	struct loop_op stored;
	int barrier;
	struct conn *conn; /* NULL: the creator hung up */
	uint64_t id;
	struct cache *cache;
};

static void created(struct conn *conn, uint64_t id, struct cache *cache)
{
	event_created(cache, conn_peer(conn)->pid);
	if (control_grant(conn, id, cache, true, cache->index->create_nonce))
		control_drop(cache);
}

/* The answer goes there; nobody else's does. */
static void creation_connect(struct creation *creation, struct conn *conn,
			     uint64_t id)
{
	if (creation->conn)
		*conn_data(creation->conn) = NULL;
	creation->conn = conn;
	creation->id = id;
	*conn_data(conn) = creation;
}

static void on_stored(struct loop_op *op, int res, unsigned int flags)
{
	struct creation *creation = loop_entry(op, struct creation, stored);
	struct cache *cache = creation->cache;

	(void)res;
	(void)flags;
	cache->pending = false;
	cache->creation = NULL;
	crash_at(CRASH_CREATE_KEPT);
	if (creation->conn) {
		*conn_data(creation->conn) = NULL;
		created(creation->conn, creation->id, cache);
	} else {
		control_drop(cache);
	}
	close(creation->barrier);
	free(creation);
}

/* Return: 0, and the answer follows; or a negative errno. */
static int store(struct conn *conn, uint64_t id, struct cache *cache)
{
	const int fds[] = { cache->rows_fd, cache->index_fd };
	struct creation *creation = calloc(1, sizeof(*creation));
	int r;

	if (!creation)
		return -ENOMEM;
	snprintf(cache->stored, sizeof(cache->stored), "%08llx",
		 (unsigned long long)cache->id & 0xffffffff);
	crash_at(CRASH_CREATE_LISTED);
	r = service_store(cache->stored, fds, 2);
	crash_at(CRASH_CREATE_SENT);
	creation->barrier = r ? r : service_barrier();
	if (creation->barrier < 0) {
		r = creation->barrier;
		free(creation);
		return r;
	}
	creation->stored.done = on_stored;
	creation->cache = cache;
	creation_connect(creation, conn, id);
	cache->pending = true;
	cache->creation = creation;
	loop_poll_once(&treekvd.loop, creation->barrier, &creation->stored);
	return 0;
}

static void create(struct conn *conn, uint64_t id,
		   const Treekv__Create *request, const char *name)
{
	char why[CONTROL_REASON_SIZE] = "";
	struct cache *cache;
	int r;

	r = make(&cache, conn_peer(conn), request, name, why, sizeof(why));
	if (r) {
		control_refuse(conn, id, r, "cache %s: %s", name, why);
		return;
	}
	if (!treekvd.kept) {
		created(conn, id, cache);
		return;
	}
	r = store(conn, id, cache);
	if (r) {
		control_refuse(
			conn, id, r,
			"cache %s: the service manager does not keep it: %s",
			name, strerror(-r));
		control_drop(cache);
	}
}

/* There is one of that name. */
static void create_again(struct conn *conn, uint64_t id, struct cache *cache,
			 const Treekv__Create *request)
{
	bool his = request->nonce &&
		   cache->index->create_nonce == request->nonce;

	if (his && cache->creation)
		creation_connect(cache->creation, conn, id);
	else if (his || request->attach_existing)
		control_attach(conn, id, cache, request->spec, request->nonce);
	else
		control_refuse(conn, id, -EEXIST, "there is a cache %s already",
			       cache->name);
}

/* The nonce is in the name, so that asking again finds it. */
static void create_anonymous(struct conn *conn, uint64_t id,
			     const Treekv__Create *request)
{
	struct cache *cache;
	char name[64];

	snprintf(name, sizeof(name), "anonymous-%d-%llx", conn_peer(conn)->pid,
		 (unsigned long long)(request->nonce ? request->nonce :
						       lease_draw()));
	cache = control_look_up(conn, name);
	if (cache)
		create_again(conn, id, cache, request);
	else
		create(conn, id, request, name);
}

void creation_on_create(struct conn *conn, uint64_t id,
			const Treekv__Create *request)
{
	struct cache *cache;

	if (!*request->name) {
		create_anonymous(conn, id, request);
		return;
	}
	if (store_name_check(request->name)) {
		control_refuse(
			conn, id, -EINVAL,
			"a cache's name is 1 to %d bytes of printable ASCII "
			"without blanks or '/'",
			SHM_NAME_MAX);
		return;
	}
	cache = control_look_up(conn, request->name);
	if (!cache && request->attach_existing &&
	    persist_attach(conn, id, request->name, request->spec,
			   request->nonce))
		return;
	if (cache)
		create_again(conn, id, cache, request);
	else
		create(conn, id, request, request->name);
}

void creation_closed(struct conn *conn)
{
	struct creation *creation = *conn_data(conn);

	if (creation)
		creation->conn = NULL;
}

int control_room(struct shm_spec *spec, const uint32_t *budgets, char *why,
		 size_t size)
{
	int r = count_check(why, size);

	return r ? r : pool_check(spec, budgets, why, size);
}
