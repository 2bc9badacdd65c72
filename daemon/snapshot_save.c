// SPDX-License-Identifier: BSD-2-Clause
/*
 * A snapshot is taken while the writer goes on. First the cut (snapshot_cut.h),
 * then the rows, chunk by chunk into staging memory: copied and hashed here, a
 * chunk a slice, while others are being written. After each chunk head is
 * looked at. Once it is beyond the cut's window, what was copied is worth
 * nothing and all begins anew; after three races lost, or cuts missed, the cache
 * is not compacted until its rows have been copied, so that the writer cannot
 * leave the window: at worst he stalls for as long as that takes, for which the
 * rate limit does not hold.
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
#define PIECE	  (UINT64_C(128) << 10)
#define TRIES_MAX 100000 /* cuts, of a cache that is held */
#define SLEEP_MAX UINT64_C(100000000) /* ns: a cancelled job is to see it */

static void step_cut(struct snapshot_job *job, struct staging *staging);

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

static void step_unlinked(struct snapshot_job *job, struct staging *staging)
{
	job->state.waiting = staging->single.busy;
	job->task.over = !staging->single.busy;
}

static void step_end(struct snapshot_job *job, struct staging *staging)
{
	job->state.waiting = staging_is_busy(staging);
	if (job->state.waiting)
		return;
	release(job);
	if (job->state.fd >= 0)
		close(job->state.fd);
	job->state.fd = -1;
	if (!job->error) {
		job->info = job->state.cut.info;
		job->state.cut.info = NULL;
	}
	snapshot_cut_exit(&job->state.cut);
	job->task.over = !job->state.made_temp;
	if (!job->state.made_temp)
		return;
	staging_unlink(staging, job->temp);
	job->state.next = step_unlinked;
}

static void step_written(struct snapshot_job *job, struct staging *staging)
{
	int r;

	job->state.waiting = staging->busy;
	if (staging->busy)
		return;
	r = staging_error(staging);
	if (r)
		snapshot_give_up(job, r, "writing", job->temp);
	else
		snapshot_publish(job, staging);
}

/* ---- the rows ---- */

static int note_hash(struct snapshot_job *job, unsigned int section,
		     uint64_t hash)
{
	job->state.cut.info->header.part[section].hash = hash;
	return 0;
}

static void step_header(struct snapshot_job *job, struct staging *staging)
{
	struct snapshot_header *header = &job->state.cut.info->header;
	const struct shm_index *index = job->cache->index;
	struct staging_slot *slot = snapshot_slot(staging, job->state.begun);

	job->state.waiting = slot->busy;
	if (slot->busy)
		return;
	snapshot_account(job, SNAPSHOT_SECTIONS, NULL, 0, note_hash);
	header->taken = (uint64_t)time(NULL);
	header->uid = job->cache->uid;
	header->gid = job->cache->gid;
	header->mode = job->cache->mode;
	header->ttl = shm_load_relaxed(&index->ttl);
	memcpy(header->name, job->cache->name, sizeof(header->name));
	header->created = index->created;
	header->last_used = shm_load_relaxed(&index->last_used);
	header->compactions = shm_load_relaxed(&index->compactions);
	header->evictions = shm_load_relaxed(&index->evictions);
	snapshot_seal(slot->at, header);
	staging_move(slot, job->state.fd, true, 0, SNAPSHOT_PAGE);
	job->state.next = step_written;
}

static void step_again(struct snapshot_job *job, struct staging *staging)
{
	job->state.waiting = staging_is_busy(staging);
	if (!job->state.waiting)
		job->state.next = step_cut;
}

/*
 * Whatever has been copied by now is of the cut if that holds now. Return: true
 * when it does not, and all begins anew.
 */
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

/*
 * Pages of 4 KiB are quicker read where they are mapped: each costs read(2) a
 * look-up. A hole there is a page of zeroes; in huge pages it may be one that
 * cannot be had, for which read(2) has zeroes and a mapping SIGBUS.
 */
static int copy_rows(const struct snapshot_job *job, uint8_t *to, uint64_t size,
		     uint64_t at)
{
	ssize_t n;

	if (!job->cache->huge) {
		shm_copy(to, (const char *)job->cache->rows + at, size);
		return 0;
	}
	for (; size; to += n, at += (uint64_t)n, size -= (uint64_t)n) {
		n = pread(job->cache->rows_fd, to, size, (off_t)at);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return n ? -errno : -EIO;
	}
	return 0;
}

/* Piece by piece, so that each is hashed while it is in the core's own cache. */
static int copy_run(struct snapshot_job *job, uint8_t *to,
		    const struct snapshot_run *run)
{
	uint64_t at, size;
	int r = 0;

	for (at = 0; !r && at < run->size; at += size) {
		size = run->size - at < PIECE ? run->size - at : PIECE;
		if (run->in_rows)
			r = copy_rows(job, to + at, size, run->rows_at + at);
		else if (run->memory)
			memcpy(to + at, run->memory + at, size);
		else
			memset(to + at, 0, size);
		if (run->in_rows && !run->rows_at && !at) /* words go on */
			memset(to, 0, sizeof(struct shm_rows));
		snapshot_account(job, run->section, to + at, size, note_hash);
	}
	return r;
}

