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

/* A cache's snapshots; cache_free() frees it. */
struct persist {
	struct cache *cache;
	struct snapshot_job *job; /* NULL: nothing is under way */
	bool loading;
	bool keep_file; /* dropped while a job is under way: the file stays */
	bool saved; /* there is a file of commit */
	uint64_t commit;
	uint64_t taken; /* seconds since 1970; 0: never */
	struct waiter *waiters;
	struct loop_op stored; /* restored, on the way to the manager's store */
	int barrier; /* 0: none */
	char fault[512]; /* of the last try, or "" */
};

/* Reads the folder, restores if eager, starts the timer. After adopting. */
void persist_start(void);

/* Saves what changed if configured; returns when no job is left. */
void persist_stop(void);
void persist_exit(void);

void persist_on_snapshot(struct conn *conn, uint64_t id,
			 const Treekv__Snapshot *request);
void persist_on_restore(struct conn *conn, uint64_t id,
			const Treekv__Restore *request);

/**
 * persist_attach - somebody wants a cache that is not in memory
 * @spec: may be NULL
 * @nonce: of his request, or 0
 *
 * Return: true when there is one on disk: the answer is given, or follows.
 */
bool persist_attach(struct conn *conn, uint64_t id, const char *name,
		    const Treekv__Spec *spec, uint64_t nonce);

/* Somebody wants one that is being restored: the answer follows. */
bool persist_is_loading(const struct cache *cache);
void persist_wait(struct conn *conn, uint64_t id, struct cache *cache,
		  const Treekv__Spec *spec, uint64_t nonce);

/* A snapshot reads or fills it: it cannot be freed. */
bool persist_holds(const struct cache *cache);

/* A cache is dropped by request. */
void persist_dropped(struct cache *cache, bool keep);

/* Drops one that is on disk only. Return: 0, -ENOENT, another errno. */
int persist_drop_file(uid_t uid, const char *name);

void persist_closed(struct conn *conn);

/* What list and inspect say about it. */
void persist_describe(const struct cache *cache, Treekv__CacheInfo *info);

/* The latest failure, NULL: none. */
const char *persist_fault(void);

#endif /* TREEKVD_PERSIST_H */
