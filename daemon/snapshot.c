// SPDX-License-Identifier: BSD-2-Clause
/*
 * What saving and loading share. A job is a chain of steps: each slice runs the
 * current one, which does a bounded piece of work, queues transfers or waits
 * for them, and names the next. No step waits in place: the worker has
 * compactions to do. A step that finds it can do nothing before the ring
 * reports something says so by state.waiting.
 *
 * Names of caches are printable ASCII without '/', so NAME.tkv is a file's name
 * as it is; escaping would take the longest ones past the 255 bytes there are.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/snapshot.h"

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

bool snapshot_cancelled(const struct snapshot_job *job)
{
	return __atomic_load_n(&job->cancel, __ATOMIC_RELAXED);
}

static bool slice(struct worker_task *task, struct staging *staging)
{
	struct snapshot_job *job = loop_entry(task, struct snapshot_job, task);

	job->state.waiting = false;
	if (!staging)
		snapshot_fail(job, -ENOMEM, "staging memory for", job->path);
	else
		job->state.next(job, staging);
	if (task->over)
		job->ns = now_ns() - job->state.began;
	return !job->state.waiting && !task->over;
}

static int set_paths(struct snapshot_job *job, const char *root, uid_t uid,
		     const char *name)
{
	job->root = strdup(root);
	if (!job->root || asprintf(&job->folder, "%s/%u", root, uid) < 0) {
		job->folder = NULL;
		return -ENOMEM;
	}
	if (asprintf(&job->path, "%s/%s.tkv", job->folder, name) < 0) {
		job->path = NULL;
		return -ENOMEM;
	}
	if (asprintf(&job->temp, "%s/%s.tmp", job->folder, name) < 0) {
		job->temp = NULL;
		return -ENOMEM;
	}
	return 0;
}

int snapshot_job_new(struct snapshot_job **ret, struct cache *cache,
		     const char *root,
		     void (*first)(struct snapshot_job *job,
				   struct staging *staging))
{
	struct snapshot_job *job = calloc(1, sizeof(*job));

	if (!job)
		return -ENOMEM;
	job->state.fd = -1;
	job->state.hash = XXH3_createState();
	if (!job->state.hash || set_paths(job, root, cache->uid, cache->name)) {
		snapshot_job_free(job);
		return -ENOMEM;
	}
	XXH3_64bits_reset(job->state.hash);
	job->cache = cache;
	job->task.slice = slice;
	job->state.next = first;
	job->state.began = now_ns();
	*ret = job;
	return 0;
}

struct snapshot_job *snapshot_job_free(struct snapshot_job *job)
{
	if (!job)
		return NULL;
	XXH3_freeState(job->state.hash);
	free(job->info);
	free(job->root);
	free(job->folder);
	free(job->path);
	free(job->temp);
	free(job);
	return NULL;
}

static const char *way_out(int error)
{
	switch (error) {
	case -ENOSPC:
	case -EDQUOT:
		return "; make room there, or give --state-dir another file "
		       "system";
	case -EROFS:
	case -EACCES:
	case -EPERM:
		return "; make it writable for the daemon, or give "
		       "--state-dir another folder";
	case -EIO:
		return "; the disk fails, see the kernel's log";
	case -EMFILE:
	case -ENFILE:
		return "; raise LimitNOFILE";
	}
	return "";
}

void snapshot_fail(struct snapshot_job *job, int error, const char *what,
		   const char *path)
{
	job->error = error;
	job->task.over = true;
	snprintf(job->why.text, sizeof(job->why.text), "%s %s: %s%s", what,
		 path, strerror(-error), way_out(error));
}

/* Sections without bytes are finished on the way to the next with some. */
int snapshot_account(struct snapshot_job *job, unsigned int section,
		     const void *bytes, uint64_t size,
		     int (*finished)(struct snapshot_job *job,
				     unsigned int section, uint64_t hash))
{
	struct snapshot_state *state = &job->state;
	int r = 0;

	for (; !r && state->section < section; state->section++) {
		r = finished(job, state->section,
			     XXH3_64bits_digest(state->hash));
		XXH3_64bits_reset(state->hash);
	}
	if (!r && size)
		XXH3_64bits_update(state->hash, bytes, size);
	return r;
}

