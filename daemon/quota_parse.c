// SPDX-License-Identifier: BSD-2-Clause
/*
 * Names are looked up once, when they are read, and numbers from then on. Before
 * the daemon serves, the system is asked, which may load libraries for that and
 * wait for other machines. When it serves it does neither: then libc reads
 * /etc/passwd and /etc/group, and what they lack is known from before or has to
 * be a number.
 */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config.h"
#include "daemon/name.h"
#include "daemon/quota.h"
#include "proto/size.h"

/* Return: 0, -EINVAL. */
static int parse_number(uint32_t *ret, const char *text)
{
	uint64_t number;
	char *end;

	if (size_parse_digits(&number, text, &end) || *end ||
	    number >= NAME_NOBODY)
		return -EINVAL;
	*ret = (uint32_t)number;
	return 0;
}

/* Names that were looked up, as they were written. */
struct known {
	struct known *next;
	uint64_t space;
	char name[];
};

static struct known *known;
static bool local;

void quota_stay_local(void)
{
	local = !__nss_configure_lookup("passwd", "files") &&
		!__nss_configure_lookup("group", "files");
}

static struct known *find_known(const char *name)
{
	struct known *k = known;

	while (k && strcmp(k->name, name))
		k = k->next;
	return k;
}

/* Without memory for that it is forgotten. */
static void remember(const char *name, uint64_t space)
{
	struct known *k = find_known(name);

	if (!k) {
		k = malloc(sizeof(*k) + strlen(name) + 1);
		if (!k)
			return;
		strcpy(k->name, name);
		k->next = known;
		known = k;
	}
	k->space = space;
}

/* Return: 0, -ENOENT. */
static int look_up(uint64_t *ret, const char *text)
{
	const struct passwd *user = *text == '@' ? NULL : getpwnam(text);
	const struct group *group = *text == '@' ? getgrnam(text + 1) : NULL;
	const struct known *k = find_known(text);

	if (user)
		*ret = user->pw_uid;
	else if (group)
		*ret = NAME_GROUP | group->gr_gid;
	else if (k)
		*ret = k->space;
	else
		return -ENOENT;
	remember(text, *ret);
	return 0;
}

static int parse_who(uint64_t *ret, const char *text, char *why)
{
	bool shared = *text == '@';
	const char *name = text + shared;
	uint32_t id;

	if (!look_up(ret, text))
		return 0;
	if (!parse_number(&id, name)) {
		*ret = (shared ? NAME_GROUP : 0) | id;
		return 0;
	}
	if (local)
		snprintf(why, QUOTA_TEXT_SIZE,
			 "there is no %s %.60s in /etc/%s, and a daemon that "
			 "serves looks nowhere else; give the number (getent "
			 "%s %.60s), or restart it",
			 shared ? "group" : "user", name,
			 shared ? "group" : "passwd",
			 shared ? "group" : "passwd", name);
	else
		snprintf(why, QUOTA_TEXT_SIZE, "there is no %s %.100s",
			 shared ? "group" : "user", name);
	return -EINVAL;
}

/* "bytes=8G", "caches=none" */
static int parse_limit(struct quota_limits *ret, const char *text, char *why)
{
	const char *equals = strchr(text, '=');
	size_t length = equals ? (size_t)(equals - text) : strlen(text);
	uint64_t limit = QUOTA_UNLIMITED;
	char *end;

	for (int i = 0; equals && i < QUOTA_KINDS; i++) {
		if (strlen(quota_names[i]) != length ||
		    memcmp(quota_names[i], text, length))
			continue;
		if (strcmp(equals + 1, "none") &&
		    (i == QUOTA_BYTES ?
			     config_parse_size(&limit, equals + 1) :
			     (size_parse_digits(&limit, equals + 1, &end) ||
			      *end)))
			break;
		ret->own[i] = true;
		ret->limit[i] = limit;
		return 0;
	}
	snprintf(why, QUOTA_TEXT_SIZE,
		 "'%.60s' is no limit; there are bytes=SIZE, caches=N, "
		 "connections=N and requests=N, each of which may be none",
		 text);
	return -EINVAL;
}

static int parse_one(char *text,
		     int (*one)(void *arg, uint64_t space,
				const struct quota_limits *limits),
		     void *arg, char *why)
{
	struct quota_limits limits = { .own = { false } };
	char *rest, *word = strtok_r(text, " \t", &rest);
	uint64_t space;
	int r;

	if (!word)
		return 0;
	r = parse_who(&space, word, why);
	while (!r && (word = strtok_r(NULL, " \t", &rest)))
		r = parse_limit(&limits, word, why);
	return r || !one ? r : one(arg, space, &limits);
}

static int append(void *arg, uint64_t space, const struct quota_limits *limits)
{
	FILE *to = arg;

	fprintf(to, "%s%s%" PRIu32, ftell(to) ? ";" : "",
		name_is_shared(space) ? "@" : "", (uint32_t)space);
	for (int i = 0; i < QUOTA_KINDS; i++)
		if (limits->own[i] && limits->limit[i] == QUOTA_UNLIMITED)
			fprintf(to, " %s=none", quota_names[i]);
		else if (limits->own[i])
			fprintf(to, " %s=%" PRIu64, quota_names[i],
				limits->limit[i]);
	return ferror(to) ? -ENOMEM : 0;
}

int quota_resolve(char **ret, const char *text, char *why)
{
	char *numbers = NULL;
	size_t size;
	FILE *to = open_memstream(&numbers, &size);
	int r;

	if (!to)
		return -ENOMEM;
	r = quota_parse(text, append, to, why);
	if (fclose(to) && !r)
		r = -ENOMEM;
	if (r) {
		free(numbers);
		return r;
	}
	*ret = numbers;
	return 0;
}

int quota_parse(const char *text,
		int (*one)(void *arg, uint64_t space,
			   const struct quota_limits *limits),
		void *arg, char *why)
{
	char *copy = strdup(text), *rest, *item;
	int r = 0;

	snprintf(why, QUOTA_TEXT_SIZE, "out of memory");
	if (!copy)
		return -ENOMEM;
	for (item = strtok_r(copy, ";", &rest); item && !r;
	     item = strtok_r(NULL, ";", &rest))
		r = parse_one(item, one, arg, why);
	free(copy);
	return r;
}
