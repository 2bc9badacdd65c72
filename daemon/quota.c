// SPDX-License-Identifier: BSD-2-Clause
/*
 * An account is there as long as it counts something or has a limit of its own,
 * so that a crowd of users who come and go leaves nothing behind.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/name.h"
#include "daemon/quota.h"

const char *const quota_names[QUOTA_KINDS] = {
	[QUOTA_BYTES] = "bytes",
	[QUOTA_CACHES] = "caches",
	[QUOTA_CONNECTIONS] = "connections",
	[QUOTA_REQUESTS] = "requests",
};

void quota_init(struct quotas *quotas, uid_t daemon)
{
	memset(quotas, 0, sizeof(*quotas));
	quotas->daemon = daemon;
	for (int i = 0; i < QUOTA_KINDS; i++)
		quotas->limit[i] = QUOTA_UNLIMITED;
}

void quota_exit(struct quotas *quotas)
{
	struct quota_account *account;

	for (size_t i = 0; i < QUOTA_BUCKETS; i++)
		while ((account = quotas->bucket[i])) {
			quotas->bucket[i] = account->next;
			free(account);
		}
}

static size_t bucket_of(uint64_t space)
{
	return (space ^ space >> 32 ^ space >> 8) % QUOTA_BUCKETS;
}

struct quota_account *quota_find(const struct quotas *quotas, uint64_t space)
{
	struct quota_account *account = quotas->bucket[bucket_of(space)];

	while (account && account->space != space)
		account = account->next;
	return account;
}

struct quota_account *quota_next(const struct quotas *quotas,
				 const struct quota_account *account)
{
	size_t i = 0;

	if (account && account->next)
		return account->next;
	if (account)
		i = bucket_of(account->space) + 1;
	while (i < QUOTA_BUCKETS && !quotas->bucket[i])
		i++;
	return i < QUOTA_BUCKETS ? quotas->bucket[i] : NULL;
}

static struct quota_account *account_of(struct quotas *quotas, uint64_t space)
{
	struct quota_account *account = quota_find(quotas, space);
	struct quota_account **at = &quotas->bucket[bucket_of(space)];

	if (account)
		return account;
	account = calloc(1, sizeof(*account));
	if (!account)
		return NULL;
	account->space = space;
	account->next = *at;
	*at = account;
	return account;
}

static void settle(struct quotas *quotas, struct quota_account *account)
{
	struct quota_account **at = &quotas->bucket[bucket_of(account->space)];

	for (int i = 0; i < QUOTA_KINDS; i++)
		if (account->used[i] || account->file.own[i] ||
		    account->live.own[i])
			return;
	while (*at != account)
		at = &(*at)->next;
	*at = account->next;
	free(account);
}

static bool is_limited(const struct quota_account *account,
		       enum quota_kind kind)
{
	return account->live.own[kind] || account->file.own[kind];
}

/* A group's members are counted only where somebody has asked for that. */
static void count_limited(struct quotas *quotas)
{
	const struct quota_account *a = NULL;

	quotas->groups_limited = 0;
	while ((a = quota_next(quotas, a)))
		quotas->groups_limited += name_is_shared(a->space) &&
					  (is_limited(a, QUOTA_CONNECTIONS) ||
					   is_limited(a, QUOTA_REQUESTS));
}

/* Connections and requests are users'. */
static uint64_t default_limit(const struct quotas *quotas, uint64_t space,
			      enum quota_kind kind)
{
	if (space == 0 || space == quotas->daemon)
		return QUOTA_UNLIMITED;
	if (name_is_shared(space) &&
	    (kind == QUOTA_CONNECTIONS || kind == QUOTA_REQUESTS))
		return QUOTA_UNLIMITED;
	return quotas->limit[kind];
}

uint64_t quota_limit(const struct quotas *quotas, uint64_t space,
		     enum quota_kind kind)
{
	const struct quota_account *account = quota_find(quotas, space);

	if (account && account->live.own[kind])
		return account->live.limit[kind];
	if (account && account->file.own[kind])
		return account->file.limit[kind];
	return default_limit(quotas, space, kind);
}

static const char *way_out(enum quota_kind kind)
{
	switch (kind) {
	case QUOTA_BYTES:
	case QUOTA_CACHES:
		return "drop some (treekvctl list, drop)";
	case QUOTA_CONNECTIONS:
		return "close some";
	case QUOTA_REQUESTS:
		return "wait for answers";
	case QUOTA_KINDS:
		break;
	}
	return "";
}

int quota_check(const struct quotas *quotas, uint64_t space,
		enum quota_kind kind, uint64_t more, char *why)
{
	const struct quota_account *account = quota_find(quotas, space);
	uint64_t limit = quota_limit(quotas, space, kind);
	uint64_t used = account ? account->used[kind] : 0;

	if (limit == QUOTA_UNLIMITED || (used <= limit && more <= limit - used))
		return 0;
	snprintf(why, QUOTA_TEXT_SIZE,
		 "%s %u is at the limit: %" PRIu64 " of %" PRIu64
		 " %s are used, and this takes %" PRIu64
		 "; %s, or have root raise it (treekvctl quota)",
		 name_is_shared(space) ? "group" : "user", (uint32_t)space,
		 used, limit, quota_names[kind], more, way_out(kind));
	return -EDQUOT;
}

void quota_charge(struct quotas *quotas, uint64_t space, enum quota_kind kind,
		  uint64_t more)
{
	struct quota_account *account = account_of(quotas, space);

	if (account)
		account->used[kind] += more;
}

void quota_discharge(struct quotas *quotas, uint64_t space,
		     enum quota_kind kind, uint64_t less)
{
	struct quota_account *account = quota_find(quotas, space);

	if (!account)
		return;
	account->used[kind] -= less < account->used[kind] ? less :
							    account->used[kind];
	settle(quotas, account);
}

int quota_set(struct quotas *quotas, uint64_t space, enum quota_kind kind,
	      const uint64_t *limit)
{
	struct quota_account *account = account_of(quotas, space);

	if (!account)
		return -ENOMEM;
	account->live.own[kind] = limit;
	account->live.limit[kind] = limit ? *limit : 0;
	settle(quotas, account);
	count_limited(quotas);
	return 0;
}

/* ---- configuration ---- */

static int configure_one(void *arg, uint64_t space,
			 const struct quota_limits *limits)
{
	struct quota_account *account = account_of(arg, space);

	if (!account)
		return -ENOMEM;
	for (int i = 0; i < QUOTA_KINDS; i++)
		if (limits->own[i]) {
			account->file.own[i] = true;
			account->file.limit[i] = limits->limit[i];
		}
	return 0;
}

int quota_configure(struct quotas *quotas, const char *text)
{
	struct quota_account *account, *next;
	char why[QUOTA_TEXT_SIZE];
	int r;

	for (account = quota_next(quotas, NULL); account; account = next) {
		next = quota_next(quotas, account);
		memset(&account->file, 0, sizeof(account->file));
		settle(quotas, account);
	}
	r = quota_parse(text, configure_one, quotas, why);
	count_limited(quotas);
	return r;
}
