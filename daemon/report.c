// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/control_impl.h"
#include "daemon/lease.h"
#include "daemon/metrics.h"
#include "daemon/persist.h"
#include "daemon/report.h"
#include "daemon/spec.h"
#include "proto/barrier.h"

/* One CacheInfo and what it points to. */
struct info {
	Treekv__CacheInfo message;
	Treekv__Spec spec;
	uint32_t *budgets;
	struct histogram took;
};

bool report_sees_all(const struct conn *conn)
{
	uid_t uid = conn_peer(conn)->uid;

	return uid == 0 || uid == geteuid();
}

static const char *state_of(const struct cache *cache)
{
	if (cache_fault(cache))
		return "quarantined";
	if (!cache->named)
		return "dropped";
	if (persist_is_loading(cache))
		return "restoring";
	if (cache->creation)
		return "creating";
	if (cache_is_frozen(cache))
		return "frozen";
	return cache->lease || cache->barred ? "writing" : "idle";
}

static void info_words(Treekv__CacheInfo *m, const struct cache *cache)
{
	const struct shm_index *index = cache->index;
	struct cache_look look;

	cache_look(cache, &look);
	m->tail = look.tail;
	m->held = look.held;
	m->capacity = look.capacity;
	m->generation = look.generation;
	m->stalls = cache_stalls(cache);
	m->stall_ns = shm_load_relaxed(&cache->rows->stall_ns);
	m->compactions = shm_load_relaxed(&index->compactions);
	m->evictions = shm_load_relaxed(&index->evictions);
	m->last_used = shm_load_relaxed(&index->last_used);
	m->created = shm_load_relaxed(&index->created);
}

static bool may_know(const struct conn *conn, const struct access_what *what)
{
	return control_check(conn, what, ACCESS_READ) != -ENOENT;
}

/* A parent that has been hidden since it was forked is so here, too. */
static void info_parent(Treekv__CacheInfo *m, const struct cache *parent,
			const struct conn *conn)
{
	const struct access_what what = cache_what(parent);

	if (may_know(conn, &what))
		m->parent = (char *)(uintptr_t)parent->name;
}

static int info_init(struct info *info, const struct cache *cache,
		     const struct conn *conn)
{
	Treekv__CacheInfo *m = &info->message;

	treekv__cache_info__init(m);
	info->budgets =
		calloc(cache->index->spec.layers, sizeof(*info->budgets));
	if (!info->budgets)
		return -ENOMEM;
	spec_store(&info->spec, info->budgets, cache->index);
	m->spec = &info->spec;
	m->cache = cache->id;
	m->name = (char *)(uintptr_t)cache->name;
	m->uid = cache->uid;
	m->gid = cache->gid;
	m->has_mode = m->has_shared = true;
	m->mode = cache->mode;
	m->shared = cache->shared;
	m->state = (char *)(uintptr_t)state_of(cache);
	m->bytes = cache_bytes(cache);
	m->huge = cache->huge;
	if (cache->parent)
		info_parent(m, cache->parent, conn);
	m->children = cache->children;
	info_words(m, cache);
	m->has_pinned = true;
	m->pinned = shm_load32_relaxed(&cache->index->flags) & SHM_CACHE_PINNED;
	m->ttl = shm_load_relaxed(&cache->index->ttl);
	m->has_ttl = m->ttl != 0;
	if (cache->lease) {
		m->has_writer_pid = true;
		m->writer_pid = cache->lease->pid;
	}
	if (cache_fault(cache))
		m->fault = (char *)(uintptr_t)compact_fault_text(
			cache_fault(cache));
	persist_describe(cache, m);
	return 0;
}

static void info_of_layers(struct info *info, const struct snapshot_info *from)
{
	const struct snapshot_header *header = &from->header;
	Treekv__CacheInfo *m = &info->message;

	m->tail = header->tail;
	for (uint32_t l = 0; l < header->spec.layers; l++) {
		const struct snapshot_layer *layer = &from->layers[l];
		uint32_t held = layer->n_live +
				(uint32_t)(header->tail - header->base_tail);

		info->budgets[l] = layer->budget;
		m->held = held > m->held ? held : m->held;
		if (layer->capacity > m->capacity)
			m->capacity = layer->capacity;
	}
	spec_fill(&info->spec, &header->spec, info->budgets);
}

