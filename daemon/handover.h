/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A cache that one user has written and another is to write. What the first had
 * mapped he may have kept, so the second gets a copy.
 */
#ifndef TREEKVD_HANDOVER_H
#define TREEKVD_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/cache.h"
#include "daemon/conn.h"

struct control_wish;

/* Has somebody else than @uid ever had these rows writable? */
bool handover_needed(const struct cache *cache, uid_t uid);

/* @uid is about to get them. */
void handover_note(struct cache *cache, uid_t uid);

/**
 * handover_start - copy the rows, then answer an attach
 * @cache: nobody writes it
 *
 * Return: false when there is no room for a copy yet, and the wish has a try;
 * else it is answered, or will be.
 */
bool handover_start(struct conn *conn, uint64_t id, struct cache *cache,
		    const struct control_wish *wish);

void handover_closed(struct conn *conn);

#endif /* TREEKVD_HANDOVER_H */
