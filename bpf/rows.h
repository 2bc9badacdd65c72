/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tables: what their rows are made of, and one list of columns for each,
 * from which screen, --sort, --filter, help and man page come. Pure.
 */
#ifndef TREEKV_ROWS_H
#define TREEKV_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/canvas.h"
#include "bpf/filter.h"
#include "bpf/rates.h"
#include "bpf/sample.h"
#include "proto/shm.h"

enum table_kind {
	TABLE_OF_CACHES,
	TABLE_OF_CLIENTS,
	TABLE_OF_WORKERS,
	TABLE_OF_LATENCY,
	TABLES,
};

/* What all rows begin with. */
struct row {
	uint64_t key; /* the same thing's in the next sample */
};

struct cache_row {
	struct row row;
	const Treekv__CacheInfo *info;
	char name[SHM_NAME_FULL + 1]; /* @GID/NAME of a group's, else NAME */
	const struct cache_rates *rates;
	const char *owner;
	const char *command; /* "" */
	double p50; /* of its compactions, ns */
	double p99;
	double age; /* ns since it was used last, NAN: never */
};

struct client_row {
	struct row row;
	const Treekv__Client *client;
	const struct client_rates *rates;
	const char *owner;
	const char *command;
	const char *cache; /* one that it writes, or "" */
	double stalls; /* of those */
	double steps; /* that eBPF has seen, NAN: not */
	double age; /* ns, of its oldest connection */
};

struct worker_row {
	struct row row;
	const Treekv__Worker *worker;
	const struct worker_rates *rates;
	double p99; /* of its run-queue delay, ns */
};

struct latency_row {
	struct row row;
	const Treekv__SampleHistogram *histogram;
};

/**
 * struct column - one column of a table
 * @width: cells that it needs
 * @wide: cells that it may take where there is room
 * @leaves: the column with the highest leaves first where there is none; 0
 *	stays
 * @number: what it is sorted and compared by; NULL: its text
 * @style: of one cell; NULL: plain
 */
struct column {
	const char *key;
	const char *title;
	int width;
	int wide;
	int leaves;
	bool right;
	void (*text)(char *to, size_t size, const void *row);
	double (*number)(const void *row);
	enum style (*style)(const void *row);
	const char *help;
};

struct columns {
	const char *name; /* "caches" */
	const struct column *column;
	size_t n;
	const char *sort; /* by which it is at first */
	bool descending;
};

#define COLUMNS_MAX 24
#define CELL_SIZE   256

extern const struct columns tables[TABLES];

/* The column with that key, or n. */
size_t columns_find(const struct columns *columns, const char *key);

/* A table's rows, and which of them are shown in what order. */
struct rows {
	const struct columns *columns;
	char *items;
	size_t size; /* of an item */
	size_t n;
	size_t *order;
	size_t shown;
};

/*
 * The rows of a sample, which they point into, as they do into @rates. Return:
 * 0 or -ENOMEM.
 */
int rows_init(struct rows *rows, enum table_kind kind,
	      const Treekv__Sample *sample, const struct rates *rates);
void rows_exit(struct rows *rows);

/* Filters and sorts; equal rows stay as the daemon has them. */
void rows_arrange(struct rows *rows, const struct filter *filter, size_t sort,
		  bool descending);

/* The i-th of those that are shown. */
const struct row *rows_at(const struct rows *rows, size_t i);

/* Where the row with that key is shown, or rows->shown. */
size_t rows_find(const struct rows *rows, uint64_t key);

#endif /* TREEKV_ROWS_H */
