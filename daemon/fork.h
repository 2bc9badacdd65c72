/* SPDX-License-Identifier: BSD-2-Clause */
/* Forking: requests for caches that share a frozen one's rows. */
#ifndef TREEKVD_FORK_H
#define TREEKVD_FORK_H

#include <stdbool.h>

#include "daemon/conn.h"

struct room_try;

/**
 * fork_attempt - answer a request for a fork, as a creation is answered
 *
 * Return: false when there is no room for it yet; else it is answered.
 *
 * Refused: -ENOENT there is no such parent, or nothing begins as the ids do;
 * -EEXIST the fork is there;
 * -EUCLEAN the parent is quarantined; -EBUSY it is not frozen, or a fork
 * itself; -EMEDIUMTYPE, -EINVAL it cannot be (fork_make.h); -ENOSPC, -EMFILE.
 */
bool fork_attempt(struct conn *conn, uint64_t id, const Treekv__Fork *request,
		  struct room_try *try);

#endif /* TREEKVD_FORK_H */
