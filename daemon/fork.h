/* SPDX-License-Identifier: BSD-2-Clause */
/* Forking: requests for caches that share a frozen one's rows. */
#ifndef TREEKVD_FORK_H
#define TREEKVD_FORK_H

#include "daemon/conn.h"

/**
 * fork_on_fork - answer a request for a fork, as a creation is answered
 *
 * Refused: -ENOENT there is no such parent, or nothing begins as the ids do;
 * -EEXIST the fork is there;
 * -EUCLEAN the parent is quarantined; -EBUSY it is not frozen, or a fork
 * itself; -EMEDIUMTYPE, -EINVAL it cannot be (fork_make.h); -ENOSPC, -EMFILE.
 */
void fork_on_fork(struct conn *conn, uint64_t id, const Treekv__Fork *request);

#endif /* TREEKVD_FORK_H */
