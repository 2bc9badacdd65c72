/* SPDX-License-Identifier: BSD-2-Clause */
/* Whose a snapshot is, changed where it lies. */
#ifndef TREEKVD_SNAPSHOT_OWNER_H
#define TREEKVD_SNAPSHOT_OWNER_H

#include "daemon/snapshot_format.h"

/**
 * snapshot_give - make a snapshot somebody else's
 * @space: where it is now
 * @what: whose it becomes; where that is another space, it moves there
 * @ret: its header and layers, as they are now; to be freed
 *
 * Waits for the disk: not on the control thread. Nobody writes or reads the file
 * meanwhile. Killed at any instruction, one file of that name is whole.
 *
 * Return: 0; -ENOENT, -EEXIST there is one of that name already, -EPROTO,
 * -EBADMSG or another negative errno with @why.
 */
int snapshot_give(struct snapshot_info **ret, const char *root, uint64_t space,
		  const char *name, const struct access_what *what,
		  struct snapshot_error *why);

/*
 * Takes a name away that does not fit the file, if a crash while that moved has
 * left it. Return: whether it has.
 */
bool snapshot_moved(const char *root, uint64_t space, const char *name);

#endif /* TREEKVD_SNAPSHOT_OWNER_H */
