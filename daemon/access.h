/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who may do what with a cache, as for files: one owner, one group, a mode. The
 * whole decision is here, and pure: credentials and what a cache says of itself
 * in, an errno out.
 */
#ifndef TREEKVD_ACCESS_H
#define TREEKVD_ACCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define ACCESS_MODE_MASK   0666u
#define ACCESS_MODE_OWN	   0600u /* of a cache in its owner's namespace */
#define ACCESS_MODE_SHARED 0660u /* of one in its group's */

enum access_right {
	ACCESS_READ, /* see it, look into it, read its rows, fork it */
	ACCESS_WRITE, /* hold its lease: rows are read and written */
	ACCESS_OWN, /* drop, chmod, snapshot, restore, take the lease away */
};

/* Who asks: what the kernel said of him when he connected. */
struct access_who {
	uid_t uid;
	gid_t gid;
	const gid_t *groups; /* supplementary ones */
	uint32_t n_groups;
	bool all; /* root, or the daemon's own user: anything goes */
};

/* What is asked for. */
struct access_what {
	uid_t uid;
	gid_t gid;
	uint32_t mode;
};

/**
 * access_check - may he?
 *
 * The first of owner, group and others that fits counts, and no other. To write
 * takes r and w. The owner always knows that it is there.
 *
 * Return: 0; -EACCES no, but he may know that it exists; -ENOENT no, and to him
 * there is nothing of that name.
 */
int access_check(const struct access_who *who, const struct access_what *what,
		 enum access_right right);

/* May he know that it exists? */
bool access_sees(const struct access_who *who, const struct access_what *what);

/* Is he in that group? */
bool access_in_group(const struct access_who *who, gid_t gid);

#endif /* TREEKVD_ACCESS_H */
