// SPDX-License-Identifier: BSD-2-Clause
/*
 * Create: room, memfds, orders, a worker, and the service manager, which keeps
 * them.
 *
 * Where there is no room, but caches are leaving that nobody holds any more, or
 * idle ones can be parked, the answer waits for that (room.h).
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
#include "daemon/fork_make.h"
#include "daemon/keep.h"
#include "daemon/lease.h"
#include "daemon/owner.h"
#include "daemon/park.h"
#include "daemon/persist.h"
#include "daemon/report.h"
#include "daemon/room.h"
#include "daemon/service.h"
#include "daemon/spec.h"
#include "daemon/tenant.h"
#include "proto/barrier.h"

#define KEPT_SPARE     8
#define FORMAT_AT_ONCE (UINT64_C(1) << 20) /* bytes of index: no errand */

struct worker *control_least_loaded(void)
{
	struct worker *best = treekvd.worker[0];

	for (uint32_t i = 1; i < treekvd.workers; i++)
		if (worker_caches(treekvd.worker[i]) < worker_caches(best))
			best = treekvd.worker[i];
	return best;
}

/* @lacks: for -ENOSPC, how much has to go */
static int pool_check(uint64_t wanted, uint64_t *lacks, char *why, size_t size)
{
	const struct store *store = &treekvd.store;
	bool fits = wanted <= store->pool;

	if (wanted <= store_left(store))
		return 0;
	*lacks = fits ? store->used + wanted - store->pool : ROOM_NEVER;
	snprintf(why, size,
		 "the pool is used up: %llu of %llu bytes are in use and this "
		 "cache takes %llu; %.160s; drop caches (treekvctl list, "
		 "drop), or give the daemon a larger --pool",
		 (unsigned long long)store->used,
		 (unsigned long long)store->pool, (unsigned long long)wanted,
		 fits ? park_obstacle() : "no parking makes room for that");
	return -ENOSPC;
}

/* Two descriptors each, and a few for the socket and for lives that overlap. */
static uint32_t kept_max(void)
{
	uint32_t room = service_store_size();

	room = room > KEPT_SPARE ? (room - KEPT_SPARE) / 2 : 0;
	return room < CONTROL_KEPT_MAX ? room : CONTROL_KEPT_MAX;
}

static int count_check(char *why, size_t size)
{
	if (!treekvd.kept || treekvd.store.caches < kept_max())
		return 0;
	snprintf(why, size,
		 "there are %u caches, the most that the service manager can "
		 "keep over a restart; %.160s; drop some (treekvctl list, "
		 "drop)",
		 treekvd.store.caches, park_obstacle());
	return -ENOSPC;
}

/* While others leave, huge pages may be had in a moment. */
static enum config_huge_pages pages(bool last)
{
	enum config_huge_pages mode =
		(enum config_huge_pages)treekvd.config->huge_pages;

	return mode == HUGE_PAGES_PREFER && !last ? HUGE_PAGES_REQUIRE : mode;
}

/* Whole but for its orders. @bytes: what it lacks, for -ENOSPC. */
static int make(struct cache **ret, const Treekv__Create *request,
		const struct name *name, bool last, uint64_t *bytes, char *why,
		size_t size)
{
	uint32_t budgets[SHM_LAYERS_MAX];
	struct cache_error error;
	struct shm_spec spec;
	struct cache *cache;
	int r;

	r = spec_load(&spec, budgets, request->spec, why, size);
	if (!r)
		r = control_room(name, &spec, budgets, NULL, bytes, why, size);
	if (r)
		return r;
	r = cache_new(&cache, name->own, &spec, budgets, NULL, pages(last),
		      &error);
	if (r) {
		snprintf(why, size, "%s", error.text);
		return r;
	}
	*ret = cache;
	return 0;
}

/*
 * A cache that is being made answers only when its orders are laid out and the
 * service manager has both of its memfds: until then its creator could lose
 * what he commits. The barrier's hang-up says so.
 */
struct creation {
	struct loop_op stored;
	int barrier;
	struct conn *conn; /* NULL: the creator hung up */
	uint64_t id;
	struct cache *cache;
	struct fork_plan *fork; /* what its orders begin with; NULL: nothing */
	int error; /* of filling them */
};

