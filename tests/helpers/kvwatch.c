// SPDX-License-Identifier: BSD-2-Clause
/*
 * kvwatch DAEMON-PID [WRITER-PID]...: watches by bpf/watch.h, without a screen.
 * Prints a line of JSON, which says how much it sees and why, and then one with
 * all that it has seen for each line of its standard input.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bpf/watch.h"
#include "client/json.h"

#define WRITERS_MAX 2000

static const char *const levels[] = {
	[WATCH_NONE] = "none",
	[WATCH_TRACEPOINTS] = "tracepoints",
	[WATCH_FULL] = "full",
};

static void print_histogram(struct json *json, const char *key,
			    const struct watch_histogram_data *h)
{
	json_open(json, key, '{');
	json_number(json, "count", h->count);
	json_number(json, "sum", h->sum);
	json_open(json, "buckets", '[');
	for (int i = 0; i < TABLE_BUCKETS; i++)
		json_number(json, NULL, h->bucket[i]);
	json_close(json, ']');
	json_close(json, '}');
}

static void print_caches(struct json *json, const struct watch_data *data)
{
	json_open(json, "caches", '[');
	for (size_t i = 0; i < data->caches; i++) {
		const struct watch_cache *c = &data->cache[i];

		json_open(json, NULL, '{');
		json_number(json, "cache", c->cache);
		json_number(json, "compactions", c->compactions);
		json_number(json, "evictions", c->evictions);
		json_number(json, "publications", c->publications);
		json_number(json, "doorbells", c->doorbells);
		json_number(json, "stalls", c->stalls);
		json_number(json, "stall_ns", c->stall_ns);
		print_histogram(json, "compaction", &c->compaction);
		json_close(json, '}');
	}
	json_close(json, ']');
}

static void print_processes(struct json *json, const struct watch_data *data)
{
	json_open(json, "processes", '[');
	for (size_t i = 0; i < data->processes; i++) {
		const struct watch_process *p = &data->process[i];

		json_open(json, NULL, '{');
		json_number(json, "pid", (uint64_t)p->pid);
		json_string(json, "comm", p->comm);
		json_bool(json, "gone", p->gone);
		json_number(json, "steps", p->steps);
		json_number(json, "tokens", p->tokens);
		json_number(json, "commits", p->commits);
		json_number(json, "stalls", p->stalls);
		json_number(json, "stall_ns", p->stall_ns);
		json_close(json, '}');
	}
	json_close(json, ']');
}

static void print_workers(struct json *json, const struct watch_data *data)
{
	json_open(json, "workers", '[');
	for (size_t i = 0; i < data->workers; i++) {
		json_open(json, NULL, '{');
		json_number(json, "tid", (uint64_t)data->worker[i].tid);
		print_histogram(json, "run_delay", &data->worker[i].run_delay);
		json_close(json, '}');
	}
	json_close(json, ']');
}

static void print_data(const struct watch *w, const struct watch_data *data)
{
	struct json json = { .to = stdout };

	json_open(&json, NULL, '{');
	json_open(&json, "histograms", '{');
	for (int i = 0; i < WATCH_HISTOGRAMS; i++)
		if (watch_has(w, (enum watch_histogram)i))
			print_histogram(
				&json,
				watch_histogram_name((enum watch_histogram)i),
				&data->histogram[i]);
	json_close(&json, '}');
	print_caches(&json, data);
	print_processes(&json, data);
	print_workers(&json, data);
	json_open(&json, "drops", '{');
	for (int i = 0; i < WATCH_TABLES; i++)
		json_number(&json, watch_table_name((enum watch_table)i),
			    data->drops[i]);
	json_close(&json, '}');
	json_close(&json, '}');
	fputc('\n', stdout);
}

static void print_level(const struct watch *w, const char *why)
{
	struct json json = { .to = stdout };

	json_open(&json, NULL, '{');
	json_string(&json, "level", levels[watch_level(w)]);
	json_string(&json, "why", why);
	json_close(&json, '}');
	fputc('\n', stdout);
}

int main(int argc, char **argv)
{
	pid_t writer[WRITERS_MAX];
	struct watch_target target = { .process = writer };
	char why[256], line[16];
	struct watch_data data;
	struct watch *w;
	int r = 0;

	if (argc < 2 || argc - 2 > WRITERS_MAX) {
		fputs("usage: kvwatch DAEMON-PID [WRITER-PID]...\n", stderr);
		return 2;
	}
	target.daemon = atoi(argv[1]);
	while (target.processes < (size_t)argc - 2) {
		writer[target.processes] = atoi(argv[target.processes + 2]);
		target.processes++;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (watch_new(&w, &target, why, sizeof(why)))
		return 1;
	print_level(w, why);
	while (!r && fgets(line, sizeof(line), stdin)) {
		r = watch_read(w, &data);
		if (!r)
			print_data(w, &data);
		watch_data_free(&data);
	}
	watch_free(w);
	return r ? 1 : 0;
}
