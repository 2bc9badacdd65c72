// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cache.h"
#include "client/name.h"

#define LOOKUP_SIZE   65536 /* a group's members included */
#define ACCOUNT_BYTES 256 /* of the name of a user or a group */

/* Digits and nothing else. Return: 0, -EINVAL. */
static int parse_number(uint32_t *ret, const char *text)
{
	unsigned long long number;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || *end || number >= UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)number;
	return 0;
}

/* These say that there is none, beside 0: getpwnam_r(3). */
static int refuse(const char *what, const char *name, int error)
{
	if (!error || error == ENOENT || error == ESRCH || error == EBADF ||
	    error == EPERM)
		return error_set(-ENOENT, "there is no %s %s", what, name);
	return error_set(-error, "cannot look up the %s %s: %s", what, name,
			 strerror(error));
}

int name_user(uint32_t *ret, const char *user)
{
	struct passwd entry, *found = NULL;
	char *room = malloc(LOOKUP_SIZE);
	int r;

	if (!room)
		return error_set(-ENOMEM, "out of memory");
	r = getpwnam_r(user, &entry, room, LOOKUP_SIZE, &found);
	if (found)
		*ret = found->pw_uid;
	free(room);
	if (found || !parse_number(ret, user))
		return 0;
	return refuse("user", user, r);
}

int name_group(uint32_t *ret, const char *group)
{
	struct group entry, *found = NULL;
	char *room = malloc(LOOKUP_SIZE);
	int r;

	if (!room)
		return error_set(-ENOMEM, "out of memory");
	r = getgrnam_r(group, &entry, room, LOOKUP_SIZE, &found);
	if (found)
		*ret = found->gr_gid;
	free(room);
	if (found || !parse_number(ret, group))
		return 0;
	return refuse("group", group, r);
}

static int check_own(const char *own)
{
	size_t length = strlen(own);

	if (length < 1 || length > TREEKV_NAME_MAX)
		return error_set(-EINVAL,
				 "a cache's name has 1 to %d bytes, not %zu",
				 TREEKV_NAME_MAX, length);
	for (size_t i = 0; i < length; i++) {
		if (own[i] <= ' ' || own[i] > '~' || own[i] == '/')
			return error_set(-EINVAL,
					 "byte %zu of the cache's name is "
					 "0x%02x; printable ASCII without "
					 "blanks and '/' is allowed",
					 i + 1, (unsigned char)own[i]);
	}
	return 0;
}

int name_resolve(char ret[SHM_NAME_FULL + 1], const char *name)
{
	const char *slash = strchr(name, '/');
	char account[ACCOUNT_BYTES];
	uint32_t id = 0;
	int r;

	if (!slash || (*name != '@' && *name != '~')) {
		r = check_own(name);
		if (!r)
			snprintf(ret, SHM_NAME_FULL + 1, "%s", name);
		return r;
	}
	if ((size_t)(slash - name) > sizeof(account))
		return error_set(-EINVAL, "%s: no user or group is called so",
				 name);
	snprintf(account, sizeof(account), "%.*s", (int)(slash - name - 1),
		 name + 1);
	r = check_own(slash + 1);
	if (!r)
		r = *name == '@' ? name_group(&id, account) :
				   name_user(&id, account);
	if (!r)
		snprintf(ret, SHM_NAME_FULL + 1, "%c%u/%s", *name, id,
			 slash + 1);
	return r;
}
