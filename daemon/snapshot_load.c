// SPDX-License-Identifier: BSD-2-Clause
/*
 * The way back: chunks are read ahead in whatever sequence the disk likes, and
 * hashed in the file's. Pages of rows go into the memfd of a cache that nobody
 * has been given yet, everything else into memory until all hashes have been
 * compared; only then are order, scores and words put in place, and checked as
 * an adopted cache is.
 *
 * Making pages is most of the work, and is not done here. Huge ones are made
 * from the first to the last by a thread of the ring's, ahead of the disk,
 * which reads right into them. Of small ones that would cost more than it
 * saves: each would be cleared, mapped and pinned, one by one. They are filled
 * by writes of the memfd instead, which do neither, on such a thread as well;
 * those that the file has nothing for are made meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/adopt.h"
#include "daemon/crash.h"
#include "daemon/order.h"
#include "daemon/segment.h"
#include "daemon/snapshot.h"
#include "proto/barrier.h"

#define POPULATE_STEP (UINT64_C(8) << 20)

static void step_end(struct snapshot_job *job, struct staging *staging)
{
	job->state.waiting = staging_is_busy(staging);
	if (job->state.waiting)
		return;
	if (job->state.rows)
		munmap(job->state.rows, job->cache->rows_size);
	if (job->state.fd >= 0)
		close(job->state.fd);
	job->state.fd = -1;
	for (int s = SNAPSHOT_LAYERS; s < SNAPSHOT_ROWS; s++)
		free(job->state.shape.memory[s]);
	job->task.over = true;
}

static int damaged(struct snapshot_job *job, const char *what)
{
	snprintf(job->why.text, sizeof(job->why.text),
		 "%.200s is damaged: %.60s; it is left where it is", job->path,
		 what);
	job->error = -EBADMSG;
	job->state.next = step_end;
	return -EBADMSG;
}

/* ---- the end: everything in its place ---- */

static struct shm_buffer *buffer_of(const struct snapshot_job *job)
{
	struct shm_index *index = job->cache->index;
	uint64_t generation = job->info->header.generation;

	return (void *)((char *)index + index->buffer[generation & 1]);
}

/* Live rows lie in slots that were kept. */
static int check_used(const void *order, const struct shm_spec *spec,
		      uint64_t live, uint32_t used)
{
	for (uint64_t i = 0; i < live; i++)
		if (order_entry(order, spec->entry_size, (uint32_t)i) >= used)
			return -EBADMSG;
	return 0;
}

/* As all that treekvctl shows of a cache, also of one that is being restored. */
static void place_walks(const struct snapshot_job *job, uint32_t *walks)
{
	const struct shm_spec *spec = &job->info->header.spec;
	const uint32_t *from =
		(const void *)job->state.shape.memory[SNAPSHOT_WALKS];

	for (size_t i = 0; i < (size_t)spec->layers * spec->kv_heads; i++)
		shm_store32_relaxed(&walks[i], from[i]);
}

static int place_orders(struct snapshot_job *job)
{
	const struct snapshot_header *header = &job->info->header;
	const struct shm_spec *spec = &header->spec;
	char *buffer = (char *)buffer_of(job);
	struct shm_level *level = (void *)(buffer + job->cache->index->level);
	const uint8_t *from = job->state.shape.memory[SNAPSHOT_ORDERS];
	uint64_t own = header->tail - header->base_tail;
	int r = 0;

	for (uint32_t l = 0; l < spec->layers; l++) {
		const struct snapshot_layer *at = &job->info->layers[l];
		const struct shm_layer *layer = &job->state.shape.layers[l];
		size_t size = (size_t)layer->capacity * spec->entry_size;

		shm_store32_relaxed(&level[l].n_live, at->n_live);
		for (uint32_t h = 0; h < spec->kv_heads; h++, from += size) {
			memcpy(buffer + layer->order + h * layer->order_stride,
			       from, size);
			if (check_used(from, spec, at->n_live + own, at->used))
				r = -EBADMSG;
		}
	}
	place_walks(job, (void *)(buffer + job->cache->index->walk));
	return r;
}