/* The cache goes there, and nowhere else: there is one lease. */
static void creation_connect(struct creation *creation, struct conn *conn,
			     uint64_t id)
{
	struct conn *former = creation->conn;
	uint64_t former_id = creation->id;

	if (former)
		*conn_data(former) = NULL;
	creation->conn = conn;
	creation->id = id;
	*conn_data(conn) = creation;
	if (former)
		control_refuse(former, former_id, -ECANCELED,
			       "cache %s was asked for again on another "
			       "connection, which has it",
			       creation->cache->name);
}

/* The end of it. @error: why there is no cache, which @what says. */
static void creation_over(struct creation *creation, int error,
			  const char *what)
{
	struct cache *cache = creation->cache;
	struct conn *conn = creation->conn;
	uint64_t id = creation->id;

	free(creation->fork);
	free(creation);
	cache->pending = false;
	cache->creation = NULL;
	if (conn)
		*conn_data(conn) = NULL;
	if (conn && error)
		control_refuse(conn, id, error, "cache %s: %s: %s", cache->name,
			       what, strerror(-error));
	if (conn && !error) {
		event_created(cache, conn_peer(conn)->pid);
		error = control_grant(conn, id, cache, true,
				      cache->index->create_nonce);
	}
	if (!conn || error)
		control_drop(cache);
}

static void on_stored(struct loop_op *op, int res, unsigned int flags)
{
	struct creation *creation = loop_entry(op, struct creation, stored);

	(void)res;
	(void)flags;
	crash_at(CRASH_CREATE_KEPT);
	close(creation->barrier);
	creation_over(creation, 0, NULL);
}

/* Return: 0, and on_stored() follows; or a negative errno. */
static int store(struct creation *creation)
{
	struct cache *cache = creation->cache;
	const int fds[] = { cache->rows_fd, cache->index_fd };
	int r;

	snprintf(cache->stored, sizeof(cache->stored), "%08llx",
		 (unsigned long long)cache->id & 0xffffffff);
	crash_at(CRASH_CREATE_LISTED);
	r = service_store(cache->stored, fds, 2);
	crash_at(CRASH_CREATE_SENT);
	if (r)
		return r;
	creation->barrier = service_barrier();
	if (creation->barrier < 0)
		return creation->barrier;
	creation->stored.done = on_stored;
	loop_poll_once(&treekvd.loop, creation->barrier, &creation->stored);
	return 0;
}

static void creation_made(struct creation *creation)
{
	struct cache *cache = creation->cache;
	int r;

	crash_at(CRASH_CREATE_MADE);
	worker_give(control_least_loaded(), cache, &cache->give);
	if (creation->error) {
		creation_over(creation, creation->error, "filling it");
		return;
	}
	if (!creation->conn || !treekvd.kept) {
		creation_over(creation, 0, NULL);
		return;
	}
	r = store(creation);
	if (r)
		creation_over(creation, r,
			      "the service manager does not keep it");
}

static void fill(struct cache *cache)
{
	struct creation *creation = cache->creation;

	if (creation->fork)
		creation->error = fork_fill(cache, creation->fork);
	else
		cache_format(cache);
}

static void on_errand(struct errand *errand)
{
	fill(loop_entry(errand, struct cache, errand));
}

static void on_filled(struct errand *errand)
{
	creation_made(loop_entry(errand, struct cache, errand)->creation);
}

static void own(struct cache *cache, const struct conn_peer *peer,
		const struct creation_wish *wish)
{
	bool shared = name_is_shared(wish->space);
	struct access_what what = {
		.uid = peer->uid,
		.gid = shared ? (gid_t)wish->space : peer->gid,
		.mode = shared ? ACCESS_MODE_SHARED : ACCESS_MODE_OWN,
	};

	if (wish->has_mode)
		what.mode = wish->mode;
	cache_set_owner(cache, &what, shared);
	cache->index->create_nonce = wish->nonce;
	cache->ephemeral = wish->ephemeral;
	cache->index->ttl = wish->ttl;
	if (cache->ephemeral)
		cache_mark(cache, SHM_CACHE_EPHEMERAL, true);
	if (wish->anonymous)
		cache_mark(cache, SHM_CACHE_ANONYMOUS, true);
	shm_store_relaxed(&cache->index->epoch, 1);
	if (wish->fork)
		cache_set_parent(cache, wish->fork->parent);
}

