// SPDX-License-Identifier: BSD-2-Clause
/*
 * The index has who was given its rows writable: recorded before he gets them,
 * and forgotten only when a publication has named others, so that a daemon that
 * is killed in between copies once too often and never too seldom. That he has
 * detached or is dead does not count: he may have handed the descriptor on.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "daemon/control_impl.h"
#include "daemon/handover.h"
#include "daemon/room.h"
#include "daemon/takeover.h"
#include "daemon/tenant.h"

/* Who waits for the copy. */
struct heir {
	LIST_ENTRY(heir) link;
	struct conn *conn; /* NULL: hung up */
	uint64_t id;
	uint64_t nonce;
};

static LIST_HEAD(, heir) heirs = LIST_HEAD_INITIALIZER(heirs);

bool handover_needed(const struct cache *cache, uid_t uid)
{
	uint32_t holder = cache->index->rows_uid;

	return holder != NAME_NOBODY && holder != uid;
}

void handover_note(struct cache *cache, uid_t uid)
{
	cache->index->rows_uid = uid;
}

void handover_closed(struct conn *conn)
{
	struct heir *heir;

	LIST_FOREACH(heir, &heirs, link)
	if (heir->conn == conn)
		heir->conn = NULL;
}

static void refuse(struct conn *conn, uint64_t id, const struct cache *cache,
		   int error, const char *why)
{
	control_refuse(conn, id, error,
		       "cache %s was written by another user (uid %u), and its "
		       "rows cannot be copied for you: %s",
		       cache->name, cache->index->rows_uid, why);
}

static void on_copied(void *arg, struct cache *cache, int error,
		      const char *why)
{
	struct heir *heir = arg;
	const struct control_wish wish = { .nonce = heir->nonce };

	LIST_REMOVE(heir, link);
	if (heir->conn && error)
		refuse(heir->conn, heir->id, cache, error, why);
	else if (heir->conn)
		control_attach_late(heir->conn, heir->id, cache, &wish);
	free(heir);
}

bool handover_start(struct conn *conn, uint64_t id, struct cache *cache,
		    const struct control_wish *wish)
{
	struct cache_error why = { .text = "out of memory" };
	struct heir *heir = calloc(1, sizeof(*heir));
	int r = heir ? tenant_bytes(cache_space(cache), cache->rows_size,
				    why.text, sizeof(why.text)) :
		       -ENOMEM;

	if (!r)
		r = takeover_start(cache, on_copied, heir, &why);
	if (!r) {
		heir->conn = conn;
		heir->id = id;
		heir->nonce = wish->nonce;
		LIST_INSERT_HEAD(&heirs, heir, link);
		return true;
	}
	free(heir);
	if (r == -ENOSPC && wish->try &&
	    room_comes_beside(wish->try, takeover_lacks(cache), cache))
		return false;
	refuse(conn, id, cache, r, why.text);
	return true;
}