static void place_scores(struct snapshot_job *job)
{
	const struct shm_spec *spec = &job->info->header.spec;
	const uint8_t *from = job->state.shape.memory[SNAPSHOT_SCORES];

	for (uint32_t l = 0; l < spec->layers; l++) {
		const struct shm_layer *layer = &job->state.shape.layers[l];
		size_t size = job->info->layers[l].used * sizeof(float);
		uint8_t *to = job->state.rows + layer->score +
			      job->info->header.parity * layer->score_pad;

		for (uint32_t h = 0; h < spec->kv_heads; h++) {
			memcpy(to + h * layer->score_stride, from, size);
			from += size;
		}
	}
}

static void place_words(struct snapshot_job *job)
{
	const struct snapshot_header *header = &job->info->header;
	struct shm_rows *rows = (void *)job->state.rows;
	struct shm_index *index = job->cache->index;

	memcpy(rows->note[header->parity], header->note, SHM_NOTE_SIZE);
	rows->head = header->tail;
	rows->commit = shm_commit_pack(header->tail, header->parity);
	/* It is frozen again once it is whole. */
	shm_store32_relaxed(&index->flags,
			    index->flags | (header->flags & SNAPSHOT_FLAGS &
					    ~(uint32_t)SHM_CACHE_FROZEN));
	shm_store_relaxed(&index->ttl, header->ttl);
	shm_store_relaxed(&index->created, header->created);
	shm_store_relaxed(&index->last_used, header->last_used);
	shm_store_relaxed(&index->compactions, header->compactions);
	shm_store_relaxed(&index->evictions, header->evictions);
}

/*
 * The sections before rows are sound. Their orders take a while to check, so
 * that is done while rows come in; nobody is given the cache before those are
 * sound as well.
 */
static void install(struct snapshot_job *job)
{
	const struct snapshot_header *header = &job->info->header;
	struct cache *cache = job->cache;
	const char *why = "a live row is in a slot that was not kept";
	struct stat st;

	job->state.installed = true;
	if (place_orders(job)) {
		damaged(job, why);
		return;
	}
	if (compact_resume(cache->index, header->generation,
			   header->base_tail)) {
		damaged(job, "an order has entries that are no slots");
		return;
	}
	if (fstat(cache->rows_fd, &st)) {
		snapshot_give_up(job, -errno, "looking at the rows of",
				 cache->name);
		return;
	}
	if (adopt_check(cache->index, st.st_ino, &why) ||
	    header->tail > header->base_tail + buffer_of(job)->free)
		damaged(job, why);
}

/* ---- the sections ---- */

static int compare_hash(struct snapshot_job *job, unsigned int section,
			uint64_t hash)
{
	char what[64];

	if (job->info->header.part[section].hash == hash)
		return 0;
	snprintf(what, sizeof(what), "the hash of section %s differs",
		 snapshot_section_name(section));
	return damaged(job, what);
}

/* Into a page's place in rows; struct shm_rows is ours already. */
static void put_pages(struct snapshot_job *job, struct staging_slot *slot,
		      uint32_t at, const struct snapshot_run *run)
{
	uint32_t skip = run->rows_at ? 0 : sizeof(struct shm_rows);
	uint64_t to = run->rows_at + skip;
	uint32_t size = (uint32_t)run->size - skip;

	at += skip;
	if (job->cache->huge)
		memcpy(job->state.rows + to, slot->at + at, size);
	else
		staging_fill(slot, job->cache->rows_fd, at, to, size);
}

