// SPDX-License-Identifier: BSD-2-Clause
/*
 * Who waits for what. A request about several caches is answered once, when the
 * last of them is done; who hangs up meanwhile is forgotten, what he asked for
 * goes on.
 *
 * Who wants to know is told how far it has got: at once, and then by a timer
 * that runs while somebody waits, whenever bytes have moved. A disk that hangs
 * moves none, so that who waits for a sign of life gives up in the end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/persist_impl.h"
#include "daemon/report.h"
#include "daemon/room.h"
#include "proto/barrier.h"

#define TICK_NS	   200000000
#define UNREAD_MAX 2 /* what a peer has not read is not added to */

/* A request that is being seen to. */
struct asked {
	struct asked *next;
	struct conn *conn; /* NULL: hung up */
	uint64_t id;
	bool attach; /* what is wanted is the cache itself: */
	struct control_wish wish; /* so; its spec has been compared */
	bool single;
	bool progress; /* wants to be told */
	const struct worker *worker; /* of an attach: whose jobs it waits for */
	uint64_t moved; /* as last told */
	uint64_t bytes; /* of the caches that are done */
	unsigned int left; /* caches, and one while they are being counted */
	struct outcome *outcomes;
	size_t n;
};

static struct asked *all;

static void show_progress(struct asked *asked);

static struct {
	struct loop_op op;
	struct __kernel_timespec time;
	bool armed;
} tick;

static struct asked *asked_new(struct conn *conn, uint64_t id, bool progress)
{
	struct asked *asked = calloc(1, sizeof(*asked));

	if (!asked) {
		control_refuse(conn, id, -ENOMEM, "the daemon has no memory");
		return NULL;
	}
	asked->conn = conn;
	asked->id = id;
	asked->progress = progress;
	asked->left = 1;
	asked->next = all;
	all = asked;
	return asked;
}

static void asked_free(struct asked *asked)
{
	struct asked **at = &all;

	while (*at != asked)
		at = &(*at)->next;
	*at = asked->next;
	free(asked->outcomes);
	free(asked);
}

void persist_closed(struct conn *conn)
{
	for (struct asked *asked = all; asked; asked = asked->next)
		if (asked->conn == conn)
			asked->conn = NULL;
}

/* What does not fit into memory is missing in the answer, not in the log. */
static void asked_note(struct asked *asked, const struct outcome *out)
{
	struct outcome *more =
		realloc(asked->outcomes, (asked->n + 1) * sizeof(*more));

	asked->bytes += out->bytes;
	if (!more)
		return;
	asked->outcomes = more;
	more[asked->n++] = *out;
}

static void reply(struct asked *asked)
{
	Treekv__Persisted *items = calloc(asked->n + 1, sizeof(*items));
	char(*names)[SHM_NAME_FULL + 1] = calloc(asked->n + 1, sizeof(*names));
	Treekv__Persisted **list =
		calloc(asked->n + 1, sizeof(Treekv__Persisted *));
	Treekv__PersistReply body = TREEKV__PERSIST_REPLY__INIT;
	Treekv__Reply message = TREEKV__REPLY__INIT;

	if (!items || !names || !list) {
		control_refuse(asked->conn, asked->id, -ENOMEM,
			       "the daemon has no memory for its answer");
		goto out;
	}
	for (size_t i = 0; i < asked->n; i++) {
		const struct outcome *from = &asked->outcomes[i];

		treekv__persisted__init(&items[i]);
		name_print(names[i], from->space, from->name,
			   (uid_t)from->space);
		items[i].name = names[i];
		items[i].uid = from->uid;
		items[i].error = from->error;
		items[i].text = (char *)(uintptr_t)from->text;
		items[i].has_tail = items[i].has_bytes = items[i].has_ns = true;
		items[i].tail = from->tail;
		items[i].bytes = from->bytes;
		items[i].ns = from->ns;
		list[i] = &items[i];
	}
	body.cache = list;
	body.n_cache = asked->n;
	message.id = asked->id;
	message.body_case = TREEKV__REPLY__BODY_PERSIST;
	message.persist = &body;
	conn_reply(asked->conn, &message, NULL, 0);
out:
	free(list);
	free(names);
	free(items);
}

static void asked_put(struct asked *asked)
{
	if (--asked->left)
		return;
	if (asked->conn && asked->single && asked->n &&
	    asked->outcomes[0].error)
		control_refuse(asked->conn, asked->id, asked->outcomes[0].error,
			       "%s", asked->outcomes[0].text);
	else if (asked->conn)
		reply(asked);
	asked_free(asked);
}