/* One that is on disk only. */
static int info_init_disk(struct info *info, const struct disk_entry *entry)
{
	const struct snapshot_info *from = entry->info;
	Treekv__CacheInfo *m = &info->message;
	struct access_what what;

	treekv__cache_info__init(m);
	info->budgets = calloc(from ? from->header.spec.layers : 1,
			       sizeof(*info->budgets));
	if (!info->budgets)
		return -ENOMEM;
	treekv__spec__init(&info->spec);
	info->spec.dtype = TREEKV__DTYPE__F32;
	info->spec.policy = TREEKV__POLICY__TREEKV;
	info->spec.positions = TREEKV__POSITIONS__RANK;
	m->spec = &info->spec;
	m->name = (char *)(uintptr_t)entry->name;
	what = disk_what(entry);
	m->uid = what.uid;
	m->gid = what.gid;
	m->has_mode = m->has_shared = true;
	m->mode = what.mode;
	m->shared = name_is_shared(entry->space);
	m->state = (char *)(uintptr_t)(!from	     ? "damaged" :
				       entry->parked ? "parked" :
						       "on disk");
	if (!from) {
		m->snapshot_fault = (char *)(uintptr_t)entry->why.text;
		return 0;
	}
	info_of_layers(info, from);
	m->bytes = from->header.file_size;
	m->generation = from->header.generation;
	m->compactions = from->header.compactions;
	m->evictions = from->header.evictions;
	m->created = from->header.created;
	m->last_used = from->header.last_used;
	m->has_snapshot_time = true;
	m->snapshot_time = from->header.taken;
	return 0;
}

static void no_memory(struct conn *conn, uint64_t id)
{
	conn_refuse(conn, id, -ENOMEM, "the daemon is out of memory");
}

static void info_latency(struct info *info, const struct cache *cache)
{
	Treekv__CacheInfo *m = &info->message;

	histogram_sum(&info->took, &cache->took);
	m->compaction = info->took.bucket;
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		if (info->took.bucket[i])
			m->n_compaction = i + 1;
}

/* The caches this peer may see; fills infos and their pointers. */
static int collect(const struct control *control, const struct conn *conn,
		   bool latency, struct info *infos, Treekv__CacheInfo **list,
		   size_t *n)
{
	struct access_what what;

	*n = 0;
	for (const struct cache *c = control->store.first; c; c = c->next) {
		what = cache_what(c);
		if (c->parked || !may_know(conn, &what))
			continue;
		if (info_init(&infos[*n], c, conn))
			return -ENOMEM;
		if (latency)
			info_latency(&infos[*n], c);
		list[*n] = &infos[*n].message;
		++*n;
	}
	for (const struct disk_entry *e = disk_first(); e; e = e->next) {
		what = disk_what(e);
		if (!may_know(conn, &what) ||
		    store_find(&control->store, e->space, e->name))
			continue;
		if (info_init_disk(&infos[*n], e))
			return -ENOMEM;
		list[*n] = &infos[*n].message;
		++*n;
	}
	return 0;
}

static uint32_t count_on_disk(void)
{
	uint32_t n = 0;

	for (const struct disk_entry *e = disk_first(); e; e = e->next)
		n++;
	return n;
}

void report_list(struct control *control, struct conn *conn, uint64_t id,
		 const Treekv__List *request)
{
	Treekv__ListReply list = TREEKV__LIST_REPLY__INIT;
	Treekv__Reply reply = TREEKV__REPLY__INIT;
	uint32_t most = control->store.caches + count_on_disk();
	struct info *infos = calloc(most + 1, sizeof(*infos));

	list.cache = calloc(most + 1, sizeof(Treekv__CacheInfo *));
	if (!infos || !list.cache ||
	    collect(control, conn, request->has_latency && request->latency,
		    infos, list.cache, &list.n_cache)) {
		no_memory(conn, id);
		goto out;
	}
	reply.id = id;
	reply.body_case = TREEKV__REPLY__BODY_LIST;
	reply.list = &list;
	conn_reply(conn, &reply, NULL, 0);
out:
	for (uint32_t i = 0; infos && i < most; i++)
		free(infos[i].budgets);
	free(list.cache);
	free(infos);
}

/* @appended: rows that came after the order was made. */
static void level_init(Treekv__Level *to, const struct cache *cache, uint32_t l,
		       uint32_t appended, uint32_t *walk)
{
	const struct shm_level *level = &cache_levels(cache)[l];
	const uint32_t *walks = cache_walks(cache, l);
	uint32_t heads = cache->index->spec.kv_heads;

	treekv__level__init(to);
	to->live = shm_load32_relaxed(&level->n_live) + appended;
	to->budget = shm_load32_relaxed(&level->budget);
	to->capacity = shm_load32_relaxed(&level->capacity);
	for (uint32_t h = 0; h < heads; h++)
		walk[h] = shm_load32_relaxed(&walks[h]);
	to->walk = walk;
	to->n_walk = heads;
}

