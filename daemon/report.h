/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Answers that only tell. report.c has list, inspect and stats,
 * report_processes.c workers and clients, report_kept.c the map of what a
 * cache holds.
 */
#ifndef TREEKVD_REPORT_H
#define TREEKVD_REPORT_H

#include "daemon/control.h"

/* The caches that the peer may know of. */
void report_list(struct control *control, struct conn *conn, uint64_t id,
		 const Treekv__List *request);

void report_inspect(struct control *control, struct conn *conn, uint64_t id,
		    const struct cache *cache);

void report_stats(struct control *control, struct conn *conn, uint64_t id);

void report_workers(struct control *control, struct conn *conn, uint64_t id);

/* The peer's own processes; for who sees all, everybody's. */
void report_clients(struct control *control, struct conn *conn, uint64_t id);

/* Answered later: the cache's worker looks. */
void report_kept(struct conn *conn, uint64_t id, const Treekv__Kept *request);

/* Whoever waits for that on this connection has hung up. */
void report_kept_closed(struct conn *conn);

/* Forgets those under way; the workers have ended. */
void report_kept_exit(void);

/* Root and the daemon's own user see every cache. */
bool report_sees_all(const struct conn *conn);

#endif /* TREEKVD_REPORT_H */
