// SPDX-License-Identifier: BSD-2-Clause
/*
 * A sample outlives what it was made from, so all is copied. Arrays are as long
 * as they have to be: most buckets of most histograms are empty.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/sample.h"
#include "bpf/seen.h"
#include "bpf/watch.h"

#define TEXT_SIZE 256

struct seen {
	bool wanted;
	struct watch *watch; /* NULL: not attached to anybody */
	uint32_t daemon;
	bool late; /* no list has come yet since it was attached */
	char text[TEXT_SIZE];
};

struct seen *seen_new(bool wanted)
{
	struct seen *seen = calloc(1, sizeof(*seen));

	if (seen)
		seen->wanted = wanted;
	return seen;
}

struct seen *seen_free(struct seen *seen)
{
	if (!seen)
		return NULL;
	watch_free(seen->watch);
	free(seen);
	return NULL;
}

void seen_forget(struct seen *seen)
{
	seen->watch = watch_free(seen->watch);
}

static bool is_attached(const struct seen *seen, const Treekv__Sample *sample)
{
	return seen->watch && seen->daemon == sample->pid;
}

bool seen_wants(const struct seen *seen, const Treekv__Sample *sample)
{
	return seen->wanted && !is_attached(seen, sample);
}

/* Return: who writes the caches of a sample, the caller's to free; or NULL. */
static pid_t *writers_of(const Treekv__Sample *sample, size_t *ret)
{
	size_t n = sample_caches(sample), writers = 0;
	pid_t *pid = calloc(n + 1, sizeof(*pid));

	if (!pid)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (sample->list->cache[i]->has_writer_pid)
			pid[writers++] =
				(pid_t)sample->list->cache[i]->writer_pid;
	*ret = writers;
	return pid;
}

/* To the writers that there are already; later ones are found by themselves. */
int seen_attach(struct seen *seen, const Treekv__Sample *sample)
{
	struct watch_target target = { .daemon = (pid_t)sample->pid };
	pid_t *writers;
	int r;

	if (!seen_wants(seen, sample))
		return 0;
	seen_forget(seen);
	writers = writers_of(sample, &target.processes);
	if (!writers)
		return -ENOMEM;
	target.process = writers;
	seen->daemon = sample->pid;
	seen->late = true;
	r = watch_new(&seen->watch, &target, seen->text, sizeof(seen->text));
	free(writers);
	return r;
}

/* Those who came between the list that was attached by and the attaching. */
static int follow_late(struct seen *seen, const Treekv__Sample *sample)
{
	size_t n;
	pid_t *writers;

	if (!seen->late)
		return 0;
	writers = writers_of(sample, &n);
	if (!writers)
		return -ENOMEM;
	watch_follow(seen->watch, writers, n);
	seen->late = false;
	free(writers);
	return 0;
}

/* Return: how many of @n are worth keeping. */
static size_t used(const uint64_t *bucket, size_t n)
{
	while (n && !bucket[n - 1])
		n--;
	return n;
}

static uint64_t *copy(const uint64_t *bucket, size_t n)
{
	uint64_t *to = malloc((n + 1) * sizeof(*to));

	if (to && n)
		memcpy(to, bucket, n * sizeof(*to));
	return to;
}

int seen_add_histogram(Treekv__Sample *sample, const char *name,
		       const char *source, const uint64_t *bucket, size_t n,
		       uint64_t sum)
{
	Treekv__SampleHistogram **list, *h;

	if (sample_histogram(sample, name))
		return 0;
	list = realloc(sample->histogram,
		       (sample->n_histogram + 1) *
			       sizeof(Treekv__SampleHistogram *));
	if (!list)
		return -ENOMEM;
	sample->histogram = list;
	h = malloc(sizeof(*h));
	if (!h)
		return -ENOMEM;
	treekv__sample_histogram__init(h);
	list[sample->n_histogram++] = h;
	h->n_bucket =
		used(bucket, n < HISTOGRAM_BUCKETS ? n : HISTOGRAM_BUCKETS);
	h->bucket = copy(bucket, h->n_bucket);
	h->name = strdup(name);
	h->unit = strdup("nanoseconds");
	h->source = strdup(source);
	for (size_t i = 0; h->bucket && i < h->n_bucket; i++)
		h->count += h->bucket[i];
	h->sum = sum;
	return h->bucket && h->name && h->unit && h->source ? 0 : -ENOMEM;
}

/* "request lease break" -> "request_lease_break", as the daemon has it. */
static void plain_name(char *to, size_t size, const char *name)
{
	size_t i = 0;

	for (; name[i] && i + 1 < size; i++)
		to[i] = name[i] == ' ' || name[i] == '-' ? '_' : name[i];
	to[i] = '\0';
}

