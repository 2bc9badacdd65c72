// SPDX-License-Identifier: BSD-2-Clause
/*
 * It talks over client/conn.c, the library's own connection, which makes a lost
 * one again by itself. What a daemon does not know it refuses, and logs that:
 * it is asked once a connection.
 *
 * Replies are taken apart without a copy: a sample owns what they held.
 *
 * The list comes whole each time. One of 1,000 caches has 120 KiB and costs the
 * daemon a millisecond; to send what has changed it would have to look at as
 * many caches, and remember for each connection what was sent.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bpf/gather.h"
#include "bpf/processes.h"
#include "bpf/sample.h"
#include "bpf/seen.h"
#include "client/conn.h"
#include "client/map.h"

#define ASK_MS 3000

struct gather {
	char *socket; /* NULL: the default */
	struct treekv *kv; /* NULL: could not be reached yet */
	struct processes *processes;
	struct seen *seen;
	uint64_t session; /* of which the following is known */
	bool no_workers;
	bool no_clients;
	bool no_kept;
};

struct gather *gather_new(const char *socket, bool ebpf)
{
	struct gather *gather = calloc(1, sizeof(*gather));

	if (!gather)
		return NULL;
	gather->processes = processes_new();
	gather->seen = seen_new(ebpf);
	gather->socket = socket ? strdup(socket) : NULL;
	if (!gather->processes || !gather->seen || (socket && !gather->socket))
		return gather_free(gather);
	return gather;
}

struct gather *gather_free(struct gather *gather)
{
	if (!gather)
		return NULL;
	treekv_close(gather->kv);
	processes_free(gather->processes);
	seen_free(gather->seen);
	free(gather->socket);
	free(gather);
	return NULL;
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* A daemon may have been upgraded since it was asked. */
static void note_session(struct gather *gather)
{
	if (gather->session == gather->kv->session)
		return;
	gather->session = gather->kv->session;
	gather->no_workers = gather->no_clients = gather->no_kept = false;
}

static int ask(struct gather *gather, Treekv__Request *request,
	       Treekv__Request__BodyCase body, Treekv__Reply **ret)
{
	int r;

	request->body_case = body;
	r = conn_call_within(gather->kv, ASK_MS, request, ret, NULL, NULL);
	note_session(gather);
	return r;
}

/* What was taken out of it is the taker's. */
static void free_rest(Treekv__Reply *reply)
{
	reply->body_case = TREEKV__REPLY__BODY__NOT_SET;
	treekv__reply__free_unpacked(reply, NULL);
}

static int ask_stats(struct gather *gather, Treekv__Sample *sample)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Stats stats = TREEKV__STATS__INIT;
	Treekv__Reply *reply;
	int r;

	request.stats = &stats;
	r = ask(gather, &request, TREEKV__REQUEST__BODY_STATS, &reply);
	if (r)
		return r;
	sample->stats = reply->stats;
	free_rest(reply);
	return 0;
}

static int ask_list(struct gather *gather, Treekv__Sample *sample)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__List list = TREEKV__LIST__INIT;
	Treekv__Reply *reply;
	int r;

	list.has_latency = list.latency = true;
	request.list = &list;
	r = ask(gather, &request, TREEKV__REQUEST__BODY_LIST, &reply);
	if (r)
		return r;
	sample->list = reply->list;
	free_rest(reply);
	return 0;
}

static int ask_workers(struct gather *gather, Treekv__Sample *sample)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Workers workers = TREEKV__WORKERS__INIT;
	Treekv__Reply *reply;
	int r;

	if (gather->no_workers)
		return 0;
	request.workers = &workers;
	r = ask(gather, &request, TREEKV__REQUEST__BODY_WORKERS, &reply);
	if (r == -ENOSYS)
		gather->no_workers = true;
	if (r)
		return r == -ENOSYS ? 0 : r;
	sample->workers = reply->workers;
	free_rest(reply);
	return 0;
}

static int ask_clients(struct gather *gather, Treekv__Sample *sample)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Clients clients = TREEKV__CLIENTS__INIT;
	Treekv__Reply *reply;
	int r;

	if (gather->no_clients)
		return 0;
	request.clients = &clients;
	r = ask(gather, &request, TREEKV__REQUEST__BODY_CLIENTS, &reply);
	if (r == -ENOSYS)
		gather->no_clients = true;
	if (r)
		return r == -ENOSYS ? 0 : r;
	sample->clients = reply->clients;
	free_rest(reply);
	return 0;
}

