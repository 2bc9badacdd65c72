/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that wait for room in the pool: somebody is leaving it, or can be
 * parked. Control thread only.
 */
#ifndef TREEKVD_ROOM_H
#define TREEKVD_ROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/cache.h"
#include "daemon/conn.h"

/* One try of a request. */
struct room_try {
	bool first; /* it has not waited yet */
	bool last; /* nobody is about to leave: only parking can help */
	bool loads; /* set by it: it waits for a cache to come from disk */
};

/**
 * room_ask - answer a request at once, or when there is room for it
 * @request: to create, to fork, to attach, to break a lease or to park
 */
void room_ask(struct conn *conn, const Treekv__Request *request);

#define ROOM_NEVER UINT64_MAX /* bytes: more than the whole pool */

/**
 * room_comes - is it worth waiting, for who lacks @bytes?
 *
 * Parks others if need be. Return: false: he is refused.
 */
bool room_comes(const struct room_try *try, uint64_t bytes);

/* The same, and it is not @cache that makes room: it is needed. */
bool room_comes_beside(const struct room_try *try, uint64_t bytes,
		       struct cache *cache);

/* Somebody has left, or will not after all: those that wait are tried again. */
void room_again(void);

/* Whoever waits on this connection has hung up. */
void room_closed(struct conn *conn);

#endif /* TREEKVD_ROOM_H */
