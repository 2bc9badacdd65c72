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

#define DIRECT_MIN (64U << 10)

uint64_t snapshot_now(void)
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
	if (!staging) {
		snapshot_give_up(job, -ENOMEM, "staging memory for", job->path);
		job->task.over = true;
	} else {
		job->state.next(job, staging);
	}
	if (task->over)
		job->ns = snapshot_now() - job->began;
	return !job->state.waiting && !task->over;
}

char *snapshot_path(const char *root, uint64_t space, const char *name)
{
	char folder[NAME_FOLDER_MAX + 1], *path;

	name_folder(folder, space);
	return asprintf(&path, "%s/%s/%s.tkv", root, folder, name) < 0 ? NULL :
									 path;
}

/*
 * The temporary file has the cache's number in its name: one that is dropped
 * while it is being written may have an heir of its name, who is written, too.
 */
static int set_paths(struct snapshot_job *job, const char *root,
		     const struct cache *cache)
{
	char folder[NAME_FOLDER_MAX + 1];

	name_folder(folder, cache_space(cache));
	job->root = strdup(root);
	if (!job->root || asprintf(&job->folder, "%s/%s", root, folder) < 0) {
		job->folder = NULL;
		return -ENOMEM;
	}
	if (asprintf(&job->path, "%s/%s.tkv", job->folder, cache->name) < 0) {
		job->path = NULL;
		return -ENOMEM;
	}
	if (asprintf(&job->temp, "%s/%s.%llx.tmp", job->folder, cache->name,
		     (unsigned long long)cache->id) < 0) {
		job->temp = NULL;
		return -ENOMEM;
	}
	return 0;
}

int snapshot_job_new(struct snapshot_job **ret, struct cache *cache,
		     const char *root, snapshot_step *first, snapshot_step *end)
{
	struct snapshot_job *job = calloc(1, sizeof(*job));

	if (!job)
		return -ENOMEM;
	job->state.fd = -1;
	job->state.hash = XXH3_createState();
	job->state.chunk = calloc(STAGING_SLOTS, sizeof(*job->state.chunk));
	if (!job->state.hash || !job->state.chunk ||
	    set_paths(job, root, cache)) {
		snapshot_job_free(job);
		return -ENOMEM;
	}
	XXH3_64bits_reset(job->state.hash);
	job->cache = cache;
	job->task.slice = slice;
	job->task.staged = true;
	job->state.next = first;
	job->state.end = end;
	job->began = snapshot_now();
	*ret = job;
	return 0;
}

struct snapshot_job *snapshot_job_free(struct snapshot_job *job)
{
	if (!job)
		return NULL;
	XXH3_freeState(job->state.hash);
	free(job->state.chunk);
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

void snapshot_give_up(struct snapshot_job *job, int error, const char *what,
		      const char *path)
{
	job->error = error;
	job->state.next = job->state.end;
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

/* ---- chunks ---- */

bool snapshot_has_room(const struct snapshot_job *job, struct staging *staging)
{
	const struct snapshot_state *state = &job->state;

	return state->begun - state->hashed < STAGING_SLOTS &&
	       !snapshot_slot(staging, state->begun)->busy;
}

struct snapshot_chunk *snapshot_oldest(struct snapshot_job *job)
{
	return &job->state.chunk[job->state.hashed % STAGING_SLOTS];
}

/* The sections before rows take less than STAGING_PARTS, so pages stay whole. */
static_assert(2 * SNAPSHOT_ROWS < STAGING_PARTS, "a chunk is pages");

struct snapshot_chunk *snapshot_chunk(struct snapshot_job *job, bool direct)
{
	struct snapshot_state *state = &job->state;
	struct snapshot_chunk *chunk =
		&state->chunk[state->begun % STAGING_SLOTS];
	struct snapshot_cursor before;
	struct snapshot_run run;

	chunk->at = state->at;
	chunk->size = chunk->runs = 0;
	chunk->direct = false;
	while (chunk->runs < STAGING_PARTS && chunk->size < STAGING_CHUNK &&
	       !chunk->direct) {
		before = state->cursor;
		if (!snapshot_next(&state->shape, &state->cursor,
				   STAGING_CHUNK - chunk->size, &run))
			break;
		chunk->direct = direct && run.rows_at && run.size >= DIRECT_MIN;
		if (chunk->direct && chunk->runs) {
			chunk->direct = false;
			state->cursor = before;
			break;
		}
		chunk->run[chunk->runs++] = run;
		chunk->size += (uint32_t)run.size;
	}
	if (!chunk->runs)
		return NULL;
	state->at += chunk->size;
	state->begun++;
	return chunk;
}

void snapshot_open(struct snapshot_job *job, struct staging *staging,
		   const char *path, int flags, snapshot_step *then)
{
	staging_open(staging, path, flags | (job->direct ? O_DIRECT : 0));
	job->state.next = then;
}

/* ---- a look at a file ---- */

static int peek_fd(struct snapshot_info **ret, int fd, uint64_t space,
		   const char *name, struct snapshot_error *why)
{
	_Alignas(uint64_t) uint8_t bytes[SNAPSHOT_LOOK];
	ssize_t size = 0;
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISREG(st.st_mode))
		size = pread(fd, bytes, sizeof(bytes), 0);
	if (size < 0)
		return -errno;
	return snapshot_look(ret, bytes, (uint64_t)size, (uint64_t)st.st_size,
			     space, name, why);
}

int snapshot_peek(struct snapshot_info **ret, const char *root, uint64_t space,
		  const char *name, struct snapshot_error *why)
{
	char *path;
	int fd, r;

	*why->text = '\0';
	path = snapshot_path(root, space, name);
	if (!path)
		return -ENOMEM;
	/* Not blocking: somebody may have put a FIFO there. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	r = fd < 0 ? -errno : peek_fd(ret, fd, space, name, why);
	if (r == -ELOOP) {
		snprintf(why->text, sizeof(why->text),
			 "it is a symbolic link, which is not followed");
		r = -EBADMSG;
	}
	if (r && !*why->text)
		snprintf(why->text, sizeof(why->text), "%s", strerror(-r));
	if (fd >= 0)
		close(fd);
	free(path);
	return r;
}
