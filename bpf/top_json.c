// SPDX-License-Identifier: BSD-2-Clause
/*
 * What treekvctl prints about a daemon and its caches is printed here by the
 * same functions; what this adds stands behind it, rates in an object of their
 * own.
 */
#include <math.h>
#include <string.h>

#include "bpf/sample.h"
#include "bpf/top_json.h"
#include "bpf/watch.h"
#include "client/json.h"
#include "client/show.h"

static void json_text(struct json *json, const char *key, const char *text)
{
	if (text && *text)
		json_string(json, key, text);
	else
		json_null(json, key);
}

/* p50 and p99 in the histogram's own unit. */
static void json_buckets(struct json *json, const uint64_t *bucket, size_t n)
{
	json_open(json, "buckets", '[');
	for (size_t i = 0; i < n; i++)
		json_number(json, NULL, bucket[i]);
	json_close(json, ']');
	json_real(json, "p50", sample_quantile(bucket, n, 0.5));
	json_real(json, "p99", sample_quantile(bucket, n, 0.99));
}

static void json_daemon(struct json *json, const Treekv__Sample *sample,
			const struct rates *rates)
{
	const struct show_daemon daemon = {
		.daemon = sample->daemon ? sample->daemon : "",
		.pid = sample->pid,
		.socket = sample->socket,
		.protocol = sample->protocol,
	};

	json_open(json, "daemon", '{');
	if (sample->stats)
		show_status_members(json, &daemon, sample->stats);
	json_text(json, "trouble", sample->trouble);
	json_open(json, "rates", '{');
	json_real(json, "seconds", rates->seconds);
	json_real(json, "tokens_per_s", rates->tokens);
	json_real(json, "evictions_per_s", rates->evictions);
	json_real(json, "compactions_per_s", rates->compactions);
	json_real(json, "stalls_per_s", rates->stalls);
	json_real(json, "requests_per_s", rates->requests);
	json_close(json, '}');
	json_close(json, '}');
}

static void json_compaction(struct json *json, const Treekv__Sample *sample,
			    const Treekv__CacheInfo *info)
{
	const Treekv__SampleWatchCache *watch =
		sample_watch_cache(sample, info->cache);
	bool ebpf = watch && watch->n_compaction;

	json_open(json, "compaction", '{');
	json_string(json, "unit", "nanoseconds");
	json_string(json, "source", ebpf ? "ebpf" : "daemon");
	if (ebpf)
		json_buckets(json, watch->compaction, watch->n_compaction);
	else
		json_buckets(json, info->compaction, info->n_compaction);
	json_close(json, '}');
}

static void json_cache(struct json *json, const Treekv__Sample *sample,
		       const Treekv__CacheInfo *info,
		       const struct cache_rates *rates)
{
	const char *owner = sample_owner(sample, info->uid);

	json_open(json, NULL, '{');
	show_info_members(json, info, owner ? owner : "");
	json_text(json, "command",
		  info->has_writer_pid ?
			  sample_command(sample, info->writer_pid) :
			  NULL);
	json_compaction(json, sample, info);
	json_open(json, "rates", '{');
	json_real(json, "tokens_per_s", rates->tokens);
	json_real(json, "evictions_per_s", rates->evictions);
	json_real(json, "compactions_per_s", rates->compactions);
	json_real(json, "stalls_per_s", rates->stalls);
	json_real(json, "stalled", rates->stalled);
	json_close(json, '}');
	json_close(json, '}');
}

static void json_worker(struct json *json, const Treekv__Worker *worker,
			const struct worker_rates *rates)
{
	json_open(json, NULL, '{');
	json_number(json, "thread", worker->thread);
	json_number(json, "caches", worker->caches);
	json_number(json, "compactions", worker->compactions);
	json_number(json, "evictions", worker->evictions);
	json_number(json, "doorbells", worker->doorbells);
	json_number(json, "busy_ns", worker->busy_ns);
	if (worker->has_cpu_ns && worker->has_delay_ns) {
		json_number(json, "cpu_ns", worker->cpu_ns);
		json_number(json, "delay_ns", worker->delay_ns);
	}
	json_open(json, "rates", '{');
	json_real(json, "load", rates->load);
	json_real(json, "cpu", rates->cpu);
	json_real(json, "delay", rates->delay);
	json_real(json, "compactions_per_s", rates->compactions);
	json_real(json, "evictions_per_s", rates->evictions);
	json_real(json, "doorbells_per_s", rates->doorbells);
	json_close(json, '}');
	json_close(json, '}');
}

