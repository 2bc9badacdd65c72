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
#include <xxhash.h>

#include "daemon/cache.h"
#include "daemon/snapshot_cut.h"
#include "daemon/snapshot_format.h"
#include "daemon/staging.h"
#include "daemon/worker.h"

struct snapshot_job;

/* What a job does next; private to snapshot*.c. */
struct snapshot_state {
	void (*next)(struct snapshot_job *job, struct staging *staging);
	bool waiting; /* for the ring: nothing to do until it says so */
	struct snapshot_cut cut; /* saving */
	uint32_t tries; /* cuts that a commit came between */
	uint8_t *rows; /* loading: a writable mapping */
	struct snapshot_shape shape;
	struct snapshot_cursor cursor;
	XXH3_state_t *hash;
	unsigned int section; /* that hash is of */
	int fd;
	uint64_t at; /* the next byte of the file */
	uint64_t consumed; /* loading: of these, the first not yet used */
	uint64_t began; /* ns */
	bool made_temp;
};

/* One save or load. Owner's: made, shown and freed on the control thread. */
struct snapshot_job {
	struct worker_task task;
	struct cache *cache;
	char *root; /* of all users' folders */
	char *folder; /* of this user's snapshots */
	char *path;
	char *temp;
	uint64_t rate; /* bytes a second at most, 0: as fast as it goes */
	bool cancel; /* set by the owner at any time (atomic) */

	/* Read at any time (atomic). */
	uint64_t done; /* bytes */
	uint64_t total;

	/* When the task is over. */
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
 * snapshot_save - a job that writes a cache to ROOT/UID/NAME.tkv
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
 * snapshot_load - a job that fills a new cache from ROOT/UID/NAME.tkv
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
int snapshot_peek(struct snapshot_info **ret, const char *root, uid_t uid,
		  const char *name, struct snapshot_error *why);

/* ---- snapshot.c, for snapshot_save.c and snapshot_load.c ---- */

int snapshot_job_new(struct snapshot_job **ret, struct cache *cache,
		     const char *root,
		     void (*first)(struct snapshot_job *job,
				   struct staging *staging));

/* Sets error and text: "WHAT PATH: REASON; way out". The task ends. */
void snapshot_fail(struct snapshot_job *job, int error, const char *what,
		   const char *path);

/* Hashes @size bytes more, which are of @section. */
int snapshot_account(struct snapshot_job *job, unsigned int section,
		     const void *bytes, uint64_t size,
		     int (*finished)(struct snapshot_job *job,
				     unsigned int section, uint64_t hash));

/* The first error of the slots, none of which is busy; 0. */
int snapshot_moved(const struct staging *staging);

bool snapshot_cancelled(const struct snapshot_job *job);

/* Opens with O_DIRECT where that goes. Return: a descriptor or an errno. */
int snapshot_open(struct snapshot_job *job, const char *path, int flags);

#endif /* TREEKVD_SNAPSHOT_H */
