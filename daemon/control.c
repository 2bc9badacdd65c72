// SPDX-License-Identifier: BSD-2-Clause
/*
 * Requests: what each means, and the small ones themselves. All state is the
 * control thread's; workers are told by jobs and never asked to wait.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/control_impl.h"
#include "daemon/event.h"
#include "daemon/fork.h"
#include "daemon/freeze.h"
#include "daemon/handover.h"
#include "daemon/histogram.h"
#include "daemon/keep.h"
#include "daemon/log.h"
#include "daemon/lookup.h"
#include "daemon/owner.h"
#include "daemon/park.h"
#include "daemon/persist.h"
#include "daemon/prefill.h"
#include "daemon/report.h"
#include "daemon/room.h"
#include "daemon/stream.h"
#include "daemon/takeover.h"
#include "daemon/tenant.h"

void control_refuse(struct conn *conn, uint64_t id, int error,
		    const char *format, ...)
{
	char text[CONTROL_REASON_SIZE + 256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	event_refused(conn, error, text);
	conn_refuse(conn, id, error, "%s", text);
}

static struct access_who who_is(const struct conn *conn)
{
	const struct conn_peer *peer = conn_peer(conn);

	return (struct access_who){
		.uid = peer->uid,
		.gid = peer->gid,
		.groups = peer->groups,
		.n_groups = peer->n_groups,
		.all = report_sees_all(conn),
	};
}

int control_check(const struct conn *conn, const struct access_what *what,
		  enum access_right right)
{
	const struct access_who who = who_is(conn);

	return access_check(&who, what, right);
}

bool control_in_group(const struct conn *conn, gid_t gid)
{
	const struct access_who who = who_is(conn);

	return access_in_group(&who, gid);
}

int control_refuse_mode(struct conn *conn, uint64_t id, uint32_t mode)
{
	if (!(mode & ~ACCESS_MODE_MASK))
		return 0;
	control_refuse(conn, id, -EINVAL,
		       "a cache's mode is made of r and w for owner, group and "
		       "others, 0 to 0666, and not 0%o",
		       mode);
	return -EINVAL;
}

void control_describe_denial(char *text, size_t size, const char *name,
			     const struct access_what *what,
			     enum access_right right)
{
	static const char *const verbs[] = {
		[ACCESS_READ] = "read",
		[ACCESS_WRITE] = "write",
		[ACCESS_OWN] = "manage",
	};

	snprintf(text, size,
		 "you may not %s cache %.*s: it belongs to user %u and group "
		 "%u and has mode %04o%s",
		 verbs[right], SHM_NAME_FULL, name, what->uid, what->gid,
		 what->mode,
		 right == ACCESS_OWN ? "; its owner or root may" :
				       "; its owner may change that: "
				       "'treekvctl chmod'");
}

/* Is there one that is not in memory? */
static bool is_on_disk(const char *name)
{
	const struct disk_entry *entry = disk_first();

	while (entry && (strcmp(entry->name, name) ||
			 store_find(&treekvd.store, entry->space, name)))
		entry = entry->next;
	return entry;
}

/* Anybody's, if there is only one, be it on disk. */
static struct cache *find_anywhere(const char *name)
{
	struct cache *cache = treekvd.store.first, *found = NULL;

	if (is_on_disk(name))
		return NULL;
	for (; cache; cache = cache->next)
		if (cache->named && !strcmp(cache->name, name) && found)
			return NULL;
		else if (cache->named && !strcmp(cache->name, name))
			found = cache;
	return found;
}

struct cache *control_locate(const struct conn *conn, const char *text,
			     bool anywhere)
{
	struct cache *cache;
	struct name name;

	if (name_parse(&name, text, conn_peer(conn)->uid))
		return NULL;
	cache = control_look_up(name.space, name.own);
	if (!cache && anywhere && name.own == text && report_sees_all(conn))
		cache = find_anywhere(text);
	return cache;
}

struct cache *control_permit(struct conn *conn, uint64_t id, const char *name,
			     struct cache *cache, enum access_right right)
{
	struct access_what what = { .uid = NAME_NOBODY, .gid = NAME_NOBODY };
	char text[512];
	int r;

