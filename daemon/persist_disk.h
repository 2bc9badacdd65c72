/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What lies in the folder of snapshots, as far as we know: read at the start,
 * kept up with what we do, and never relied upon for more than a listing.
 * Control thread only.
 */
#ifndef TREEKVD_PERSIST_DISK_H
#define TREEKVD_PERSIST_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/snapshot_format.h"

struct disk_entry {
	struct disk_entry *next; /* of all */
	struct disk_entry *prev;
	struct disk_entry *chain; /* of its bucket */
	uint64_t space;
	char name[SHM_NAME_MAX + 1];
	struct snapshot_info *info; /* NULL: it cannot be read as one */
	struct snapshot_error why; /* then */
	bool parked; /* to make room; any attach brings it back */
	bool counted; /* as a cache: there is none of that name in memory */
	bool seen; /* by the scan that is under way */
};

/*
 * Reads the folder anew; what is no snapshot is logged and left alone.
 * @starting: files that a predecessor has not finished are removed.
 */
void disk_scan(const char *root, bool starting);
void disk_exit(void);

/* Whose it is. Of a damaged one: he whose name it has, or anybody in the group. */
struct access_what disk_what(const struct disk_entry *entry);

struct disk_entry *disk_first(void);
struct disk_entry *disk_find(uint64_t space, const char *name);

/* There is a sound one: takes @info. */
void disk_note(struct snapshot_info *info);

/* It cannot be used. */
void disk_damaged(uint64_t space, const char *name, const char *why);

/* Is there a file of that name, whatever is in it? */
bool disk_has(const char *root, uint64_t space, const char *name);

/*
 * A cache of that name has come into memory, or left it: a file counts as a
 * cache, by quota, while there is none.
 */
void disk_settle(uint64_t space, const char *name);

void disk_forget(uint64_t space, const char *name);

/* Removes the file and the entry. Return: 0, -ENOENT, a negative errno. */
int disk_remove(const char *root, uint64_t space, const char *name);

#endif /* TREEKVD_PERSIST_DISK_H */