/* The cache is there, or will not be. */
static void answer_attach(struct asked *asked, struct cache *cache,
			  const struct outcome *out)
{
	struct conn *conn = asked->conn;
	const struct control_wish wish = asked->wish;
	uint64_t id = asked->id;

	asked_free(asked);
	if (!conn)
		return;
	if (out->error)
		control_refuse(conn, id, out->error, "%s", out->text);
	else
		control_attach(conn, id, cache, &wish);
}

static int wait_for(struct cache *cache, struct asked *asked, unsigned int runs)
{
	struct waiter *waiter = calloc(1, sizeof(*waiter));
	struct waiter **at = &cache->persist->waiters;

	if (!waiter)
		return -ENOMEM;
	while (*at)
		at = &(*at)->next;
	*at = waiter;
	waiter->asked = asked;
	waiter->runs = runs;
	asked->left++;
	return 0;
}

static void tell_one(struct waiter *waiter, struct cache *cache,
		     const struct outcome *out)
{
	struct asked *asked = waiter->asked;

	free(waiter);
	if (asked->attach) {
		answer_attach(asked, cache, out);
		return;
	}
	asked_note(asked, out);
	asked_put(asked);
}

bool persist_tell(struct cache *cache, const struct outcome *out)
{
	struct waiter *waiter = cache->persist->waiters, *next;

	/* Whoever is told may ask for more: those come to a new list. */
	cache->persist->waiters = NULL;
	for (; waiter; waiter = next) {
		next = waiter->next;
		if (--waiter->runs) {
			waiter->next = cache->persist->waiters;
			cache->persist->waiters = waiter;
		} else {
			tell_one(waiter, cache, out);
		}
	}
	return cache->persist->waiters && !cache->persist->job;
}

/* ---- progress ---- */

/* Another number whenever a job of that worker, or of any, has moved. */
static uint64_t movement(const struct worker *worker)
{
	uint64_t moved = persist.ended + 1;

	for (struct cache *c = treekvd.store.first; c; c = c->next)
		if (c->persist && c->persist->job &&
		    (!worker || c->worker == worker))
			moved += shm_load_relaxed(&c->persist->job->done);
	return moved;
}

static bool waits_for(const struct asked *asked, const struct persist *p)
{
	const struct waiter *waiter = p->waiters;

	while (waiter && waiter->asked != asked)
		waiter = waiter->next;
	return waiter;
}

static void tell(const struct asked *asked, uint64_t done, uint64_t total)
{
	Treekv__Progress progress = TREEKV__PROGRESS__INIT;
	Treekv__Reply message = TREEKV__REPLY__INIT;

	if (conn_unsent(asked->conn) >= UNREAD_MAX)
		return;
	progress.done = done;
	progress.total = total;
	message.id = asked->id;
	message.body_case = TREEKV__REPLY__BODY_PROGRESS;
	message.progress = &progress;
	conn_push(asked->conn, &message);
}

static void show(struct asked *asked)
{
	uint64_t done = asked->bytes, total = done;
	uint64_t moved = movement(asked->worker);

	if (asked->moved == moved)
		return;
	asked->moved = moved;
	for (struct cache *c = treekvd.store.first; c; c = c->next)
		if (c->persist && c->persist->job &&
		    waits_for(asked, c->persist)) {
			done += shm_load_relaxed(&c->persist->job->done);
			total += shm_load_relaxed(&c->persist->job->total);
		}
	tell(asked, done, total);
}

static void on_tick(struct loop_op *op, int res, unsigned int flags)
{
	(void)op;
	(void)res;
	(void)flags;
	tick.armed = false;
	for (struct asked *asked = all; asked; asked = asked->next)
		if (asked->progress && asked->conn)
			show_progress(asked);
}

static void show_progress(struct asked *asked)
{
	if (!asked->progress)
		return;
	show(asked);
	if (tick.armed)
		return;
	tick.armed = true;
	tick.op.done = on_tick;
	tick.time.tv_nsec = TICK_NS;
	io_uring_prep_timeout(loop_sqe(&treekvd.loop, &tick.op), &tick.time, 0,
			      0);
}

struct asked *persist_watch(struct conn *conn, uint64_t id)
{
	struct asked *asked = calloc(1, sizeof(*asked));

	if (!asked)
		return NULL;
	asked->conn = conn;
	asked->id = id;
	asked->progress = true;
	asked->next = all;
	all = asked;
	show_progress(asked);
	return asked;
}

void persist_unwatch(struct asked *asked)
{
	if (asked)
		asked_free(asked);
}

/* ---- requests ---- */