	if (cache)
		what = cache_what(cache);
	r = control_check(conn, &what, right);
	if (cache && !r)
		return cache;
	if (cache && r == -EACCES) {
		control_describe_denial(text, sizeof(text), name, &what, right);
		control_refuse(conn, id, r, "%s", text);
	} else {
		control_refuse_absent(conn, id, name);
	}
	return NULL;
}

struct cache *control_get(struct conn *conn, uint64_t id, const char *name,
			  enum access_right right)
{
	return control_permit(conn, id, name, control_locate(conn, name, false),
			      right);
}

struct cache *control_find(struct conn *conn, uint64_t id, const char *name,
			   enum access_right right)
{
	return control_permit(conn, id, name, control_locate(conn, name, true),
			      right);
}

static struct cache *find_numbered(uint64_t number)
{
	struct cache *cache = treekvd.store.first;

	while (cache && (cache->id != number || !cache->named))
		cache = cache->next;
	return cache;
}

struct cache *control_numbered(const struct conn *conn, uint64_t number)
{
	struct cache *cache = find_numbered(number);
	struct access_what what;

	if (!cache)
		return NULL;
	what = cache_what(cache);
	return control_check(conn, &what, ACCESS_READ) ? NULL : cache;
}

struct cache *control_pick(struct conn *conn, uint64_t id, const char *name,
			   bool by_number, uint64_t number,
			   enum access_right right)
{
	if (!by_number)
		return control_find(conn, id, name, right);
	return control_permit(conn, id, name, find_numbered(number), right);
}

void control_refuse_absent(struct conn *conn, uint64_t id, const char *name)
{
	control_refuse(conn, id, -ENOENT,
		       "there is no cache %.*s; 'treekvctl list' shows yours",
		       SHM_NAME_FULL, name);
}

void control_done(struct conn *conn, uint64_t id)
{
	Treekv__Reply reply = TREEKV__REPLY__INIT;

	reply.id = id;
	conn_reply(conn, &reply, NULL, 0);
}

/* One that is on disk only. Return: false when there is none. */
static bool drop_file(struct conn *conn, uint64_t id, const char *text)
{
	struct name name;
	char why[512];
	int r;

	if (name_parse(&name, text, conn_peer(conn)->uid) ||
	    control_locate(conn, text, true))
		return false;
	r = persist_drop_file(conn, name.space, name.own, why, sizeof(why));
	if (r == -ENOENT)
		return false;
	if (r) {
		control_refuse(conn, id, r, "%s", why);
		return true;
	}
	log_info("snapshot dropped", "name=%s uid=%u pid=%d", text,
		 conn_peer(conn)->uid, conn_peer(conn)->pid);
	control_done(conn, id);
	return true;
}

static void on_drop(struct conn *conn, uint64_t id, const Treekv__Drop *request)
{
	struct cache *cache;

	if (!request->keep_snapshot && !request->has_cache &&
	    drop_file(conn, id, request->name))
		return;
	cache = control_pick(conn, id, request->name, request->has_cache,
			     request->cache, ACCESS_OWN);
	if (!cache)
		return;
	if (owner_holds(cache)) {
		control_refuse(conn, id, -EBUSY,
			       "owner or mode of cache %s are being changed; "
			       "try again",
			       cache->name);
		return;
	}
	event_dropped(cache, conn_peer(conn)->pid);
	persist_dropped(cache, request->keep_snapshot);
	control_drop(cache);
	leave_on_dropped(conn, id, cache);
}

static void on_inspect(struct conn *conn, uint64_t id,
		       const Treekv__Inspect *request)
{
	struct cache *cache = control_pick(conn, id, request->name,
					   request->has_cache, request->cache,
					   ACCESS_READ);

	if (cache)
		report_inspect(&treekvd, conn, id, cache);
}

/* Those that change nothing. */
static void on_report(struct conn *conn, const Treekv__Request *request)
{
	uint64_t id = request->id;

	if (request->body_case == TREEKV__REQUEST__BODY_LIST)
		report_list(&treekvd, conn, id, request->list);
	else if (request->body_case == TREEKV__REQUEST__BODY_INSPECT)
		on_inspect(conn, id, request->inspect);
	else if (request->body_case == TREEKV__REQUEST__BODY_STATS)
		report_stats(&treekvd, conn, id);
	else if (request->body_case == TREEKV__REQUEST__BODY_WORKERS)
		report_workers(&treekvd, conn, id);
	else if (request->body_case == TREEKV__REQUEST__BODY_CLIENTS)
		report_clients(&treekvd, conn, id);
	else
		report_kept(conn, id, request->kept);
}

