/* SPDX-License-Identifier: BSD-2-Clause */
/* A control plane is made to let go of all it has. */
#ifndef TREEKV_PLANE_CLEAR_H
#define TREEKV_PLANE_CLEAR_H

#include <sys/types.h>

/*
 * Ends the leases of this process, those it was never told of as well, and
 * drops what a user has, in memory and on disk; 0: of this process.
 */
void plane_clear(uid_t uid);

/* Runs until no cache, no lease and no connection is left, and looks. */
void plane_await_end(void);

#endif /* TREEKV_PLANE_CLEAR_H */
