// SPDX-License-Identifier: BSD-2-Clause
/*
 * Attach, renew, detach: who may write a cache. A connection is only a way to
 * ask; a lease belongs to the process that asked and outlives it.
 *
 * An answer may get lost, and then its process holds a lease it does not know
 * of. The nonce of its request is recorded with the lease: the same process
 * asking again with it has not had the answer, and gets it. Any other nonce is
 * somebody else's request, be it of another thread of that process. He hangs up
 * before he asks again; so a request whose connection is gone is not granted,
 * or it could be read after the one that repeats it, and bring its lease back.
 *
 * Readers are not kept account of: they can neither write nor delay anybody,
 * and what they have mapped they may look at for as long as they like.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/control_impl.h"
#include "daemon/crash.h"
#include "daemon/event.h"
#include "daemon/fork_make.h"
#include "daemon/freeze.h"
#include "daemon/handover.h"
#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/lookup.h"
#include "daemon/park.h"
#include "daemon/persist.h"
#include "daemon/prefill.h"
#include "daemon/spec.h"
#include "daemon/takeover.h"
#include "proto/barrier.h"
#include "proto/frame.h"

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

static void refuse_memory(struct conn *conn, uint64_t id,
			  const struct cache *cache, int error)
{
	control_refuse(conn, id, error,
		       "cache %s: its memory cannot be opened read-only: %s",
		       cache->name, lease_refusal(error));
}

/* What a fork that has just been made begins with. */
static void describe_prefix(Treekv__Prefix *ret, const struct cache *cache,
			    const struct conn *conn, char *room)
{
	const struct lookup_result found = {
		.cache = cache->parent,
		.tokens = shm_commit_tail(cache_commit(cache)),
		.compacted = !cache_is_exact(cache->parent),
		.scores = fork_carries_scores(
			cache->parent->index,
			shm_commit_tail(cache_commit(cache)),
			&cache->index->spec),
	};

	lookup_describe(ret, &found, conn, room);
}

/* @lease: NULL for a reader. Return: 0, or a negative errno, and it is told. */
static int reply_attached(struct conn *conn, uint64_t id,
			  const struct cache *cache, const struct lease *lease,
			  int rows_fd, bool created)
{
	int copy = cache->index_ro_fd < 0 ? cache_index_copy(cache) : 0;
	int fds[FRAME_FDS_MAX] = { rows_fd, cache->index_ro_fd };
	Treekv__Attached attached = TREEKV__ATTACHED__INIT;
	char name[SHM_NAME_FULL + 1], parent[SHM_NAME_FULL + 1];
	Treekv__Reply reply = TREEKV__REPLY__INIT;
	Treekv__Prefix prefix;
	unsigned int n = 2;
	int r = copy;

	if (copy > 0)
		fds[1] = copy;
	if (r >= 0 && cache->parent) {
		r = cache_rows_read_only(cache->parent);
		fds[n++] = r;
		attached.has_parent_size = true;
		attached.parent_size = cache->parent->rows_size;
	}
	if (r < 0) {
		refuse_memory(conn, id, cache, r);
		goto out;
	}
	if (lease)
		fds[n++] = lease->bell_fd;

	attached.cache = cache->id;
	attached.lease = lease ? lease->id : 0;
	name_print(name, cache_space(cache), cache->name, conn_peer(conn)->uid);
	attached.name = name;
	attached.created = created;
	attached.tail = shm_commit_tail(cache_commit(cache));
	attached.rows_size = cache->rows_size;
	attached.index_size = cache->index_size;
	if (cache->parent && created) {
		describe_prefix(&prefix, cache, conn, parent);
		attached.prefix = &prefix;
	}
	reply.id = id;
	reply.body_case = TREEKV__REPLY__BODY_ATTACHED;
	reply.attached = &attached;
	r = conn_reply(conn, &reply, fds, n);
out:
	if (copy > 0)
		close(copy);
	return r;
}

static int reply_lease(struct conn *conn, uint64_t id,
		       const struct cache *cache, bool created)
{
	return reply_attached(conn, id, cache, cache->lease, cache->rows_fd,
			      created);
}

static void grant_reader(struct conn *conn, uint64_t id, struct cache *cache)
{
	int fd = cache_rows_read_only(cache);

	if (fd < 0) {
		refuse_memory(conn, id, cache, fd);
	} else if (!reply_attached(conn, id, cache, NULL, fd, false)) {
		park_used(cache);
		event_reader(cache, conn_peer(conn)->pid);
	}
}