int snapshot_moved(const struct staging *staging)
{
	for (int i = 0; i < STAGING_DEPTH; i++)
		if (staging->slot[i].error)
			return staging->slot[i].error;
	return 0;
}

int snapshot_open(struct snapshot_job *job, const char *path, int flags)
{
	int fd;

	flags |= O_CLOEXEC | O_NOFOLLOW;
	fd = open(path, flags | O_DIRECT, 0600);
	job->direct = fd >= 0;
	if (fd < 0 && errno == EINVAL)
		fd = open(path, flags, 0600);
	return fd < 0 ? -errno : fd;
}

/* ---- a look at a file ---- */

static int read_at(int fd, void *to, uint64_t size, uint64_t at)
{
	ssize_t n = pread(fd, to, size, (off_t)at);

	if (n < 0)
		return -errno;
	return (uint64_t)n == size ? 0 : -ENODATA;
}

static int peek_layers(struct snapshot_info **ret, int fd,
		       const struct snapshot_header *header,
		       struct snapshot_error *why)
{
	const struct snapshot_part *part = &header->part[SNAPSHOT_LAYERS];
	uint64_t size = header->spec.layers * sizeof(struct snapshot_layer);
	uint64_t padded =
		(size + SNAPSHOT_PAGE - 1) / SNAPSHOT_PAGE * SNAPSHOT_PAGE;
	struct snapshot_info *info = snapshot_info_new(header->spec.layers);
	void *bytes = malloc(padded);
	int r = -ENOMEM;

	if (!info || !bytes)
		goto out;
	r = read_at(fd, bytes, padded, SNAPSHOT_PAGE);
	if (!r && snapshot_hash(bytes, padded) != part->hash) {
		snprintf(why->text, sizeof(why->text),
			 "section layers is damaged: the hash differs");
		r = -EBADMSG;
	}
	if (r)
		goto out;
	info->header = *header;
	memcpy(info->layers, bytes, size);
	r = snapshot_info_check(info, why);
	if (r)
		goto out;
	*ret = info;
	info = NULL;
out:
	free(bytes);
	free(info);
	return r;
}

static int check_owner(const struct snapshot_header *header, uid_t uid,
		       const char *name, struct snapshot_error *why)
{
	if (header->uid == uid && !strcmp(header->name, name))
		return 0;
	snprintf(why->text, sizeof(why->text),
		 "it is of cache %s of uid %u; give it that name back",
		 header->name, header->uid);
	return -EBADMSG;
}

static int peek_fd(struct snapshot_info **ret, int fd, uid_t uid,
		   const char *name, struct snapshot_error *why)
{
	uint8_t page[SNAPSHOT_PAGE];
	struct snapshot_header header;
	struct stat st;
	int r;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < sizeof(page)) {
		snprintf(why->text, sizeof(why->text),
			 "it has %llu bytes, no snapshot is that short",
			 (unsigned long long)st.st_size);
		return -EBADMSG;
	}
	r = read_at(fd, page, sizeof(page), 0);
	if (!r)
		r = snapshot_header_check(&header, page, (uint64_t)st.st_size,
					  why);
	if (!r)
		r = check_owner(&header, uid, name, why);
	return r ? r : peek_layers(ret, fd, &header, why);
}

int snapshot_peek(struct snapshot_info **ret, const char *root, uid_t uid,
		  const char *name, struct snapshot_error *why)
{
	char *path;
	int fd, r;

	*why->text = '\0';
	if (asprintf(&path, "%s/%u/%s.tkv", root, uid, name) < 0)
		return -ENOMEM;
	/* Not blocking: somebody may have put a FIFO there. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	r = fd < 0 ? -errno : peek_fd(ret, fd, uid, name, why);
	if (r && !*why->text)
		snprintf(why->text, sizeof(why->text), "%s", strerror(-r));
	if (fd >= 0)
		close(fd);
	free(path);
	return r;
}
