// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/sample.h"
#include "client/map.h"

Treekv__Sample *sample_new(const char *socket)
{
	Treekv__Sample *sample = malloc(sizeof(*sample));

	if (!sample)
		return NULL;
	treekv__sample__init(sample);
	sample->socket = strdup(socket);
	return sample->socket ? sample : sample_free(sample);
}

Treekv__Sample *sample_free(Treekv__Sample *sample)
{
	if (sample)
		treekv__sample__free_unpacked(sample, NULL);
	return NULL;
}

Treekv__Sample *sample_copy(const Treekv__Sample *sample)
{
	size_t size = treekv__sample__get_packed_size(sample);
	uint8_t *bytes = malloc(size ? size : 1);
	Treekv__Sample *copy;

	if (!bytes)
		return NULL;
	treekv__sample__pack(sample, bytes);
	copy = treekv__sample__unpack(NULL, size, bytes);
	free(bytes);
	return copy;
}

/* ---- finding ---- */

size_t sample_caches(const Treekv__Sample *sample)
{
	return sample->list ? sample->list->n_cache : 0;
}

size_t sample_workers(const Treekv__Sample *sample)
{
	return sample->workers ? sample->workers->n_worker : 0;
}

size_t sample_clients(const Treekv__Sample *sample)
{
	return sample->clients ? sample->clients->n_client : 0;
}

const Treekv__CacheInfo *sample_cache(const Treekv__Sample *sample, uint64_t id)
{
	for (size_t i = 0; id && i < sample_caches(sample); i++)
		if (sample->list->cache[i]->cache == id)
			return sample->list->cache[i];
	return NULL;
}

/* Each of these is sorted by its number. */
#define FIND(items, n, member, wanted)                           \
	do {                                                     \
		size_t low = 0, high = (n);                      \
                                                                 \
		while (low < high) {                             \
			size_t middle = low + (high - low) / 2;  \
                                                                 \
			if ((items)[middle]->member == (wanted)) \
				return (items)[middle];          \
			if ((items)[middle]->member < (wanted))  \
				low = middle + 1;                \
			else                                     \
				high = middle;                   \
		}                                                \
		return NULL;                                     \
	} while (0)

static const Treekv__SampleCommand *find_command(const Treekv__Sample *sample,
						 uint32_t pid)
{
	FIND(sample->command, sample->n_command, pid, pid);
}

static const Treekv__SampleOwner *find_owner(const Treekv__Sample *sample,
					     uint32_t uid)
{
	FIND(sample->owner, sample->n_owner, uid, uid);
}

const Treekv__SampleWatchCache *sample_watch_cache(const Treekv__Sample *sample,
						   uint64_t id)
{
	const Treekv__SampleWatch *watch = sample->watch;

	if (!watch)
		return NULL;
	FIND(watch->cache, watch->n_cache, cache, id);
}

const Treekv__SampleWatchProcess *
sample_watch_process(const Treekv__Sample *sample, uint32_t pid)
{
	const Treekv__SampleWatch *watch = sample->watch;

	if (!watch)
		return NULL;
	FIND(watch->process, watch->n_process, pid, pid);
}

const Treekv__SampleWatchWorker *
sample_watch_worker(const Treekv__Sample *sample, uint32_t thread)
{
	const Treekv__SampleWatch *watch = sample->watch;

	if (!watch)
		return NULL;
	FIND(watch->worker, watch->n_worker, thread, thread);
}

size_t sample_client(const Treekv__Sample *sample, uint32_t pid)
{
	size_t low = 0, high = sample_clients(sample);

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (sample->clients->client[middle]->pid == pid)
			return middle;
		if (sample->clients->client[middle]->pid < pid)
			low = middle + 1;
		else
			high = middle;
	}
	return sample_clients(sample);
}

const char *sample_command(const Treekv__Sample *sample, uint32_t pid)
{
	const Treekv__SampleCommand *command = find_command(sample, pid);

	return command ? command->line : NULL;
}

const char *sample_owner(const Treekv__Sample *sample, uint32_t uid)
{
	const Treekv__SampleOwner *owner = find_owner(sample, uid);

	return owner ? owner->name : NULL;
}

const Treekv__SampleHistogram *sample_histogram(const Treekv__Sample *sample,
						const char *name)
{
	for (size_t i = 0; i < sample->n_histogram; i++)
		if (!strcmp(sample->histogram[i]->name, name))
			return sample->histogram[i];
	return NULL;
}

double sample_metric(const Treekv__Sample *sample, const char *name)
{
	const Treekv__StatsReply *stats = sample->stats;

	for (size_t i = 0; stats && i < stats->n_metric; i++)
		if (!strcmp(stats->metric[i]->name, name))
			return (double)stats->metric[i]->value;
	return NAN;
}

double sample_quantile(const uint64_t *bucket, size_t buckets, double q)
{
	for (size_t i = 0; i < buckets; i++)
		if (bucket[i])
			return histogram_quantile(bucket, buckets, q);
	return NAN;
}

/* ---- checking ---- */

#define RISES(items, n, member)                                           \
	do {                                                              \
		for (size_t i = 1; i < (n); i++)                          \
			if ((items)[i]->member <= (items)[i - 1]->member) \
				return false;                             \
	} while (0)

static bool commands_rise(const Treekv__Sample *sample)
{
	RISES(sample->command, sample->n_command, pid);
	return true;
}

static bool owners_rise(const Treekv__Sample *sample)
{
	RISES(sample->owner, sample->n_owner, uid);
	return true;
}

static bool clients_rise(const Treekv__Sample *sample)
{
	if (sample->clients)
		RISES(sample->clients->client, sample->clients->n_client, pid);
	return true;
}

static bool watch_rises(const Treekv__SampleWatch *watch)
{
	RISES(watch->cache, watch->n_cache, cache);
	RISES(watch->process, watch->n_process, pid);
	RISES(watch->worker, watch->n_worker, thread);
	return true;
}

static bool watch_is_bounded(const Treekv__SampleWatch *watch)
{
	for (size_t i = 0; i < watch->n_cache; i++)
		if (watch->cache[i]->n_compaction > HISTOGRAM_BUCKETS)
			return false;
	for (size_t i = 0; i < watch->n_worker; i++)
		if (watch->worker[i]->n_delay > HISTOGRAM_BUCKETS)
			return false;
	return true;
}

static bool histograms_are_bounded(const Treekv__Sample *sample)
{
	for (size_t i = 0; i < sample->n_histogram; i++)
		if (sample->histogram[i]->n_bucket > HISTOGRAM_BUCKETS)
			return false;
	for (size_t i = 0; i < sample_caches(sample); i++)
		if (sample->list->cache[i]->n_compaction > HISTOGRAM_BUCKETS)
			return false;
	return true;
}

static bool detail_is_sound(const Treekv__SampleDetail *detail)
{
	return (!detail->even || !map_check(detail->even)) &&
	       (!detail->by_age || !map_check(detail->by_age));
}

int sample_check(const Treekv__Sample *sample, const char **why)
{
	if (!commands_rise(sample) || !owners_rise(sample) ||
	    !clients_rise(sample) ||
	    (sample->watch && !watch_rises(sample->watch)))
		*why = "its processes and users are out of order";
	else if (!histograms_are_bounded(sample) ||
		 (sample->watch && !watch_is_bounded(sample->watch)))
		*why = "a histogram has too many buckets";
	else if (sample->detail && !detail_is_sound(sample->detail))
		*why = "its map of kept tokens is none";
	else
		return 0;
	return -EBADMSG;
}
