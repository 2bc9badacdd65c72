// SPDX-License-Identifier: BSD-2-Clause
/*
 * Requests that change something. All state is the control thread's; workers
 * are told by jobs and never asked to wait. A cache leaves in three steps, each
 * of which may find the next already possible: its name is freed, its last
 * lease is over, its worker has let go of it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/control_impl.h"
#include "daemon/crash.h"
#include "daemon/duty.h"
#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/persist.h"
#include "daemon/report.h"
#include "daemon/service.h"
#include "daemon/spec.h"
#include "daemon/takeover.h"
#include "proto/barrier.h"

#define CONTROL_RING 1024
#define REASON_SIZE  512

struct control treekvd;

/* ---- caches leave ---- */

static void on_taken_back(struct worker_job *job)
{
	struct cache *cache = job->cache;

	treekvd.counters.stalls_gone += cache_stalls(cache);
	store_remove(&treekvd.store, cache);
	if (*cache->stored)
		service_forget(cache->stored);
	crash_at(CRASH_DROP_FORGOTTEN);
	log_info("cache gone", "name=%s cache=%llu bytes=%llu", cache->name,
		 (unsigned long long)cache->id,
		 (unsigned long long)cache_bytes(cache));
	cache_free(cache);
}

static void leave_if_possible(struct cache *cache)
{
	if (cache->named || cache->lease || cache->ending || cache->leaving ||
	    cache->pending || persist_holds(cache) || takeover_holds(cache))
		return;
	cache->leaving = true;
	cache->take_back.done = on_taken_back;
	worker_take_back(cache, &cache->take_back);
}

static void drop(struct cache *cache)
{
	/* Recorded first: a daemon that adopts it must not bring it back. */
	cache->index->flags |= SHM_CACHE_DROPPED;
	crash_at(CRASH_DROP_MARKED);
	store_unname(&treekvd.store, cache);
	crash_at(CRASH_DROP_UNNAMED);
	leave_if_possible(cache);
}

static void on_lease_over(struct lease *lease)
{
	struct cache *cache = lease->cache;

	lease_free(lease);
	cache->ending--;
	leave_if_possible(cache);
}

static void end_lease(struct lease *lease)
{
	struct cache *cache = lease->cache;

	treekvd.leases--;
	cache->ending++;
	shm_store_relaxed(&cache->index->last_used, time(NULL));
	lease_end(lease);
	crash_at(CRASH_LEASE_ENDED);
	if (cache->ephemeral)
		drop(cache);
}

static void on_writer_death(struct lease *lease)
{
	treekvd.counters.deaths++;
	log_info("writer died", "name=%s cache=%llu pid=%d", lease->cache->name,
		 (unsigned long long)lease->cache->id, lease->pid);
	end_lease(lease);
}

/* ---- leases ---- */

