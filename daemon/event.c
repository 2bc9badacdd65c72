// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>

#include "daemon/adopt.h"
#include "daemon/cache.h"
#include "daemon/conn.h"
#include "daemon/control.h"
#include "daemon/event.h"
#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/persist_disk.h"
#include "daemon/snapshot.h"
#include "daemon/stream.h"
#include "proto/probe.h"

#define NUMBER(cache) ((unsigned long long)(cache)->id)

#define STALLS_EVERY UINT64_C(1000000000) /* ns */

/* Why a lease is over; detach's cause in treekv-probes(7). */
enum detach_cause {
	DETACH_GIVEN_BACK,
	DETACH_DIED,
	DETACH_BROKEN,
};

static void set_text(struct stream_event *event, const char *text)
{
	snprintf(event->text, sizeof(event->text), "%s", text);
}

/* ---- caches and leases ---- */

static void tell_of(enum stream_kind kind, const struct cache *cache, pid_t pid)
{
	struct stream_event event = stream_about(kind, cache);

	event.pid = pid;
	event.bytes = cache_bytes(cache);
	stream_tell(&event);
}

static void probe_detach(const struct cache *cache, pid_t pid,
			 enum detach_cause cause)
{
	PROBE(treekvd, detach, cache->id, cache->name, pid, cause,
	      shm_commit_tail(cache_commit(cache)));
}

void event_created(const struct cache *cache, pid_t pid)
{
	treekvd.counters.creates++;
	log_info("cache created",
		 "name=%s cache=%llu pid=%d bytes=%llu huge=%d", cache->name,
		 NUMBER(cache), pid, (unsigned long long)cache_bytes(cache),
		 cache->huge);
	tell_of(cache->parent ? STREAM_FORK : STREAM_CREATE, cache, pid);
	PROBE(treekvd, create, cache->id, cache->name, pid, cache->uid,
	      cache_bytes(cache), cache->huge);
}

void event_attached(const struct cache *cache, pid_t pid)
{
	treekvd.counters.attaches++;
	log_debug("attached", "name=%s cache=%llu pid=%d", cache->name,
		  NUMBER(cache), pid);
	tell_of(STREAM_ATTACH, cache, pid);
	PROBE(treekvd, attach, cache->id, cache->name, pid, cache->lease->id,
	      shm_commit_tail(cache_commit(cache)));
}

void event_reader(const struct cache *cache, pid_t pid)
{
	treekvd.counters.readers++;
	log_debug("reader attached", "name=%s cache=%llu pid=%d", cache->name,
		  NUMBER(cache), pid);
}

void event_detached(const struct lease *lease)
{
	treekvd.counters.detaches++;
	log_debug("detached", "name=%s cache=%llu pid=%d", lease->cache->name,
		  NUMBER(lease->cache), lease->pid);
	tell_of(STREAM_DETACH, lease->cache, lease->pid);
	probe_detach(lease->cache, lease->pid, DETACH_GIVEN_BACK);
}

static void died(const struct cache *cache, pid_t pid)
{
	treekvd.counters.deaths++;
	log_info("writer died", "name=%s cache=%llu pid=%d", cache->name,
		 NUMBER(cache), pid);
	tell_of(STREAM_DEATH, cache, pid);
	probe_detach(cache, pid, DETACH_DIED);
}

void event_writer_died(const struct lease *lease)
{
	died(lease->cache, lease->pid);
}

void event_died_unseen(const struct cache *cache)
{
	died(cache, (pid_t)cache->index->lease_pid);
}

void event_moved(const struct cache *cache, pid_t holder, uint32_t passes)
{
	treekvd.counters.leases_broken += !!holder;
	log_info(holder ? "lease broken" : "rows copied",
		 "name=%s cache=%llu holder=%d passes=%u", cache->name,
		 NUMBER(cache), holder, passes);
	if (!holder)
		return;
	tell_of(STREAM_LEASE_BROKEN, cache, holder);
	probe_detach(cache, holder, DETACH_BROKEN);
}

void event_frozen(const struct cache *cache, pid_t pid)
{
	treekvd.counters.freezes++;
	log_info("cache frozen", "name=%s cache=%llu pid=%d tail=%llu",
		 cache->name, NUMBER(cache), pid,
		 (unsigned long long)cache->index->frozen_tail);
	tell_of(STREAM_FREEZE, cache, pid);
}

void event_prefilled(const struct cache *cache, pid_t pid)
{
	treekvd.counters.prefills++;
	log_debug("prompt committed", "name=%s cache=%llu pid=%d", cache->name,
		  NUMBER(cache), pid);
	tell_of(STREAM_PREFILL, cache, pid);
	PROBE(treekvd, prefill, cache->id, cache->name,
	      shm_commit_tail(cache_commit(cache)));
}

void event_parked(const struct cache *cache)
{
	treekvd.counters.parks++;
	log_info("cache parked", "name=%s uid=%u cache=%llu bytes=%llu",
		 cache->name, cache->uid, NUMBER(cache),
		 (unsigned long long)cache_bytes(cache));
	tell_of(STREAM_PARK, cache, 0);
	PROBE(treekvd, park, cache->id, cache->name,
	      shm_commit_tail(cache_commit(cache)), cache_bytes(cache));
}

