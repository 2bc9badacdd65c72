/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Caches to files and back, as tasks of the worker that has the cache: a slice
 * at a time, between its compactions. Who is to be saved, and when, is
 * persist.h's.
 */
#ifndef TREEKVD_SNAPSHOT_H
#define TREEKVD_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/cache.h"
#include "daemon/hash.h"
#include "daemon/snapshot_cut.h"
#include "daemon/snapshot_format.h"
#include "daemon/staging.h"
#include "daemon/worker.h"

struct snapshot_job;

typedef void snapshot_step(struct snapshot_job *job, struct staging *staging);

/* A part of the file that a slot of staging memory is about. */
struct snapshot_chunk {
	uint64_t at; /* in the file */
	uint32_t size;
	uint32_t runs;
	bool direct; /* loading: one run, read to where it belongs */
	struct snapshot_run run[STAGING_PARTS];
};

/* What a job does next; private to snapshot*.c. */
struct snapshot_state {
	snapshot_step *next;
	snapshot_step *end; /* whatever comes between */
	bool waiting; /* for the ring: nothing to do until it says so */
	struct snapshot_shape shape;
	struct snapshot_cursor cursor;
	struct snapshot_chunk *chunk; /* number n is in n % STAGING_SLOTS */
	uint64_t begun; /* chunks so far */
	uint64_t hashed; /* of these, and sent on */
	XXH3_state_t *hash;
	unsigned int section; /* that hash is of */
	int fd;
	uint64_t at; /* the next byte of the file */

	/* Saving. */
	snapshot_step *placed; /* what follows when there is a file */
	uint64_t file_size, looked_at; /* of what was there */
	const char *syncing; /* a folder */
	struct snapshot_cut cut;
	uint32_t tries; /* cuts that a commit came between */
	uint64_t rate, paced_from, paced_since; /* bytes at that time, ns */
	bool made_temp;
	bool made_folder;

	/* Loading. */
	bool installed; /* everything but scores and words */
	uint8_t *rows; /* a writable mapping */
	struct snapshot_cursor gap; /* after which rows are not filled */
	uint64_t covered; /* rows up to here are filled or made present */
	uint64_t missing, missing_end; /* the gap that is being made present */
	uint64_t populating; /* of it, from here to missing under way */
	bool last_gap;
};

/* One save or load. Owner's: made, shown and freed on the control thread. */
struct snapshot_job {
	struct worker_task task;
	struct cache *cache;
	char *root; /* of all users' folders */
	char *folder; /* of this user's snapshots */
	char *path;
	char *temp;

	/* The owner's at any time (atomic). */
	uint64_t rate; /* bytes a second at most, 0: as fast as it goes */
	bool cancel;

	/* Read at any time (atomic). */
	uint64_t done; /* bytes */
	uint64_t total;

	/* When the task is over. */
	uint64_t began; /* snapshot_now(); the owner may set it back */
	int error; /* 0 or a negative errno, -ECANCELED when cancel was set */
	struct snapshot_error why;
	struct snapshot_info *info; /* of the file */
	uint64_t ns;
	uint32_t lost; /* races against the writer */
	bool direct; /* O_DIRECT */
	bool holding; /* the cache: nothing is published */

	struct snapshot_state state;
};

/**
 * snapshot_save - a job that writes a cache to ROOT/SPACE/NAME.tkv
 * @root: its parent must be there
 *
 * Start it with worker_run(). Errors of the task: -EEXIST something that is no
 * snapshot of this version lies there, -EUCLEAN the writer's words are lies,
 * -EBUSY the writer commits without pause, -ENOSPC, -EIO, -EROFS, ...
 *
 * Return: 0 or -ENOMEM.
 */
int snapshot_save(struct snapshot_job **ret, struct cache *cache,
		  const char *root, uint64_t rate);

/**
 * snapshot_load - a job that fills a new cache from ROOT/SPACE/NAME.tkv
 * @cache: made by cache_new() for the spec of @info, handed out to nobody
 * @info: by snapshot_peek(); the job's on success
 *
 * Errors of the task: -EBADMSG damaged, -ENOSPC no memory, -EIO, ...; the cache
 * is then good for cache_free() only.
 *
 * Return: 0 or -ENOMEM.
 */
int snapshot_load(struct snapshot_job **ret, struct cache *cache,
		  const char *root, struct snapshot_info *info);

/* Where a cache's snapshot is; to be freed, NULL: no memory. */
char *snapshot_path(const char *root, uint64_t space, const char *name);

/* Takes NULL, returns it. Not while it runs. */
struct snapshot_job *snapshot_job_free(struct snapshot_job *job);

/**
 * snapshot_peek - header and layers of a snapshot, checked
 * @ret: to be freed by free()
 * @why: the reason, without the file's name
 *
 * Return: 0, -ENOENT, -EPROTO another version, -EBADMSG damaged or foreign,
 * another negative errno.
 */
int snapshot_peek(struct snapshot_info **ret, const char *root, uint64_t space,
		  const char *name, struct snapshot_error *why);

/* ---- snapshot.c, for snapshot_save.c and snapshot_load.c ---- */

int snapshot_job_new(struct snapshot_job **ret, struct cache *cache,
		     const char *root, snapshot_step *first,
		     snapshot_step *end);

/*
 * Sets error and text: "WHAT PATH: REASON; way out". What follows is the job's
 * end, which waits for what is in flight.
 */
void snapshot_give_up(struct snapshot_job *job, int error, const char *what,
		      const char *path);

/* Hashes @size bytes more, which are of @section. */
int snapshot_account(struct snapshot_job *job, unsigned int section,
		     const void *bytes, uint64_t size,
		     int (*finished)(struct snapshot_job *job,
				     unsigned int section, uint64_t hash));

/* The slot of a chunk that has been begun, or will be. */
static inline struct staging_slot *snapshot_slot(struct staging *staging,
						 uint64_t number)
{
	return &staging->slot[number % STAGING_SLOTS];
}

/**
 * snapshot_chunk - the next chunk
 * @direct: long runs are chunks of their own
 *
 * Its slot is idle. Return: NULL at the end.
 */
struct snapshot_chunk *snapshot_chunk(struct snapshot_job *job, bool direct);

/* The oldest chunk that has been begun and not hashed. */
struct snapshot_chunk *snapshot_oldest(struct snapshot_job *job);

/* Whether it is time for another chunk: its slot is free. */
bool snapshot_has_room(const struct snapshot_job *job, struct staging *staging);

bool snapshot_cancelled(const struct snapshot_job *job);

uint64_t snapshot_now(void); /* ns, CLOCK_MONOTONIC */

/*
 * Opens, with O_DIRECT if job->direct says so. @then finds the descriptor in
 * single, or an errno: -EINVAL where there is no O_DIRECT.
 */
void snapshot_open(struct snapshot_job *job, struct staging *staging,
		   const char *path, int flags, snapshot_step *then);

/* ---- snapshot_place.c, for snapshot_save.c ---- */

/* Makes a temporary file, state.fd, unless something is in the way. */
void snapshot_place(struct snapshot_job *job, struct staging *staging,
		    snapshot_step *then);

/* It is written: gives it its name, and ends the job. */
void snapshot_publish(struct snapshot_job *job, struct staging *staging);

#endif /* TREEKVD_SNAPSHOT_H */