__attribute__((format(printf, 4, 5))) static void
refuse(struct conn *conn, uint64_t id, int error, const char *format, ...)
{
	char text[REASON_SIZE + 256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	treekvd.counters.refusals++;
	log_info("refused", "pid=%d uid=%u error=%d text=\"%s\"",
		 conn_peer(conn)->pid, conn_peer(conn)->uid, error, text);
	conn_refuse(conn, id, error, "%s", text);
}

static int reply_attached(struct conn *conn, uint64_t id,
			  const struct cache *cache, bool created)
{
	const struct lease *lease = cache->lease;
	const int fds[] = { cache->rows_fd, cache->index_ro_fd,
			    lease->bell_fd };
	Treekv__Attached attached = TREEKV__ATTACHED__INIT;
	Treekv__Reply reply = TREEKV__REPLY__INIT;

	attached.cache = cache->id;
	attached.lease = lease->id;
	attached.name = (char *)(uintptr_t)cache->name;
	attached.created = created;
	attached.tail = shm_commit_tail(shm_load_acquire(&cache->rows->commit));
	attached.rows_size = cache->rows_size;
	attached.index_size = cache->index_size;
	reply.id = id;
	reply.body_case = TREEKV__REPLY__BODY_ATTACHED;
	reply.attached = &attached;
	return conn_reply(conn, &reply, fds, 3);
}

/* Of somebody who has ended, but whose end has not been reported yet. */
static void notice_death(struct cache *cache)
{
	if (cache && cache->lease && lease_is_dead(cache->lease->pidfd))
		on_writer_death(cache->lease);
}

/* The peer's own cache of that name; an ephemeral one may end just here. */
static struct cache *look_up(const struct conn *conn, const char *name)
{
	uid_t uid = conn_peer(conn)->uid;

	notice_death(store_find(&treekvd.store, uid, name));
	return store_find(&treekvd.store, uid, name);
}

static const char *lease_refusal(int error)
{
	switch (error) {
	case -EMFILE:
	case -ENFILE:
		return "the daemon is out of descriptors; raise LimitNOFILE";
	case -ESRCH:
		return "the process that opened this connection has ended; "
		       "connect again";
	}
	return strerror(-error);
}

/* A lease that its holder cannot be told of is none. */
static int grant(struct conn *conn, uint64_t id, struct cache *cache,
		 bool created)
{
	const struct conn_peer *peer = conn_peer(conn);
	struct lease *lease;
	int r;

	r = lease_new(&lease, cache, &treekvd.loop, peer->pid, peer->uid,
		      conn_pidfd(conn), on_writer_death, on_lease_over);
	if (r) {
		refuse(conn, id, r, "cache %s: no lease: %s", cache->name,
		       lease_refusal(r));
		return r;
	}
	treekvd.leases++;
	crash_at(CRASH_LEASE_RECORDED);
	r = reply_attached(conn, id, cache, created);
	crash_at(CRASH_LEASE_ANSWERED);
	if (r) {
		end_lease(lease);
		return r;
	}
	treekvd.counters.attaches++;
	log_debug("attached", "name=%s cache=%llu pid=%d", cache->name,
		  (unsigned long long)cache->id, peer->pid);
	return 0;
}

static void refuse_quarantined(struct conn *conn, uint64_t id,
			       const struct cache *cache)
{
	refuse(conn, id, -EUCLEAN,
	       "cache %s is quarantined: %s; 'treekvctl drop %s' gives its "
	       "memory back",
	       cache->name, compact_fault_text(cache_fault(cache)),
	       cache->name);
}

static void attach(struct conn *conn, uint64_t id, struct cache *cache,
		   const Treekv__Spec *spec)
{
	uint32_t budgets[SHM_LAYERS_MAX];
	char why[REASON_SIZE] = "";
	struct shm_spec asked;
	int r = 0;

	if (persist_is_loading(cache)) {
		persist_wait(conn, id, cache, spec);
		return;
	}
	if (spec) {
		r = spec_load(&asked, budgets, spec, why, sizeof(why));
		if (!r)
			r = spec_compare(cache->index, &asked, budgets, why,
					 sizeof(why));
	}
	if (r)
		refuse(conn, id, r, "cache %s: %s", cache->name, why);
	else if (cache_fault(cache))
		refuse_quarantined(conn, id, cache);
	else if (cache->pending)
		refuse(conn, id, -EBUSY, "cache %s is being created",
		       cache->name);
	else if (takeover_holds(cache))
		refuse(conn, id, -EBUSY,
		       "the lease of cache %s is being broken; try again",
		       cache->name);
	else if (cache->lease)
		refuse(conn, id, -EBUSY,
		       "cache %s is being written by process %d; it is free "
		       "when that process detaches or ends",
		       cache->name, cache->lease->pid);
	else if (cache_check(cache))
		refuse_quarantined(conn, id, cache);
	else
		grant(conn, id, cache, false);
}

/* ---- creation ---- */

static struct worker *least_loaded(void)
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
	cache->ephemeral = request->ephemeral;
	if (cache->ephemeral)
		cache->index->flags |= SHM_CACHE_EPHEMERAL;
	shm_store_relaxed(&cache->index->epoch, 1);
	crash_at(CRASH_CREATE_MADE);
	store_add(&treekvd.store, cache);
	worker_give(least_loaded(), cache, &cache->give);
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
	treekvd.counters.creates++;
	log_info("cache created",
		 "name=%s cache=%llu pid=%d bytes=%llu huge=%d", cache->name,
		 (unsigned long long)cache->id, conn_peer(conn)->pid,
		 (unsigned long long)cache_bytes(cache), cache->huge);
	if (grant(conn, id, cache, true))
		drop(cache);
}

