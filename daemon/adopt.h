/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a predecessor left: memfds that come out of the manager's store, hostile
 * until checked, become caches again.
 */
#ifndef TREEKVD_ADOPT_H
#define TREEKVD_ADOPT_H

#include <stdint.h>

#include "daemon/cache.h"
#include "daemon/service.h"

struct adopt_counts {
	uint32_t sound; /* caches that are served */
	uint32_t quarantined; /* caches whose writer lied: known, not served */
	uint32_t damaged; /* pairs that cannot be read: kept, not known */
	uint32_t unpaired; /* descriptors given up */
};

/**
 * adopt_all - turn stored descriptors into caches
 * @fds: n of them; every memfd is taken (fd set to -1) or closed
 * @adopted: called for each cache, sound or quarantined; for parents before
 *	their forks
 * @find: an adopted cache by its number, or NULL
 * @ret: what came of them
 *
 * An index is paired with the rows whose inode its newest buffer names, a fork
 * with the parent that it names by number and inode. One whose parent is not
 * there is damaged.
 */
void adopt_all(struct service_fd *fds, size_t n,
	       void (*adopted)(struct cache *cache),
	       struct cache *(*find)(uint64_t id), struct adopt_counts *ret);

/**
 * adopt_check - is everything in the newest buffer of an index possible?
 * @index: passed layout_check_index()
 * @rows_inode: of the rows it is to go with
 * @why: set to what is wrong
 *
 * Orders, ranks, levels, walks and bounds; the spare buffer does not count.
 * Return: 0, -EBADMSG, -ENOMEM.
 */
int adopt_check(const struct shm_index *index, uint64_t rows_inode,
		const char **why);

#endif /* TREEKVD_ADOPT_H */