/* By eBPF, since it was attached. */
static void json_seen(struct json *json, const Treekv__SampleWatchProcess *seen)
{
	if (!seen) {
		json_null(json, "seen");
		return;
	}
	json_open(json, "seen", '{');
	json_number(json, "steps", seen->steps);
	json_number(json, "tokens", seen->tokens);
	json_number(json, "stalls", seen->stalls);
	json_number(json, "stall_ns", seen->stall_ns);
	json_close(json, '}');
}

static void json_client(struct json *json, const Treekv__Sample *sample,
			const Treekv__Client *client,
			const struct client_rates *rates)
{
	json_open(json, NULL, '{');
	json_number(json, "pid", client->pid);
	json_number(json, "uid", client->uid);
	json_text(json, "owner", sample_owner(sample, client->uid));
	json_text(json, "program", client->program);
	json_text(json, "command", sample_command(sample, client->pid));
	json_number(json, "connections", client->connections);
	json_number(json, "leases", client->leases);
	json_number(json, "bytes", client->bytes);
	json_number(json, "requests", client->requests);
	if (client->has_since)
		json_number(json, "since", client->since);
	else
		json_null(json, "since");
	json_seen(json, sample_watch_process(sample, client->pid));
	json_open(json, "rates", '{');
	json_real(json, "tokens_per_s", rates->tokens);
	json_real(json, "requests_per_s", rates->requests);
	json_close(json, '}');
	json_close(json, '}');
}

static void json_histogram(struct json *json,
			   const Treekv__SampleHistogram *histogram)
{
	json_open(json, NULL, '{');
	json_string(json, "name", histogram->name);
	json_string(json, "unit", histogram->unit);
	json_string(json, "source", histogram->source);
	json_number(json, "count", histogram->count);
	json_number(json, "sum", histogram->sum);
	json_buckets(json, histogram->bucket, histogram->n_bucket);
	json_close(json, '}');
}

static void json_watch(struct json *json, const Treekv__SampleWatch *watch)
{
	static const char *const levels[] = {
		[WATCH_NONE] = "none",
		[WATCH_TRACEPOINTS] = "tracepoints",
		[WATCH_FULL] = "full",
	};
	size_t n = sizeof(levels) / sizeof(*levels);

	json_open(json, "watch", '{');
	json_string(json, "level",
		    watch && watch->level < n ? levels[watch->level] :
						levels[WATCH_NONE]);
	json_text(json, "text", watch ? watch->text : NULL);
	json_number(json, "drops", watch ? watch->drops : 0);
	json_close(json, '}');
}

static void json_lists(struct json *json, const Treekv__Sample *sample,
		       const struct rates *rates)
{
	json_open(json, "caches", '[');
	for (size_t i = 0; i < sample_caches(sample); i++)
		json_cache(json, sample, sample->list->cache[i],
			   &rates->cache[i]);
	json_close(json, ']');
	json_open(json, "workers", '[');
	for (size_t i = 0; i < sample_workers(sample); i++)
		json_worker(json, sample->workers->worker[i],
			    &rates->worker[i]);
	json_close(json, ']');
	json_open(json, "clients", '[');
	for (size_t i = 0; i < sample_clients(sample); i++)
		json_client(json, sample, sample->clients->client[i],
			    &rates->client[i]);
	json_close(json, ']');
	json_open(json, "histograms", '[');
	for (size_t i = 0; i < sample->n_histogram; i++)
		json_histogram(json, sample->histogram[i]);
	json_close(json, ']');
}

void top_json(FILE *to, const Treekv__Sample *sample, const struct rates *rates)
{
	struct json json = { .to = to };

	json_open(&json, NULL, '{');
	json_number(&json, "time_ns", sample->time);
	json_daemon(&json, sample, rates);
	json_watch(&json, sample->watch);
	json_lists(&json, sample, rates);
	json_close(&json, '}');
	fputc('\n', to);
}
