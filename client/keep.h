/* SPDX-License-Identifier: BSD-2-Clause */
/* treekvctl pin, unpin and ttl. */
#ifndef TREEKV_KEEP_H
#define TREEKV_KEEP_H

#include <stdbool.h>

struct treekv;

/* Return: an exit status, here and below. */
int keep_pin(struct treekv *kv, const char *name, const char *shown, bool pin,
	     bool json);

/* @time: "90", "15m", "2h", "7d", or "none". */
int keep_ttl(struct treekv *kv, const char *time, const char *name,
	     const char *shown, bool json);

#endif /* TREEKV_KEEP_H */