/* One that is under way may have begun before this was asked for. */
static void ask_to_save(struct asked *asked, struct cache *cache)
{
	bool running = cache->persist && cache->persist->job;
	struct outcome out;

	persist_outcome_of(&out, cache);
	if (running)
		persist_may_save(cache, &out);
	else
		persist_save(cache, &out);
	if (!out.error && wait_for(cache, asked, running ? 2 : 1)) {
		out.error = -ENOMEM;
		snprintf(out.text, sizeof(out.text), "no memory to wait for %s",
			 cache->name);
	}
	if (out.error)
		asked_note(asked, &out);
}

static bool wants(const struct conn *conn, const struct cache *cache)
{
	struct access_what what = cache_what(cache);

	return cache->named && !cache->pending && !cache->ephemeral &&
	       !control_check(conn, &what, ACCESS_OWN);
}

void persist_on_snapshot(struct conn *conn, uint64_t id,
			 const Treekv__Snapshot *request)
{
	struct cache *cache = NULL, *next;
	struct asked *asked;

	if (!request->all)
		cache = control_pick(conn, id,
				     request->name ? request->name : "",
				     request->has_cache, request->cache,
				     ACCESS_OWN);
	if (!request->all && !cache)
		return;
	asked = asked_new(conn, id, request->progress);
	if (!asked)
		return;
	asked->single = !request->all;
	if (cache)
		ask_to_save(asked, cache);
	else
		for (cache = treekvd.store.first; cache; cache = next) {
			next = cache->next;
			if (wants(conn, cache))
				ask_to_save(asked, cache);
		}
	show_progress(asked);
	asked_put(asked);
}

static void ask_to_load(struct asked *asked, uint64_t space, const char *name)
{
	struct cache *cache = store_find(&treekvd.store, space, name);
	const struct persist_wish wish = {
		.conn = asked->conn,
		.right = ACCESS_OWN,
	};
	struct access_what what;
	struct outcome out;
	int r = 0;

	persist_outcome(&out, space, name);
	if (cache) {
		what = cache_what(cache);
		r = control_check(asked->conn, &what, ACCESS_OWN);
	}
	if (r == -EACCES) {
		out.error = r;
		control_describe_denial(out.text, sizeof(out.text), name, &what,
					ACCESS_OWN);
	} else if (cache && !r && !persist_is_loading(cache)) {
		r = out.error = -EEXIST;
		snprintf(out.text, sizeof(out.text),
			 "cache %s is in memory; 'treekvctl drop %s "
			 "--keep-snapshot' makes room for what is on disk",
			 cache->name, cache->name);
	} else if (!cache) {
		r = persist_load(&cache, space, name, &wish, &out);
	}
	if (r == -ENOENT) {
		out.error = r;
		snprintf(out.text, sizeof(out.text),
			 "there is no snapshot of %.*s in %.200s", SHM_NAME_MAX,
			 name, persist.root);
	}
	if (!r && wait_for(cache, asked, 1)) {
		out.error = -ENOMEM;
		snprintf(out.text, sizeof(out.text), "no memory to wait for %s",
			 out.name);
	}
	if (out.error)
		asked_note(asked, &out);
}

static void ask_to_load_all(struct asked *asked, const struct conn *conn)
{
	struct disk_entry *entry, *next;
	struct access_what what;

	disk_scan(persist.root, false);
	for (entry = disk_first(); entry; entry = next) {
		char name[SHM_NAME_MAX + 1];

		next = entry->next;
		what = disk_what(entry);
		if (control_check(conn, &what, ACCESS_OWN) ||
		    store_find(&treekvd.store, entry->space, entry->name))
			continue;
		memcpy(name, entry->name, sizeof(name));
		ask_to_load(asked, entry->space, name);
	}
}

void persist_on_restore(struct conn *conn, uint64_t id,
			const Treekv__Restore *request)
{
	struct asked *asked;
	struct name name;

	if (!request->all &&
	    (!request->name || !persist.root ||
	     name_parse(&name, request->name, conn_peer(conn)->uid))) {
		control_refuse(conn, id, -EINVAL,
			       "restore what? give a name, or all");
		return;
	}
	asked = asked_new(conn, id, request->progress);
	if (!asked)
		return;
	asked->single = !request->all;
	if (request->all)
		ask_to_load_all(asked, conn);
	else
		ask_to_load(asked, name.space, name.own);
	show_progress(asked);
	asked_put(asked);
}