void event_reclaimed(const struct cache *cache)
{
	treekvd.counters.reclaims++;
	log_info("cache reclaimed", "name=%s uid=%u cache=%llu bytes=%llu",
		 cache->name, cache->uid, NUMBER(cache),
		 (unsigned long long)cache_bytes(cache));
	tell_of(STREAM_RECLAIM, cache, 0);
	PROBE(treekvd, reclaim, cache->id, cache->name, cache_bytes(cache));
}

void event_dropped(const struct cache *cache, pid_t pid)
{
	treekvd.counters.drops++;
	log_info("cache dropped", "name=%s cache=%llu pid=%d held=%d",
		 cache->name, NUMBER(cache), pid, !!cache->lease);
	tell_of(STREAM_DROP, cache, pid);
	PROBE(treekvd, drop, cache->id, cache->name, pid);
}

void event_gone(struct cache *cache)
{
	stream_look(cache);
	treekvd.counters.stalls_gone += cache_stalls(cache);
	log_info("cache gone", "name=%s cache=%llu bytes=%llu", cache->name,
		 NUMBER(cache), (unsigned long long)cache_bytes(cache));
	tell_of(STREAM_GONE, cache, 0);
	PROBE(treekvd, gone, cache->id, cache->name, cache_bytes(cache));
}

void event_refused(const struct conn *conn, int error, const char *text)
{
	const struct conn_peer *peer = conn_peer(conn);
	struct stream_event event = {
		.kind = STREAM_REFUSAL,
		.uid = peer->uid,
		.what = { .uid = peer->uid, .gid = NAME_NOBODY },
		.pid = peer->pid,
		.error = error,
	};

	treekvd.counters.refusals++;
	log_info("refused", "pid=%d uid=%u error=%d text=\"%s\"", peer->pid,
		 peer->uid, error, text);
	set_text(&event, text);
	stream_tell(&event);
	PROBE(treekvd, refusal, peer->pid, peer->uid, error, text);
}

/* Nobody's: for those to see who see all. */
void event_adopted(const struct adopt_counts *counts)
{
	struct stream_event event = {
		.kind = STREAM_ADOPT,
		.uid = NAME_NOBODY,
		.what = { .uid = NAME_NOBODY, .gid = NAME_NOBODY },
		.count = counts->sound,
	};

	snprintf(event.text, sizeof(event.text),
		 "caches=%u quarantined=%u damaged=%u unpaired=%u",
		 counts->sound, counts->quarantined, counts->damaged,
		 counts->unpaired);
	log_info("adopted", "%s", event.text);
	stream_tell(&event);
}

/* ---- snapshots ---- */

static void probe_job(const struct cache *cache, const struct snapshot_job *job,
		      bool save)
{
	uint64_t tail = job->error ? 0 : job->info->header.tail;
	uint64_t bytes = job->error ? 0 : job->info->header.file_size;

	if (save)
		PROBE(treekvd, snapshot, cache->id, cache->name, tail, bytes,
		      job->ns, job->error);
	else
		PROBE(treekvd, restore, cache->id, cache->name, tail, bytes,
		      job->ns, job->error);
}

static void tell_of_job(enum stream_kind kind, const struct cache *cache,
			const struct snapshot_job *job)
{
	struct stream_event event = stream_about(kind, cache);

	event.error = job->error;
	event.ns = job->ns;
	if (!job->error) {
		event.tail = job->info->header.tail;
		event.bytes = job->info->header.file_size;
	}
	set_text(&event, job->why.text);
	stream_tell(&event);
}

static void job_timed(enum histogram_id what, const struct snapshot_job *job)
{
	histogram_add(&treekvd.histograms.at[what], job->ns, 1);
}

void event_saved(const struct cache *cache, const struct snapshot_job *job)
{
	const struct snapshot_header *header = &job->info->header;

	treekvd.counters.snapshots++;
	treekvd.counters.snapshot_bytes += header->file_size;
	job_timed(HISTOGRAM_SNAPSHOT, job);
	log_info("snapshot written",
		 "name=%s uid=%u tail=%llu bytes=%llu us=%llu lost=%u "
		 "direct=%d",
		 cache->name, cache->uid, (unsigned long long)header->tail,
		 (unsigned long long)header->file_size,
		 (unsigned long long)job->ns / 1000, job->lost, job->direct);
	tell_of_job(STREAM_SNAPSHOT, cache, job);
	probe_job(cache, job, true);
}

static void log_failure(const char *what, const struct cache *cache,
			const struct snapshot_job *job)
{
	log_error(what, "name=%s uid=%u error=%d text=\"%s\"", cache->name,
		  cache->uid, job->error, job->why.text);
}