/* Copies and hashes the next chunk. Return: its bytes, 0 at the end, an errno. */
static int copy_chunk(struct snapshot_job *job, struct staging *staging)
{
	struct staging_slot *slot = snapshot_slot(staging, job->state.begun);
	const struct snapshot_chunk *chunk = snapshot_chunk(job, false);
	uint32_t at = 0;
	int r = 0;

	if (!chunk)
		return 0;
	for (uint32_t i = 0; !r && i < chunk->runs; i++) {
		r = copy_run(job, slot->at + at, &chunk->run[i]);
		at += (uint32_t)chunk->run[i].size;
	}
	return r ? r : (int)chunk->size;
}

static void pace(struct snapshot_job *job, uint64_t rate)
{
	job->state.rate = rate;
	job->state.paced_from = job->done;
	job->state.paced_since = snapshot_now();
}

/* Nanoseconds to wait, so that the rate is kept. */
static uint64_t too_early(struct snapshot_job *job)
{
	uint64_t rate = shm_load_relaxed(&job->rate);
	uint64_t due, gone;

	if (rate != job->state.rate)
		pace(job, rate);
	if (!rate || job->holding)
		return 0;
	gone = snapshot_now() - job->state.paced_since;
	due = (uint64_t)((double)(job->done - job->state.paced_from) /
			 (double)rate * 1e9);
	if (due <= gone)
		return 0;
	return due - gone < SLEEP_MAX ? due - gone : SLEEP_MAX;
}

static void step_rows(struct snapshot_job *job, struct staging *staging)
{
	struct snapshot_state *state = &job->state;
	struct staging_slot *slot = snapshot_slot(staging, state->begun);
	uint64_t wait, at = state->at;
	int size;

	if (snapshot_cancelled(job)) {
		snapshot_give_up(job, -ECANCELED, "writing", job->path);
		return;
	}
	state->waiting = slot->busy || staging->moving >= STAGING_DEPTH ||
			 staging->single.busy;
	if (state->waiting || is_lost(job))
		return;
	wait = too_early(job);
	if (wait) {
		staging_sleep(staging, wait);
		return;
	}
	if (slot->error) {
		snapshot_give_up(job, slot->error, "writing", job->temp);
		return;
	}
	size = copy_chunk(job, staging);
	if (size < 0) {
		snapshot_give_up(job, size, "reading the rows of",
				 job->cache->name);
	} else if (!size) {
		release(job);
		state->next = step_header;
	} else if (!is_lost(job)) {
		state->hashed++;
		staging_move(slot, state->fd, true, at, (uint32_t)size);
		shm_store_relaxed(&job->done, job->done + (uint64_t)size);
	}
}

/* ---- before them ---- */

static void step_allocated(struct snapshot_job *job, struct staging *staging)
{
	uint64_t size = job->state.cut.info->header.file_size;
	int r = staging->single.result;

	job->state.waiting = staging->single.busy;
	if (staging->single.busy)
		return;
	/* Where files cannot be allocated, writing will say what is wrong. */
	if (!r || r == -EOPNOTSUPP || r == -EINVAL)
		r = ftruncate(job->state.fd, (off_t)size) ? -errno : 0;
	if (r)
		snapshot_give_up(job, r, "writing", job->temp);
	else
		job->state.next = step_rows;
}

static void begin_rows(struct snapshot_job *job, struct staging *staging)
{
	struct snapshot_state *state = &job->state;
	const struct shm_index *index = job->cache->index;
	uint64_t size = state->cut.info->header.file_size;

	state->shape.info = state->cut.info;
	state->shape.layers =
		(const void *)((const char *)index + index->layers);
	state->shape.ids = index->ids;
	memcpy(state->shape.memory, state->cut.memory,
	       sizeof(state->cut.memory));
	state->cursor = (struct snapshot_cursor){ 0 };
	state->begun = state->hashed = 0;
	state->section = 0;
	XXH3_64bits_reset(state->hash);
	state->at = SNAPSHOT_PAGE;
	shm_store_relaxed(&job->done, 0);
	shm_store_relaxed(&job->total, size);
	pace(job, state->rate);
	staging_clear(staging);
	staging_allocate(staging, state->fd, size);
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
		snapshot_give_up(job, -ECANCELED, "writing", job->path);
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
		snapshot_give_up(job, -EBUSY, "catching a commit of",
				 job->cache->name);
	} else if (job->state.tries >= LOST_MAX) {
		hold(job);
	}
}

static void step_first(struct snapshot_job *job, struct staging *staging)
{
	int r = snapshot_cut_init(&job->state.cut, job->cache->index);

	job->began = snapshot_now();
	if (r)
		snapshot_give_up(job, r, "taking a snapshot of",
				 job->cache->name);
	else
		snapshot_place(job, staging, step_cut);
}

int snapshot_save(struct snapshot_job **ret, struct cache *cache,
		  const char *root, uint64_t rate)
{
	struct snapshot_job *job;
	int r = snapshot_job_new(&job, cache, root, step_first, step_end);

	if (r)
		return r;
	job->rate = rate;
	job->total = cache->rows_size; /* or less: the cut will tell */
	*ret = job;
	return 0;
}
