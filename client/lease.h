/* SPDX-License-Identifier: BSD-2-Clause */
/* Leases that this process may hold without knowing, and giving leases back. */
#ifndef TREEKV_LEASE_H
#define TREEKV_LEASE_H

#include <stdint.h>

#include "client/conn.h"

/* For a request that asks for a lease: a random number but 0. */
uint64_t lease_nonce(void);

/**
 * lease_release - give a lease back
 * @lease: its number; 0: whatever was granted upon @nonce, if anything was
 * @nonce: when @lease is 0
 * @timeout_ms: that it may take; 0: only note that it is owed
 *
 * What the daemon does not answer is owed from then on. Quiet: whoever lets go
 * has a text of his own, or needs none.
 */
void lease_release(struct treekv *kv, uint64_t lease, uint64_t nonce,
		   int timeout_ms);

/**
 * lease_settle - give back what is owed to the daemon at @kv's socket
 *
 * Before a lease is asked for. Return: 0, or why it does not answer.
 */
int lease_settle(struct treekv *kv);

#endif /* TREEKV_LEASE_H */
