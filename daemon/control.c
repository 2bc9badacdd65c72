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
#include "daemon/histogram.h"
#include "daemon/keep.h"
#include "daemon/log.h"
#include "daemon/lookup.h"
#include "daemon/park.h"
#include "daemon/persist.h"
#include "daemon/prefill.h"
#include "daemon/report.h"
#include "daemon/room.h"
#include "daemon/stream.h"
#include "daemon/takeover.h"

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

/* Root and the daemon's user see all caches, and so may name them. */
struct cache *control_find(const struct conn *conn, const char *name)
{
	struct cache *found = control_look_up(conn, name);
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

struct cache *control_pick(const struct conn *conn, const char *name,
			   bool by_id, uint64_t id)
{
	struct cache *cache = treekvd.store.first;

	if (!by_id)
		return control_find(conn, name);
	while (cache && cache->id != id)
		cache = cache->next;
	if (!cache || !cache->named ||
	    (cache->uid != conn_peer(conn)->uid && !report_sees_all(conn)))
		return NULL;
	return cache;
}

void control_refuse_absent(struct conn *conn, uint64_t id, const char *name)
{
	control_refuse(conn, id, -ENOENT,
		       "there is no cache %.*s; 'treekvctl list' shows yours",
		       SHM_NAME_MAX, name);
}

void control_done(struct conn *conn, uint64_t id)
{
	Treekv__Reply reply = TREEKV__REPLY__INIT;

	reply.id = id;
	conn_reply(conn, &reply, NULL, 0);
}

static void on_drop(struct conn *conn, uint64_t id, const Treekv__Drop *request)
{
	uid_t uid = conn_peer(conn)->uid;
	struct cache *cache = control_pick(conn, request->name,
					   request->has_cache, request->cache);

	if (!cache && !request->has_cache && !request->keep_snapshot &&
	    !persist_drop_file(uid, request->name)) {
		log_info("snapshot dropped", "name=%s uid=%u pid=%d",
			 request->name, uid, conn_peer(conn)->pid);
		control_done(conn, id);
		return;
	}
	if (!cache) {
		control_refuse_absent(conn, id, request->name);
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
	struct cache *cache = control_pick(conn, request->name,
					   request->has_cache, request->cache);

	if (cache)
		report_inspect(&treekvd, conn, id, cache);
	else
		control_refuse_absent(conn, id, request->name);
}

static void on_request(struct conn *conn, const Treekv__Request *request)
{
	uint64_t id = request->id;

	treekvd.counters.requests++;
	switch (request->body_case) {
	case TREEKV__REQUEST__BODY_CREATE:
	case TREEKV__REQUEST__BODY_ATTACH:
	case TREEKV__REQUEST__BODY_FORK:
		room_ask(conn, request);
		return;
	case TREEKV__REQUEST__BODY_DETACH:
		attach_on_detach(conn, id, request->detach);
		return;
	case TREEKV__REQUEST__BODY_DROP:
		on_drop(conn, id, request->drop);
		return;
	case TREEKV__REQUEST__BODY_LIST:
		report_list(&treekvd, conn, id, request->list);
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
	case TREEKV__REQUEST__BODY_PARK:
		park_on_park(conn, id, request->park);
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
	case TREEKV__REQUEST__BODY_WORKERS:
		report_workers(&treekvd, conn, id);
		return;
	case TREEKV__REQUEST__BODY_CLIENTS:
		report_clients(&treekvd, conn, id);
		return;
	case TREEKV__REQUEST__BODY_KEPT:
		report_kept(conn, id, request->kept);
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
}

static void on_answered(Treekv__Request__BodyCase request, uint64_t ns)
{
	enum histogram_id what = histogram_of_request(request);

	if (what != HISTOGRAMS)
		histogram_add(&treekvd.histograms.at[what], ns, 1);
}

const struct conn_ops control_ops = {
	.request = on_request,
	.closed = on_closed,
	.drained = stream_drained,
	.answered = on_answered,
};
