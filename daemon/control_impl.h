/* SPDX-License-Identifier: BSD-2-Clause */
/* What control.c lets persist.c and takeover.c do; for nobody else. */
#ifndef TREEKVD_CONTROL_IMPL_H
#define TREEKVD_CONTROL_IMPL_H

#include "daemon/control.h"

/* conn_refuse(), counted and logged. */
void control_refuse(struct conn *conn, uint64_t id, int error,
		    const char *text);

/* Answers an attach to a cache that is there; @spec may be NULL. */
void control_attach(struct conn *conn, uint64_t id, struct cache *cache,
		    const Treekv__Spec *spec);

/* The peer's cache of that name; for who sees all, anybody's; NULL. */
struct cache *control_find(const struct conn *conn, const char *name);

/* Is there room for one more, of this spec? Return: 0 or -ENOSPC. */
int control_room(struct shm_spec *spec, const uint32_t *budgets, char *why,
		 size_t size);

struct worker *control_least_loaded(void);

/* Frees the name; and lets the cache go if nothing holds it any more. */
void control_drop(struct cache *cache);
void control_leave(struct cache *cache);

struct lease;

/* Ends a lease whose holder has not asked for it. */
void control_end_lease(struct lease *lease);

/* An answer that says no more than that it is done. */
void control_done(struct conn *conn, uint64_t id);

#endif /* TREEKVD_CONTROL_IMPL_H */
