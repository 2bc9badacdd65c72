// SPDX-License-Identifier: BSD-2-Clause
/*
 * Owner, group and mode are in the first 512 bytes of the file, as is the hash
 * that covers them: what a disk writes as one. So they are written over in
 * place, and a crash leaves the old ones or the new ones.
 *
 * A file that moves to another space is linked there first, written over, and
 * then loses its old name. In between one of its two names does not fit what is
 * in it, so that it counts once. Whoever starts after a crash takes that name
 * away: it would be in the way of the next snapshot of that name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/crash.h"
#include "daemon/snapshot.h"
#include "daemon/snapshot_owner.h"

#define SECTOR 512

static_assert(offsetof(struct snapshot_header, flags) + sizeof(uint32_t) <=
		      SECTOR,
	      "what changes is written as one");

static int write_header(const char *path, const struct snapshot_header *header)
{
	_Alignas(uint64_t) uint8_t page[SNAPSHOT_PAGE];
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), r = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	snapshot_seal(page, header);
	n = pwrite(fd, page, sizeof(page), 0);
	if (n < 0 || fsync(fd))
		r = -errno;
	else if (n != sizeof(page))
		r = -EIO;
	close(fd);
	return r;
}

static int sync_folder(const char *root, uint64_t space)
{
	char folder[NAME_FOLDER_MAX + 1], *path;
	int fd, r = 0;

	name_folder(folder, space);
	if (asprintf(&path, "%s/%s", root, folder) < 0)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		r = -errno;
	if (fd >= 0)
		close(fd);
	free(path);
	return r;
}

static int make_folder(const char *root, uint64_t space)
{
	char folder[NAME_FOLDER_MAX + 1], *path;
	int fd, r = 0;

	name_folder(folder, space);
	if (asprintf(&path, "%s/%s", root, folder) < 0)
		return -ENOMEM;
	if (mkdir(path, 0700) && errno != EEXIST)
		r = -errno;
	free(path);
	fd = r ? -1 : open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!r && (fd < 0 || fsync(fd)))
		r = -errno;
	if (fd >= 0)
		close(fd);
	return r;
}

static int move(const char *root, uint64_t from, uint64_t to,
		const struct snapshot_header *header)
{
	char *old = snapshot_path(root, from, header->name);
	char *new = snapshot_path(root, to, header->name);
	int r = old && new ? make_folder(root, to) : -ENOMEM;

	if (!r && link(old, new))
		r = -errno;
	crash_at(CRASH_GIVE_LINKED);
	if (!r)
		r = write_header(new, header);
	if (!r)
		r = sync_folder(root, to);
	crash_at(CRASH_GIVE_WRITTEN);
	if (!r && unlink(old))
		r = -errno;
	if (!r)
		r = sync_folder(root, from);
	free(old);
	free(new);
	return r;
}

static int rewrite(const char *root, uint64_t space,
		   const struct snapshot_header *header)
{
	char *path = snapshot_path(root, space, header->name);
	int r = path ? write_header(path, header) : -ENOMEM;

	free(path);
	return r;
}

static bool is_file(const char *path, const struct stat *file)
{
	struct stat st;

	return path && !lstat(path, &st) && st.st_dev == file->st_dev &&
	       st.st_ino == file->st_ino;
}

/* The header of a file that has two names. Return: 0 or -1. */
static int look_at(struct snapshot_header *ret, struct stat *st,
		   const char *path)
{
	_Alignas(uint64_t) uint8_t page[SNAPSHOT_PAGE];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct snapshot_error why;
	int r = -1;

	if (fd < 0)
		return -1;
	if (!fstat(fd, st) && S_ISREG(st->st_mode) && st->st_nlink == 2 &&
	    pread(fd, page, sizeof(page), 0) == sizeof(page))
		r = snapshot_header_check(ret, page, (uint64_t)st->st_size,
					  &why);
	close(fd);
	return r ? -1 : 0;
}

bool snapshot_moved(const char *root, uint64_t space, const char *name)
{
	char *path = snapshot_path(root, space, name), *other = NULL;
	struct snapshot_header header;
	bool moved = false;
	struct stat st;

	if (!path || look_at(&header, &st, path))
		goto out;
	if (snapshot_space(&header) == space || strcmp(header.name, name))
		goto out;
	other = snapshot_path(root, snapshot_space(&header), name);
	moved = is_file(other, &st) && !unlink(path) &&
		!sync_folder(root, space);
out:
	free(other);
	free(path);
	return moved;
}

int snapshot_give(struct snapshot_info **ret, const char *root, uint64_t space,
		  const char *name, const struct access_what *what,
		  struct snapshot_error *why)
{
	struct snapshot_info *info;
	int r;

	crash_at(CRASH_GIVE_BEGUN);
	r = snapshot_peek(&info, root, space, name, why);
	if (r)
		return r;
	info->header.uid = what->uid;
	info->header.gid = what->gid;
	info->header.mode = what->mode;
	if (snapshot_space(&info->header) == space)
		r = rewrite(root, space, &info->header);
	else
		r = move(root, space, snapshot_space(&info->header),
			 &info->header);
	if (r) {
		snprintf(why->text, sizeof(why->text), "%s", strerror(-r));
		free(info);
		return r;
	}
	*ret = info;
	return 0;
}