/* Hashes the oldest chunk and puts it where it belongs. */
static int use(struct snapshot_job *job, struct staging *staging)
{
	struct staging_slot *slot = snapshot_slot(staging, job->state.hashed);
	const struct snapshot_chunk *chunk = snapshot_oldest(job);
	uint32_t at = 0;
	int r = 0;

	for (uint32_t i = 0; !r && i < chunk->runs; i++) {
		const struct snapshot_run *run = &chunk->run[i];
		const uint8_t *from = slot->at + at;

		if (chunk->direct)
			from = job->state.rows + run->rows_at;
		r = snapshot_account(job, run->section, from, run->size,
				     compare_hash);
		if (!r && run->in_rows && !chunk->direct)
			put_pages(job, slot, at, run);
		if (!r && run->memory)
			memcpy(run->memory, from, run->size);
		at += (uint32_t)run->size;
	}
	return r;
}

/* Begins to read chunks, as many as may be on their way. */
static bool read_ahead(struct snapshot_job *job, struct staging *staging)
{
	struct snapshot_state *state = &job->state;

	while (snapshot_has_room(job, staging) &&
	       staging->moving < STAGING_DEPTH) {
		struct staging_slot *slot =
			snapshot_slot(staging, state->begun);
		const struct snapshot_chunk *chunk;

		if (slot->error)
			return true; /* of pages that were put from there */
		chunk = snapshot_chunk(job, job->cache->huge);
		if (!chunk)
			return false;
		if (chunk->direct)
			staging_read_into(slot, state->fd,
					  state->rows + chunk->run->rows_at,
					  chunk->at, chunk->size);
		else
			staging_move(slot, state->fd, false, chunk->at,
				     chunk->size);
	}
	return true;
}

/* ---- the pages that nothing is written to ---- */

/* The next of them. Return: false after the last. */
static bool next_gap(struct snapshot_job *job)
{
	struct snapshot_state *state = &job->state;
	uint64_t end = job->cache->rows_size;
	struct snapshot_run run;

	while (state->missing == state->missing_end && !state->last_gap) {
		state->missing = state->covered;
		state->last_gap =
			job->cache->huge ||
			!snapshot_next(&state->shape, &state->gap, end, &run);
		state->missing_end = state->last_gap ? end : run.rows_at;
		if (!state->last_gap)
			state->covered = run.rows_at + run.size;
	}
	return state->missing < state->missing_end;
}

/* Nobody is to fault on them later. Return: whether there are more. */
static bool populate(struct snapshot_job *job, struct staging *staging)
{
	struct snapshot_state *state = &job->state;
	int r = staging->present.result;
	uint64_t size;

	if (staging->present.busy)
		return true;
	staging->present.result = 0;
	if (r == -EINTR || r == -EAGAIN) {
		state->missing = state->populating;
	} else if (r) {
		snapshot_give_up(job, r, "making memory present for",
				 job->cache->name);
		return true;
	}
	if (!next_gap(job)) {
		job->cache->faulted_in = job->cache->rows_size;
		return false;
	}
	size = state->missing_end - state->missing;
	size = size < POPULATE_STEP ? size : POPULATE_STEP;
	staging_populate(staging, job->cache->rows_fd, state->missing, size);
	state->populating = state->missing;
	state->missing += size;
	return true;
}

static void step_present(struct snapshot_job *job, struct staging *staging)
{
	bool more = populate(job, staging);
	int r = staging_error(staging);

	if (job->error)
		return;
	job->state.waiting = more || staging->busy;
	if (job->state.waiting)
		return;
	if (r) {
		snapshot_give_up(job, r, "filling the rows of",
				 job->cache->name);
		return;
	}
	crash_at(CRASH_RESTORE_FILLED);
	place_scores(job);
	place_words(job);
	job->state.next = step_end;
}

/* All is here. */
static void finish_sections(struct snapshot_job *job)
{
	if (snapshot_account(job, SNAPSHOT_SECTIONS, NULL, 0, compare_hash))
		return;
	job->state.next = step_present;
	if (!job->state.installed)
		install(job);
}