int creation_begin(struct conn *conn, uint64_t id, struct cache *cache,
		   const struct creation_wish *wish)
{
	struct creation *creation = calloc(1, sizeof(*creation));

	if (!creation) {
		cache_free(cache);
		return -ENOMEM;
	}
	own(cache, conn_peer(conn), wish);
	creation->cache = cache;
	creation->fork = wish->fork;
	creation_connect(creation, conn, id);
	cache->creation = creation;
	cache->pending = true;
	store_add(&treekvd.store, cache);
	disk_settle(cache_space(cache), cache->name);
	keep_added(cache);
	if (cache->index_size > FORMAT_AT_ONCE) {
		errand_run(&cache->errand, on_errand, on_filled);
	} else {
		fill(cache);
		creation_made(creation);
	}
	return 0;
}

/*
 * Return: false when there is no room, but may be in a moment; true: it is
 * answered, or will be.
 */
static bool create(struct conn *conn, uint64_t id,
		   const Treekv__Create *request, const struct name *name,
		   const struct room_try *try)
{
	const struct creation_wish wish = {
		.space = name->space,
		.has_mode = request->has_mode,
		.mode = request->mode,
		.nonce = request->nonce,
		.ttl = request->ttl,
		.ephemeral = request->ephemeral,
		.anonymous = !*request->name,
	};
	char why[CONTROL_REASON_SIZE] = "the daemon has no memory";
	uint64_t bytes = 0;
	struct cache *cache;
	int r;

	r = make(&cache, request, name, try->last, &bytes, why, sizeof(why));
	if (r == -ENOSPC && room_comes(try, bytes))
		return false;
	if (!r)
		r = creation_begin(conn, id, cache, &wish);
	if (r)
		control_refuse(conn, id, r, "cache %s: %s", name->own, why);
	return true;
}

static struct control_wish wish_of(const Treekv__Create *request,
				   const struct room_try *try)
{
	return (struct control_wish){
		.spec = request->spec,
		.nonce = request->nonce,
		.progress = request->progress,
		.try = try,
	};
}

bool creation_again(struct conn *conn, uint64_t id, struct cache *cache,
		    const struct control_wish *wish)
{
	if (!wish->nonce || cache->index->create_nonce != wish->nonce ||
	    cache->uid != conn_peer(conn)->uid)
		return false;
	if (cache->creation)
		creation_connect(cache->creation, conn, id);
	else
		control_attach(conn, id, cache, wish);
	return true;
}

void creation_refuse_taken(struct conn *conn, uint64_t id, const char *name,
			   bool on_disk)
{
	control_refuse(conn, id, -EEXIST, "there is a cache %.*s already%s",
		       SHM_NAME_FULL, name,
		       on_disk ? ", on disk: attach to it, or drop it" : "");
}

bool creation_refuse_given(struct conn *conn, uint64_t id,
			   const struct name *name)
{
	if (!owner_holds_name(name->space, name->own))
		return false;
	control_refuse(conn, id, -EBUSY,
		       "a cache %s is being given to another owner; try again",
		       name->own);
	return true;
}

/* There is one of that name. Return: as create(). */
static bool create_again(struct conn *conn, uint64_t id, struct cache *cache,
			 const Treekv__Create *request,
			 const struct room_try *try)
{
	struct control_wish wish = wish_of(request, NULL);

	if (creation_again(conn, id, cache, &wish))
		return true;
	wish.try = try;
	if (request->attach_existing)
		return control_attach(conn, id, cache, &wish);
	creation_refuse_taken(conn, id, cache->name, false);
	return true;
}

/* The nonce is in the name, so that asking again finds it. */
int creation_name(struct conn *conn, uint64_t id, const char *wanted,
		  uint64_t nonce, char room[CREATION_NAME_SIZE],
		  struct name *ret)
{
	if (!*wanted) {
		snprintf(room, CREATION_NAME_SIZE, "anonymous-%d-%llx",
			 conn_peer(conn)->pid,
			 (unsigned long long)(nonce ? nonce : lease_draw()));
		*ret = (struct name){ conn_peer(conn)->uid, room };
		return 0;
	}
	if (!name_parse(ret, wanted, conn_peer(conn)->uid) &&
	    !store_name_check(ret->own))
		return 0;
	control_refuse(conn, id, -EINVAL,
		       "a cache's name is 1 to %d bytes of printable ASCII "
		       "without blanks or '/', with ~UID/ or @GID/ before it "
		       "if it is somebody else's or a group's",
		       SHM_NAME_MAX);
	return -EINVAL;
}

