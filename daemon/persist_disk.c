// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/control.h"
#include "daemon/errand.h"
#include "daemon/log.h"
#include "daemon/persist_disk.h"
#include "daemon/snapshot.h"
#include "daemon/snapshot_owner.h"

#define BUCKETS 4096

static struct disk_entry *entries;
static struct disk_entry *bucket[BUCKETS];

struct disk_entry *disk_first(void)
{
	return entries;
}

static struct disk_entry **bucket_of(uint64_t space, const char *name)
{
	uint64_t hash = space;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	return &bucket[hash % BUCKETS];
}

struct access_what disk_what(const struct disk_entry *entry)
{
	if (entry->info)
		return snapshot_what(&entry->info->header);
	if (name_is_shared(entry->space))
		return (struct access_what){ NAME_NOBODY, (gid_t)entry->space,
					     0040 };
	return (struct access_what){ (uid_t)entry->space, NAME_NOBODY, 0 };
}

struct disk_entry *disk_find(uint64_t space, const char *name)
{
	struct disk_entry *entry = *bucket_of(space, name);

	while (entry && (entry->space != space || strcmp(entry->name, name)))
		entry = entry->chain;
	return entry;
}

static void count(struct disk_entry *entry, bool counts)
{
	struct quotas *quotas = &treekvd.store.quotas;

	if (counts && !entry->counted)
		quota_charge(quotas, entry->space, QUOTA_CACHES, 1);
	else if (!counts && entry->counted)
		quota_discharge(quotas, entry->space, QUOTA_CACHES, 1);
	entry->counted = counts;
}

void disk_settle(uint64_t space, const char *name)
{
	struct disk_entry *entry = disk_find(space, name);

	if (entry)
		count(entry, !store_find(&treekvd.store, space, name));
}

/* The entry of that name, made if it is not there; NULL: no memory. */
static struct disk_entry *entry_of(uint64_t space, const char *name)
{
	struct disk_entry *entry = disk_find(space, name);
	struct disk_entry **at = bucket_of(space, name);

	if (!entry) {
		entry = calloc(1, sizeof(*entry));
		if (!entry)
			return NULL;
		entry->space = space;
		snprintf(entry->name, sizeof(entry->name), "%s", name);
		entry->chain = *at;
		*at = entry;
		entry->next = entries;
		if (entries)
			entries->prev = entry;
		entries = entry;
		disk_settle(space, name);
	}
	entry->seen = true;
	return entry;
}

void disk_note(struct snapshot_info *info)
{
	struct disk_entry *entry =
		entry_of(snapshot_space(&info->header), info->header.name);

	if (!entry) {
		free(info);
		return;
	}
	free(entry->info);
	entry->info = info;
}

void disk_damaged(uint64_t space, const char *name, const char *why)
{
	struct disk_entry *entry = entry_of(space, name);

	if (!entry)
		return;
	free(entry->info);
	entry->info = NULL;
	snprintf(entry->why.text, sizeof(entry->why.text), "%s", why);
}

bool disk_has(const char *root, uint64_t space, const char *name)
{
	char *path = snapshot_path(root, space, name);
	bool there;

	if (!path)
		return false;
	there = !access(path, F_OK);
	free(path);
	return there;
}

void disk_forget(uint64_t space, const char *name)
{
	struct disk_entry *entry = disk_find(space, name);
	struct disk_entry **at = bucket_of(space, name);

	if (!entry)
		return;
	while (*at != entry)
		at = &(*at)->chain;
	*at = entry->chain;
	*(entry->prev ? &entry->prev->next : &entries) = entry->next;
	if (entry->next)
		entry->next->prev = entry->prev;
	count(entry, false);
	free(entry->info);
	free(entry);
}

void disk_exit(void)
{
	while (entries)
		disk_forget(entries->space, entries->name);
}

/* A file whose name is gone already. */
struct removal {
	struct errand errand;
	int fd;
};