static void inspect_reply(struct conn *conn, uint64_t id,
			  const struct cache *cache, struct info *info,
			  Treekv__Level *levels, Treekv__Level **list)
{
	Treekv__InspectReply inspect = TREEKV__INSPECT_REPLY__INIT;
	Treekv__Reply reply = TREEKV__REPLY__INIT;
	struct cache_look look;

	cache_look(cache, &look);
	for (uint32_t l = 0; l < cache->index->spec.layers; l++)
		list[l] = &levels[l];
	inspect.info = &info->message;
	inspect.level = list;
	inspect.n_level = cache->index->spec.layers;
	inspect.base_tail = look.base_tail;
	inspect.free = look.free;
	inspect.epoch = shm_load_relaxed(&cache->index->epoch);
	inspect.head = shm_load_relaxed(&cache->rows->head);
	inspect.seen = shm_load_relaxed(&cache->rows->seen);
	reply.id = id;
	reply.body_case = TREEKV__REPLY__BODY_INSPECT;
	reply.inspect = &inspect;
	conn_reply(conn, &reply, NULL, 0);
}

void report_inspect(struct control *control, struct conn *conn, uint64_t id,
		    const struct cache *cache)
{
	const struct shm_spec *spec = &cache->index->spec;
	size_t heads = (size_t)spec->layers * spec->kv_heads;
	Treekv__Level **list = calloc(spec->layers, sizeof(Treekv__Level *));
	Treekv__Level *levels = calloc(spec->layers, sizeof(*levels));
	uint32_t *walks = calloc(heads, sizeof(*walks));
	struct info info = { 0 };
	struct cache_look look;
	uint64_t appended;

	(void)control;
	cache_look(cache, &look);
	appended = look.tail > look.base_tail ? look.tail - look.base_tail : 0;
	appended = appended < look.free ? appended : look.free;
	if (!list || !levels || !walks || info_init(&info, cache, conn)) {
		no_memory(conn, id);
		goto out;
	}
	for (uint32_t l = 0; l < spec->layers; l++)
		level_init(&levels[l], cache, l, (uint32_t)appended,
			   walks + (size_t)l * spec->kv_heads);
	inspect_reply(conn, id, cache, &info, levels, list);
out:
	free(info.budgets);
	free(walks);
	free(levels);
	free(list);
}

/* What a StatsReply points to. */
struct timings {
	Treekv__Histogram message[HISTOGRAMS];
	Treekv__Histogram *list[HISTOGRAMS];
	struct histogram sum[HISTOGRAMS];
};

static void timings_init(struct timings *t, const struct control *control)
{
	for (size_t i = 0; i < HISTOGRAMS; i++) {
		const struct histogram_row *row = &histogram_rows[i];
		Treekv__Histogram *m = &t->message[i];

		metrics_histogram(control, i, &t->sum[i]);
		treekv__histogram__init(m);
		m->name = (char *)(uintptr_t)row->name;
		m->help = (char *)(uintptr_t)row->help;
		m->unit = (char *)(uintptr_t) "nanoseconds";
		m->bucket = t->sum[i].bucket;
		m->n_bucket = HISTOGRAM_BUCKETS;
		while (m->n_bucket && !m->bucket[m->n_bucket - 1])
			m->n_bucket--;
		m->count = histogram_count(&t->sum[i]);
		m->sum = t->sum[i].sum;
		t->list[i] = m;
	}
}

static void values_init(Treekv__Metric *values, Treekv__Metric **list,
			const struct control *control)
{
	for (size_t i = 0; i < metrics_count; i++) {
		treekv__metric__init(&values[i]);
		values[i].name = (char *)(uintptr_t)metrics[i].name;
		values[i].help = (char *)(uintptr_t)metrics[i].help;
		values[i].unit = (char *)(uintptr_t)metrics[i].unit;
		values[i].counter = metrics[i].counter;
		values[i].value = metrics[i].read(control);
		list[i] = &values[i];
	}
}

void report_stats(struct control *control, struct conn *conn, uint64_t id)
{
	Treekv__Metric *values = calloc(metrics_count, sizeof(*values));
	Treekv__Metric **list = calloc(metrics_count, sizeof(Treekv__Metric *));
	Treekv__StatsReply stats = TREEKV__STATS_REPLY__INIT;
	struct timings *timings = calloc(1, sizeof(*timings));
	Treekv__Reply reply = TREEKV__REPLY__INIT;

	if (!values || !list || !timings) {
		no_memory(conn, id);
		goto out;
	}
	values_init(values, list, control);
	timings_init(timings, control);
	stats.metric = list;
	stats.n_metric = metrics_count;
	stats.histogram = timings->list;
	stats.n_histogram = HISTOGRAMS;
	stats.snapshot_fault = (char *)(uintptr_t)persist_fault(conn);
	reply.id = id;
	reply.body_case = TREEKV__REPLY__BODY_STATS;
	reply.stats = &stats;
	conn_reply(conn, &reply, NULL, 0);
out:
	free(timings);
	free(list);
	free(values);
}
