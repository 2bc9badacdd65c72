// SPDX-License-Identifier: BSD-2-Clause
/*
 * The file of a snapshot: where it goes, and how it comes to count. What lies
 * there already is looked at first: what cannot be read as a snapshot of ours
 * is not ours to replace. Everything is written under another name, so a file
 * of the right one is whole: file, fsync, rename, fsync of the folder, and of
 * the one above where that folder was made for it.
 *
 * All of it goes through the ring, also what takes no time on a disk that
 * works: a disk that hangs must not keep the worker from its caches.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/crash.h"
#include "daemon/snapshot.h"

static void close_file(struct snapshot_job *job)
{
	if (job->state.fd >= 0)
		close(job->state.fd);
	job->state.fd = -1;
}

/* Return: whether the single operation is over, and its result. */
static bool is_over(struct snapshot_job *job, const struct staging *staging,
		    int *result)
{
	job->state.waiting = staging->single.busy;
	*result = staging->single.result;
	return !staging->single.busy;
}

/* ---- before ---- */

static void step_temp_opened(struct snapshot_job *job, struct staging *staging);

static void open_temp(struct snapshot_job *job, struct staging *staging,
		      bool direct)
{
	job->direct = direct;
	snapshot_open(job, staging, job->temp, O_WRONLY | O_CREAT | O_TRUNC,
		      step_temp_opened);
}

static void step_temp_opened(struct snapshot_job *job, struct staging *staging)
{
	int r;

	if (!is_over(job, staging, &r))
		return;
	if (r == -EINVAL && job->direct) {
		open_temp(job, staging, false);
	} else if (r < 0) {
		snapshot_give_up(job, r, "making", job->temp);
	} else {
		job->state.fd = r;
		job->state.made_temp = true;
		job->state.next = job->state.placed;
	}
}

static void step_folder_made(struct snapshot_job *job, struct staging *staging)
{
	int r;

	if (!is_over(job, staging, &r))
		return;
	if (r && r != -EEXIST) {
		snapshot_give_up(job, r, "making", job->folder);
		return;
	}
	job->state.made_folder = !r;
	open_temp(job, staging, true);
}

static void step_root_made(struct snapshot_job *job, struct staging *staging)
{
	int r;

	if (!is_over(job, staging, &r))
		return;
	if (r && r != -EEXIST) {
		snapshot_give_up(job, r, "making", job->root);
		return;
	}
	staging_mkdir(staging, job->folder);
	job->state.next = step_folder_made;
}

static void make_folders(struct snapshot_job *job, struct staging *staging)
{
	staging_mkdir(staging, job->root);
	job->state.next = step_root_made;
}

/* What was there is one of ours, or is left alone. */
static void step_looked(struct snapshot_job *job, struct staging *staging)
{
	struct staging_slot *slot = &staging->slot[0];
	struct snapshot_info *info = NULL;
	struct snapshot_error why;
	int r = slot->error;

	job->state.waiting = slot->busy;
	if (slot->busy)
		return;
	close_file(job);
	if (!r)
		r = snapshot_look(&info, slot->at, job->state.looked_at,
				  job->state.file_size, cache_space(job->cache),
				  job->cache->name, &why);
	free(info);
	if (!r) {
		open_temp(job, staging, true);
	} else if (r != -EBADMSG && r != -EPROTO) {
		snapshot_give_up(job, r, "looking at", job->path);
	} else {
		snapshot_give_up(job, -EEXIST, "looking at", job->path);
		snprintf(job->why.text, sizeof(job->why.text),
			 "%.160s is in the way: %.80s; move it away, or remove "
			 "it",
			 job->path, why.text);
	}
}

static void step_found(struct snapshot_job *job, struct staging *staging)
{
	struct stat st;
	int r;

	if (!is_over(job, staging, &r))
		return;
	if (r == -ENOENT || r == -ENOTDIR) {
		make_folders(job, staging);
		return;
	}
	if (r >= 0) {
		job->state.fd = r;
		r = fstat(job->state.fd, &st) ? -errno : 0;
	}
	if (r) {
		snapshot_give_up(job, r, "looking at", job->path);
		return;
	}
	job->state.file_size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	job->state.looked_at = job->state.file_size < SNAPSHOT_LOOK ?
				       job->state.file_size :
				       SNAPSHOT_LOOK;
	if (job->state.looked_at)
		staging_move(&staging->slot[0], job->state.fd, false, 0,
			     (uint32_t)job->state.looked_at);
	job->state.next = step_looked;
}

void snapshot_place(struct snapshot_job *job, struct staging *staging,
		    snapshot_step *then)
{
	job->state.placed = then;
	job->state.next = step_found;
	staging_clear(staging);
	/* Not blocking: somebody may have put a FIFO there. */
	staging_open(staging, job->path, O_RDONLY | O_NONBLOCK);
}

/* ---- and after ---- */

static void step_folder_open(struct snapshot_job *job, struct staging *staging);

static void sync_folder(struct snapshot_job *job, struct staging *staging,
			const char *path)
{
	close_file(job);
	job->state.syncing = path;
	staging_open(staging, path, O_RDONLY | O_DIRECTORY);
	job->state.next = step_folder_open;
}

static void step_folder_synced(struct snapshot_job *job,
			       struct staging *staging)
{
	int r;

	if (!is_over(job, staging, &r))
		return;
	if (r)
		snapshot_give_up(job, r, "syncing", job->state.syncing);
	else if (job->state.made_folder && job->state.syncing == job->folder)
		sync_folder(job, staging, job->root);
	else
		job->state.next = job->state.end;
}

static void step_folder_open(struct snapshot_job *job, struct staging *staging)
{
	int r;

	if (!is_over(job, staging, &r))
		return;
	if (r < 0) {
		snapshot_give_up(job, r, "syncing", job->state.syncing);
		return;
	}
	job->state.fd = r;
	staging_fsync(staging, r);
	job->state.next = step_folder_synced;
}

static void step_renamed(struct snapshot_job *job, struct staging *staging)
{
	int r;

	if (!is_over(job, staging, &r))
		return;
	if (r) {
		snapshot_give_up(job, r, "renaming to", job->path);
		return;
	}
	crash_at(CRASH_SNAPSHOT_RENAMED);
	job->state.made_temp = false;
	sync_folder(job, staging, job->folder);
}

static void step_synced(struct snapshot_job *job, struct staging *staging)
{
	int r;

	if (!is_over(job, staging, &r))
		return;
	if (r) {
		snapshot_give_up(job, r, "syncing", job->temp);
	} else if (snapshot_cancelled(job)) {
		snapshot_give_up(job, -ECANCELED, "writing", job->path);
	} else {
		staging_rename(staging, job->temp, job->path);
		job->state.next = step_renamed;
	}
}

void snapshot_publish(struct snapshot_job *job, struct staging *staging)
{
	crash_at(CRASH_SNAPSHOT_WRITTEN);
	staging_fsync(staging, job->state.fd);
	job->state.next = step_synced;
}
