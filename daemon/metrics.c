// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "daemon/control.h"
#include "daemon/http.h"
#include "daemon/metrics.h"
#include "daemon/persist_disk.h"
#include "daemon/ready.h"
#include "daemon/stream.h"
#include "proto/barrier.h"

#ifdef TREEKVD_JEMALLOC
#include <jemalloc/jemalloc.h>

static uint64_t allocator(const char *name)
{
	uint64_t epoch = 1;
	size_t value = 0, size = sizeof(value);

	mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
	if (mallctl(name, &value, &size, NULL, 0))
		return 0;
	return value;
}
#else /* sanitizers bring their own malloc */
static uint64_t allocator(const char *name)
{
	(void)name;
	return 0;
}
#endif

static uint64_t heap_allocated(const struct control *control)
{
	(void)control;
	return allocator("stats.allocated");
}

static uint64_t heap_resident(const struct control *control)
{
	(void)control;
	return allocator("stats.resident");
}

static uint64_t huge_pages(const char *which)
{
	unsigned long value = 0;
	char path[96];
	FILE *file;

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-2048kB/%s", which);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%lu", &value) != 1)
		value = 0;
	fclose(file);
	return value;
}

static uint64_t huge_pages_total(const struct control *control)
{
	(void)control;
	return huge_pages("nr_hugepages");
}

static uint64_t huge_pages_free(const struct control *control)
{
	(void)control;
	return huge_pages("free_hugepages");
}

static uint64_t uptime(const struct control *control)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec - control->started;
}

static uint64_t pool_limit(const struct control *control)
{
	return control->store.pool;
}

static uint64_t pool_used(const struct control *control)
{
	return control->store.used;
}

static uint64_t caches(const struct control *control)
{
	return control->store.caches;
}

static uint64_t caches_dropped(const struct control *control)
{
	return control->store.dropped;
}

static uint64_t caches_quarantined(const struct control *control)
{
	uint64_t n = 0;

	for (const struct cache *c = control->store.first; c; c = c->next)
		n += cache_fault(c) != COMPACT_SOUND;
	return n;
}

static uint64_t caches_damaged(const struct control *control)
{
	return control->adopted.damaged;
}

static uint64_t connections(const struct control *control)
{
	return listener_connections(control->listener);
}

static uint64_t leases(const struct control *control)
{
	return control->leases;
}

static uint64_t http_answered(const struct control *control)
{
	(void)control;
	return http_requests();
}

static uint64_t followers(const struct control *control)
{
	(void)control;
	return stream_followers();
}

static uint64_t stalls(const struct control *control)
{
	uint64_t n = control->counters.stalls_gone;

	for (const struct cache *c = control->store.first; c; c = c->next)
		n += cache_stalls(c);
	return n;
}

static uint64_t workers(const struct control *control)
{
	return control->workers;
}

static struct worker_counters worker_sum(const struct control *control)
{
	struct worker_counters sum = { 0 }, one;

	for (uint32_t i = 0; i < control->workers; i++) {
		worker_counters(control->worker[i], &one);
		sum.compactions += one.compactions;
		sum.evictions += one.evictions;
		sum.rings += one.rings;
		sum.busy_ns += one.busy_ns;
	}
	return sum;
}

static uint64_t compactions(const struct control *control)
{
	return worker_sum(control).compactions;
}

static uint64_t evictions(const struct control *control)
{
	return worker_sum(control).evictions;
}

static uint64_t rings(const struct control *control)
{
	return worker_sum(control).rings;
}

static uint64_t busy(const struct control *control)
{
	return worker_sum(control).busy_ns;
}

#define COUNTER(field)                                               \
	static uint64_t count_##field(const struct control *control) \
	{                                                            \
		return control->counters.field;                      \
	}

COUNTER(requests)
COUNTER(refusals)
COUNTER(creates)
COUNTER(attaches)
COUNTER(readers)
COUNTER(detaches)
COUNTER(drops)
COUNTER(freezes)
COUNTER(forks)
COUNTER(lookups)
COUNTER(lookup_hits)
COUNTER(deaths)
COUNTER(leases_broken)
COUNTER(snapshots)
COUNTER(snapshot_failures)
COUNTER(snapshot_bytes)
COUNTER(restores)
COUNTER(restore_failures)
COUNTER(prefills)
COUNTER(parks)
COUNTER(park_failures)
COUNTER(reclaims)

static uint64_t on_disk(const struct control *control)
{
	uint64_t n = 0;

	(void)control;
	for (const struct disk_entry *e = disk_first(); e; e = e->next)
		n += e->info != NULL;
	return n;
}

static uint64_t on_disk_damaged(const struct control *control)
{
	uint64_t n = 0;

	(void)control;
	for (const struct disk_entry *e = disk_first(); e; e = e->next)
		n += !e->info;
	return n;
}

static uint64_t parked(const struct control *control)
{
	uint64_t n = 0;

	for (const struct disk_entry *e = disk_first(); e; e = e->next)
		n += e->parked &&
		     !store_find(&control->store, e->space, e->name);
	return n;
}