static bool attempt_anonymous(struct conn *conn, uint64_t id,
			      const Treekv__Create *request,
			      const struct name *name,
			      const struct room_try *try)
{
	struct cache *cache = control_look_up(name->space, name->own);

	if (!cache)
		return create(conn, id, request, name, try);
	return create_again(conn, id, cache, request, try);
}

bool creation_may(const struct conn *conn, uint64_t space)
{
	if (!name_is_shared(space))
		return space == conn_peer(conn)->uid;
	return report_sees_all(conn) || control_in_group(conn, (gid_t)space);
}

/*
 * In a space that he may use he learns that a name is taken, whatever its mode,
 * as in a folder.
 */
static bool meet(struct conn *conn, uint64_t id, struct cache *cache,
		 const Treekv__Create *request, const struct room_try *try)
{
	struct access_what what = cache_what(cache);
	int r = control_check(conn, &what, ACCESS_WRITE);

	if (!r)
		return create_again(conn, id, cache, request, try);
	if (r == -EACCES && request->attach_existing)
		control_get(conn, id, request->name, ACCESS_WRITE);
	else
		creation_refuse_taken(conn, id, request->name, false);
	return true;
}

static bool attempt_named(struct conn *conn, uint64_t id,
			  const Treekv__Create *request,
			  const struct name *name, const struct room_try *try)
{
	enum persist_answer answer = PERSIST_IS_ELSEWHERE;
	bool may = creation_may(conn, name->space);
	struct control_wish wish = wish_of(request, try);
	struct cache *cache;

	if (request->attach_existing)
		answer = persist_attach(conn, id, request->name, &wish);
	if (answer != PERSIST_IS_ELSEWHERE)
		return answer == PERSIST_ANSWERS;
	cache = control_look_up(name->space, name->own);
	if (!may)
		cache = control_get(conn, id, request->name, ACCESS_WRITE);
	if (!cache && !may)
		return true;
	if (cache)
		return meet(conn, id, cache, request, try);
	if (creation_refuse_given(conn, id, name))
		return true;
	if ((!request->attach_existing || name_is_shared(name->space)) &&
	    persist_is_on_disk(name->space, name->own))
		creation_refuse_taken(conn, id, request->name, true);
	else
		return create(conn, id, request, name, try);
	return true;
}

bool creation_attempt(struct conn *conn, uint64_t id,
		      const Treekv__Create *request, const struct room_try *try)
{
	char room[CREATION_NAME_SIZE];
	struct name name;

	if ((request->has_mode &&
	     control_refuse_mode(conn, id, request->mode)) ||
	    creation_name(conn, id, request->name, request->nonce, room, &name))
		return true;
	if (name.own == room)
		return attempt_anonymous(conn, id, request, &name, try);
	return attempt_named(conn, id, request, &name, try);
}

void creation_closed(struct conn *conn)
{
	struct creation *creation = *conn_data(conn);

	if (creation)
		creation->conn = NULL;
}

void creation_abandon(struct cache *cache)
{
	struct creation *creation = cache->creation;

	if (!creation)
		return;
	if (creation->stored.done)
		close(creation->barrier);
	free(creation->fork);
	free(creation);
	cache->creation = NULL;
}

int control_room(const struct name *name, struct shm_spec *spec,
		 const uint32_t *budgets, const struct layout_fork *fork,
		 uint64_t *bytes, char *why, size_t size)
{
	int r;

	*bytes = cache_bytes_wanted(
		spec, budgets, fork,
		(enum config_huge_pages)treekvd.config->huge_pages);
	if (*bytes == UINT64_MAX) {
		snprintf(why, size, "the daemon has no memory");
		return -ENOMEM;
	}
	r = tenant_room(name, *bytes, why, size);
	if (!r)
		r = pool_check(*bytes, bytes, why, size);
	if (r)
		return r;
	r = count_check(why, size);
	if (r)
		*bytes = 1; /* whoever goes is enough */
	return r;
}