/* The asked of an attach has no count: its one waiter ends it. */
static void attach_when_loaded(struct conn *conn, uint64_t id,
			       struct cache *cache,
			       const struct control_wish *wish)
{
	struct asked *asked = asked_new(conn, id, wish->progress);

	if (!asked)
		return;
	asked->attach = true;
	asked->wish = *wish;
	asked->wish.spec = NULL; /* it goes with the request, */
	asked->wish.try = NULL; /* as does the try */
	asked->worker = cache->worker;
	if (!wait_for(cache, asked, 1)) {
		show_progress(asked);
		return;
	}
	asked_free(asked);
	control_refuse(conn, id, -ENOMEM, "the daemon has no memory");
}

/* Does an attach look there? What was parked came from memory, and returns. */
static bool is_looked_up(uint64_t space, const char *name)
{
	const struct disk_entry *entry;

	if (!persist.root)
		return false;
	if (treekvd.config->restore != RESTORE_NEVER)
		return true;
	entry = disk_find(space, name);
	return entry && entry->parked;
}

bool persist_is_on_disk(uint64_t space, const char *name)
{
	struct snapshot_info *info = NULL;
	struct snapshot_error why;
	int r;

	if (!is_looked_up(space, name))
		return false;
	r = snapshot_peek(&info, persist.root, space, name, &why);
	free(info);
	return r != -ENOENT && r != -ENOTDIR;
}

enum persist_answer persist_attach(struct conn *conn, uint64_t id,
				   const char *text,
				   const struct control_wish *wish)
{
	const struct persist_wish load = {
		.conn = conn,
		.right = wish->read ? ACCESS_READ : ACCESS_WRITE,
		.spec = wish->spec,
	};
	struct outcome out;
	struct cache *cache;
	struct name name;
	int r;

	if (name_parse(&name, text, conn_peer(conn)->uid))
		return PERSIST_IS_ELSEWHERE;
	cache = control_look_up(name.space, name.own);
	if (cache && !persist_is_loading(cache))
		return PERSIST_IS_ELSEWHERE;
	if (cache && !control_get(conn, id, text, load.right))
		return PERSIST_ANSWERS;
	if (cache) {
		persist_outcome_of(&out, cache);
		r = persist_compare(cache, wish->spec, &out);
	} else if (!is_looked_up(name.space, name.own)) {
		return PERSIST_IS_ELSEWHERE;
	} else {
		r = persist_load(&cache, name.space, name.own, &load, &out);
	}
	if (r == -ENOENT)
		return PERSIST_IS_ELSEWHERE;
	if (r == -ENOSPC && room_comes(wish->try, out.lacks))
		return PERSIST_LACKS_ROOM;
	if (r)
		control_refuse(conn, id, r, "%s", out.text);
	else
		attach_when_loaded(conn, id, cache, wish);
	return PERSIST_ANSWERS;
}

/* Has it just been tried, for who asks again? Once more would be for ever. */
static const struct outcome *failure_of(const struct conn *conn,
					const struct name *name)
{
	const struct outcome *out = persist.not_loaded;
	const struct disk_entry *entry = disk_find(name->space, name->own);
	struct access_what what = { NAME_NOBODY, NAME_NOBODY, 0 };

	if (entry)
		what = disk_what(entry);
	if (!out || out->space != name->space || strcmp(out->name, name->own) ||
	    control_check(conn, &what, ACCESS_READ) == -ENOENT)
		return NULL;
	return out;
}

enum persist_answer persist_fetch(struct conn *conn, uint64_t id,
				  const char *text, struct room_try *try)
{
	const struct persist_wish load = { .conn = conn, .right = ACCESS_READ };
	const struct outcome *failure;
	struct outcome out;
	struct cache *cache;
	struct name name;
	int r = 0;

	if (name_parse(&name, text, conn_peer(conn)->uid))
		return PERSIST_IS_ELSEWHERE;
	cache = control_look_up(name.space, name.own);
	failure = failure_of(conn, &name);
	if (!cache && failure) {
		control_refuse(conn, id, failure->error, "%s", failure->text);
		return PERSIST_ANSWERS;
	}
	if (cache ? !persist_is_loading(cache) :
		    !is_looked_up(name.space, name.own))
		return PERSIST_IS_ELSEWHERE;
	if (cache && !control_get(conn, id, text, load.right))
		return PERSIST_ANSWERS;
	if (!cache)
		r = persist_load(&cache, name.space, name.own, &load, &out);
	if (r == -ENOENT)
		return PERSIST_IS_ELSEWHERE;
	if (r == -ENOSPC && room_comes(try, out.lacks))
		return PERSIST_LACKS_ROOM;
	if (r) {
		control_refuse(conn, id, r, "%s", out.text);
		return PERSIST_ANSWERS;
	}
	try->loads = true;
	return PERSIST_LACKS_ROOM;
}