static uint64_t kept_ready(const struct control *control)
{
	(void)control;
	return ready_bytes();
}

static uint64_t taken_ready(const struct control *control)
{
	(void)control;
	return ready_taken();
}

const struct metric metrics[] = {
	{ "uptime_seconds", "Time since the daemon started", "seconds", false,
	  uptime },
	{ "pool_limit_bytes", "What all caches together may take", "bytes",
	  false, pool_limit },
	{ "pool_used_bytes", "What all caches together take", "bytes", false,
	  pool_used },
	{ "huge_pages", "2 MiB pages that this machine has reserved", "", false,
	  huge_pages_total },
	{ "huge_pages_free", "2 MiB pages that nobody has mapped", "", false,
	  huge_pages_free },
	{ "caches", "Caches, dropped ones that are still held included", "",
	  false, caches },
	{ "caches_dropped", "Caches dropped but still held by a process", "",
	  false, caches_dropped },
	{ "caches_quarantined", "Caches that are no longer served", "", false,
	  caches_quarantined },
	{ "caches_damaged", "Caches of a predecessor that cannot be read", "",
	  false, caches_damaged },
	{ "connections", "Open connections", "", false, connections },
	{ "leases", "Processes that are writing a cache", "", false, leases },
	{ "workers", "Compacting threads", "", false, workers },
	{ "compactions_total", "Orders published", "", true, compactions },
	{ "evictions_total", "Tokens taken out of caches", "", true,
	  evictions },
	{ "doorbells_total", "Times a writer rang", "", true, rings },
	{ "stalls_total", "Steps that waited for the daemon", "", true,
	  stalls },
	{ "worker_busy_nanoseconds_total", "Time spent compacting",
	  "nanoseconds", true, busy },
	{ "requests_total", "Requests received", "", true, count_requests },
	{ "refusals_total", "Requests refused", "", true, count_refusals },
	{ "creates_total", "Caches created", "", true, count_creates },
	{ "attaches_total", "Leases given", "", true, count_attaches },
	{ "reader_attaches_total", "Attaches to read", "", true,
	  count_readers },
	{ "detaches_total", "Leases given back", "", true, count_detaches },
	{ "drops_total", "Caches dropped by request", "", true, count_drops },
	{ "freezes_total", "Caches frozen", "", true, count_freezes },
	{ "forks_total", "Forks made", "", true, count_forks },
	{ "lookups_total", "Prompts looked up", "", true, count_lookups },
	{ "lookup_hits_total", "Prompts that a frozen cache begins", "", true,
	  count_lookup_hits },
	{ "writer_deaths_total", "Writers that died with a lease", "", true,
	  count_deaths },
	{ "leases_broken_total", "Leases taken from their holders", "", true,
	  count_leases_broken },
	{ "http_requests_total", "Requests for metrics over HTTP", "", true,
	  http_answered },
	{ "followers", "Connections that follow the events", "", false,
	  followers },
	{ "snapshots_on_disk", "Sound snapshots in the state directory", "",
	  false, on_disk },
	{ "snapshots_damaged", "Files there that cannot be restored", "", false,
	  on_disk_damaged },
	{ "snapshots_total", "Snapshots written", "", true, count_snapshots },
	{ "snapshot_failures_total", "Snapshots that could not be written", "",
	  true, count_snapshot_failures },
	{ "snapshot_bytes_total", "Bytes of snapshots written", "bytes", true,
	  count_snapshot_bytes },
	{ "restores_total", "Caches restored from snapshots", "", true,
	  count_restores },
	{ "restore_failures_total", "Snapshots that could not be restored", "",
	  true, count_restore_failures },
	{ "prefills_total", "Prompts committed as a whole", "", true,
	  count_prefills },
	{ "caches_parked", "Caches on disk only, to make room in memory", "",
	  false, parked },
	{ "parks_total", "Caches written to disk to make room", "", true,
	  count_parks },
	{ "park_failures_total", "Caches that could not be, for the disk", "",
	  true, count_park_failures },
	{ "reclaims_total", "Caches dropped to make room, as configured", "",
	  true, count_reclaims },
	{ "ready_bytes", "Cleared memory kept for new caches", "bytes", false,
	  kept_ready },
	{ "ready_taken_total", "Caches made of it", "", true, taken_ready },
	{ "heap_allocated_bytes", "The daemon's own memory in use", "bytes",
	  false, heap_allocated },
	{ "heap_resident_bytes", "The daemon's own memory, resident", "bytes",
	  false, heap_resident },
};
const size_t metrics_count = sizeof(metrics) / sizeof(*metrics);

void metrics_histogram(const struct control *control, enum histogram_id what,
		       struct histogram *ret)
{
	*ret = (struct histogram){ 0 };
	histogram_sum(ret, &control->histograms.at[what]);
	for (uint32_t i = 0; i < control->workers; i++)
		histogram_sum(ret,
			      &worker_histograms(control->worker[i])->at[what]);
}
