// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/rows.h"

static const char *command_of(const Treekv__Sample *sample, uint32_t pid)
{
	const char *command = sample_command(sample, pid);

	return command ? command : "";
}

static const char *owner_of(const Treekv__Sample *sample, uint32_t uid)
{
	const char *owner = sample_owner(sample, uid);

	return owner ? owner : "?";
}

/* Seconds since 1970, as an age in ns. */
static double age_of(const Treekv__Sample *sample, uint64_t then)
{
	double age = (double)sample->time - (double)then * 1e9;

	if (!then)
		return NAN;
	return age > 0 ? age : 0;
}

/* Of one that is on disk only, which has no number: whose name it has. */
static uint64_t name_key(const Treekv__CacheInfo *info)
{
	uint64_t space = info->shared ? UINT64_C(1) << 32 | info->gid :
					info->uid;
	uint64_t key = UINT64_C(14695981039346656037) ^ space;

	for (const char *s = info->name; *s; s++)
		key = (key ^ (unsigned char)*s) * UINT64_C(1099511628211);
	return key | UINT64_C(1) << 63;
}

static void cache_init(struct cache_row *row, const Treekv__Sample *sample,
		       const struct rates *rates, size_t i)
{
	const Treekv__CacheInfo *info = sample->list->cache[i];
	const Treekv__SampleWatchCache *watch =
		sample_watch_cache(sample, info->cache);
	const uint64_t *bucket = info->compaction;
	size_t n = info->n_compaction;

	if (watch && watch->n_compaction) {
		bucket = watch->compaction;
		n = watch->n_compaction;
	}
	*row = (struct cache_row){
		.row.key = info->cache ? info->cache : name_key(info),
		.info = info,
		.rates = &rates->cache[i],
		.owner = owner_of(sample, info->uid),
		.command = "",
		.p50 = sample_quantile(bucket, n, 0.5),
		.p99 = sample_quantile(bucket, n, 0.99),
		.age = age_of(sample, info->last_used),
	};
	if (info->shared)
		snprintf(row->name, sizeof(row->name), "@%u/%s", info->gid,
			 info->name);
	else
		snprintf(row->name, sizeof(row->name), "%s", info->name);
	if (info->has_writer_pid)
		row->command = command_of(sample, info->writer_pid);
	if (row->rates->tokens > 0)
		row->age = 0; /* the daemon notes the end of a lease */
}

static void client_init(struct client_row *row, const Treekv__Sample *sample,
			const struct rates *rates, size_t i)
{
	const Treekv__Client *client = sample->clients->client[i];
	const Treekv__SampleWatchProcess *seen =
		sample_watch_process(sample, client->pid);

	*row = (struct client_row){
		.row.key = client->pid,
		.client = client,
		.rates = &rates->client[i],
		.owner = owner_of(sample, client->uid),
		.command = command_of(sample, client->pid),
		.cache = "",
		.steps = seen ? (double)seen->steps : NAN,
		.age = client->has_since ? age_of(sample, client->since) : NAN,
	};
}

/* What the clients' caches have to say. */
static void add_caches(struct client_row *rows, const Treekv__Sample *sample)
{
	for (size_t i = 0; i < sample_caches(sample); i++) {
		const Treekv__CacheInfo *info = sample->list->cache[i];
		size_t at = sample_clients(sample);

		if (info->has_writer_pid)
			at = sample_client(sample, info->writer_pid);
		if (at == sample_clients(sample))
			continue;
		rows[at].cache = info->name;
		rows[at].stalls += (double)info->stalls;
	}
}

static void worker_init(struct worker_row *row, const Treekv__Sample *sample,
			const struct rates *rates, size_t i)
{
	const Treekv__Worker *worker = sample->workers->worker[i];
	const Treekv__SampleWatchWorker *watch =
		sample_watch_worker(sample, worker->thread);

	*row = (struct worker_row){
		.row.key = worker->thread,
		.worker = worker,
		.rates = &rates->worker[i],
		.p99 = NAN,
	};
	if (watch)
		row->p99 = sample_quantile(watch->delay, watch->n_delay, 0.99);
}

static int allocate(struct rows *rows, size_t n, size_t size)
{
	rows->n = n;
	rows->size = size;
	rows->items = calloc(n + 1, size);
	rows->order = calloc(n + 1, sizeof(*rows->order));
	if (rows->items && rows->order)
		return 0;
	rows_exit(rows);
	return -ENOMEM;
}

