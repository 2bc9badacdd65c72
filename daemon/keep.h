/* SPDX-License-Identifier: BSD-2-Clause */
/* Pinned caches, and those whose time is limited. Control thread only. */
#ifndef TREEKVD_KEEP_H
#define TREEKVD_KEEP_H

#include <stdint.h>

#include "daemon/cache.h"
#include "daemon/conn.h"

/* It has come into memory: made, adopted or restored. */
void keep_added(const struct cache *cache);

/* Answers a request to pin or unpin a cache, or to limit its time. */
void keep_on_keep(struct conn *conn, uint64_t id, const Treekv__Keep *request);

/* Before the loop sleeps: whose time is over? Wakes it for the next one. */
void keep_look(void);

#endif /* TREEKVD_KEEP_H */