static int connect_first(struct gather *gather)
{
	int r;

	if (gather->kv)
		return 0;
	r = treekv_connect(&gather->kv, gather->socket);
	if (r)
		gather->kv = NULL;
	return r;
}

static int ask_all(struct gather *gather, Treekv__Sample *sample)
{
	int r = connect_first(gather);

	if (!r)
		r = ask_stats(gather, sample);
	if (!r)
		r = ask_list(gather, sample);
	if (!r)
		r = ask_workers(gather, sample);
	if (!r)
		r = ask_clients(gather, sample);
	return r;
}

/* Half an answer is none: the trouble instead. */
static Treekv__Sample *troubled(Treekv__Sample *sample, const char *why)
{
	Treekv__Sample *bare = sample_new(sample->socket);

	if (bare) {
		bare->time = sample->time;
		bare->clock = sample->clock;
		bare->trouble = strdup(why);
	}
	sample_free(sample);
	return bare && bare->trouble ? bare : sample_free(bare);
}

/* The daemon's own go to the others, where eBPF has not the same. */
static int add_histograms(Treekv__Sample *sample)
{
	Treekv__StatsReply *stats = sample->stats;
	int r = 0;

	for (size_t i = 0; i < stats->n_histogram; i++) {
		Treekv__Histogram *h = stats->histogram[i];

		if (!r)
			r = seen_add_histogram(sample, h->name, "daemon",
					       h->bucket, h->n_bucket, h->sum);
		treekv__histogram__free_unpacked(h, NULL);
	}
	free(stats->histogram);
	stats->histogram = NULL;
	stats->n_histogram = 0;
	return r;
}

static int describe(struct gather *gather, Treekv__Sample *sample)
{
	sample->daemon = strdup(gather->kv->daemon);
	if (!sample->daemon)
		return -ENOMEM;
	sample->has_pid = sample->has_protocol = true;
	sample->pid = (uint32_t)gather->kv->daemon_pid;
	sample->protocol = gather->kv->version;
	free(sample->socket);
	sample->socket = strdup(gather->kv->address.sun_path);
	if (!sample->socket || seen_describe(gather->seen, sample) ||
	    add_histograms(sample))
		return -ENOMEM;
	return processes_describe(gather->processes, sample);
}

Treekv__Sample *gather_sample(struct gather *gather)
{
	Treekv__Sample *sample =
		sample_new(gather->socket ? gather->socket : "");
	const char *why;

	if (!sample)
		return NULL;
	sample->time = now_ns(CLOCK_REALTIME);
	sample->clock = now_ns(CLOCK_MONOTONIC);
	if (ask_all(gather, sample)) {
		seen_forget(gather->seen);
		return troubled(sample, treekv_error());
	}
	if (describe(gather, sample))
		return sample_free(sample);
	if (sample_check(sample, &why))
		return troubled(sample, why);
	return sample;
}

bool gather_wants(const struct gather *gather, const Treekv__Sample *sample)
{
	return !sample->trouble && seen_wants(gather->seen, sample);
}

/* Without memory for it the next sample tries again. */
void gather_attach(struct gather *gather, const Treekv__Sample *sample)
{
	if (!sample->trouble)
		(void)seen_attach(gather->seen, sample);
}

/* ---- one cache ---- */

static int ask_inspect(struct gather *gather,
		       const struct gather_detail *wanted,
		       Treekv__SampleDetail *detail)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Inspect inspect = TREEKV__INSPECT__INIT;
	Treekv__Reply *reply;
	int r;

	inspect.name = (char *)(uintptr_t)wanted->name;
	inspect.has_cache = true;
	inspect.cache = wanted->cache;
	request.inspect = &inspect;
	r = ask(gather, &request, TREEKV__REQUEST__BODY_INSPECT, &reply);
	if (r)
		return r;
	detail->inspect = reply->inspect;
	free_rest(reply);
	return 0;
}