void control_resume_lease(struct cache *cache)
{
	struct lease *lease;
	int r = -ESRCH;

	if (!cache_is_frozen(cache))
		r = lease_restore(&lease, cache, &treekvd.loop,
				  control_writer_died, control_lease_over);
	if (r && r != -ESRCH && !cache->barred)
		log_error("lease not resumed",
			  "name=%s pid=%u error=\"%s\" barred=1", cache->name,
			  cache->index->lease_pid, strerror(-r));
	cache->barred = r && r != -ESRCH;
	if (!r)
		treekvd.leases++;
	if (r != -ESRCH)
		return;
	if (shm_load_relaxed(&cache->index->lease_id))
		event_died_unseen(cache);
	shm_store_relaxed(&cache->index->lease_id, 0);
}

/* Of somebody who has ended, but whose end has not been reported yet. */
static void notice_death(struct cache *cache)
{
	if (cache && cache->barred)
		control_resume_lease(cache);
	if (cache && cache->lease && lease_is_dead(cache->lease->pidfd))
		control_writer_died(cache->lease);
}

/* An ephemeral one may end just here. */
struct cache *control_look_up(uint64_t space, const char *name)
{
	notice_death(store_find(&treekvd.store, space, name));
	return store_find(&treekvd.store, space, name);
}

/* A lease that its holder cannot be told of is none. */
int control_grant(struct conn *conn, uint64_t id, struct cache *cache,
		  bool created, uint64_t nonce)
{
	const struct conn_peer *peer = conn_peer(conn);
	struct lease *lease;
	int r;

	if (!conn_is_open(conn))
		return -ECONNRESET;
	handover_note(cache, peer->uid);
	r = lease_new(&lease, cache, &treekvd.loop, peer->pid, peer->uid,
		      conn_pidfd(conn), nonce, control_writer_died,
		      control_lease_over);
	if (r) {
		control_refuse(conn, id, r, "cache %s: no lease: %s",
			       cache->name, lease_refusal(r));
		return r;
	}
	treekvd.leases++;
	if (!created)
		park_used(cache);
	crash_at(CRASH_LEASE_RECORDED);
	r = reply_lease(conn, id, cache, created);
	crash_at(CRASH_LEASE_ANSWERED);
	if (r) {
		control_end_lease(lease);
		return r;
	}
	event_attached(cache, peer->pid);
	return 0;
}

static void refuse_quarantined(struct conn *conn, uint64_t id,
			       const struct cache *cache)
{
	control_refuse(
		conn, id, -EUCLEAN,
		"cache %s is quarantined: %s; 'treekvctl drop %s' gives its "
		"memory back",
		cache->name, compact_fault_text(cache_fault(cache)),
		cache->name);
}

/* Its last writer left lies behind. */
static void quarantine(struct conn *conn, uint64_t id,
		       const struct cache *cache)
{
	event_quarantined(cache);
	refuse_quarantined(conn, id, cache);
}

/*
 * A pid alone proves nothing: the connection may have outlived the process that
 * opened it, and the pid come to somebody else. Two living processes share none.
 */
bool control_is_holder(const struct lease *lease, const struct conn *conn)
{
	const struct conn_peer *peer = conn_peer(conn);

	return peer->pid > 0 && lease->pid == peer->pid &&
	       lease->uid == peer->uid && conn_pidfd(conn) >= 0 &&
	       !lease_is_dead(conn_pidfd(conn));
}

/* He was granted it before, upon this very request. */
static bool has_got_it(const struct cache *cache, const struct conn *conn,
		       uint64_t nonce)
{
	return nonce && cache->lease && cache->lease->nonce == nonce &&
	       control_is_holder(cache->lease, conn);
}

/* Return: 0 or a negative errno, and he was refused. */
static int check_attach(struct conn *conn, uint64_t id, struct cache *cache,
			const struct control_wish *wish)
{
	uint32_t budgets[SHM_LAYERS_MAX];
	char why[CONTROL_REASON_SIZE] = "";
	struct shm_spec asked;
	int r = 0;

	if (wish->spec) {
		r = spec_load(&asked, budgets, wish->spec, why, sizeof(why));
		if (!r)
			r = spec_compare(cache->index, &asked, budgets, why,
					 sizeof(why));
	}
	if (r) {
		control_refuse(conn, id, r, "cache %s: %s", cache->name, why);
	} else if (cache_fault(cache)) {
		refuse_quarantined(conn, id, cache);
		r = -EUCLEAN;
	} else if (cache->pending) {
		r = -EBUSY;
		control_refuse(conn, id, r, "cache %s is being created",
			       cache->name);
	}
	return r;
}

