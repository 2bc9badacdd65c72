/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What caches are called. A name is unique in its space: a user's, whose number
 * is the uid, or a group's. A client says NAME for his own, @GID/NAME or
 * ~UID/NAME; what users and groups are called is for him to know, so that
 * nothing here ever waits for a directory service.
 */
#ifndef TREEKVD_NAME_H
#define TREEKVD_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/shm.h"

#define NAME_GROUP	(UINT64_C(1) << 32) /* a group's space: with its gid */
#define NAME_FOLDER_MAX 11 /* "@4294967295" */

/* The number of a user or a group that nobody has. */
#define NAME_NOBODY UINT32_MAX

struct name {
	uint64_t space;
	const char *own; /* in that space; points into what was parsed */
};

/**
 * name_parse - whose name is meant
 * @uid: who says so
 *
 * The own part is not looked at: see store_name_check(). A name without a '/'
 * is that user's own, whatever it begins with.
 *
 * Return: 0, or -EINVAL no such form.
 */
int name_parse(struct name *ret, const char *text, uid_t uid);

/* As @viewer has to say it. */
void name_print(char ret[SHM_NAME_FULL + 1], uint64_t space, const char *own,
		uid_t viewer);

/* The folder of a space's snapshots: "1000" or "@100"; and back. */
void name_folder(char ret[NAME_FOLDER_MAX + 1], uint64_t space);
int name_of_folder(uint64_t *ret, const char *folder);

static inline bool name_is_shared(uint64_t space)
{
	return space & NAME_GROUP;
}

#endif /* TREEKVD_NAME_H */
