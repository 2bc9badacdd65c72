/* SPDX-License-Identifier: BSD-2-Clause */
/* treekvctl quota. */
#ifndef TREEKV_QUOTA_H
#define TREEKV_QUOTA_H

#include <stdbool.h>

#include "client/conn.h"

/**
 * quota_main - "treekvctl quota [USER|@GROUP] [KIND=LIMIT]..."
 * @words: n of them, what stands after the command
 *
 * Return: the exit status.
 */
int quota_main(struct treekv *kv, char *const *words, int n, bool json);

#endif /* TREEKV_QUOTA_H */
