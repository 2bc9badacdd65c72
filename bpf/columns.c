// SPDX-License-Identifier: BSD-2-Clause
/*
 * What each column shows. A text column has no number and is filtered by what
 * it says; a figure is shown short and compared in full.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bpf/format.h"
#include "bpf/rows.h"
#include "client/show.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))

static void set(char *to, size_t size, const char *text)
{
	snprintf(to, size, "%s", text ? text : "");
}

/* ---- caches ---- */

#define CACHE_TEXT(name, expression)                                      \
	static void cache_##name(char *to, size_t size, const void *item) \
	{                                                                 \
		const struct cache_row *row = item;                       \
                                                                          \
		set(to, size, expression);                                \
	}

#define CACHE_NUMBER(name, format, expression)                            \
	static double cache_##name##_number(const void *item)             \
	{                                                                 \
		const struct cache_row *row = item;                       \
                                                                          \
		return expression;                                        \
	}                                                                 \
	static void cache_##name(char *to, size_t size, const void *item) \
	{                                                                 \
		format(to, size, cache_##name##_number(item));            \
	}

static void format_pid(char *to, size_t size, double pid)
{
	if (isnan(pid))
		set(to, size, "-");
	else
		snprintf(to, size, "%.0f", pid);
}

static double largest_budget(const Treekv__Spec *spec)
{
	uint32_t most = 0;

	for (size_t i = 0; i < spec->n_budget; i++)
		most = spec->budget[i] > most ? spec->budget[i] : most;
	return most;
}

CACHE_TEXT(name, row->name)
CACHE_TEXT(owner, row->owner)
CACHE_TEXT(state, row->info->state)
CACHE_TEXT(policy, show_policy(row->info->spec))
CACHE_TEXT(command, row->command)
CACHE_NUMBER(pid, format_pid,
	     row->info->has_writer_pid ? (double)row->info->writer_pid : NAN)
CACHE_NUMBER(tokens, format_count, (double)row->info->tail)
CACHE_NUMBER(ratio, format_rate,
	     row->info->held ? (double)row->info->tail / row->info->held : NAN)
CACHE_NUMBER(memory, format_bytes, (double)row->info->bytes)
CACHE_NUMBER(speed, format_rate, row->rates->tokens)
CACHE_NUMBER(evictions, format_rate, row->rates->evictions)
CACHE_NUMBER(p50, format_time, row->p50)
CACHE_NUMBER(p99, format_time, row->p99)
CACHE_NUMBER(stalls, format_count, (double)row->info->stalls)
CACHE_NUMBER(stalled, format_part, row->rates->stalled)

static double cache_held_number(const void *item)
{
	const struct cache_row *row = item;

	return row->info->held;
}

static void cache_held(char *to, size_t size, const void *item)
{
	const struct cache_row *row = item;

	snprintf(to, size, "%u/%.0f", row->info->held,
		 largest_budget(row->info->spec));
}

static double cache_used_number(const void *item)
{
	const struct cache_row *row = item;

	return row->age;
}

static void cache_used(char *to, size_t size, const void *item)
{
	const struct cache_row *row = item;

	if (row->age < 2e9)
		set(to, size, "now");
	else
		format_age(to, size, row->age / 1e9);
}

static enum style name_style(const void *item)
{
	(void)item;
	return STYLE_NAME;
}

static enum style state_style(const void *item)
{
	const struct cache_row *row = item;
	const char *state = row->info->state;

	if (!strcmp(state, "writing"))
		return STYLE_GOOD;
	if (!strcmp(state, "quarantined") || !strcmp(state, "damaged"))
		return STYLE_BAD;
	if (!strcmp(state, "restoring"))
		return STYLE_WARN;
	return STYLE_PLAIN;
}

static enum style stalls_style(const void *item)
{
	const struct cache_row *row = item;

	if (row->rates->stalls > 0)
		return STYLE_BAD;
	return row->info->stalls ? STYLE_WARN : STYLE_PLAIN;
}

static const struct column cache_columns[] = {
	{ "name", "NAME", 12, 40, 0, false, cache_name, NULL, name_style,
	  "the cache" },
	{ "owner", "OWNER", 8, 12, 7, false, cache_owner, NULL, NULL,
	  "the user it belongs to" },
	{ "state", "STATE", 8, 11, 1, false, cache_state, NULL, state_style,
	  "writing, idle, on disk, restoring, quarantined, ..." },
	{ "pid", "PID", 7, 0, 6, true, cache_pid, cache_pid_number, NULL,
	  "the process that writes it" },
	{ "policy", "POLICY", 11, 0, 10, false, cache_policy, NULL, NULL,
	  "what decides which tokens stay" },
	{ "tokens", "TOKENS", 6, 0, 2, true, cache_tokens, cache_tokens_number,
	  NULL, "seen so far" },
	{ "held", "HELD/BUDGET", 11, 0, 4, true, cache_held, cache_held_number,
	  NULL, "tokens that are held, of how many" },
	{ "ratio", "RATIO", 5, 0, 9, true, cache_ratio, cache_ratio_number,
	  NULL, "tokens seen for each one held" },
	{ "memory", "MEMORY", 6, 0, 5, true, cache_memory, cache_memory_number,
	  NULL, "bytes of its rows and its index" },
	{ "tokens/s", "TOK/S", 6, 0, 0, true, cache_speed, cache_speed_number,
	  NULL, "committed, a second" },
	{ "evictions/s", "EVI/S", 6, 0, 14, true, cache_evictions,
	  cache_evictions_number, NULL, "tokens taken out, a second" },
	{ "p50", "P50", 6, 0, 12, true, cache_p50, cache_p50_number, NULL,
	  "of the time a compaction takes: half take less" },
	{ "p99", "P99", 6, 0, 8, true, cache_p99, cache_p99_number, NULL,
	  "of that time: one in a hundred takes longer" },
	{ "stalls", "STALLS", 6, 0, 3, true, cache_stalls, cache_stalls_number,
	  stalls_style, "steps that had to wait for the daemon" },
	{ "stalled", "STALLED", 7, 0, 13, true, cache_stalled,
	  cache_stalled_number, stalls_style,
	  "part of the time that its writer waits" },
	{ "used", "USED", 5, 0, 11, true, cache_used, cache_used_number, NULL,
	  "since it was used last" },
	{ "command", "COMMAND", 12, 200, 9, false, cache_command, NULL, NULL,
	  "of the process that writes it" },
};

/* ---- clients ---- */

#define CLIENT_TEXT(name, expression)                                      \
	static void client_##name(char *to, size_t size, const void *item) \
	{                                                                  \
		const struct client_row *row = item;                       \
                                                                           \
		set(to, size, expression);                                 \
	}

#define CLIENT_NUMBER(name, format, expression)                            \
	static double client_##name##_number(const void *item)             \
	{                                                                  \
		const struct client_row *row = item;                       \
                                                                           \
		return expression;                                         \
	}                                                                  \
	static void client_##name(char *to, size_t size, const void *item) \
	{                                                                  \
		format(to, size, client_##name##_number(item));            \
	}

static void format_age_ns(char *to, size_t size, double ns)
{
	format_age(to, size, ns / 1e9);
}

CLIENT_NUMBER(pid, format_pid, (double)row->client->pid)
CLIENT_TEXT(owner, row->owner)
CLIENT_TEXT(program, row->client->program)
CLIENT_TEXT(cache, row->cache)
CLIENT_TEXT(command, row->command)
CLIENT_NUMBER(connections, format_count, (double)row->client->connections)
CLIENT_NUMBER(leases, format_count, (double)row->client->leases)
CLIENT_NUMBER(memory, format_bytes, (double)row->client->bytes)
CLIENT_NUMBER(speed, format_rate, row->rates->tokens)
CLIENT_NUMBER(requests, format_count, (double)row->client->requests)
CLIENT_NUMBER(asks, format_rate, row->rates->requests)
CLIENT_NUMBER(stalls, format_count, row->stalls)
CLIENT_NUMBER(steps, format_count, row->steps)
CLIENT_NUMBER(age, format_age_ns, row->age)

static const struct column client_columns[] = {
	{ "pid", "PID", 7, 0, 0, true, client_pid, client_pid_number, NULL,
	  "the process" },
	{ "owner", "OWNER", 8, 12, 4, false, client_owner, NULL, NULL,
	  "the user it runs as" },
	{ "program", "PROGRAM", 12, 20, 0, false, client_program, NULL,
	  name_style, "what it calls itself" },
	{ "leases", "LEASES", 6, 0, 1, true, client_leases,
	  client_leases_number, NULL, "caches that it writes" },
	{ "cache", "CACHE", 12, 30, 6, false, client_cache, NULL, NULL,
	  "one of these" },
	{ "memory", "MEMORY", 6, 0, 5, true, client_memory,
	  client_memory_number, NULL, "bytes of these" },
	{ "tokens/s", "TOK/S", 6, 0, 2, true, client_speed, client_speed_number,
	  NULL, "committed, a second" },
	{ "stalls", "STALLS", 6, 0, 3, true, client_stalls,
	  client_stalls_number, NULL, "of the caches that it writes" },
	{ "steps", "STEPS", 6, 0, 12, true, client_steps, client_steps_number,
	  NULL, "since treekv-top began (eBPF)" },
	{ "connections", "CONN", 4, 0, 9, true, client_connections,
	  client_connections_number, NULL, "connections it has" },
	{ "requests", "REQUESTS", 8, 0, 8, true, client_requests,
	  client_requests_number, NULL, "over these" },
	{ "requests/s", "REQ/S", 6, 0, 7, true, client_asks, client_asks_number,
	  NULL, "the same, a second" },
	{ "since", "SINCE", 5, 0, 10, true, client_age, client_age_number, NULL,
	  "it has been connected" },
	{ "command", "COMMAND", 12, 200, 11, false, client_command, NULL, NULL,
	  "its command line" },
};

/* ---- workers ---- */

#define WORKER_NUMBER(name, format, expression)                            \
	static double worker_##name##_number(const void *item)             \
	{                                                                  \
		const struct worker_row *row = item;                       \
                                                                           \
		return expression;                                         \
	}                                                                  \
	static void worker_##name(char *to, size_t size, const void *item) \
	{                                                                  \
		format(to, size, worker_##name##_number(item));            \
	}

WORKER_NUMBER(thread, format_pid, (double)row->worker->thread)
WORKER_NUMBER(caches, format_count, (double)row->worker->caches)
WORKER_NUMBER(load, format_part, row->rates->load)
WORKER_NUMBER(cpu, format_part, row->rates->cpu)
WORKER_NUMBER(delay, format_part, row->rates->delay)
WORKER_NUMBER(p99, format_time, row->p99)
WORKER_NUMBER(speed, format_rate, row->rates->compactions)
WORKER_NUMBER(evictions, format_rate, row->rates->evictions)
WORKER_NUMBER(doorbells, format_rate, row->rates->doorbells)
WORKER_NUMBER(compactions, format_count, (double)row->worker->compactions)
WORKER_NUMBER(busy, format_time, (double)row->worker->busy_ns)

static enum style delay_style(const void *item)
{
	const struct worker_row *row = item;

	if (row->rates->delay >= 0.25)
		return STYLE_BAD;
	return row->rates->delay >= 0.05 ? STYLE_WARN : STYLE_PLAIN;
}

static const struct column worker_columns[] = {
	{ "thread", "THREAD", 7, 0, 0, true, worker_thread,
	  worker_thread_number, name_style, "its id" },
	{ "caches", "CACHES", 6, 0, 1, true, worker_caches,
	  worker_caches_number, NULL, "that it compacts" },
	{ "load", "LOAD", 5, 0, 0, true, worker_load, worker_load_number, NULL,
	  "part of the time that it compacts" },
	{ "cpu", "CPU", 5, 0, 3, true, worker_cpu, worker_cpu_number, NULL,
	  "part of the time that it runs" },
	{ "delay", "DELAY", 5, 0, 2, true, worker_delay, worker_delay_number,
	  delay_style, "part of the time that it waits for a processor" },
	{ "delay-p99", "DELAY99", 7, 0, 8, true, worker_p99, worker_p99_number,
	  delay_style, "one such wait in a hundred is longer (eBPF)" },
	{ "compactions/s", "COMP/S", 6, 0, 4, true, worker_speed,
	  worker_speed_number, NULL, "orders published, a second" },
	{ "evictions/s", "EVI/S", 6, 0, 5, true, worker_evictions,
	  worker_evictions_number, NULL, "tokens taken out, a second" },
	{ "doorbells/s", "BELLS/S", 7, 0, 6, true, worker_doorbells,
	  worker_doorbells_number, NULL, "rings of writers, a second" },
	{ "compactions", "COMPACTIONS", 11, 0, 7, true, worker_compactions,
	  worker_compactions_number, NULL, "orders published" },
	{ "busy", "BUSY", 6, 0, 9, true, worker_busy, worker_busy_number, NULL,
	  "time it has compacted" },
};

/* ---- latency ---- */

#define LATENCY_TEXT(name, expression)                                      \
	static void latency_##name(char *to, size_t size, const void *item) \
	{                                                                   \
		const struct latency_row *row = item;                       \
                                                                            \
		set(to, size, expression);                                  \
	}

#define LATENCY_NUMBER(name, format, expression)                            \
	static double latency_##name##_number(const void *item)             \
	{                                                                   \
		const struct latency_row *row = item;                       \
                                                                            \
		return expression;                                          \
	}                                                                   \
	static void latency_##name(char *to, size_t size, const void *item) \
	{                                                                   \
		format(to, size, latency_##name##_number(item));            \
	}

static double quantile(const Treekv__SampleHistogram *histogram, double q)
{
	return sample_quantile(histogram->bucket, histogram->n_bucket, q);
}

LATENCY_TEXT(name, row->histogram->name)
LATENCY_TEXT(source, row->histogram->source)
LATENCY_NUMBER(count, format_count, (double)row->histogram->count)
LATENCY_NUMBER(mean, format_time,
	       row->histogram->count ? (double)row->histogram->sum /
					       (double)row->histogram->count :
				       NAN)
LATENCY_NUMBER(p50, format_time, quantile(row->histogram, 0.5))
LATENCY_NUMBER(p90, format_time, quantile(row->histogram, 0.9))
LATENCY_NUMBER(p99, format_time, quantile(row->histogram, 0.99))
LATENCY_NUMBER(most, format_time, quantile(row->histogram, 1))

static const struct column latency_columns[] = {
	{ "name", "WHAT", 18, 30, 0, false, latency_name, NULL, name_style,
	  "what takes that time" },
	{ "source", "SOURCE", 6, 0, 5, false, latency_source, NULL, NULL,
	  "ebpf, since treekv-top began; daemon, since it started" },
	{ "count", "COUNT", 6, 0, 1, true, latency_count, latency_count_number,
	  NULL, "how often" },
	{ "mean", "MEAN", 6, 0, 4, true, latency_mean, latency_mean_number,
	  NULL, "on average" },
	{ "p50", "P50", 6, 0, 2, true, latency_p50, latency_p50_number, NULL,
	  "half take less" },
	{ "p90", "P90", 6, 0, 3, true, latency_p90, latency_p90_number, NULL,
	  "one in ten takes longer" },
	{ "p99", "P99", 6, 0, 0, true, latency_p99, latency_p99_number, NULL,
	  "one in a hundred takes longer" },
	{ "most", "BELOW", 6, 0, 6, true, latency_most, latency_most_number,
	  NULL, "none takes longer" },
};

#define TABLE(name, columns, sort, descending)                       \
	{                                                            \
		name, columns, ARRAY_SIZE(columns), sort, descending \
	}

const struct columns tables[TABLES] = {
	[TABLE_OF_CACHES] = TABLE("caches", cache_columns, "tokens/s", true),
	[TABLE_OF_CLIENTS] = TABLE("clients", client_columns, "tokens/s", true),
	[TABLE_OF_WORKERS] = TABLE("workers", worker_columns, "thread", false),
	[TABLE_OF_LATENCY] = TABLE("latency", latency_columns, "name", false),
};

size_t columns_find(const struct columns *columns, const char *key)
{
	for (size_t i = 0; i < columns->n; i++)
		if (!strcmp(columns->column[i].key, key))
			return i;
	return columns->n;
}
