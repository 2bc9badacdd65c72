/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Breaking a lease: a holder who neither goes on nor dies cannot be made to let
 * go of a writable mapping, so the cache gets other rows and he keeps his.
 */
#ifndef TREEKVD_TAKEOVER_H
#define TREEKVD_TAKEOVER_H

#include "daemon/conn.h"

/**
 * takeover_on_break - answer a request to break the lease of a cache
 *
 * Answered when the cache is free. Refused: -ENOENT; -ESRCH nobody holds it;
 * -EUCLEAN it is quarantined; -EBUSY that is under way; -ENOSPC no room for a
 * copy of its rows.
 */
void takeover_on_break(struct conn *conn, uint64_t id,
		       const Treekv__Break *request);

/* The asker has gone; the breaking goes on. */
void takeover_closed(struct conn *conn);

/* Is the cache's lease being broken? Then it must stay. */
bool takeover_holds(const struct cache *cache);

/* Frees what is left when the daemon stops. */
void takeover_exit(void);

#endif /* TREEKVD_TAKEOVER_H */
