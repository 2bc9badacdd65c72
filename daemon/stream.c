// SPDX-License-Identifier: BSD-2-Clause
/*
 * Who follows has no queue of his own but a number: the next event of the ring
 * that he is to get. He is given some whenever his replies have been sent, so
 * nobody waits for a slow reader, and one who is overtaken by the ring loses
 * what is written over. That is counted as it happens, and only what he might
 * have seen, and he is told how many before what comes next.
 *
 * Compactions come by the thousand, so they are told in summaries, one a second
 * for each cache that has had any, made from the cache's own counters while
 * somebody follows and somebody writes: else nothing wakes. Summaries are not
 * kept, and who is behind loses them.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "daemon/cache.h"
#include "daemon/control_impl.h"
#include "daemon/report.h"
#include "daemon/stream.h"
#include "proto/barrier.h"

#define UNSENT_MAX	8 /* events that are on their way to one follower */
#define SUMMARY_SECONDS 1

enum stream_field {
	CACHE = 1 << 0, /* cache and name */
	PID = 1 << 1,
	ERROR = 1 << 2,
	TEXT = 1 << 3,
	COUNT = 1 << 4,
	EVICTIONS = 1 << 5,
	TAIL = 1 << 6,
	BYTES = 1 << 7,
	NS = 1 << 8,
};

static const struct {
	const char *name;
	unsigned int fields;
} kinds[STREAM_KINDS] = {
	[STREAM_CREATE] = { "create", CACHE | PID | BYTES },
	[STREAM_FORK] = { "fork", CACHE | PID | TAIL | BYTES },
	[STREAM_ATTACH] = { "attach", CACHE | PID | TAIL },
	[STREAM_DETACH] = { "detach", CACHE | PID | TAIL },
	[STREAM_DEATH] = { "death", CACHE | PID | TAIL },
	[STREAM_LEASE_BROKEN] = { "lease_broken", CACHE | PID },
	[STREAM_PREFILL] = { "prefill", CACHE | PID | TAIL },
	[STREAM_FREEZE] = { "freeze", CACHE | PID | TAIL },
	[STREAM_DROP] = { "drop", CACHE | PID },
	[STREAM_GONE] = { "gone", CACHE | BYTES },
	[STREAM_REFUSAL] = { "refusal", PID | ERROR | TEXT },
	[STREAM_QUARANTINE] = { "quarantine", CACHE | TEXT },
	[STREAM_STALL] = { "stall", CACHE | COUNT | NS },
	[STREAM_COMPACTION] = { "compaction", CACHE | COUNT | EVICTIONS },
	[STREAM_SNAPSHOT] = { "snapshot", CACHE | TAIL | BYTES | NS },
	[STREAM_SNAPSHOT_FAILED] = { "snapshot_failed", CACHE | ERROR | TEXT },
	[STREAM_PARK] = { "park", CACHE | TAIL | BYTES },
	[STREAM_RECLAIM] = { "reclaim", CACHE | TAIL | BYTES },
	[STREAM_RESTORE] = { "restore", CACHE | TAIL | BYTES | NS },
	[STREAM_RESTORE_FAILED] = { "restore_failed", CACHE | ERROR | TEXT },
	[STREAM_ADOPT] = { "adopt", COUNT | TEXT },
};

struct follower {
	LIST_ENTRY(follower) link;
	struct conn *conn;
	uint64_t id; /* of the request */
	bool all; /* he may see everything */
	uint64_t next; /* the number that comes next */
	uint64_t lost; /* that he is still to be told of */
};

/* What one Reply of events takes. */
struct batch {
	Treekv__Event *events;
	Treekv__Event **list;
	size_t n;
};

static struct {
	struct stream_event kept[STREAM_KEPT];
	uint64_t last; /* number; 0: none yet */
	LIST_HEAD(, follower) followers;
	uint32_t n_followers;
	struct loop_op tick;
	bool ticking;
} stream;

static uint64_t oldest(void)
{
	return stream.last < STREAM_KEPT ? 1 : stream.last - STREAM_KEPT + 1;
}

static struct stream_event *kept(uint64_t number)
{
	return &stream.kept[number % STREAM_KEPT];
}

static bool may_see(const struct conn *conn, bool all,
		    const struct stream_event *event)
{
	return all || control_check(conn, &event->what, ACCESS_READ) != -ENOENT;
}

uint32_t stream_followers(void)
{
	return stream.n_followers;
}

