// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <grp.h>
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

static int parse_who(uint64_t *ret, const char *text, char *why)
{
	const struct passwd *user = *text == '@' ? NULL : getpwnam(text);
	const struct group *group = *text == '@' ? getgrnam(text + 1) : NULL;
	uint32_t id;

	if (user) {
		*ret = user->pw_uid;
	} else if (group) {
		*ret = NAME_GROUP | group->gr_gid;
	} else if (!parse_number(&id, text + (*text == '@'))) {
		*ret = (*text == '@' ? NAME_GROUP : 0) | id;
	} else {
		snprintf(why, QUOTA_TEXT_SIZE, "there is no %s %.100s",
			 *text == '@' ? "group" : "user",
			 text + (*text == '@'));
		return -EINVAL;
	}
	return 0;
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
