// SPDX-License-Identifier: BSD-2-Clause
/*
 * A connection is its user's. It is counted for those of his groups, too, that
 * somebody has limited in connections or requests, and for no others: a user
 * may be in thousands. So when such a limit comes or goes, all is counted anew.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/control_impl.h"
#include "daemon/log.h"
#include "daemon/persist_disk.h"
#include "daemon/report.h"
#include "daemon/tenant.h"

static struct quotas *quotas(void)
{
	return &treekvd.store.quotas;
}

int tenant_configure(const struct config *config)
{
	const uint64_t limits[QUOTA_KINDS] = {
		[QUOTA_BYTES] = config->quota_bytes,
		[QUOTA_CACHES] = config->quota_caches,
		[QUOTA_CONNECTIONS] = config->quota_connections,
		[QUOTA_REQUESTS] = config->quota_requests,
	};

	for (int i = 0; i < QUOTA_KINDS; i++)
		quotas()->limit[i] = limits[i] ? limits[i] : QUOTA_UNLIMITED;
	return quota_configure(quotas(), config->quota);
}

/* ---- connections and requests ---- */

/*
 * The spaces that count one: @i from 0 on. Return: false when there are no more;
 * *space is QUOTA_UNLIMITED for a group that does not count.
 */
static bool counts_at(const struct conn_peer *peer, uint32_t i, uint64_t *space)
{
	gid_t gid = peer->gid;

	*space = peer->uid;
	if (!i)
		return true;
	if (!quotas()->groups_limited || i > peer->n_groups + 1)
		return false;
	if (i > 1)
		gid = peer->groups[i - 2];
	*space = NAME_GROUP | gid;
	if ((i > 1 && gid == peer->gid) || !quota_find(quotas(), *space))
		*space = QUOTA_UNLIMITED;
	return true;
}

static int check(const struct conn_peer *peer, enum quota_kind kind, char *why)
{
	uint64_t space;
	int r = 0;

	for (uint32_t i = 0; !r && counts_at(peer, i, &space); i++)
		if (space != QUOTA_UNLIMITED)
			r = quota_check(quotas(), space, kind, 1, why);
	return r;
}

static void charge(const struct conn_peer *peer, enum quota_kind kind,
		   bool discharge)
{
	uint64_t space;

	for (uint32_t i = 0; counts_at(peer, i, &space); i++)
		if (space == QUOTA_UNLIMITED)
			continue;
		else if (discharge)
			quota_discharge(quotas(), space, kind, 1);
		else
			quota_charge(quotas(), space, kind, 1);
}

int tenant_admit(const struct conn_peer *peer, char *why, size_t size)
{
	char text[QUOTA_TEXT_SIZE];
	int r = check(peer, QUOTA_CONNECTIONS, text);

	if (!r) {
		charge(peer, QUOTA_CONNECTIONS, false);
		return 0;
	}
	snprintf(why, size, "%s", text);
	treekvd.counters.refusals++;
	log_info("turned away", "pid=%d uid=%u text=\"%s\"", (int)peer->pid,
		 peer->uid, text);
	return r;
}

void tenant_closed(struct conn *conn)
{
	tenant_answered(conn);
	charge(conn_peer(conn), QUOTA_CONNECTIONS, true);
}

bool tenant_refuse_request(struct conn *conn, uint64_t id)
{
	char why[QUOTA_TEXT_SIZE];
	int r = check(conn_peer(conn), QUOTA_REQUESTS, why);

	if (r) {
		control_refuse(conn, id, r, "%s", why);
		return true;
	}
	*conn_counted(conn) = true;
	charge(conn_peer(conn), QUOTA_REQUESTS, false);
	return false;
}

void tenant_answered(struct conn *conn)
{
	if (!*conn_counted(conn))
		return;
	*conn_counted(conn) = false;
	charge(conn_peer(conn), QUOTA_REQUESTS, true);
}

static int room(uint64_t space, enum quota_kind kind, uint64_t more, char *why,
		size_t size)
{
	char text[QUOTA_TEXT_SIZE];
	int r = quota_check(quotas(), space, kind, more, text);

	if (r)
		snprintf(why, size, "%s", text);
	return r;
}

int tenant_bytes(uint64_t space, uint64_t bytes, char *why, size_t size)
{
	return room(space, QUOTA_BYTES, bytes, why, size);
}

/* One that comes back from disk has been counted there. */
int tenant_room(const struct name *name, uint64_t bytes, char *why, size_t size)
{
	const struct disk_entry *entry = disk_find(name->space, name->own);
	int r = 0;

	if (!entry || !entry->counted)
		r = room(name->space, QUOTA_CACHES, 1, why, size);
	return r ? r : tenant_bytes(name->space, bytes, why, size);
}

/* ---- counting anew ---- */

static void count(struct conn *conn, void *arg)
{
	const struct conn_peer *peer = conn_peer(conn);

	(void)arg;
	charge(peer, QUOTA_CONNECTIONS, false);
	if (*conn_counted(conn))
		charge(peer, QUOTA_REQUESTS, false);
}