struct stream_event stream_about(enum stream_kind kind,
				 const struct cache *cache)
{
	struct stream_event event = {
		.kind = kind,
		.uid = cache->uid,
		.what = cache_what(cache),
		.cache = cache->id,
		.tail = shm_commit_tail(cache_commit(cache)),
	};

	name_print(event.name, cache_space(cache), cache->name, cache->uid);
	return event;
}

/* ---- telling ---- */

#define PUT(message, event, field)                 \
	do {                                       \
		(message)->has_##field = true;     \
		(message)->field = (event)->field; \
	} while (0)

static void message_init(Treekv__Event *m, const struct stream_event *e)
{
	const unsigned int fields = kinds[e->kind].fields;

	treekv__event__init(m);
	m->kind = (char *)(uintptr_t)kinds[e->kind].name;
	PUT(m, e, uid);
	m->time_ns = e->time_ns;
	if (e->number)
		PUT(m, e, number);
	if (fields & CACHE) {
		PUT(m, e, cache);
		m->name = (char *)(uintptr_t)e->name;
	}
	if (fields & PID)
		PUT(m, e, pid);
	if (fields & ERROR)
		PUT(m, e, error);
	if (fields & TEXT)
		m->text = (char *)(uintptr_t)e->text;
	if (fields & COUNT)
		PUT(m, e, count);
	if (fields & EVICTIONS)
		PUT(m, e, evictions);
	if (fields & TAIL)
		PUT(m, e, tail);
	if (fields & BYTES)
		PUT(m, e, bytes);
	if (fields & NS)
		PUT(m, e, ns);
}

static int send_one(struct follower *f, const struct stream_event *event)
{
	Treekv__EventsReply events = TREEKV__EVENTS_REPLY__INIT;
	Treekv__Reply reply = TREEKV__REPLY__INIT;
	Treekv__Event message, *list = &message;
	int r;

	if (event) {
		message_init(&message, event);
		events.event = &list;
		events.n_event = 1;
	}
	events.has_lost = f->lost > 0;
	events.lost = f->lost;
	reply.id = f->id;
	reply.body_case = TREEKV__REPLY__BODY_EVENTS;
	reply.events = &events;
	r = conn_push(f->conn, &reply);
	if (!r)
		f->lost = 0;
	return r;
}

static bool has_room(const struct follower *f)
{
	return conn_unsent(f->conn) < UNSENT_MAX;
}

/* As many as there is room for; none of it waits. */
static void feed(struct follower *f)
{
	const struct stream_event *event;

	while (f->next <= stream.last && has_room(f)) {
		event = kept(f->next++);
		if (may_see(f->conn, f->all, event) && send_one(f, event))
			f->lost++;
	}
	if (f->lost && f->next > stream.last && has_room(f))
		send_one(f, NULL);
}

