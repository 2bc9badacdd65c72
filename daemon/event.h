/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens, told to whoever wants to know: the counters, the log and those
 * who follow (stream.h). One function for each thing that can happen, called
 * where it has happened, on the control thread unless marked otherwise.
 */
#ifndef TREEKVD_EVENT_H
#define TREEKVD_EVENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/loop.h"

struct adopt_counts;
struct cache;
struct conn;
struct lease;
struct snapshot_job;

/* What its worker has to tell of a cache: zero at first. */
struct event_mail {
	struct loop_op stalled;
	struct loop_op quarantined;
	bool stalls_sent; /* the control thread has them, and says when not */
	uint64_t sent_at;
	uint64_t stalls; /* to be sent */
	uint64_t stall_ns;
	uint64_t sent_stalls; /* sent, the control thread's */
	uint64_t sent_stall_ns;
};

void event_created(const struct cache *cache, pid_t pid);
void event_attached(const struct cache *cache, pid_t pid);
void event_reader(const struct cache *cache, pid_t pid);
void event_detached(const struct lease *lease);
void event_writer_died(const struct lease *lease);

/* It was adopted, and its writer has not lived to see that. */
void event_died_unseen(const struct cache *cache);
/* It has got other rows; @holder: whose lease was broken for that, or 0. */
void event_moved(const struct cache *cache, pid_t holder, uint32_t passes);
void event_frozen(const struct cache *cache, pid_t pid);
void event_prefilled(const struct cache *cache, pid_t pid);

/* It is on disk, and leaves memory to make room. */
void event_parked(const struct cache *cache);

/* It is dropped without a request: its class is to make room so. */
void event_reclaimed(const struct cache *cache);
void event_dropped(const struct cache *cache, pid_t pid);

/* Nobody holds it any more: its memory is being given back. */
void event_gone(struct cache *cache);
void event_refused(const struct conn *conn, int error, const char *text);

/* Caches of a predecessor have been taken over. */
void event_adopted(const struct adopt_counts *counts);

/* Of a job that is over, with its error. */
void event_saved(const struct cache *cache, const struct snapshot_job *job);
void event_save_failed(const struct cache *cache,
		       const struct snapshot_job *job);
void event_loaded(const struct cache *cache, const struct snapshot_job *job);
void event_load_failed(const struct cache *cache,
		       const struct snapshot_job *job);

/* A snapshot that cannot be what it should be; no cache was made for it. */
void event_file_refused(uint64_t space, const char *name, int error,
			const char *text);

/* Found by the control thread; and by the cache's worker, on his. */
void event_quarantined(const struct cache *cache);
void event_quarantined_by_worker(struct cache *cache);

/**
 * event_stalled - a writer has waited for us; on the cache's worker
 * @now: clock_ns()
 * @n: so often; 0: no more will come for now, what was held back is told
 * @ns: so long each
 *
 * Told once a second at most; what comes sooner, with the next.
 */
void event_stalled(struct cache *cache, uint64_t now, uint64_t n, uint64_t ns);

/* Is something on its way to the control thread? */
bool event_mail_is_out(const struct cache *cache);

#endif /* TREEKVD_EVENT_H */