static void step_read(struct snapshot_job *job, struct staging *staging)
{
	struct snapshot_state *state = &job->state;
	struct staging_slot *slot;
	bool more;

	if (snapshot_cancelled(job)) {
		snapshot_give_up(job, -ECANCELED, "reading", job->path);
		return;
	}
	more = read_ahead(job, staging);
	populate(job, staging);
	if (job->error)
		return;
	slot = snapshot_slot(staging, state->hashed);
	if (state->hashed == state->begun) {
		if (slot->error)
			snapshot_give_up(job, slot->error,
					 "filling the rows of",
					 job->cache->name);
		else if (!more)
			finish_sections(job);
		else
			state->waiting = true; /* for a slot */
		return;
	}
	if (!state->installed && state->section == SNAPSHOT_ROWS) {
		install(job);
		return;
	}
	state->waiting = slot->busy;
	if (slot->busy)
		return;
	if (slot->error)
		snapshot_give_up(job, slot->error, "reading", job->path);
	else if (!use(job, staging))
		shm_store_relaxed(&job->done,
				  snapshot_oldest(job)->at +
					  snapshot_oldest(job)->size);
	state->hashed++;
}

/* ---- the beginning ---- */

static int map_rows(struct snapshot_job *job)
{
	void *map;
	int r = segment_map(&map, job->cache->rows_fd, job->cache->rows_size);

	if (!r)
		job->state.rows = map;
	return r;
}

static int make_memory(struct snapshot_job *job)
{
	struct snapshot_shape *shape = &job->state.shape;
	const struct shm_index *index = job->cache->index;

	shape->info = job->info;
	shape->layers = (const void *)((const char *)index + index->layers);
	shape->ids = index->ids;
	job->state.gap = (struct snapshot_cursor){ .section = SNAPSHOT_ROWS };
	for (unsigned int s = SNAPSHOT_LAYERS; s < SNAPSHOT_ROWS; s++) {
		shape->memory[s] = malloc(snapshot_payload(job->info, s) + 1);
		if (!shape->memory[s])
			return -ENOMEM;
	}
	return 0;
}

/* The file is still the one that was looked at. */
static void step_header(struct snapshot_job *job, struct staging *staging)
{
	struct staging_slot *slot = &staging->slot[0];

	job->state.waiting = slot->busy;
	if (slot->busy)
		return;
	if (slot->error)
		snapshot_give_up(job, slot->error, "reading", job->path);
	else if (memcmp(slot->at, &job->info->header,
			sizeof(job->info->header)))
		damaged(job, "its header changed under our eyes");
	else
		job->state.next = step_read;
}

static void step_opened(struct snapshot_job *job, struct staging *staging)
{
	int r = staging->single.result;

	job->state.waiting = staging->single.busy;
	if (staging->single.busy)
		return;
	if (r == -EINVAL && job->direct) {
		job->direct = false;
		snapshot_open(job, staging, job->path, O_RDONLY, step_opened);
		return;
	}
	if (r < 0) {
		snapshot_give_up(job, r, "reading", job->path);
		return;
	}
	job->state.fd = r;
	job->state.at = SNAPSHOT_PAGE;
	staging_move(&staging->slot[0], r, false, 0, SNAPSHOT_PAGE);
	job->state.next = step_header;
}

static void step_first(struct snapshot_job *job, struct staging *staging)
{
	int r = make_memory(job);

	if (!r)
		r = map_rows(job);
	if (r) {
		snapshot_give_up(job, r, "memory for", job->path);
		return;
	}
	staging_clear(staging);
	staging->present.result = 0;
	populate(job, staging);
	job->direct = true;
	snapshot_open(job, staging, job->path, O_RDONLY, step_opened);
}

int snapshot_load(struct snapshot_job **ret, struct cache *cache,
		  const char *root, struct snapshot_info *info)
{
	struct snapshot_job *job;
	int r = snapshot_job_new(&job, cache, root, step_first, step_end);

	if (r)
		return r;
	job->task.lane = WORKER_LOAD;
	job->info = info;
	job->total = info->header.file_size;
	*ret = job;
	return 0;
}