static int ask_kept(struct gather *gather, const struct gather_detail *wanted,
		    uint64_t tail, enum map_scale scale,
		    Treekv__KeptReply **ret)
{
	uint64_t edge[MAP_BUCKETS_MAX + 1];
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Kept kept = TREEKV__KEPT__INIT;
	Treekv__Reply *reply;
	size_t n = wanted->buckets < MAP_BUCKETS_MAX ? wanted->buckets :
						       MAP_BUCKETS_MAX;
	int r;

	n = map_edges(edge, n, tail, scale);
	if (!n || gather->no_kept)
		return 0;
	kept.cache = wanted->cache;
	kept.edge = edge;
	kept.n_edge = n + 1;
	kept.has_groups = true;
	kept.groups = wanted->groups;
	request.kept = &kept;
	r = ask(gather, &request, TREEKV__REQUEST__BODY_KEPT, &reply);
	if (r == -ENOSYS)
		gather->no_kept = true;
	if (r)
		return r;
	if (map_check(reply->kept)) {
		treekv__reply__free_unpacked(reply, NULL);
		return -EPROTO;
	}
	*ret = reply->kept;
	free_rest(reply);
	return 0;
}

Treekv__SampleDetail *gather_detail(struct gather *gather,
				    const struct gather_detail *wanted)
{
	Treekv__SampleDetail *detail;
	int r;

	if (!wanted->cache || !gather->kv)
		return NULL;
	detail = malloc(sizeof(*detail));
	if (!detail)
		return NULL;
	treekv__sample_detail__init(detail);
	detail->cache = wanted->cache;
	r = ask_inspect(gather, wanted, detail);
	if (!r)
		r = ask_kept(gather, wanted, detail->inspect->info->tail,
			     MAP_EVEN, &detail->even);
	if (!r)
		r = ask_kept(gather, wanted, detail->inspect->info->tail,
			     MAP_BY_AGE, &detail->by_age);
	if (gather->no_kept)
		detail->trouble = strdup("This daemon is of a version that "
					 "knows no map of kept tokens.");
	else if (r)
		detail->trouble = strdup(treekv_error());
	return detail;
}

/* ---- doing something ---- */

static int call(struct treekv *kv, Treekv__Request *request,
		Treekv__Request__BodyCase body)
{
	Treekv__Reply *reply;
	int r;

	request->body_case = body;
	r = conn_call_within(kv, 3600 * 1000, request, &reply, NULL, NULL);
	if (!r)
		treekv__reply__free_unpacked(reply, NULL);
	return r;
}

static int drop(struct treekv *kv, const struct target *object, bool keep)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Drop body = TREEKV__DROP__INIT;

	body.name = (char *)(uintptr_t)object->full;
	body.has_cache = object->cache != 0;
	body.cache = object->cache;
	body.has_keep_snapshot = body.keep_snapshot = keep;
	request.drop = &body;
	return call(kv, &request, TREEKV__REQUEST__BODY_DROP);
}

static int snapshot(struct treekv *kv, const struct target *object)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Snapshot body = TREEKV__SNAPSHOT__INIT;

	body.name = (char *)(uintptr_t)object->full;
	body.has_cache = object->cache != 0;
	body.cache = object->cache;
	request.snapshot = &body;
	return call(kv, &request, TREEKV__REQUEST__BODY_SNAPSHOT);
}

static int break_lease(struct treekv *kv, const struct target *object)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Break body = TREEKV__BREAK__INIT;

	body.name = (char *)(uintptr_t)object->full;
	body.has_cache = object->cache != 0;
	body.cache = object->cache;
	request.break_lease = &body;
	return call(kv, &request, TREEKV__REQUEST__BODY_BREAK_LEASE);
}

int gather_act(const char *socket, enum act act, const struct target *object,
	       char *text, size_t size)
{
	const char *done = "";
	struct treekv *kv;
	int r = treekv_connect(&kv, socket);

	if (r) {
		snprintf(text, size, "%s", treekv_error());
		return r;
	}
	switch (act) {
	case ACT_DROP:
	case ACT_DROP_KEEP:
		r = drop(kv, object, act == ACT_DROP_KEEP);
		done = "dropped";
		break;
	case ACT_SNAPSHOT:
		r = snapshot(kv, object);
		done = "snapshot written of";
		break;
	case ACT_BREAK:
		r = break_lease(kv, object);
		done = "lease broken of";
		break;
	case ACT_NONE:
		break;
	}
	if (r)
		snprintf(text, size, "%s", treekv_error());
	else
		snprintf(text, size, "%s %s", done, object->name);
	treekv_close(kv);
	return r;
}
