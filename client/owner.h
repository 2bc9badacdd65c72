/* SPDX-License-Identifier: BSD-2-Clause */
/* treekvctl chmod and chown. */
#ifndef TREEKV_OWNER_H
#define TREEKV_OWNER_H

#include <stdbool.h>

#include "client/conn.h"

/**
 * owner_chmod - "treekvctl chmod MODE NAME"
 * @mode: octal, up to 0666
 * @name: as name_resolve() has it; @shown: as the user has it
 *
 * Return: the exit status.
 */
int owner_chmod(struct treekv *kv, const char *mode, const char *name,
		const char *shown, bool json);

/* "treekvctl chown [USER][:GROUP] NAME" */
int owner_chown(struct treekv *kv, const char *owner, const char *name,
		const char *shown, bool json);

#endif /* TREEKV_OWNER_H */
