// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>

#include "daemon/access.h"

#define R 4u
#define W 2u

bool access_in_group(const struct access_who *who, gid_t gid)
{
	if (who->gid == gid)
		return true;
	for (uint32_t i = 0; i < who->n_groups; i++)
		if (who->groups[i] == gid)
			return true;
	return false;
}

/* The three bits that are meant for him. */
static uint32_t bits_of(const struct access_who *who,
			const struct access_what *what)
{
	if (who->uid == what->uid)
		return what->mode >> 6 & 7;
	if (access_in_group(who, what->gid))
		return what->mode >> 3 & 7;
	return what->mode & 7;
}

bool access_sees(const struct access_who *who, const struct access_what *what)
{
	return who->all || who->uid == what->uid || bits_of(who, what) & R;
}

int access_check(const struct access_who *who, const struct access_what *what,
		 enum access_right right)
{
	uint32_t bits = bits_of(who, what);
	bool may = who->all;

	switch (right) {
	case ACCESS_READ:
		may |= !!(bits & R);
		break;
	case ACCESS_WRITE:
		may |= bits & R && bits & W;
		break;
	case ACCESS_OWN:
		may |= who->uid == what->uid;
		break;
	}
	if (may)
		return 0;
	return access_sees(who, what) ? -EACCES : -ENOENT;
}