static void on_owner(struct conn *conn, const Treekv__Request *request)
{
	if (request->body_case == TREEKV__REQUEST__BODY_CHMOD)
		owner_on_chmod(conn, request->id, request->chmod);
	else
		owner_on_chown(conn, request->id, request->chown);
}

static void on_request(struct conn *conn, const Treekv__Request *request)
{
	uint64_t id = request->id;

	treekvd.counters.requests++;
	if (tenant_refuse_request(conn, id))
		return;
	switch (request->body_case) {
	case TREEKV__REQUEST__BODY_CREATE:
	case TREEKV__REQUEST__BODY_ATTACH:
	case TREEKV__REQUEST__BODY_FORK:
	case TREEKV__REQUEST__BODY_BREAK_LEASE:
	case TREEKV__REQUEST__BODY_PARK:
		room_ask(conn, request);
		return;
	case TREEKV__REQUEST__BODY_DETACH:
		attach_on_detach(conn, id, request->detach);
		return;
	case TREEKV__REQUEST__BODY_DROP:
		on_drop(conn, id, request->drop);
		return;
	case TREEKV__REQUEST__BODY_LIST:
	case TREEKV__REQUEST__BODY_INSPECT:
	case TREEKV__REQUEST__BODY_STATS:
	case TREEKV__REQUEST__BODY_WORKERS:
	case TREEKV__REQUEST__BODY_CLIENTS:
	case TREEKV__REQUEST__BODY_KEPT:
		on_report(conn, request);
		return;
	case TREEKV__REQUEST__BODY_LOOKUP:
		lookup_on_lookup(conn, id, request->lookup);
		return;
	case TREEKV__REQUEST__BODY_FREEZE:
		freeze_on_freeze(conn, id, request->freeze);
		return;
	case TREEKV__REQUEST__BODY_SNAPSHOT:
		persist_on_snapshot(conn, id, request->snapshot);
		return;
	case TREEKV__REQUEST__BODY_RESTORE:
		persist_on_restore(conn, id, request->restore);
		return;
	case TREEKV__REQUEST__BODY_KEEP:
		keep_on_keep(conn, id, request->keep);
		return;
	case TREEKV__REQUEST__BODY_EVENTS:
		stream_on_events(conn, id, request->events);
		return;
	case TREEKV__REQUEST__BODY_PREFILL:
		prefill_on_request(conn, id, request->prefill);
		return;
	case TREEKV__REQUEST__BODY_CHMOD:
	case TREEKV__REQUEST__BODY_CHOWN:
		on_owner(conn, request);
		return;
	case TREEKV__REQUEST__BODY_QUOTA:
		tenant_on_quota(conn, id, request->quota);
		return;
	case TREEKV__REQUEST__BODY_HELLO:
	case TREEKV__REQUEST__BODY__NOT_SET:
	case _TREEKV__REQUEST__BODY__CASE_IS_INT_SIZE:
		break;
	}
	control_refuse(conn, id, -ENOSYS,
		       "this daemon does not know that request");
}

/* A connection is only a way to ask: leases outlive it. */
static void on_closed(struct conn *conn)
{
	room_closed(conn);
	park_closed(conn);
	creation_closed(conn);
	leave_closed(conn);
	persist_closed(conn);
	takeover_closed(conn);
	report_kept_closed(conn);
	stream_closed(conn);
	prefill_closed(conn);
	freeze_closed(conn);
	owner_closed(conn);
	handover_closed(conn);
	tenant_closed(conn);
}

static void on_answered(struct conn *conn, Treekv__Request__BodyCase request,
			uint64_t ns)
{
	enum histogram_id what = histogram_of_request(request);

	tenant_answered(conn);
	if (what != HISTOGRAMS)
		histogram_add(&treekvd.histograms.at[what], ns, 1);
}

const struct conn_ops control_ops = {
	.request = on_request,
	.closed = on_closed,
	.drained = stream_drained,
	.answered = on_answered,
	.admit = tenant_admit,
};
