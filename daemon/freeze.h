/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Freezing: a cache that nobody writes any more, whose rows others may share.
 * Control thread only.
 */
#ifndef TREEKVD_FREEZE_H
#define TREEKVD_FREEZE_H

#include "daemon/cache.h"
#include "daemon/conn.h"

/**
 * freeze_on_freeze - answer a request to freeze a cache
 *
 * Answered when it is frozen, as it may be already. Refused: -ENOENT; -EBUSY it
 * is being written, made or moved; -EUCLEAN it is quarantined; -EINVAL it is
 * ephemeral; -ENOSPC somebody has its rows mapped and there is no room for a
 * copy.
 */
void freeze_on_freeze(struct conn *conn, uint64_t id,
		      const Treekv__Freeze *request);

/* The asker has gone; the freezing goes on. */
void freeze_closed(struct conn *conn);

/* Is the cache being frozen? Then it must stay, and nobody gets a lease. */
bool freeze_holds(const struct cache *cache);

#endif /* TREEKVD_FREEZE_H */