/* What is about to be written over is lost to who has not had it yet. */
static void lose(const struct stream_event *event)
{
	struct follower *f;

	LIST_FOREACH(f, &stream.followers, link)
	{
		if (f->next > event->number)
			continue;
		f->next = event->number + 1;
		f->lost += may_see(f->conn, f->all, event);
	}
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void tick_arm(void);

void stream_tell(struct stream_event *event)
{
	struct stream_event *at = kept(stream.last + 1);
	struct follower *f;

	if (at->number)
		lose(at);
	event->time_ns = now_ns();
	event->number = ++stream.last;
	*at = *event;
	LIST_FOREACH(f, &stream.followers, link)
	feed(f);
	if (event->kind == STREAM_ATTACH)
		tick_arm();
}

/* ---- summaries ---- */

/* Who is behind does without. */
static void summarize(const struct stream_event *event)
{
	struct follower *f;

	LIST_FOREACH(f, &stream.followers, link)
	{
		if (!may_see(f->conn, f->all, event))
			continue;
		if (f->next <= stream.last || !has_room(f) ||
		    send_one(f, event))
			f->lost++;
	}
}

/* @tell: else only that it is known */
static void look_at(struct cache *cache, bool tell)
{
	uint64_t n = shm_load_relaxed(&cache->index->compactions);
	uint64_t evictions = shm_load_relaxed(&cache->index->evictions);
	struct stream_event event;

	if (tell && stream.n_followers && n != cache->told_compactions) {
		event = stream_about(STREAM_COMPACTION, cache);
		event.time_ns = now_ns();
		event.count = n - cache->told_compactions;
		event.evictions = evictions - cache->told_evictions;
		summarize(&event);
	}
	cache->told_compactions = n;
	cache->told_evictions = evictions;
}

void stream_look(struct cache *cache)
{
	look_at(cache, true);
}

static void look_at_all(bool tell)
{
	for (struct cache *c = treekvd.store.first; c; c = c->next)
		look_at(c, tell);
}

static void on_tick(struct loop_op *op, int res, unsigned int flags)
{
	(void)op;
	(void)res;
	(void)flags;
	stream.ticking = false;
	look_at_all(true);
	tick_arm();
}

/* Not after the last writer: what he has done since is told by that tick. */
static void tick_arm(void)
{
	static struct __kernel_timespec time = { .tv_sec = SUMMARY_SECONDS };

	if (stream.ticking || !stream.n_followers || !treekvd.leases)
		return;
	stream.ticking = true;
	stream.tick.done = on_tick;
	io_uring_prep_timeout(loop_sqe(&treekvd.loop, &stream.tick), &time, 0,
			      0);
}

/* ---- requests ---- */

static struct follower *find(const struct conn *conn)
{
	struct follower *f;

	LIST_FOREACH(f, &stream.followers, link)
	if (f->conn == conn)
		return f;
	return NULL;
}

static uint32_t count_of(uid_t uid)
{
	struct follower *f;
	uint32_t n = 0;

	LIST_FOREACH(f, &stream.followers, link)
	n += conn_peer(f->conn)->uid == uid;
	return n;
}

/* The latest @most that the peer may see, oldest first. Return: 0, -ENOMEM. */
static int collect(struct batch *ret, const struct conn *conn, uint64_t most)
{
	bool all = report_sees_all(conn);
	uint64_t number = stream.last;

	if (most > stream.last - oldest() + 1)
		most = stream.last - oldest() + 1;
	ret->events = calloc(most + 1, sizeof(*ret->events));
	ret->list = calloc(most + 1, sizeof(*ret->list));
	if (!ret->events || !ret->list)
		return -ENOMEM;
	for (; number >= oldest() && ret->n < most; number--)
		ret->n += may_see(conn, all, kept(number));
	for (size_t i = 0; i < ret->n;) {
		if (!may_see(conn, all, kept(++number)))
			continue;
		message_init(&ret->events[i], kept(number));
		ret->list[i] = &ret->events[i];
		i++;
	}
	return 0;
}

static int follow(struct conn *conn, uint64_t id)
{
	struct follower *f = find(conn);

	if (!f) {
		f = calloc(1, sizeof(*f));
		if (!f)
			return -ENOMEM;
		LIST_INSERT_HEAD(&stream.followers, f, link);
		if (!stream.n_followers++)
			look_at_all(false);
	}
	f->conn = conn;
	f->id = id;
	f->all = report_sees_all(conn);
	f->next = stream.last + 1;
	tick_arm();
	return 0;
}

static void answer(struct conn *conn, uint64_t id, const struct batch *batch)
{
	Treekv__EventsReply events = TREEKV__EVENTS_REPLY__INIT;
	Treekv__Reply reply = TREEKV__REPLY__INIT;

	events.event = batch->list;
	events.n_event = batch->n;
	reply.id = id;
	reply.body_case = TREEKV__REPLY__BODY_EVENTS;
	reply.events = &events;
	conn_reply(conn, &reply, NULL, 0);
}

void stream_on_events(struct conn *conn, uint64_t id,
		      const Treekv__Events *request)
{
	struct batch batch = { 0 };
	int r = 0;

	if (request->follow && !find(conn) &&
	    count_of(conn_peer(conn)->uid) >= STREAM_FOLLOWERS_MAX) {
		control_refuse(conn, id, -EBUSY,
			       "%d connections of user %u follow the events "
			       "already, the most that one may have; end some",
			       STREAM_FOLLOWERS_MAX, conn_peer(conn)->uid);
		return;
	}
	r = collect(&batch, conn,
		    request->has_last ? request->last : STREAM_KEPT);
	if (!r && request->follow)
		r = follow(conn, id);
	if (r)
		control_refuse(conn, id, r, "the daemon is out of memory");
	else
		answer(conn, id, &batch);
	free(batch.list);
	free(batch.events);
}

void stream_drained(struct conn *conn)
{
	struct follower *f = find(conn);

	if (f)
		feed(f);
}

void stream_closed(struct conn *conn)
{
	struct follower *f = find(conn);

	if (!f)
		return;
	LIST_REMOVE(f, link);
	stream.n_followers--;
	free(f);
}
