/* SPDX-License-Identifier: BSD-2-Clause */
/* A writer has put a whole prompt into an empty cache and wants it committed. */
#ifndef TREEKVD_PREFILL_H
#define TREEKVD_PREFILL_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/control.h"

void prefill_on_request(struct conn *conn, uint64_t id,
			const Treekv__Prefill *request);

/* One is under way: the cache cannot be freed, nor change hands. */
bool prefill_holds(const struct cache *cache);

/* Somebody wants to attach meanwhile: the answer follows. */
void prefill_wait(struct conn *conn, uint64_t id, struct cache *cache,
		  uint64_t nonce);

void prefill_closed(struct conn *conn);

/* When the workers have stopped. */
void prefill_exit(void);

#endif /* TREEKVD_PREFILL_H */
