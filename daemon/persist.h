/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which cache is saved or restored when, and who is told. Control thread only.
 */
#ifndef TREEKVD_PERSIST_H
#define TREEKVD_PERSIST_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/control.h"
#include "daemon/persist_disk.h"

struct asked;
struct control_wish;
struct room_try;

/* A cache's snapshots; cache_free() frees it. */
struct persist {
	struct cache *cache;
	struct snapshot_job *job; /* NULL: nothing is under way */
	bool loading;
	bool keep_file; /* dropped while a job is under way: the file stays */
	bool again; /* save it once more: it is being stopped, and may be due */
	bool saved; /* there is a file of mark */
	uint64_t mark;
	uint64_t taken; /* seconds since 1970; 0: never */
	struct waiter *waiters;
	/* Restored, on the way to the manager's store. */
	struct loop_op stored;
	int barrier; /* 0: none */
	uint64_t tail, bytes, ns; /* what is to be told of it */
	char fault[512]; /* of the last try, or "" */
};

/*
 * Keeps other daemons off STATE-DIR while this one lives. Return: 0, also where
 * its file system has no locks, or it cannot be had and there are no snapshots;
 * a negative errno, with @why: -EWOULDBLOCK another one has it.
 */
int persist_lock(const char **why);

/* Reads the folder, restores if eager, starts the timer. After adopting. */
void persist_start(void);

/* The configuration may be another one by now. */
void persist_reload(void);

/*
 * Saves what changed if configured, unless the caches stay with the manager for
 * a next daemon; returns when no job is left. Return: caches that ought to have
 * been saved and were not.
 */
unsigned int persist_stop(void);
void persist_exit(void);

void persist_on_snapshot(struct conn *conn, uint64_t id,
			 const Treekv__Snapshot *request);
void persist_on_restore(struct conn *conn, uint64_t id,
			const Treekv__Restore *request);

enum persist_answer {
	PERSIST_IS_ELSEWHERE, /* in memory, or nowhere */
	PERSIST_ANSWERS, /* it has, or it will */
	PERSIST_LACKS_ROOM, /* ask again, when there is some */
};

/**
 * persist_attach - somebody wants a cache that may have to be restored first
 * @text: what he calls it
 * @wish: with a try, should there be no room
 */
enum persist_answer persist_attach(struct conn *conn, uint64_t id,
				   const char *text,
				   const struct control_wish *wish);

/* The same without attaching: to be asked again when it is there. */
enum persist_answer persist_fetch(struct conn *conn, uint64_t id,
				  const char *text, struct room_try *try);

/* Does attaching restore something of that name? */
bool persist_is_on_disk(uint64_t space, const char *name);

bool persist_is_loading(const struct cache *cache);

/* A snapshot reads or fills it: it cannot be freed. */
bool persist_holds(const struct cache *cache);

/* A cache is dropped by request. */
void persist_dropped(struct cache *cache, bool keep);

/* A cache has been frozen, or changed hands: what is on disk has not. */
void persist_changed(struct cache *cache);

/*
 * Drops one that is on disk only. Return: 0; -ENOENT there is none that the peer
 * may know of; another errno with @why.
 */
int persist_drop_file(const struct conn *conn, uint64_t space, const char *name,
		      char *why, size_t size);

void persist_closed(struct conn *conn);

/*
 * Who waits is told how jobs get on until that is over; NULL: there is no
 * memory for that.
 */
struct asked *persist_watch(struct conn *conn, uint64_t id);
void persist_unwatch(struct asked *asked); /* takes NULL */

/* What list and inspect say about it. */
void persist_describe(const struct cache *cache, Treekv__CacheInfo *info);

/* Where snapshots are: a folder for each space. */
const char *persist_root(void);

/* The latest failure, as much as the peer may know of it. NULL: none. */
const char *persist_fault(const struct conn *conn);

#endif /* TREEKVD_PERSIST_H */