/* Return: false when there is no room for what it takes, but may be soon. */
static bool attach_writer(struct conn *conn, uint64_t id, struct cache *cache,
			  const struct control_wish *wish)
{
	uint64_t nonce = wish->nonce;
	bool created = nonce && cache->index->create_nonce == nonce;

	if (takeover_holds(cache) || freeze_holds(cache))
		control_refuse(
			conn, id, -EBUSY,
			"the lease of cache %s is being broken, or it is "
			"being handed over or frozen; try again",
			cache->name);
	else if (cache_is_frozen(cache))
		control_refuse(conn, id, -EROFS,
			       "cache %s is frozen: nobody writes it any more; "
			       "fork it, or attach to read it",
			       cache->name);
	else if (cache->barred)
		control_refuse(conn, id, -EBUSY,
			       "process %u may still write cache %s, and the "
			       "daemon lacks memory or descriptors to watch "
			       "it; raise LimitNOFILE, or try again",
			       cache->index->lease_pid, cache->name);
	else if (prefill_holds(cache))
		prefill_wait(conn, id, cache, nonce);
	else if (has_got_it(cache, conn, nonce))
		reply_lease(conn, id, cache, created);
	else if (cache->lease)
		control_refuse(
			conn, id, -EBUSY,
			"cache %s is being written by process %d; it is free "
			"when that process detaches or ends",
			cache->name, cache->lease->pid);
	else if (cache_check(cache))
		quarantine(conn, id, cache);
	else if (handover_needed(cache, conn_peer(conn)->uid))
		return handover_start(conn, id, cache, wish);
	else
		control_grant(conn, id, cache, created, nonce);
	return true;
}

static void attach_reader(struct conn *conn, uint64_t id, struct cache *cache)
{
	if (!cache->lease && !prefill_holds(cache) && cache_check(cache))
		quarantine(conn, id, cache);
	else
		grant_reader(conn, id, cache);
}

bool control_attach(struct conn *conn, uint64_t id, struct cache *cache,
		    const struct control_wish *wish)
{
	if (check_attach(conn, id, cache, wish))
		return true;
	if (!wish->read)
		return attach_writer(conn, id, cache, wish);
	attach_reader(conn, id, cache);
	return true;
}

void control_attach_late(struct conn *conn, uint64_t id, struct cache *cache,
			 const struct control_wish *wish)
{
	if (control_permit(conn, id, cache->name, cache->named ? cache : NULL,
			   ACCESS_WRITE))
		control_attach(conn, id, cache, wish);
}

/* The lease of that number, or granted upon that nonce, if the peer has it. */
static struct lease *own_lease(const struct conn *conn, uint64_t number,
			       uint64_t nonce)
{
	struct cache *cache = treekvd.store.first;
	struct lease *lease;

	for (; cache; cache = cache->next) {
		if (cache->barred)
			control_resume_lease(cache);
		lease = cache->lease;
		if (lease &&
		    (number ? lease->id == number :
			      nonce && lease->nonce == nonce) &&
		    control_is_holder(lease, conn))
			return lease;
	}
	return NULL;
}

static void refuse_stale(struct conn *conn, uint64_t id, uint64_t number)
{
	control_refuse(conn, id, -ESTALE,
		       "you hold no lease %llu; attach again",
		       (unsigned long long)number);
}

struct lease *control_own_lease(struct conn *conn, uint64_t id, uint64_t number)
{
	struct lease *lease = own_lease(conn, number, 0);

	if (!lease)
		refuse_stale(conn, id, number);
	return lease;
}

/* The holder has reconnected: the same memory, the same doorbell. */
static void renew(struct conn *conn, uint64_t id, uint64_t number)
{
	struct lease *lease = control_own_lease(conn, id, number);

	if (lease)
		reply_lease(conn, id, lease->cache, false);
}

bool attach_attempt(struct conn *conn, uint64_t id,
		    const Treekv__Attach *request, const struct room_try *try)
{
	const struct control_wish wish = {
		.spec = request->spec,
		.nonce = request->nonce,
		.progress = request->progress,
		.read = request->read,
		.try = try,
	};
	enum persist_answer answer;
	struct cache *cache;

	if (request->has_renew) {
		renew(conn, id, request->renew);
		return true;
	}
	answer = persist_attach(conn, id, request->name, &wish);
	if (answer != PERSIST_IS_ELSEWHERE)
		return answer == PERSIST_ANSWERS;
	cache = control_get(conn, id, request->name,
			    wish.read ? ACCESS_READ : ACCESS_WRITE);
	return !cache || control_attach(conn, id, cache, &wish);
}

void attach_on_detach(struct conn *conn, uint64_t id,
		      const Treekv__Detach *request)
{
	struct lease *lease = own_lease(conn, request->lease, request->nonce);

	if (!lease && request->lease) {
		refuse_stale(conn, id, request->lease);
		return;
	}
	if (lease) {
		event_detached(lease);
		control_end_lease(lease);
	}
	control_done(conn, id);
}
