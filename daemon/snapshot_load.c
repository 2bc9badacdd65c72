// SPDX-License-Identifier: BSD-2-Clause
/*
 * Small pages are written with pwrite(2), which neither zeroes nor maps what it
 * fills; huge ones have no write and are mapped.
 *
 * The way back: chunks are read ahead in whatever sequence the disk likes, and
 * used in the file's. Rows go straight into the memfd of a cache that nobody
 * has been given yet, everything else into memory until all hashes have been
 * compared; only then are order, scores and words put in place, and checked as
 * an adopted cache is.
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
#include "daemon/order.h"
#include "daemon/snapshot.h"
#include "proto/barrier.h"

static void step_end(struct snapshot_job *job, struct staging *staging)
{
	if (staging->busy || staging->single_busy) {
		job->state.waiting = true;
		return;
	}
	if (job->state.rows)
		munmap(job->state.rows, job->cache->rows_size);
	if (job->state.fd >= 0)
		close(job->state.fd);
	job->state.fd = -1;
	for (int s = SNAPSHOT_LAYERS; s < SNAPSHOT_IDS; s++)
		free(job->state.shape.memory[s]);
	job->task.over = true;
}

static void give_up(struct snapshot_job *job, int error, const char *what,
		    const char *path)
{
	snapshot_fail(job, error, what, path);
	job->task.over = false;
	job->state.next = step_end;
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

		level[l].n_live = at->n_live;
		for (uint32_t h = 0; h < spec->kv_heads; h++, from += size) {
			memcpy(buffer + layer->order + h * layer->order_stride,
			       from, size);
			if (check_used(from, spec, at->n_live + own, at->used))
				r = -EBADMSG;
		}
	}
	memcpy(buffer + job->cache->index->walk,
	       job->state.shape.memory[SNAPSHOT_WALKS],
	       (size_t)spec->layers * spec->kv_heads * sizeof(uint32_t));
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
	index->mode = header->mode;
	index->created = header->created;
	shm_store_relaxed(&index->last_used, header->last_used);
	shm_store_relaxed(&index->compactions, header->compactions);
	shm_store_relaxed(&index->evictions, header->evictions);
}

static void install(struct snapshot_job *job)
{
	const struct snapshot_header *header = &job->info->header;
	struct cache *cache = job->cache;
	const char *why = "a live row is in a slot that was not kept";
	struct stat st;

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
		give_up(job, -errno, "looking at the rows of", cache->name);
		return;
	}
	if (adopt_check(cache->index, st.st_ino, &why) ||
	    header->tail > header->base_tail + buffer_of(job)->free) {
		damaged(job, why);
		return;
	}
	place_scores(job);
	place_words(job);
	job->state.next = step_end;
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

static int write_rows(struct snapshot_job *job, const uint8_t *from,
		      uint64_t size, uint64_t at)
{
	if (job->cache->huge) {
		memcpy(job->state.rows + at, from, size);
		return 0;
	}
	while (size) {
		ssize_t n = pwrite(job->cache->rows_fd, from, size, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			give_up(job, n ? -errno : -EIO, "filling the rows of",
				job->cache->name);
			return -EIO;
		}
		from += n;
		at += (uint64_t)n;
		size -= (uint64_t)n;
	}
	return 0;
}

/* Puts a chunk's bytes where they belong. */
static int use(struct snapshot_job *job, const uint8_t *chunk, uint64_t size)
{
	struct snapshot_state *state = &job->state;
	struct snapshot_run run;
	uint64_t at = 0;
	int r;

	while (at < size &&
	       snapshot_next(&state->shape, &state->cursor, size - at, &run)) {
		r = snapshot_account(job, run.section, chunk + at, run.size,
				     compare_hash);
		if (!r && run.in_rows)
			r = write_rows(job, chunk + at, run.size, run.rows_at);
		if (r)
			return r;
		if (run.memory)
			memcpy(run.memory, chunk + at, run.size);
		at += run.size;
	}
	return 0;
}

/* Chunk n of the file is in slot n of all, modulo their number. */
static struct staging_slot *slot_at(struct staging *staging, uint64_t at)
{
	return &staging->slot[(at - SNAPSHOT_PAGE) / STAGING_CHUNK %
			      STAGING_DEPTH];
}