/* Who cancels one knows. */
void event_save_failed(const struct cache *cache,
		       const struct snapshot_job *job)
{
	if (job->error == -ECANCELED)
		return;
	treekvd.counters.snapshot_failures++;
	log_failure("snapshot failed", cache, job);
	tell_of_job(STREAM_SNAPSHOT_FAILED, cache, job);
	probe_job(cache, job, true);
}

void event_loaded(const struct cache *cache, const struct snapshot_job *job)
{
	const struct snapshot_header *header = &job->info->header;

	job_timed(HISTOGRAM_RESTORE, job);
	log_info("cache restored",
		 "name=%s uid=%u cache=%llu tail=%llu bytes=%llu us=%llu "
		 "direct=%d",
		 cache->name, cache->uid, NUMBER(cache),
		 (unsigned long long)header->tail,
		 (unsigned long long)header->file_size,
		 (unsigned long long)job->ns / 1000, job->direct);
	tell_of_job(STREAM_RESTORE, cache, job);
	probe_job(cache, job, false);
}

void event_load_failed(const struct cache *cache,
		       const struct snapshot_job *job)
{
	treekvd.counters.restore_failures++;
	if (job->error == -ECANCELED)
		return;
	log_failure("restore failed", cache, job);
	tell_of_job(STREAM_RESTORE_FAILED, cache, job);
	probe_job(cache, job, false);
}

void event_file_refused(uint64_t space, const char *name, int error,
			const char *text)
{
	const struct disk_entry unread = { .space = space };
	struct stream_event event = {
		.kind = STREAM_RESTORE_FAILED,
		.what = disk_what(&unread),
		.error = error,
	};

	treekvd.counters.restore_failures++;
	log_error("snapshot refused", "error=%d text=\"%s\"", error, text);
	event.uid = event.what.uid;
	name_print(event.name, space, name, event.uid);
	set_text(&event, text);
	stream_tell(&event);
	PROBE(treekvd, restore, 0, name, 0, 0, 0, error);
}

/* ---- what workers find ---- */

static struct cache *cache_of(struct event_mail *mail)
{
	return loop_entry(mail, struct cache, mail);
}

static void log_quarantine(const struct cache *cache)
{
	enum compact_fault fault = cache_fault(cache);

	log_error("cache quarantined", "name=%s cache=%llu reason=\"%s\"",
		  cache->name, NUMBER(cache), compact_fault_text(fault));
	PROBE(treekvd, quarantine, cache->id, cache->name, fault,
	      compact_fault_text(fault));
}

static void tell_quarantine(const struct cache *cache)
{
	struct stream_event event = stream_about(STREAM_QUARANTINE, cache);

	set_text(&event, compact_fault_text(cache_fault(cache)));
	stream_tell(&event);
}

void event_quarantined(const struct cache *cache)
{
	log_quarantine(cache);
	tell_quarantine(cache);
}

static void on_quarantined(struct loop_op *op, int res, unsigned int flags)
{
	struct event_mail *mail =
		loop_entry(op, struct event_mail, quarantined);

	(void)res;
	(void)flags;
	op->done = NULL;
	tell_quarantine(cache_of(mail));
}

/* The log is told at once, whatever becomes of us. */
void event_quarantined_by_worker(struct cache *cache)
{
	log_quarantine(cache);
	cache->mail.quarantined.done = on_quarantined;
	worker_post(cache, &cache->mail.quarantined);
}

static void on_stalled(struct loop_op *op, int res, unsigned int flags)
{
	struct event_mail *mail = loop_entry(op, struct event_mail, stalled);
	struct stream_event event = stream_about(STREAM_STALL, cache_of(mail));

	(void)res;
	(void)flags;
	event.count = mail->sent_stalls;
	event.ns = mail->sent_stall_ns;
	/* Pairs with the acquire in event_stalled(). */
	__atomic_store_n(&mail->stalls_sent, false, __ATOMIC_RELEASE);
	log_debug("stalled", "name=%s cache=%llu stalls=%llu ns=%llu",
		  event.name, (unsigned long long)event.cache,
		  (unsigned long long)event.count,
		  (unsigned long long)event.ns);
	stream_tell(&event);
}

void event_stalled(struct cache *cache, uint64_t now, uint64_t n, uint64_t ns)
{
	struct event_mail *mail = &cache->mail;

	if (n)
		PROBE(treekvd, stall, cache->id, cache->name, n, n * ns);
	mail->stalls += n;
	mail->stall_ns += n * ns;
	if (!mail->stalls || (n && now - mail->sent_at < STALLS_EVERY) ||
	    __atomic_load_n(&mail->stalls_sent, __ATOMIC_ACQUIRE))
		return;
	mail->sent_stalls = mail->stalls;
	mail->sent_stall_ns = mail->stall_ns;
	mail->stalls = 0;
	mail->stall_ns = 0;
	mail->sent_at = now;
	mail->stalls_sent = true;
	mail->stalled.done = on_stalled;
	worker_post(cache, &mail->stalled);
}

bool event_mail_is_out(const struct cache *cache)
{
	return cache->mail.stalls_sent || cache->mail.quarantined.done;
}