static int init_caches(struct rows *rows, const Treekv__Sample *sample,
		       const struct rates *rates)
{
	struct cache_row *row;

	if (allocate(rows, sample_caches(sample), sizeof(*row)))
		return -ENOMEM;
	row = (struct cache_row *)(void *)rows->items;
	for (size_t i = 0; i < rows->n; i++)
		cache_init(&row[i], sample, rates, i);
	return 0;
}

static int init_clients(struct rows *rows, const Treekv__Sample *sample,
			const struct rates *rates)
{
	struct client_row *row;

	if (allocate(rows, sample_clients(sample), sizeof(*row)))
		return -ENOMEM;
	row = (struct client_row *)(void *)rows->items;
	for (size_t i = 0; i < rows->n; i++)
		client_init(&row[i], sample, rates, i);
	add_caches(row, sample);
	return 0;
}

static int init_workers(struct rows *rows, const Treekv__Sample *sample,
			const struct rates *rates)
{
	struct worker_row *row;

	if (allocate(rows, sample_workers(sample), sizeof(*row)))
		return -ENOMEM;
	row = (struct worker_row *)(void *)rows->items;
	for (size_t i = 0; i < rows->n; i++)
		worker_init(&row[i], sample, rates, i);
	return 0;
}

static int init_latency(struct rows *rows, const Treekv__Sample *sample)
{
	struct latency_row *row;

	if (allocate(rows, sample->n_histogram, sizeof(*row)))
		return -ENOMEM;
	row = (struct latency_row *)(void *)rows->items;
	for (size_t i = 0; i < rows->n; i++) {
		row[i].row.key = i;
		row[i].histogram = sample->histogram[i];
	}
	return 0;
}

int rows_init(struct rows *rows, enum table_kind kind,
	      const Treekv__Sample *sample, const struct rates *rates)
{
	*rows = (struct rows){ .columns = &tables[kind] };
	switch (kind) {
	case TABLE_OF_CACHES:
		return init_caches(rows, sample, rates);
	case TABLE_OF_CLIENTS:
		return init_clients(rows, sample, rates);
	case TABLE_OF_WORKERS:
		return init_workers(rows, sample, rates);
	case TABLE_OF_LATENCY:
		return init_latency(rows, sample);
	case TABLES:
		break;
	}
	return -EINVAL;
}

void rows_exit(struct rows *rows)
{
	free(rows->items);
	free(rows->order);
	rows->items = NULL;
	rows->order = NULL;
	rows->n = rows->shown = 0;
}

/* ---- order ---- */

struct sorting {
	const struct rows *rows;
	const struct column *column;
	bool descending;
};

static const void *item(const struct rows *rows, size_t i)
{
	return rows->items + i * rows->size;
}

/* What is not known comes last, whichever way it goes. */
static int compare_numbers(double a, double b, bool descending)
{
	if (isnan(a) || isnan(b))
		return !!isnan(a) - !!isnan(b);
	return descending ? (a < b) - (a > b) : (a > b) - (a < b);
}

static int compare(const void *a, const void *b, void *data)
{
	const struct sorting *sorting = data;
	const struct column *column = sorting->column;
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	char left[CELL_SIZE], right[CELL_SIZE];
	int r;

	if (column->number) {
		r = compare_numbers(column->number(item(sorting->rows, x)),
				    column->number(item(sorting->rows, y)),
				    sorting->descending);
	} else {
		column->text(left, sizeof(left), item(sorting->rows, x));
		column->text(right, sizeof(right), item(sorting->rows, y));
		r = strcmp(left, right);
		r = sorting->descending ? -r : r;
	}
	return r ? r : (x > y) - (x < y);
}

void rows_arrange(struct rows *rows, const struct filter *filter, size_t sort,
		  bool descending)
{
	struct sorting sorting = { rows, &rows->columns->column[sort],
				   descending };

	rows->shown = 0;
	for (size_t i = 0; i < rows->n; i++)
		if (filter_match(filter, rows->columns, item(rows, i)))
			rows->order[rows->shown++] = i;
	qsort_r(rows->order, rows->shown, sizeof(*rows->order), compare,
		&sorting);
}

const struct row *rows_at(const struct rows *rows, size_t i)
{
	return item(rows, rows->order[i]);
}

size_t rows_find(const struct rows *rows, uint64_t key)
{
	for (size_t i = 0; i < rows->shown; i++)
		if (rows_at(rows, i)->key == key)
			return i;
	return rows->shown;
}