static void read_ahead(struct snapshot_job *job, struct staging *staging)
{
	struct snapshot_state *state = &job->state;
	uint64_t end = job->info->header.file_size, size;

	while (state->at < end &&
	       state->at < state->consumed +
				   (uint64_t)STAGING_DEPTH * STAGING_CHUNK) {
		size = end - state->at;
		size = size < STAGING_CHUNK ? size : STAGING_CHUNK;
		staging_move(slot_at(staging, state->at), state->fd, false,
			     state->at, (uint32_t)size);
		state->at += size;
	}
}

/* Another piece of memory. Return: true, unless all of it is there. */
static bool fault_in(struct snapshot_job *job)
{
	struct cache *cache = job->cache;

	if (cache_fault_in(cache))
		return true;
	if (cache->faulted_in == cache->rows_size)
		return false;
	give_up(job, -ENOMEM, "making memory present for", cache->name);
	return true;
}

/* What was not written is made present as well: nobody faults later. */
static void step_present(struct snapshot_job *job, struct staging *staging)
{
	(void)staging;
	if (!fault_in(job))
		install(job);
}

static void step_read(struct snapshot_job *job, struct staging *staging)
{
	struct snapshot_state *state = &job->state;
	struct staging_slot *slot;

	if (snapshot_cancelled(job)) {
		give_up(job, -ECANCELED, "reading", job->path);
		return;
	}
	read_ahead(job, staging);
	if (job->cache->huge && fault_in(job))
		return; /* while the first chunks come in */
	if (state->consumed == job->info->header.file_size) {
		if (!snapshot_account(job, SNAPSHOT_SECTIONS, NULL, 0,
				      compare_hash))
			state->next = step_present;
		return;
	}
	slot = slot_at(staging, state->consumed);
	state->waiting = slot->busy;
	if (slot->busy)
		return;
	if (slot->error) {
		give_up(job, slot->error, "reading", job->path);
		return;
	}
	if (use(job, slot->at, slot->size))
		return;
	state->consumed += slot->size;
	shm_store_relaxed(&job->done, state->consumed);
	read_ahead(job, staging);
}

/* ---- the beginning ---- */

static int map_rows(struct snapshot_job *job)
{
	void *map = mmap(NULL, job->cache->rows_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED, job->cache->rows_fd, 0);

	if (map == MAP_FAILED)
		return -errno;
	madvise(map, job->cache->rows_size, MADV_DONTDUMP);
	job->state.rows = map;
	return 0;
}

static int make_memory(struct snapshot_job *job)
{
	struct snapshot_shape *shape = &job->state.shape;
	const struct shm_index *index = job->cache->index;

	shape->info = job->info;
	shape->layers = (const void *)((const char *)index + index->layers);
	shape->ids = index->ids;
	for (unsigned int s = SNAPSHOT_LAYERS; s < SNAPSHOT_IDS; s++) {
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
		give_up(job, slot->error, "reading", job->path);
	else if (memcmp(slot->at, &job->info->header,
			sizeof(job->info->header)))
		damaged(job, "its header changed under our eyes");
	else
		job->state.next = step_read;
}

static void step_first(struct snapshot_job *job, struct staging *staging)
{
	int r = make_memory(job);

	if (!r)
		r = map_rows(job);
	if (r) {
		give_up(job, r, "memory for", job->path);
		return;
	}
	r = snapshot_open(job, job->path, O_RDONLY);
	if (r < 0) {
		give_up(job, r, "reading", job->path);
		return;
	}
	job->state.fd = r;
	job->state.at = job->state.consumed = SNAPSHOT_PAGE;
	shm_store_relaxed(&job->total, job->info->header.file_size);
	staging_move(&staging->slot[0], r, false, 0, SNAPSHOT_PAGE);
	job->state.next = step_header;
}

int snapshot_load(struct snapshot_job **ret, struct cache *cache,
		  const char *root, struct snapshot_info *info)
{
	struct snapshot_job *job;
	int r = snapshot_job_new(&job, cache, root, step_first);

	if (r)
		return r;
	job->task.lane = WORKER_LOAD;
	job->info = info;
	*ret = job;
	return 0;
}
