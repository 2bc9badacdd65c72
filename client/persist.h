/* SPDX-License-Identifier: BSD-2-Clause */
/* treekvctl snapshot and restore. */
#ifndef TREEKV_PERSIST_H
#define TREEKV_PERSIST_H

#include <stdbool.h>

struct treekv;

/* @name: NULL, all. Return: an exit status, 1 when one of them failed. */
int persist_save(struct treekv *kv, const char *name, bool json);

/* @shown: how the user has said @name; here and in keep.h. */
int persist_park(struct treekv *kv, const char *name, const char *shown,
		 bool json);

int persist_restore(struct treekv *kv, const char *name, bool json);

#endif /* TREEKV_PERSIST_H */