static int add_histograms(Treekv__Sample *sample, const struct watch_data *data)
{
	char name[64];
	int r = 0;

	for (int i = 0; !r && i < WATCH_HISTOGRAMS; i++) {
		enum watch_histogram which = (enum watch_histogram)i;
		const struct watch_histogram_data *from = &data->histogram[i];

		if (!from->count || !watch_histogram_name(which))
			continue; /* the daemon may have seen more */
		plain_name(name, sizeof(name), watch_histogram_name(which));
		r = seen_add_histogram(sample, name, "ebpf", from->bucket,
				       TABLE_BUCKETS, from->sum);
	}
	return r;
}

static int add_caches(Treekv__SampleWatch *to, const struct watch_data *data)
{
	to->cache = calloc(data->caches + 1, sizeof(*to->cache));
	if (!to->cache)
		return -ENOMEM;
	for (size_t i = 0; i < data->caches; i++) {
		const struct watch_cache *from = &data->cache[i];
		Treekv__SampleWatchCache *item = malloc(sizeof(*item));

		if (!item)
			return -ENOMEM;
		treekv__sample_watch_cache__init(item);
		to->cache[to->n_cache++] = item;
		item->cache = from->cache;
		item->n_compaction =
			used(from->compaction.bucket, TABLE_BUCKETS);
		item->compaction =
			copy(from->compaction.bucket, item->n_compaction);
		if (!item->compaction)
			return -ENOMEM;
	}
	return 0;
}

static int add_processes(Treekv__SampleWatch *to, const struct watch_data *data)
{
	to->process = calloc(data->processes + 1, sizeof(*to->process));
	if (!to->process)
		return -ENOMEM;
	for (size_t i = 0; i < data->processes; i++) {
		const struct watch_process *from = &data->process[i];
		Treekv__SampleWatchProcess *item = malloc(sizeof(*item));

		if (!item)
			return -ENOMEM;
		treekv__sample_watch_process__init(item);
		to->process[to->n_process++] = item;
		item->pid = (uint32_t)from->pid;
		item->steps = from->steps;
		item->tokens = from->tokens;
		item->stalls = from->stalls;
		item->stall_ns = from->stall_ns;
	}
	return 0;
}

static int add_workers(Treekv__SampleWatch *to, const struct watch_data *data)
{
	to->worker = calloc(data->workers + 1, sizeof(*to->worker));
	if (!to->worker)
		return -ENOMEM;
	for (size_t i = 0; i < data->workers; i++) {
		const struct watch_worker *from = &data->worker[i];
		Treekv__SampleWatchWorker *item = malloc(sizeof(*item));

		if (!item)
			return -ENOMEM;
		treekv__sample_watch_worker__init(item);
		to->worker[to->n_worker++] = item;
		item->thread = (uint32_t)from->tid;
		item->n_delay = used(from->run_delay.bucket, TABLE_BUCKETS);
		item->delay = copy(from->run_delay.bucket, item->n_delay);
		if (!item->delay)
			return -ENOMEM;
	}
	return 0;
}

static int add_all(Treekv__Sample *sample, const struct watch_data *data)
{
	Treekv__SampleWatch *to = sample->watch;
	int r = add_histograms(sample, data);

	if (!r)
		r = add_caches(to, data);
	if (!r)
		r = add_processes(to, data);
	if (!r)
		r = add_workers(to, data);
	for (int i = 0; i < WATCH_TABLES; i++)
		to->drops += data->drops[i];
	return r;
}

static int add_text(Treekv__Sample *sample, const char *text)
{
	Treekv__SampleWatch *watch = malloc(sizeof(*watch));

	if (!watch)
		return -ENOMEM;
	treekv__sample_watch__init(watch);
	sample->watch = watch;
	watch->text = strdup(text);
	return watch->text ? 0 : -ENOMEM;
}

int seen_describe(struct seen *seen, Treekv__Sample *sample)
{
	struct watch_data data;
	int r;

	if (!seen->wanted)
		return add_text(sample,
				"the daemon's own counters (--no-ebpf)");
	if (!is_attached(seen, sample))
		return add_text(sample, "eBPF is about to be attached");
	r = follow_late(seen, sample);
	if (!r)
		r = add_text(sample, seen->text);
	if (r)
		return r;
	sample->watch->level = (uint32_t)watch_level(seen->watch);
	r = watch_read(seen->watch, &data);
	if (!r)
		r = add_all(sample, &data);
	watch_data_free(&data);
	return r;
}