static void uncount(struct conn *conn, void *arg)
{
	const struct conn_peer *peer = conn_peer(conn);

	(void)arg;
	charge(peer, QUOTA_CONNECTIONS, true);
	if (*conn_counted(conn))
		charge(peer, QUOTA_REQUESTS, true);
}

void tenant_reload(const struct config *config)
{
	listener_recount(treekvd.listener, uncount, NULL);
	if (tenant_configure(config))
		log_error("quotas not reloaded", "error=\"out of memory\"");
	listener_recount(treekvd.listener, count, NULL);
}

/* ---- the request ---- */

struct answer {
	Treekv__QuotaUsage usage[QUOTA_KINDS];
	Treekv__QuotaUsage *list[QUOTA_KINDS];
	Treekv__QuotaAccount account;
};

static void describe(struct answer *to, uint64_t space)
{
	const struct quota_account *account = quota_find(quotas(), space);
	Treekv__QuotaAccount *m = &to->account;

	treekv__quota_account__init(m);
	m->id = (uint32_t)space;
	m->shared = name_is_shared(space);
	m->usage = to->list;
	m->n_usage = QUOTA_KINDS;
	for (int i = 0; i < QUOTA_KINDS; i++) {
		uint64_t limit = quota_limit(quotas(), space, i);

		treekv__quota_usage__init(&to->usage[i]);
		to->usage[i].kind = (char *)(uintptr_t)quota_names[i];
		to->usage[i].used = account ? account->used[i] : 0;
		to->usage[i].has_limit = limit != QUOTA_UNLIMITED;
		to->usage[i].limit = to->usage[i].has_limit ? limit : 0;
		to->list[i] = &to->usage[i];
	}
}

static bool may_see(const struct conn *conn, uint64_t space)
{
	return report_sees_all(conn) || space == conn_peer(conn)->uid ||
	       (name_is_shared(space) && control_in_group(conn, (gid_t)space));
}

/* His own first, then the others that he may see; or one. */
static void reply(struct conn *conn, uint64_t id, const uint64_t *one)
{
	const struct quota_account *a = NULL;
	Treekv__QuotaReply quota = TREEKV__QUOTA_REPLY__INIT;
	Treekv__Reply message = TREEKV__REPLY__INIT;
	uint64_t own = one ? *one : conn_peer(conn)->uid;
	struct answer *answers;
	size_t n = 1;

	while (!one && (a = quota_next(quotas(), a)))
		n++;
	answers = calloc(n, sizeof(*answers));
	quota.account = calloc(n, sizeof(Treekv__QuotaAccount *));
	if (!answers || !quota.account) {
		control_refuse(conn, id, -ENOMEM, "the daemon has no memory");
		goto out;
	}
	describe(&answers[0], own);
	n = 1;
	while (!one && (a = quota_next(quotas(), a)))
		if (a->space != own && may_see(conn, a->space))
			describe(&answers[n++], a->space);
	for (size_t i = 0; i < n; i++)
		quota.account[i] = &answers[i].account;
	quota.n_account = n;
	message.id = id;
	message.body_case = TREEKV__REPLY__BODY_QUOTA;
	message.quota = &quota;
	conn_reply(conn, &message, NULL, 0);
out:
	free(quota.account);
	free(answers);
}

static int find_kind(const char *name)
{
	int kind = 0;

	while (kind < QUOTA_KINDS && strcmp(quota_names[kind], name))
		kind++;
	return kind;
}

/* Return: 0; or a negative errno, and the peer was told. */
static int set(struct conn *conn, uint64_t id, uint64_t space,
	       const Treekv__Quota *request)
{
	uint64_t unlimited = QUOTA_UNLIMITED;
	int r = 0;

	for (size_t i = 0; i < request->n_set; i++)
		if (find_kind(request->set[i]->kind) == QUOTA_KINDS) {
			control_refuse(conn, id, -EINVAL,
				       "there is no limit %.40s; there are "
				       "bytes, caches, connections, requests",
				       request->set[i]->kind);
			return -EINVAL;
		}
	listener_recount(treekvd.listener, uncount, NULL);
	for (size_t i = 0; !r && i < request->n_set; i++) {
		const Treekv__QuotaSet *to = request->set[i];

		r = quota_set(quotas(), space, find_kind(to->kind),
			      to->unlimited ? &unlimited :
			      to->has_limit ? &to->limit :
					      NULL);
	}
	listener_recount(treekvd.listener, count, NULL);
	if (r)
		control_refuse(conn, id, r, "the daemon has no memory");
	return r;
}

void tenant_on_quota(struct conn *conn, uint64_t id,
		     const Treekv__Quota *request)
{
	uint64_t space = conn_peer(conn)->uid;
	bool one = request->has_uid || request->has_gid;

	if (request->has_gid)
		space = NAME_GROUP | request->gid;
	else if (request->has_uid)
		space = request->uid;
	if (request->n_set && !report_sees_all(conn)) {
		control_refuse(conn, id, -EPERM,
			       "only root and the daemon's user set quotas");
		return;
	}
	if (!may_see(conn, space)) {
		control_refuse(conn, id, -EPERM,
			       "what others use is not shown; treekvctl quota "
			       "shows yours");
		return;
	}
	if (!request->n_set || !set(conn, id, space, request))
		reply(conn, id, one || request->n_set ? &space : NULL);
}
