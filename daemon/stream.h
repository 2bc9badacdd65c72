/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What has happened: the latest events, kept in a ring, and those who follow.
 * event.c says what there is to tell. Control thread only.
 */
#ifndef TREEKVD_STREAM_H
#define TREEKVD_STREAM_H

#include <stdint.h>
#include <sys/types.h>

#include "daemon/access.h"
#include "daemon/conn.h"
#include "proto/shm.h"

#define STREAM_KEPT	     1024
#define STREAM_FOLLOWERS_MAX 16 /* of one user */

struct cache;

/* The order and the names are those of the table in stream.c. */
enum stream_kind {
	STREAM_CREATE,
	STREAM_FORK,
	STREAM_ATTACH,
	STREAM_DETACH,
	STREAM_DEATH,
	STREAM_LEASE_BROKEN,
	STREAM_PREFILL,
	STREAM_FREEZE,
	STREAM_DROP,
	STREAM_GONE,
	STREAM_REFUSAL,
	STREAM_QUARANTINE,
	STREAM_STALL,
	STREAM_COMPACTION,
	STREAM_SNAPSHOT,
	STREAM_SNAPSHOT_FAILED,
	STREAM_PARK,
	STREAM_RECLAIM,
	STREAM_RESTORE,
	STREAM_RESTORE_FAILED,
	STREAM_ADOPT,
	STREAM_KINDS,
};

/* Of what is optional, the table says which go with a kind. */
struct stream_event {
	enum stream_kind kind;
	uint64_t number; /* from 1 on; 0: a summary, which is not kept */
	uint64_t time_ns; /* since 1970 */
	uid_t uid; /* whose it is, or who was refused */
	struct access_what what; /* who may be told */
	uint64_t cache;
	char name[SHM_NAME_FULL + 1]; /* as its owner says it */
	pid_t pid;
	int error;
	uint64_t count; /* stalls, compactions, caches */
	uint64_t evictions;
	uint64_t tail;
	uint64_t bytes;
	uint64_t ns;
	char text[512];
};

/* An event of that kind about a cache, the rest being zero. */
struct stream_event stream_about(enum stream_kind kind,
				 const struct cache *cache);

/* It has happened now: kept, and told to who follows and may know. */
void stream_tell(struct stream_event *event);

/* It is about to go: its last compactions are told. */
void stream_look(struct cache *cache);

/* Answers with what is kept; who follows hears of the rest by and by. */
void stream_on_events(struct conn *conn, uint64_t id,
		      const Treekv__Events *request);

/* Its replies have all been sent: there is room for more. */
void stream_drained(struct conn *conn);
void stream_closed(struct conn *conn);

/* How many follow. */
uint32_t stream_followers(void);

#endif /* TREEKVD_STREAM_H */
