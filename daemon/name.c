// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/name.h"

/*
 * Digits up to @end, which is there; one way of writing for each number, or two
 * folders would be one space. Return: 0, -EINVAL.
 */
static int parse_id(uint32_t *ret, const char *text, char end)
{
	uint64_t id = 0;
	size_t n = 0;

	for (; text[n] >= '0' && text[n] <= '9' && n < 10; n++)
		id = id * 10 + (uint64_t)(text[n] - '0');
	if (!n || text[n] != end || id >= NAME_NOBODY ||
	    (text[0] == '0' && n > 1))
		return -EINVAL;
	*ret = (uint32_t)id;
	return 0;
}

int name_parse(struct name *ret, const char *text, uid_t uid)
{
	const char *slash = strchr(text, '/');
	uint32_t id = uid;
	int r = 0;

	if (slash && *text != '@' && *text != '~')
		return -EINVAL;
	if (slash)
		r = parse_id(&id, text + 1, '/');
	if (r)
		return r;
	ret->space = (slash && *text == '@' ? NAME_GROUP : 0) | id;
	ret->own = slash ? slash + 1 : text;
	return 0;
}

void name_print(char ret[SHM_NAME_FULL + 1], uint64_t space, const char *own,
		uid_t viewer)
{
	if (space == viewer)
		snprintf(ret, SHM_NAME_FULL + 1, "%s", own);
	else
		snprintf(ret, SHM_NAME_FULL + 1, "%c%u/%s",
			 name_is_shared(space) ? '@' : '~', (uint32_t)space,
			 own);
}

void name_folder(char ret[NAME_FOLDER_MAX + 1], uint64_t space)
{
	snprintf(ret, NAME_FOLDER_MAX + 1, "%s%u",
		 name_is_shared(space) ? "@" : "", (uint32_t)space);
}

int name_of_folder(uint64_t *ret, const char *folder)
{
	bool shared = *folder == '@';
	uint32_t id;
	int r = parse_id(&id, folder + shared, '\0');

	if (!r)
		*ret = (shared ? NAME_GROUP : 0) | id;
	return r;
}
