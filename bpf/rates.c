// SPDX-License-Identifier: BSD-2-Clause
/*
 * A cache's counters live in its shared memory, so they go on under a new
 * daemon; a daemon's and a worker's begin again. What has fallen has begun
 * again: that difference is unknown, the next one is not.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/rates.h"
#include "bpf/sample.h"

/* A cache and its place in a list. */
struct place {
	uint64_t id;
	size_t at;
};

static int compare_places(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

/* The caches of a list by their numbers. */
static struct place *index_caches(const Treekv__Sample *sample)
{
	size_t n = sample_caches(sample);
	struct place *places = calloc(n + 1, sizeof(*places));

	for (size_t i = 0; places && i < n; i++)
		places[i] = (struct place){ sample->list->cache[i]->cache, i };
	if (places)
		qsort(places, n, sizeof(*places), compare_places);
	return places;
}

/* The same cache as it was: a number may be given again, to another one. */
static const Treekv__CacheInfo *find_before(const Treekv__Sample *before,
					    const struct place *places,
					    const Treekv__CacheInfo *now)
{
	struct place wanted = { .id = now->cache };
	const Treekv__CacheInfo *found;
	const struct place *place;

	if (!before || !before->list || !now->cache)
		return NULL;
	place = bsearch(&wanted, places, before->list->n_cache, sizeof(*places),
			compare_places);
	if (!place)
		return NULL;
	found = before->list->cache[place->at];
	if (found->created != now->created || strcmp(found->name, now->name))
		return NULL;
	return found;
}

static double rate(uint64_t before, uint64_t now, double seconds)
{
	return now >= before && seconds > 0 ? (double)(now - before) / seconds :
					      NAN;
}

static const struct cache_rates unknown_cache = { NAN, NAN, NAN, NAN, NAN };
static const struct worker_rates unknown_worker = {
	NAN, NAN, NAN, NAN, NAN, NAN
};

static void add_known(double *sum, double value)
{
	if (!isnan(value))
		*sum += value;
}

static void rate_caches(struct rates *rates, const Treekv__Sample *before,
			const struct place *places, const Treekv__Sample *now)
{
	double s = rates->seconds;

	for (size_t i = 0; i < rates->caches; i++) {
		const Treekv__CacheInfo *to = now->list->cache[i];
		const Treekv__CacheInfo *from = find_before(before, places, to);
		struct cache_rates *r = &rates->cache[i];

		*r = unknown_cache;
		if (!from)
			continue;
		r->tokens = rate(from->tail, to->tail, s);
		r->evictions = rate(from->evictions, to->evictions, s);
		r->compactions = rate(from->compactions, to->compactions, s);
		r->stalls = rate(from->stalls, to->stalls, s);
		r->stalled = rate(from->stall_ns, to->stall_ns, s) / 1e9;
		add_known(&rates->tokens, r->tokens);
	}
}

static const Treekv__Worker *worker_before(const Treekv__Sample *before,
					   uint32_t thread)
{
	for (size_t i = 0; i < sample_workers(before); i++)
		if (before->workers->worker[i]->thread == thread)
			return before->workers->worker[i];
	return NULL;
}

static void rate_workers(struct rates *rates, const Treekv__Sample *before,
			 const Treekv__Sample *now)
{
	double s = rates->seconds;

	for (size_t i = 0; i < rates->workers; i++) {
		const Treekv__Worker *to = now->workers->worker[i];
		const Treekv__Worker *from =
			before ? worker_before(before, to->thread) : NULL;
		struct worker_rates *r = &rates->worker[i];

		*r = unknown_worker;
		if (!from)
			continue;
		r->load = rate(from->busy_ns, to->busy_ns, s) / 1e9;
		if (from->has_cpu_ns && to->has_cpu_ns)
			r->cpu = rate(from->cpu_ns, to->cpu_ns, s) / 1e9;
		if (from->has_delay_ns && to->has_delay_ns)
			r->delay = rate(from->delay_ns, to->delay_ns, s) / 1e9;
		r->compactions = rate(from->compactions, to->compactions, s);
		r->evictions = rate(from->evictions, to->evictions, s);
		r->doorbells = rate(from->doorbells, to->doorbells, s);
		if (!isnan(r->load) && !(rates->load >= r->load))
			rates->load = r->load;
	}
}

static void rate_clients(struct rates *rates, const Treekv__Sample *before,
			 const Treekv__Sample *now)
{
	for (size_t i = 0; i < rates->clients; i++) {
		const Treekv__Client *to = now->clients->client[i];
		size_t at = before ? sample_client(before, to->pid) : 0;
		struct client_rates *r = &rates->client[i];

		*r = (struct client_rates){ NAN, before ? 0 : NAN };
		if (before && at < sample_clients(before))
			r->requests =
				rate(before->clients->client[at]->requests,
				     to->requests, rates->seconds);
	}
	for (size_t i = 0; i < rates->caches; i++) {
		const Treekv__CacheInfo *cache = now->list->cache[i];
		size_t at = rates->clients;

		if (cache->has_writer_pid)
			at = sample_client(now, cache->writer_pid);
		if (at < rates->clients)
			add_known(&rates->client[at].tokens,
				  rates->cache[i].tokens);
	}
}

static double rate_metric(const struct rates *rates,
			  const Treekv__Sample *before,
			  const Treekv__Sample *now, const char *name)
{
	double from, to;

	if (!before || before->pid != now->pid)
		return NAN;
	from = sample_metric(before, name);
	to = sample_metric(now, name);
	return to >= from && rates->seconds > 0 ? (to - from) / rates->seconds :
						  NAN;
}

static int allocate(struct rates *rates, const Treekv__Sample *now)
{
	rates->caches = sample_caches(now);
	rates->workers = sample_workers(now);
	rates->clients = sample_clients(now);
	rates->cache = calloc(rates->caches + 1, sizeof(*rates->cache));
	rates->worker = calloc(rates->workers + 1, sizeof(*rates->worker));
	rates->client = calloc(rates->clients + 1, sizeof(*rates->client));
	return rates->cache && rates->worker && rates->client ? 0 : -ENOMEM;
}

struct rates *rates_free(struct rates *rates)
{
	if (!rates)
		return NULL;
	free(rates->cache);
	free(rates->worker);
	free(rates->client);
	free(rates);
	return NULL;
}

int rates_new(struct rates **ret, const Treekv__Sample *before,
	      const Treekv__Sample *now)
{
	struct rates *rates = calloc(1, sizeof(*rates));
	struct place *places = before ? index_caches(before) : NULL;

	if (!rates || (before && !places) || allocate(rates, now)) {
		free(places);
		rates_free(rates);
		return -ENOMEM;
	}
	rates->seconds = rates->tokens = rates->load = NAN;
	if (before && now->clock > before->clock) {
		rates->seconds = (double)(now->clock - before->clock) / 1e9;
		rates->tokens = before->list && now->list ? 0 : NAN;
	}
	rate_caches(rates, before, places, now);
	rate_workers(rates, before, now);
	rate_clients(rates, before, now);
	rates->evictions = rate_metric(rates, before, now, "evictions_total");
	rates->compactions =
		rate_metric(rates, before, now, "compactions_total");
	rates->stalls = rate_metric(rates, before, now, "stalls_total");
	rates->requests = rate_metric(rates, before, now, "requests_total");
	free(places);
	*ret = rates;
	return 0;
}
