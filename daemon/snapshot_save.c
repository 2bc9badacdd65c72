// SPDX-License-Identifier: BSD-2-Clause
/*
 * A snapshot is taken while the writer goes on. First the cut (snapshot_cut.h),
 * then the rows, chunk by chunk through staging memory, by pread: a hole in
 * rows reads as zeroes there and faults nobody. After each chunk head is looked
 * at. Once it is beyond the cut's window, what was read is worth nothing and
 * all begins anew; after three races lost, or cuts missed, the cache is not
 * compacted until its rows have been read, so that the writer cannot leave the
 * window: at worst he stalls for as long as the reading takes, for which the
 * rate limit does not hold.
 *
 * The header goes in last, and all of it under another name, so a file of that
 * name is whole: file, fsync, rename, fsync of the folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/crash.h"
#include "daemon/snapshot.h"
#include "proto/barrier.h"

#define LOST_MAX  3 /* then the cache is held */
#define TRIES_MAX 100000 /* cuts, of a cache that is held */
#define SLEEP_MAX UINT64_C(100000000) /* ns: a cancelled job is to see it */

static void step_end(struct snapshot_job *job, struct staging *staging);
static void step_cut(struct snapshot_job *job, struct staging *staging);

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Ends in an error once nothing is in flight any more. */
static void give_up(struct snapshot_job *job, int error, const char *what,
		    const char *path)
{
	snapshot_fail(job, error, what, path);
	job->task.over = false;
	job->state.next = step_end;
}

static void hold(struct snapshot_job *job)
{
	if (!job->holding)
		worker_hold(job->cache);
	job->holding = true;
}

static void release(struct snapshot_job *job)
{
	if (job->holding)
		worker_unhold(job->cache);
	job->holding = false;
}

static void step_end(struct snapshot_job *job, struct staging *staging)
{
	if (staging->busy || staging->single_busy) {
		job->state.waiting = true;
		return;
	}
	release(job);
	if (job->state.fd >= 0)
		close(job->state.fd);
	job->state.fd = -1;
	if (job->error && job->state.made_temp)
		unlink(job->temp);
	if (!job->error) {
		job->info = job->state.cut.info;
		job->state.cut.info = NULL;
	}
	snapshot_cut_exit(&job->state.cut);
	job->task.over = true;
}

/* ---- after the rows ---- */

static void step_folder_synced(struct snapshot_job *job,
			       struct staging *staging)
{
	job->state.waiting = staging->single_busy;
	if (staging->single_busy)
		return;
	if (staging->single_result)
		give_up(job, staging->single_result, "syncing", job->folder);
	job->state.next = step_end;
}

static void rename_file(struct snapshot_job *job, struct staging *staging)
{
	int fd;

	close(job->state.fd);
	job->state.fd = -1;
	if (rename(job->temp, job->path)) {
		give_up(job, -errno, "renaming to", job->path);
		return;
	}
	crash_at(CRASH_SNAPSHOT_RENAMED);
	job->state.made_temp = false;
	fd = open(job->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		give_up(job, -errno, "syncing", job->folder);
		return;
	}
	job->state.fd = fd;
	staging_fsync(staging, fd);
	job->state.next = step_folder_synced;
}

static void step_file_synced(struct snapshot_job *job, struct staging *staging)
{
	job->state.waiting = staging->single_busy;
	if (staging->single_busy)
		return;
	if (staging->single_result)
		give_up(job, staging->single_result, "syncing", job->temp);
	else if (snapshot_cancelled(job))
		give_up(job, -ECANCELED, "writing", job->path);
	else
		rename_file(job, staging);
}

static void step_written(struct snapshot_job *job, struct staging *staging)
{
	int r;

	job->state.waiting = staging->busy;
	if (staging->busy)
		return;
	r = snapshot_moved(staging);
	if (r) {
		give_up(job, r, "writing", job->temp);
		return;
	}
	staging_fsync(staging, job->state.fd);
	job->state.next = step_file_synced;
}