static void close_removed(struct errand *errand)
{
	close(loop_entry(errand, struct removal, errand)->fd);
}

static void free_removed(struct errand *errand)
{
	free(loop_entry(errand, struct removal, errand));
}

/*
 * Its bytes are given back by whoever has it open last, which takes as long as
 * it is large: an errand.
 */
static int remove_file(const char *path)
{
	struct removal *removal = calloc(1, sizeof(*removal));
	int fd = removal ? open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW) : -1;
	int r = unlink(path) ? -errno : 0;

	if (fd < 0) {
		free(removal);
		return r;
	}
	removal->fd = fd;
	errand_run(&removal->errand, close_removed, free_removed);
	return r;
}

int disk_remove(const char *root, uint64_t space, const char *name)
{
	char *path = snapshot_path(root, space, name);
	int r;

	if (!path)
		return -ENOMEM;
	r = remove_file(path);
	if (!r || r == -ENOENT)
		disk_forget(space, name);
	free(path);
	return r;
}

static void scan_snapshot(const char *root, uint64_t space, const char *name,
			  bool starting)
{
	char folder[NAME_FOLDER_MAX + 1];
	struct snapshot_info *info;
	struct snapshot_error why;
	int r;

	r = snapshot_peek(&info, root, space, name, &why);
	if (!r) {
		disk_note(info);
		return;
	}
	name_folder(folder, space);
	if (starting && snapshot_moved(root, space, name)) {
		log_info("snapshot moved", "from=\"%s/%s/%s.tkv\"", root,
			 folder, name);
		return;
	}
	log_error("snapshot refused",
		  "path=\"%s/%s/%s.tkv\" error=%d reason=\"%s\" kept=1", root,
		  folder, name, r, why.text);
	disk_damaged(space, name, why.text);
}

/* Temporary files are what a predecessor did not finish, or what we write. */
static void scan_file(const char *root, uint64_t space, DIR *dir,
		      const char *file, bool starting)
{
	size_t length = strlen(file);
	char name[SHM_NAME_MAX + 1];

	if (length < 5)
		return;
	if (!strcmp(file + length - 4, ".tmp")) {
		if (starting)
			unlinkat(dirfd(dir), file, 0);
		return;
	}
	if (length - 4 > SHM_NAME_MAX || strcmp(file + length - 4, ".tkv"))
		return;
	memcpy(name, file, length - 4);
	name[length - 4] = '\0';
	if (!store_name_check(name))
		scan_snapshot(root, space, name, starting);
}

static void scan_space(const char *root, const char *folder, bool starting)
{
	struct dirent *file;
	uint64_t space;
	char *path;
	DIR *dir;

	if (name_of_folder(&space, folder) ||
	    asprintf(&path, "%s/%s", root, folder) < 0)
		return;
	dir = opendir(path);
	while (dir && (file = readdir(dir)))
		scan_file(root, space, dir, file->d_name, starting);
	if (dir)
		closedir(dir);
	else
		log_error("snapshots not read", "path=\"%s\" error=\"%s\"",
			  path, strerror(errno));
	free(path);
}

static void forget_unseen(void)
{
	struct disk_entry *entry = entries, *next;

	for (; entry; entry = next) {
		next = entry->next;
		if (!entry->seen)
			disk_forget(entry->space, entry->name);
	}
}

void disk_scan(const char *root, bool starting)
{
	struct dirent *folder;
	DIR *dir = opendir(root);

	for (struct disk_entry *entry = entries; entry; entry = entry->next)
		entry->seen = false;
	if (!dir) {
		if (errno != ENOENT)
			log_error("snapshots not read",
				  "path=\"%s\" error=\"%s\"", root,
				  strerror(errno));
		forget_unseen();
		return;
	}
	while ((folder = readdir(dir)))
		scan_space(root, folder->d_name, starting);
	closedir(dir);
	forget_unseen();
}
