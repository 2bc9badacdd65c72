/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client may punch holes into rows that it can write. Where that leaves us a
 * page that cannot be had, reading it raises SIGBUS; the handler maps zeroes
 * over it and marks the cache, which its worker then quarantines.
 */
#ifndef TREEKVD_HOLE_H
#define TREEKVD_HOLE_H

#include <stdbool.h>
#include <stdint.h>

void hole_install(void);

/* Faults in [at, at + size) set *holed. Control thread only. */
void hole_watch(const void *at, uint64_t size, bool huge, bool *holed);
void hole_unwatch(const void *at);

#endif /* TREEKVD_HOLE_H */