static void write_header(struct snapshot_job *job, struct staging *staging)
{
	struct snapshot_header *header = &job->state.cut.info->header;
	const struct shm_index *index = job->cache->index;
	struct staging_slot *slot = staging_slot(staging);

	header->taken = (uint64_t)time(NULL);
	header->uid = job->cache->uid;
	header->gid = job->cache->gid;
	header->mode = index->mode;
	memcpy(header->name, job->cache->name, sizeof(header->name));
	header->created = index->created;
	header->last_used = shm_load_relaxed(&index->last_used);
	header->compactions = shm_load_relaxed(&index->compactions);
	header->evictions = shm_load_relaxed(&index->evictions);
	snapshot_seal(slot->at, header);
	staging_move(slot, job->state.fd, true, 0, SNAPSHOT_PAGE);
	job->state.next = step_written;
}

static void step_rows_written(struct snapshot_job *job, struct staging *staging)
{
	int r;

	job->state.waiting = staging->busy;
	if (staging->busy)
		return;
	r = snapshot_moved(staging);
	if (r)
		give_up(job, r, "writing", job->temp);
	else
		write_header(job, staging);
}

/* ---- the rows ---- */

static int note_hash(struct snapshot_job *job, unsigned int section,
		     uint64_t hash)
{
	job->state.cut.info->header.part[section].hash = hash;
	return 0;
}