static void on_stored(struct loop_op *op, int res, unsigned int flags)
{
	struct creation *creation = loop_entry(op, struct creation, stored);
	struct cache *cache = creation->cache;

	(void)res;
	(void)flags;
	cache->pending = false;
	crash_at(CRASH_CREATE_KEPT);
	if (creation->conn) {
		*conn_data(creation->conn) = NULL;
		created(creation->conn, creation->id, cache);
	} else {
		drop(cache);
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
	creation->conn = conn;
	creation->id = id;
	creation->cache = cache;
	cache->pending = true;
	*conn_data(conn) = creation;
	loop_poll_once(&treekvd.loop, creation->barrier, &creation->stored);
	return 0;
}

static void create(struct conn *conn, uint64_t id,
		   const Treekv__Create *request, const char *name)
{
	char why[REASON_SIZE] = "";
	struct cache *cache;
	int r;

	r = make(&cache, conn_peer(conn), request, name, why, sizeof(why));
	if (r) {
		refuse(conn, id, r, "cache %s: %s", name, why);
		return;
	}
	if (!treekvd.kept) {
		created(conn, id, cache);
		return;
	}
	r = store(conn, id, cache);
	if (r) {
		refuse(conn, id, r,
		       "cache %s: the service manager does not keep it: %s",
		       name, strerror(-r));
		drop(cache);
	}
}

static void on_create(struct conn *conn, uint64_t id,
		      const Treekv__Create *request)
{
	char anonymous[64];
	struct cache *cache;

	if (!*request->name) {
		snprintf(anonymous, sizeof(anonymous), "anonymous-%d-%llu",
			 conn_peer(conn)->pid,
			 (unsigned long long)++treekvd.anonymous);
		create(conn, id, request, anonymous);
		return;
	}
	if (store_name_check(request->name)) {
		refuse(conn, id, -EINVAL,
		       "a cache's name is 1 to %d bytes of printable ASCII "
		       "without blanks or '/'",
		       SHM_NAME_MAX);
		return;
	}
	cache = look_up(conn, request->name);
	if (!cache && request->attach_existing &&
	    persist_attach(conn, id, request->name, request->spec))
		return;
	if (!cache)
		create(conn, id, request, request->name);
	else if (request->attach_existing)
		attach(conn, id, cache, request->spec);
	else
		refuse(conn, id, -EEXIST, "there is a cache %s already",
		       cache->name);
}

/* ---- the other requests ---- */

/* Root and the daemon's user see all caches, and so may name them. */
static struct cache *find_any(const struct conn *conn, const char *name)
{
	struct cache *found = look_up(conn, name);
	struct cache *cache = treekvd.store.first;

	if (found || !report_sees_all(conn))
		return found;
	for (; cache; cache = cache->next)
		if (cache->named && !strcmp(cache->name, name) && found)
			return NULL;
		else if (cache->named && !strcmp(cache->name, name))
			found = cache;
	return found;
}

static struct cache *find(struct conn *conn, uint64_t id, const char *name,
			  struct cache *(*look)(const struct conn *conn,
						const char *name))
{
	struct cache *cache = look(conn, name);

	if (!cache)
		refuse(conn, id, -ENOENT,
		       "there is no cache %.*s; 'treekvctl list' shows yours",
		       SHM_NAME_MAX, name);
	return cache;
}

static void reply_done(struct conn *conn, uint64_t id)
{
	Treekv__Reply reply = TREEKV__REPLY__INIT;

	reply.id = id;
	conn_reply(conn, &reply, NULL, 0);
}

/*
 * A pid alone proves nothing: the connection may have outlived the process that
 * opened it, and the pid come to somebody else. Two living processes share none.
 */
static bool is_holder(const struct lease *lease, const struct conn *conn)
{
	const struct conn_peer *peer = conn_peer(conn);

	return peer->pid > 0 && lease->pid == peer->pid &&
	       lease->uid == peer->uid && conn_pidfd(conn) >= 0 &&
	       !lease_is_dead(conn_pidfd(conn));
}

/* The lease of that number, if the peer holds it; else refuses. */
static struct lease *own_lease(struct conn *conn, uint64_t id, uint64_t lease)
{
	struct cache *cache = treekvd.store.first;

	while (cache && !(cache->lease && cache->lease->id == lease))
		cache = cache->next;
	if (cache && is_holder(cache->lease, conn))
		return cache->lease;
	refuse(conn, id, -ESTALE, "you hold no lease %llu; attach again",
	       (unsigned long long)lease);
	return NULL;
}

/* The holder has reconnected: the same memory, the same doorbell. */
static void renew(struct conn *conn, uint64_t id, uint64_t number)
{
	struct lease *lease = own_lease(conn, id, number);

	if (lease)
		reply_attached(conn, id, lease->cache, false);
}

static void on_attach(struct conn *conn, uint64_t id,
		      const Treekv__Attach *request)
{
	struct cache *cache;

	if (request->has_renew) {
		renew(conn, id, request->renew);
		return;
	}
	if (!look_up(conn, request->name) &&
	    persist_attach(conn, id, request->name, request->spec))
		return;
	cache = find(conn, id, request->name, look_up);
	if (cache)
		attach(conn, id, cache, request->spec);
}

static void on_detach(struct conn *conn, uint64_t id,
		      const Treekv__Detach *request)
{
	struct lease *lease = own_lease(conn, id, request->lease);

	if (!lease)
		return;
	treekvd.counters.detaches++;
	end_lease(lease);
	reply_done(conn, id);
}

static void on_drop(struct conn *conn, uint64_t id, const Treekv__Drop *request)
{
	uid_t uid = conn_peer(conn)->uid;
	struct cache *cache = find_any(conn, request->name);

	if (!cache && !request->keep_snapshot &&
	    !persist_drop_file(uid, request->name)) {
		reply_done(conn, id);
		return;
	}
	cache = find(conn, id, request->name, find_any);
	if (!cache)
		return;
	treekvd.counters.drops++;
	log_info("cache dropped", "name=%s cache=%llu pid=%d held=%d",
		 cache->name, (unsigned long long)cache->id,
		 conn_peer(conn)->pid, !!cache->lease);
	persist_dropped(cache, request->keep_snapshot);
	drop(cache);
	reply_done(conn, id);
}

static void on_inspect(struct conn *conn, uint64_t id,
		       const Treekv__Inspect *request)
{
	struct cache *cache = find(conn, id, request->name, find_any);

	if (cache)
		report_inspect(&treekvd, conn, id, cache);
}

static void on_request(struct conn *conn, const Treekv__Request *request)
{
	uint64_t id = request->id;

	treekvd.counters.requests++;
	switch (request->body_case) {
	case TREEKV__REQUEST__BODY_CREATE:
		on_create(conn, id, request->create);
		return;
	case TREEKV__REQUEST__BODY_ATTACH:
		on_attach(conn, id, request->attach);
		return;
	case TREEKV__REQUEST__BODY_DETACH:
		on_detach(conn, id, request->detach);
		return;
	case TREEKV__REQUEST__BODY_DROP:
		on_drop(conn, id, request->drop);
		return;
	case TREEKV__REQUEST__BODY_LIST:
		report_list(&treekvd, conn, id);
		return;
	case TREEKV__REQUEST__BODY_INSPECT:
		on_inspect(conn, id, request->inspect);
		return;
	case TREEKV__REQUEST__BODY_STATS:
		report_stats(&treekvd, conn, id);
		return;
	case TREEKV__REQUEST__BODY_BREAK_LEASE:
		takeover_on_break(conn, id, request->break_lease);
		return;
	case TREEKV__REQUEST__BODY_SNAPSHOT:
		persist_on_snapshot(conn, id, request->snapshot);
		return;
	case TREEKV__REQUEST__BODY_RESTORE:
		persist_on_restore(conn, id, request->restore);
		return;
	case TREEKV__REQUEST__BODY_HELLO:
	case TREEKV__REQUEST__BODY__NOT_SET:
	case _TREEKV__REQUEST__BODY__CASE_IS_INT_SIZE:
		break;
	}
	refuse(conn, id, -ENOSYS, "this daemon does not know that request");
}

/* A connection is only a way to ask: leases outlive it. */
static void on_closed(struct conn *conn)
{
	struct creation *creation = *conn_data(conn);

	if (creation)
		creation->conn = NULL;
	persist_closed(conn);
	takeover_closed(conn);
}

static const struct conn_ops ops = {
	.request = on_request,
	.closed = on_closed,
};

/* ---- for persist.c and takeover.c ---- */

void control_refuse(struct conn *conn, uint64_t id, int error, const char *text)
{
	refuse(conn, id, error, "%s", text);
}

void control_attach(struct conn *conn, uint64_t id, struct cache *cache,
		    const Treekv__Spec *spec)
{
	attach(conn, id, cache, spec);
}

struct cache *control_find(const struct conn *conn, const char *name)
{
	return find_any(conn, name);
}

int control_room(struct shm_spec *spec, const uint32_t *budgets, char *why,
		 size_t size)
{
	int r = count_check(why, size);

	return r ? r : pool_check(spec, budgets, why, size);
}

struct worker *control_least_loaded(void)
{
	return least_loaded();
}

void control_drop(struct cache *cache)
{
	drop(cache);
}

void control_end_lease(struct lease *lease)
{
	end_lease(lease);
}

void control_done(struct conn *conn, uint64_t id)
{
	reply_done(conn, id);
}

void control_leave(struct cache *cache)
{
	leave_if_possible(cache);
}

/* ---- start and stop ---- */

static int start_workers(uint32_t n, const char **why)
{
	int r = 0;

	for (uint32_t i = 0; !r && i < n; i++) {
		r = worker_new(&treekvd.worker[i], &treekvd.loop, why);
		if (!r)
			treekvd.workers++;
	}
	return r;
}

static void stop_workers(void)
{
	while (treekvd.workers)
		worker_free(treekvd.worker[--treekvd.workers]);
}

/* ---- what a predecessor left ---- */

static void on_adopted(struct cache *cache)
{
	struct lease *lease;
	bool dropped = cache->index->flags & SHM_CACHE_DROPPED;
	bool died = false;

	store_add(&treekvd.store, cache);
	worker_give(least_loaded(), cache, &cache->give);
	if (lease_restore(&lease, cache, &treekvd.loop, on_writer_death,
			  on_lease_over)) {
		died = shm_load_relaxed(&cache->index->lease_id);
		shm_store_relaxed(&cache->index->lease_id, 0);
	} else {
		treekvd.leases++;
	}
	treekvd.counters.deaths += died;
	if (dropped || (cache->ephemeral && !cache->lease))
		drop(cache);
}

static void adopt(void)
{
	struct adopt_counts *counts = &treekvd.adopted;
	struct service_fd *fds;
	size_t n;

	fds = service_fds(&n);
	adopt_all(fds, n, on_adopted, counts);
	if (n)
		log_info("adopted",
			 "caches=%u quarantined=%u damaged=%u unpaired=%u",
			 counts->sound, counts->quarantined, counts->damaged,
			 counts->unpaired);
}

/* Ours from before, or the manager's; a stored one must be of this path. */
static int listen_on(const char *path, const char **why)
{
	bool activated = false;
	int inherited = service_take_listener(&activated);
	int r, fd;

	r = listener_new(&treekvd.listener, &treekvd.loop, path, inherited,
			 &ops, why);
	if (r)
		return r;
	if (!treekvd.kept)
		return 0;
	listener_keep(treekvd.listener);
	fd = listener_fd(treekvd.listener);
	if (inherited < 0)
		service_store(SERVICE_LISTENER, &fd, 1);
	return 0;
}

int control_start(const struct config *config, const char **why)
{
	struct timespec ts;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	treekvd.started = (uint64_t)ts.tv_sec;
	treekvd.config = config;
	treekvd.kept = service_has_store();
	store_init(&treekvd.store, config->pool);
	r = loop_init(&treekvd.loop, CONTROL_RING, why);
	if (r)
		return r;
	r = start_workers(config->workers, why);
	if (!r)
		r = listen_on(config->socket, why);
	if (r) {
		stop_workers();
		loop_exit(&treekvd.loop);
		return r;
	}
	adopt();
	persist_start();
	duty_start(&treekvd);
	return 0;
}

/* Frees our side of every cache; the manager's descriptors keep the memory. */
static void let_go(void)
{
	struct cache *cache = treekvd.store.first, *next;

	for (; cache; cache = next) {
		next = cache->next;
		cache_free(cache);
	}
}

static void end_all(void)
{
	struct cache *cache = treekvd.store.first, *next;

	for (; cache; cache = next) {
		next = cache->next;
		if (cache->lease)
			end_lease(cache->lease);
		if (cache->named)
			drop(cache);
	}
	while (treekvd.store.caches && !loop_turn(&treekvd.loop))
		;
}

void control_stop(void)
{
	service_notify("STOPPING=1");
	treekvd.listener = listener_free(treekvd.listener);
	persist_stop();
	if (!treekvd.kept)
		end_all();
	stop_workers();
	if (treekvd.kept)
		let_go();
	persist_exit();
	takeover_exit();
	loop_exit(&treekvd.loop);
}
