// SPDX-License-Identifier: BSD-2-Clause
/*
 * A request that finds the pool used up waits until all have settled that were
 * leaving or being parked when it came; then it has one more try, which may
 * have others parked for it, and waits for these. It is refused when nobody can
 * be, or as soon as parking fails: it waits for a disk, but not for a broken one.
 *
 * A fork also waits here for a parent that is on disk, and whoever wants a cache
 * parked for its last writer, or a snapshot that is under way, to be over.
 *
 * It is kept as it came, and carried out anew each time: meanwhile somebody may
 * have made, dropped or restored the very cache that it is about.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "daemon/control_impl.h"
#include "daemon/fork.h"
#include "daemon/park.h"
#include "daemon/persist.h"
#include "daemon/room.h"
#include "daemon/takeover.h"

struct waiting {
	TAILQ_ENTRY(waiting) link;
	struct conn *conn;
	uint64_t id;
	struct asked *asked; /* for progress; may be NULL */
	uint64_t until; /* so many have settled: all that were to */
	size_t size;
	uint8_t request[];
};

static TAILQ_HEAD(, waiting) waiting = TAILQ_HEAD_INITIALIZER(waiting);

static uint32_t coming(void)
{
	return treekvd.store.leaving + treekvd.store.parking;
}

bool room_comes(const struct room_try *try, uint64_t bytes)
{
	if (bytes == ROOM_NEVER)
		return false;
	return !try->last || park_for(bytes, try->first);
}

/* Who has forks is not parked. */
bool room_comes_beside(const struct room_try *try, uint64_t bytes,
		       struct cache *cache)
{
	bool comes;

	cache->children++;
	comes = room_comes(try, bytes);
	cache->children--;
	return comes;
}

/* Return: false when it is to wait; else it is answered, or will be. */
static bool attempt(struct conn *conn, const Treekv__Request *request,
		    struct room_try *try)
{
	if (request->body_case == TREEKV__REQUEST__BODY_CREATE)
		return creation_attempt(conn, request->id, request->create,
					try);
	if (request->body_case == TREEKV__REQUEST__BODY_FORK)
		return fork_attempt(conn, request->id, request->fork, try);
	if (request->body_case == TREEKV__REQUEST__BODY_BREAK_LEASE)
		return takeover_attempt(conn, request->id, request->break_lease,
					try);
	if (request->body_case == TREEKV__REQUEST__BODY_PARK)
		return park_attempt(conn, request->id, request->park);
	return attach_attempt(conn, request->id, request->attach, try);
}

static bool wants_progress(const Treekv__Request *request)
{
	if (request->body_case == TREEKV__REQUEST__BODY_CREATE)
		return request->create->progress;
	if (request->body_case == TREEKV__REQUEST__BODY_PARK)
		return request->park->progress;
	return request->body_case == TREEKV__REQUEST__BODY_ATTACH &&
	       request->attach->progress;
}

static uint64_t until(const struct room_try *try)
{
	return treekvd.store.settled + (try->loads || !coming() ? 1 : coming());
}

static int wait_for_room(struct conn *conn, const Treekv__Request *request,
			 const struct room_try *try)
{
	size_t size = treekv__request__get_packed_size(request);
	struct waiting *w = malloc(sizeof(*w) + size);

	if (!w)
		return -ENOMEM;
	w->conn = conn;
	w->id = request->id;
	w->until = until(try);
	w->size = treekv__request__pack(request, w->request);
	w->asked = wants_progress(request) ? persist_watch(conn, request->id) :
					     NULL;
	TAILQ_INSERT_TAIL(&waiting, w, link);
	return 0;
}

static void waiting_free(struct waiting *w)
{
	TAILQ_REMOVE(&waiting, w, link);
	persist_unwatch(w->asked);
	free(w);
}

/* Return: as attempt(). */
static bool attempt_again(struct waiting *w)
{
	struct room_try try = {
		.last = treekvd.store.settled >= w->until,
	};
	Treekv__Request *request =
		treekv__request__unpack(NULL, w->size, w->request);
	bool over;

	if (!request) {
		control_refuse(w->conn, w->id, -ENOMEM,
			       "the daemon has no memory");
		return true;
	}
	over = attempt(w->conn, request, &try);
	if (!over && try.last)
		w->until = until(&try);
	treekv__request__free_unpacked(request, NULL);
	return over;
}

/* An attempt may settle somebody itself: then there is one more round. */
void room_again(void)
{
	static bool under_way, once_more;
	struct waiting *w, *next;

	once_more = true;
	if (under_way)
		return;
	under_way = true;
	while (once_more) {
		once_more = false;
		for (w = TAILQ_FIRST(&waiting); w; w = next) {
			next = TAILQ_NEXT(w, link);
			if (attempt_again(w))
				waiting_free(w);
		}
	}
	under_way = false;
}

void room_ask(struct conn *conn, const Treekv__Request *request)
{
	struct room_try try = { .first = true, .last = !coming() };

	if (attempt(conn, request, &try) || !wait_for_room(conn, request, &try))
		return;
	control_refuse(conn, request->id, -ENOMEM,
		       "the daemon has no memory to wait for room");
}

void room_closed(struct conn *conn)
{
	struct waiting *w, *next;

	for (w = TAILQ_FIRST(&waiting); w; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->conn == conn)
			waiting_free(w);
	}
}