static int read_rows(int fd, uint8_t *to, uint64_t size, uint64_t at)
{
	while (size) {
		ssize_t n = pread(fd, to, size, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		to += n;
		at += (uint64_t)n;
		size -= (uint64_t)n;
	}
	return 0;
}

/* Return: bytes in the chunk, 0 at the end, or a negative errno. */
static int64_t fill(struct snapshot_job *job, uint8_t *chunk)
{
	struct snapshot_state *state = &job->state;
	struct snapshot_run run;
	uint64_t size = 0;
	int r;

	while (size < STAGING_CHUNK &&
	       snapshot_next(&state->shape, &state->cursor,
			     STAGING_CHUNK - size, &run)) {
		uint8_t *to = chunk + size;

		r = 0;
		if (run.in_rows)
			r = read_rows(job->cache->rows_fd, to, run.size,
				      run.rows_at);
		else if (run.memory)
			memcpy(to, run.memory, run.size);
		else
			memset(to, 0, run.size);
		if (r)
			return r;
		snapshot_account(job, run.section, to, run.size, note_hash);
		size += run.size;
	}
	return (int64_t)size;
}

static void step_again(struct snapshot_job *job, struct staging *staging)
{
	job->state.waiting = staging->busy;
	if (!staging->busy)
		job->state.next = step_cut;
}

static bool is_lost(struct snapshot_job *job)
{
	if (snapshot_cut_holds(&job->state.cut, job->cache->index,
			       job->cache->rows))
		return false;
	if (++job->lost >= LOST_MAX)
		hold(job);
	job->state.next = step_again;
	return true;
}

/* Nanoseconds to wait, so that the rate is kept. */
static uint64_t too_early(const struct snapshot_job *job)
{
	uint64_t due, gone = now_ns() - job->state.began;

	if (!job->rate || job->holding)
		return 0;
	due = (uint64_t)((double)job->done / (double)job->rate * 1e9);
	if (due <= gone)
		return 0;
	return due - gone < SLEEP_MAX ? due - gone : SLEEP_MAX;
}

static void step_rows(struct snapshot_job *job, struct staging *staging)
{
	struct staging_slot *slot = staging_slot(staging);
	uint64_t wait = too_early(job);
	int64_t size;

	job->state.waiting = !slot || staging->single_busy;
	if (snapshot_cancelled(job)) {
		give_up(job, -ECANCELED, "writing", job->path);
		return;
	}
	if (job->state.waiting || is_lost(job))
		return;
	if (wait) {
		staging_sleep(staging, wait);
		return;
	}
	if (slot->error) {
		give_up(job, slot->error, "writing", job->temp);
		return;
	}
	size = fill(job, slot->at);
	if (size < 0) {
		give_up(job, (int)size, "reading the rows of",
			job->cache->name);
	} else if (size && !is_lost(job)) {
		staging_move(slot, job->state.fd, true, job->state.at,
			     (uint32_t)size);
		job->state.at += (uint64_t)size;
		shm_store_relaxed(&job->done, job->done + (uint64_t)size);
	} else if (!size) {
		snapshot_account(job, SNAPSHOT_SECTIONS, NULL, 0, note_hash);
		release(job);
		job->state.next = step_rows_written;
	}
}

/* ---- before them ---- */

static void step_allocated(struct snapshot_job *job, struct staging *staging)
{
	uint64_t size = job->state.cut.info->header.file_size;
	int r = staging->single_result;

	job->state.waiting = staging->single_busy;
	if (staging->single_busy)
		return;
	/* Where files cannot be allocated, writing will say what is wrong. */
	if (!r || r == -EOPNOTSUPP || r == -EINVAL)
		r = ftruncate(job->state.fd, (off_t)size) ? -errno : 0;
	if (r)
		give_up(job, r, "writing", job->temp);
	else
		job->state.next = step_rows;
}

/* What cannot be read as a snapshot of ours is not ours to replace. */
static int check_place(struct snapshot_job *job)
{
	struct snapshot_info *info = NULL;
	struct snapshot_error why;
	int r;

	r = snapshot_peek(&info, job->root, job->cache->uid, job->cache->name,
			  &why);
	free(info);
	if (!r || r == -ENOENT)
		return 0;
	snprintf(job->why.text, sizeof(job->why.text),
		 "%.160s is in the way: %.80s; move it away, or remove it",
		 job->path, why.text);
	job->error = -EEXIST;
	job->state.next = step_end;
	return -EEXIST;
}

static int make_folder(const char *path)
{
	return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

static int open_file(struct snapshot_job *job)
{
	int r = check_place(job);

	if (r)
		return r;
	r = make_folder(job->root);
	if (!r)
		r = make_folder(job->folder);
	if (r) {
		give_up(job, r, "making", job->folder);
		return r;
	}
	r = snapshot_open(job, job->temp, O_WRONLY | O_CREAT | O_TRUNC);
	if (r < 0) {
		give_up(job, r, "making", job->temp);
		return r;
	}
	job->state.fd = r;
	job->state.made_temp = true;
	return 0;
}

static void begin_rows(struct snapshot_job *job, struct staging *staging)
{
	struct snapshot_state *state = &job->state;
	const struct shm_index *index = job->cache->index;

	if (state->fd < 0 && open_file(job))
		return;
	state->shape.info = state->cut.info;
	state->shape.layers =
		(const void *)((const char *)index + index->layers);
	state->shape.ids = index->ids;
	memcpy(state->shape.memory, state->cut.memory,
	       sizeof(state->cut.memory));
	state->cursor = (struct snapshot_cursor){ 0 };
	state->section = 0;
	XXH3_64bits_reset(state->hash);
	state->at = SNAPSHOT_PAGE;
	shm_store_relaxed(&job->done, 0);
	shm_store_relaxed(&job->total, state->cut.info->header.file_size);
	for (int i = 0; i < STAGING_DEPTH; i++)
		staging->slot[i].error = 0;
	staging_allocate(staging, state->fd, state->cut.info->header.file_size);
	state->next = step_allocated;
}

static void lie(struct snapshot_job *job)
{
	snprintf(job->why.text, sizeof(job->why.text),
		 "cache %s is damaged: its writer's words are outside of what "
		 "can be; 'treekvctl drop %s' gives its memory back",
		 job->cache->name, job->cache->name);
	job->error = -EUCLEAN;
	job->state.next = step_end;
}

static void step_cut(struct snapshot_job *job, struct staging *staging)
{
	int r;

	if (snapshot_cancelled(job)) {
		give_up(job, -ECANCELED, "writing", job->path);
		return;
	}
	r = snapshot_cut_take(&job->state.cut, job->cache->index,
			      job->cache->rows);
	if (!r) {
		crash_at(CRASH_SNAPSHOT_CUT);
		begin_rows(job, staging);
	} else if (r != -EAGAIN || job->cache->compaction.fault) {
		lie(job);
	} else if (++job->state.tries == TRIES_MAX) {
		give_up(job, -EBUSY, "catching a commit of", job->cache->name);
	} else if (job->state.tries >= LOST_MAX) {
		hold(job);
	}
}

static void step_first(struct snapshot_job *job, struct staging *staging)
{
	int r = snapshot_cut_init(&job->state.cut, job->cache->index);

	(void)staging;
	job->state.began = now_ns();
	if (r)
		give_up(job, r, "taking a snapshot of", job->cache->name);
	else
		job->state.next = step_cut;
}

int snapshot_save(struct snapshot_job **ret, struct cache *cache,
		  const char *root, uint64_t rate)
{
	struct snapshot_job *job;
	int r = snapshot_job_new(&job, cache, root, step_first);

	if (r)
		return r;
	job->rate = rate;
	*ret = job;
	return 0;
}
