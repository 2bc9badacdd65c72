/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * More caches than memory: idle ones are parked, that is, they are written to
 * disk, leave memory, and come back with the next attach. Control thread only.
 */
#ifndef TREEKVD_PARK_H
#define TREEKVD_PARK_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/cache.h"
#include "daemon/conn.h"

/* It has been attached to, read or forked: it is parked later. */
void park_used(struct cache *cache);

/* When much has been used up, or somebody let go, since the last look. */
void park_look(void);

/* Its time to live is over: as its class says; nothing if it is in use. */
void park_expired(struct cache *cache);

/**
 * park_for - somebody lacks @bytes of the pool
 * @first: he has not waited for that yet
 *
 * Return: whether it is worth waiting for who settles next.
 */
bool park_for(uint64_t bytes, bool first);

/* Why there is no more room to be had, for who is refused. */
const char *park_obstacle(void);

/* A snapshot of it has been written, or failed: @error and @text say why. */
void park_saved(struct cache *cache, int error, const char *text);

/**
 * park_attempt - answer a request to park a cache
 *
 * Answered when its memory is given back. Refused: -ENOENT; -EBUSY it is in use;
 * -EINVAL, -EUCLEAN it cannot be written to disk; what snapshots fail with.
 *
 * Return: false while its last writer is still on his way out, or a snapshot of
 * it is under way: to be asked again when somebody has settled.
 */
bool park_attempt(struct conn *conn, uint64_t id, const Treekv__Park *request);
void park_closed(struct conn *conn);

#endif /* TREEKVD_PARK_H */
