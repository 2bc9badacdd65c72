/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Users and groups of users, and what they may have: quotas as they bear upon
 * connections, requests and caches.
 */
#ifndef TREEKVD_TENANT_H
#define TREEKVD_TENANT_H

#include "daemon/control.h"

/* The limits of the configuration, from here on. Return: 0 or -ENOMEM. */
int tenant_configure(const struct config *config);
void tenant_reload(const struct config *config);

/*
 * One more connection of the peer. Return: 0 and it is counted; -EDQUOT with
 * @why.
 */
int tenant_admit(const struct conn_peer *peer, char *why, size_t size);
void tenant_closed(struct conn *conn);

/* One more request; true: it is one too many, and was refused. */
bool tenant_refuse_request(struct conn *conn, uint64_t id);
void tenant_answered(struct conn *conn);

/* Room for a cache of that name? Return: 0 or -EDQUOT with @why. */
int tenant_room(const struct name *name, uint64_t bytes, char *why,
		size_t size);

/* Or for so many bytes more? */
int tenant_bytes(uint64_t space, uint64_t bytes, char *why, size_t size);

void tenant_on_quota(struct conn *conn, uint64_t id,
		     const Treekv__Quota *request);

#endif /* TREEKVD_TENANT_H */
