/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much one user, or one group, may have: bytes and caches in its space
 * (name.h), connections, requests in flight. Control thread only; knows numbers,
 * not caches or sockets.
 */
#ifndef TREEKVD_QUOTA_H
#define TREEKVD_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define QUOTA_BUCKETS	256
#define QUOTA_UNLIMITED UINT64_MAX
#define QUOTA_TEXT_SIZE 320

enum quota_kind {
	QUOTA_BYTES,
	QUOTA_CACHES,
	QUOTA_CONNECTIONS,
	QUOTA_REQUESTS,
	QUOTA_KINDS,
};

extern const char *const quota_names[QUOTA_KINDS];

/* Limits that somebody has of his own; the others are the defaults. */
struct quota_limits {
	uint64_t limit[QUOTA_KINDS];
	bool own[QUOTA_KINDS];
};

/* What a space has; made when it first has something, or a limit. */
struct quota_account {
	struct quota_account *next;
	uint64_t space;
	uint64_t used[QUOTA_KINDS];
	struct quota_limits file; /* by configuration */
	struct quota_limits live; /* by request; these count first */
};

struct quotas {
	struct quota_account *bucket[QUOTA_BUCKETS];
	uint64_t limit[QUOTA_KINDS]; /* of who has none of his own */
	uid_t daemon; /* he and root have none by default */
	uint32_t groups_limited; /* in connections or requests */
};

void quota_init(struct quotas *quotas, uid_t daemon);
void quota_exit(struct quotas *quotas);

/* NULL when it has nothing and no limits. */
struct quota_account *quota_find(const struct quotas *quotas, uint64_t space);

/* The first account, and the one after; in no order. NULL: there is none. */
struct quota_account *quota_next(const struct quotas *quotas,
				 const struct quota_account *account);

/* What counts for a space: QUOTA_UNLIMITED, or the limit. */
uint64_t quota_limit(const struct quotas *quotas, uint64_t space,
		     enum quota_kind kind);

/**
 * quota_check - may it have that much more?
 * @why: QUOTA_TEXT_SIZE bytes, set when not: who, used, limit, way out
 *
 * Return: 0 or -EDQUOT.
 */
int quota_check(const struct quotas *quotas, uint64_t space,
		enum quota_kind kind, uint64_t more, char *why);

/* It has that much more, or less. No memory for an account: not counted. */
void quota_charge(struct quotas *quotas, uint64_t space, enum quota_kind kind,
		  uint64_t more);
void quota_discharge(struct quotas *quotas, uint64_t space,
		     enum quota_kind kind, uint64_t less);

/**
 * quota_set - a limit by request
 * @limit: NULL: back to what configuration says
 *
 * Return: 0 or -ENOMEM.
 */
int quota_set(struct quotas *quotas, uint64_t space, enum quota_kind kind,
	      const uint64_t *limit);

/**
 * quota_configure - limits as configuration has them, in place of earlier ones
 * @text: by quota_resolve(), so that nothing has to be looked up any more
 *
 * Those set by request stay. Return: 0 or -ENOMEM.
 */
int quota_configure(struct quotas *quotas, const char *text);

/**
 * quota_resolve - the same text with numbers, as quota_parse() reads it
 * @ret: to be freed
 *
 * Return: 0, -EINVAL with @why, -ENOMEM.
 */
int quota_resolve(char **ret, const char *text, char *why);

/*
 * From here on names are looked up in /etc/passwd and /etc/group and among those
 * that have been before: nothing is loaded for that, and nobody waited for.
 */
void quota_stay_local(void);

/**
 * quota_parse - read "USER|@GROUP KIND=LIMIT ...", several separated by ';'
 * @one: called for each, or NULL: it is only checked
 * @why: QUOTA_TEXT_SIZE bytes for what is wrong with it
 *
 * Users and groups by name or number.
 *
 * Return: 0; -EINVAL; or what @one returned.
 */
int quota_parse(const char *text,
		int (*one)(void *arg, uint64_t space,
			   const struct quota_limits *limits),
		void *arg, char *why);

#endif /* TREEKVD_QUOTA_H */
