/* SPDX-License-Identifier: BSD-2-Clause */
/* Whose a cache is, and who else may use it: chmod and chown. */
#ifndef TREEKVD_OWNER_H
#define TREEKVD_OWNER_H

#include <stdbool.h>

#include "daemon/control.h"

void owner_on_chmod(struct conn *conn, uint64_t id,
		    const Treekv__Chmod *request);
void owner_on_chown(struct conn *conn, uint64_t id,
		    const Treekv__Chown *request);

/* What is on disk of it is being made somebody else's. */
bool owner_holds(const struct cache *cache);
bool owner_holds_name(uint64_t space, const char *name);

void owner_closed(struct conn *conn);

/* What its owner asks about: a cache, or one that is on disk only. */
struct owner_subject {
	struct cache *cache; /* NULL: on disk only */
	uint64_t space;
	const char *name;
	struct access_what what;
};

/* Return: 0; or a negative errno, and the peer, who may not, was told. */
int owner_find(struct owner_subject *ret, struct conn *conn, uint64_t id,
	       const char *text);

#endif /* TREEKVD_OWNER_H */
