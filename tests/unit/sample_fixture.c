// SPDX-License-Identifier: BSD-2-Clause
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/metrics.h"
#include "tests/unit/sample_fixture.h"

#define MIDDAY UINT64_C(1795435200) /* 2026-11-23 12:00:00 UTC */

static void *make(size_t size)
{
	void *memory = calloc(1, size);

	assert(memory);
	return memory;
}

static char *text(const char *from)
{
	char *to = strdup(from);

	assert(to);
	return to;
}

/* One more element of a message's list of pointers. */
#define APPEND(list, n, item)                                     \
	do {                                                      \
		(list) = realloc(list, ((n) + 1) * sizeof(item)); \
		assert(list);                                     \
		(list)[(n)++] = (item);                           \
	} while (0)

Treekv__Sample *fixture_sample(uint64_t ns)
{
	Treekv__Sample *sample = sample_new("/run/test.sock");

	assert(sample);
	sample->time = MIDDAY * 1000000000 + ns;
	sample->clock = 1000000000 + ns;
	sample->daemon = text("treekvd 0.1.0");
	sample->has_pid = sample->has_protocol = true;
	sample->pid = 100;
	sample->protocol = 1;
	sample->stats = make(sizeof(*sample->stats));
	treekv__stats_reply__init(sample->stats);
	sample->list = make(sizeof(*sample->list));
	treekv__list_reply__init(sample->list);
	sample->workers = make(sizeof(*sample->workers));
	treekv__workers_reply__init(sample->workers);
	sample->clients = make(sizeof(*sample->clients));
	treekv__clients_reply__init(sample->clients);
	sample->owner = make(sizeof(Treekv__SampleOwner *));
	sample->owner[0] = make(sizeof(Treekv__SampleOwner));
	treekv__sample_owner__init(sample->owner[0]);
	sample->owner[0]->name = text("root");
	sample->n_owner = 1;
	return sample;
}

static Treekv__Spec *make_spec(void)
{
	Treekv__Spec *spec = make(sizeof(*spec));

	treekv__spec__init(spec);
	spec->model.data = make(32);
	spec->model.len = 32;
	spec->layers = 2;
	spec->kv_heads = 2;
	spec->k_row = spec->v_row = 128;
	spec->dtype = TREEKV__DTYPE__F32;
	spec->policy = TREEKV__POLICY__TREEKV;
	spec->positions = TREEKV__POSITIONS__RANK;
	spec->budget = make(sizeof(*spec->budget));
	spec->budget[0] = 128;
	spec->n_budget = 1;
	spec->sinks = 4;
	spec->recent = 60;
	spec->slack = 64;
	return spec;
}

Treekv__CacheInfo *fixture_cache(Treekv__Sample *sample, uint64_t id,
				 const char *name)
{
	Treekv__CacheInfo *info = make(sizeof(*info));

	treekv__cache_info__init(info);
	info->cache = id;
	info->name = text(name);
	info->state = text("idle");
	info->spec = make_spec();
	info->created = MIDDAY - 60;
	info->last_used = MIDDAY - 30;
	APPEND(sample->list->cache, sample->list->n_cache, info);
	return info;
}

Treekv__Worker *fixture_worker(Treekv__Sample *sample, uint32_t thread)
{
	Treekv__Worker *worker = make(sizeof(*worker));

	treekv__worker__init(worker);
	worker->thread = thread;
	APPEND(sample->workers->worker, sample->workers->n_worker, worker);
	return worker;
}

Treekv__Client *fixture_client(Treekv__Sample *sample, uint32_t pid,
			       const char *program)
{
	Treekv__Client *client = make(sizeof(*client));

	treekv__client__init(client);
	client->pid = pid;
	client->program = text(program);
	client->connections = 1;
	APPEND(sample->clients->client, sample->clients->n_client, client);
	return client;
}

void fixture_writer(Treekv__Sample *sample, Treekv__CacheInfo *cache,
		    uint32_t pid, const char *command)
{
	Treekv__SampleCommand *item = make(sizeof(*item));

	cache->has_writer_pid = true;
	cache->writer_pid = pid;
	free(cache->state);
	cache->state = text("writing");
	treekv__sample_command__init(item);
	item->pid = pid;
	item->line = text(command);
	APPEND(sample->command, sample->n_command, item);
}

static bool is_known(const char *name)
{
	for (size_t i = 0; i < metrics_count; i++)
		if (!strcmp(metrics[i].name, name))
			return true;
	return false;
}

/* One that the daemon has. */
void fixture_metric(Treekv__Sample *sample, const char *name, uint64_t value)
{
	Treekv__Metric *metric = make(sizeof(*metric));

	assert(is_known(name));
	treekv__metric__init(metric);
	metric->name = text(name);
	metric->help = text("");
	metric->unit = text("");
	metric->value = value;
	APPEND(sample->stats->metric, sample->stats->n_metric, metric);
}

void fixture_histogram(Treekv__Sample *sample, const char *name,
		       const uint64_t *bucket, size_t n)
{
	Treekv__SampleHistogram *histogram = make(sizeof(*histogram));

	treekv__sample_histogram__init(histogram);
	histogram->name = text(name);
	histogram->unit = text("nanoseconds");
	histogram->source = text("daemon");
	histogram->bucket = make((n + 1) * sizeof(*bucket));
	memcpy(histogram->bucket, bucket, n * sizeof(*bucket));
	histogram->n_bucket = n;
	for (size_t i = 0; i < n; i++)
		histogram->count += bucket[i];
	APPEND(sample->histogram, sample->n_histogram, histogram);
}

void fixture_compactions(Treekv__CacheInfo *cache, size_t bucket,
			 uint64_t count)
{
	free(cache->compaction);
	cache->compaction = make((bucket + 1) * sizeof(*cache->compaction));
	cache->compaction[bucket] = count;
	cache->n_compaction = bucket + 1;
}

static Treekv__KeptGroup *make_group(uint32_t layer, size_t buckets,
				     uint64_t width)
{
	Treekv__KeptGroup *group = make(sizeof(*group));

	treekv__kept_group__init(group);
	group->layer = layer;
	group->layers = group->stride = 1;
	group->heads = 2;
	group->rows = make(buckets * sizeof(*group->rows));
	group->scope = make(buckets * sizeof(*group->scope));
	group->n_rows = group->n_scope = buckets;
	for (size_t i = 0; i < buckets; i++)
		group->rows[i] = 2 * width >> (buckets - 1 - i);
	group->scope[buckets / 2] = 2;
	return group;
}

static Treekv__KeptReply *make_map(const Treekv__CacheInfo *cache,
				   size_t buckets, size_t groups)
{
	Treekv__KeptReply *kept = make(sizeof(*kept));

	treekv__kept_reply__init(kept);
	kept->cache = cache->cache;
	kept->tail = cache->tail;
	kept->edge = make((buckets + 1) * sizeof(*kept->edge));
	kept->n_edge = buckets + 1;
	for (size_t i = 0; i <= buckets; i++)
		kept->edge[i] = i * cache->tail / buckets;
	for (size_t g = 0; g < groups; g++) {
		Treekv__KeptGroup *group =
			make_group((uint32_t)g, buckets, cache->tail / buckets);

		APPEND(kept->group, kept->n_group, group);
	}
	return kept;
}

void fixture_detail(Treekv__Sample *sample, const Treekv__CacheInfo *cache,
		    size_t buckets, size_t groups)
{
	sample->detail = make(sizeof(*sample->detail));
	treekv__sample_detail__init(sample->detail);
	sample->detail->cache = cache->cache;
	sample->detail->even = make_map(cache, buckets, groups);
	sample->detail->by_age = make_map(cache, buckets, groups);
}
