// SPDX-License-Identifier: BSD-2-Clause
/* A table is a grid of strings; a column is as wide as its widest cell. */
#include <grp.h>
#include <inttypes.h>
#include <langinfo.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/map.h"
#include "client/show.h"
#include "proto/histogram.h"

#define CELL_SIZE   160
#define COLUMNS_MAX 14
#define WALK_MAX    8 /* heads whose walk is listed one by one */

typedef char cell[CELL_SIZE];

struct table {
	const char *const *titles; /* a leading '>' sets it to the right */
	size_t columns;
	size_t rows;
	cell *cells;
};

static const char *const dtypes[] = {
	[TREEKV_F32] = "f32",
	[TREEKV_F16] = "f16",
	[TREEKV_BF16] = "bf16",
};

static const char *const positions[] = {
	[TREEKV_POSITIONS_RANK] = "rank",
	[TREEKV_POSITIONS_ORIGINAL] = "original",
};

#define NAME_OF(table, i) name_of(table, sizeof(table) / sizeof(*(table)), i)

static const char *name_of(const char *const *names, size_t n, unsigned int i)
{
	return i < n && names[i] ? names[i] : "unknown";
}

const char *show_policy(const Treekv__Spec *spec)
{
	const char *name = treekv_policy_name((enum treekv_policy)spec->policy);

	return name ? name : "unknown";
}

const char *show_dtype(const Treekv__Spec *spec)
{
	return NAME_OF(dtypes, spec->dtype);
}

const char *show_positions(const Treekv__Spec *spec)
{
	return NAME_OF(positions, spec->positions);
}

void show_owner(char *to, size_t size, uint32_t uid)
{
	const struct passwd *user = getpwuid(uid);

	if (user)
		snprintf(to, size, "%s", user->pw_name);
	else
		snprintf(to, size, "%u", uid);
}

void show_group(char *to, size_t size, uint32_t gid)
{
	const struct group *group = getgrgid(gid);

	if (group)
		snprintf(to, size, "%s", group->gr_name);
	else
		snprintf(to, size, "%u", gid);
}

void show_name(char *to, size_t size, const Treekv__CacheInfo *info)
{
	char of[256];

	if (!info->shared && info->uid == geteuid()) {
		snprintf(to, size, "%s", info->name);
		return;
	}
	if (info->shared)
		show_group(of, sizeof(of), info->gid);
	else
		show_owner(of, sizeof(of), info->uid);
	snprintf(to, size, "%c%s/%s", info->shared ? '@' : '~', of, info->name);
}

void show_mode(char to[10], uint32_t mode)
{
	for (int i = 0; i < 9; i++)
		to[i] = mode >> (8 - i) & 1 ? "rwx"[i % 3] : '-';
	to[9] = '\0';
}

void show_size(char *to, size_t size, uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB",
					     "PiB" };
	double value = (double)bytes / 1024;
	size_t i = 0;

	if (bytes < 1024) {
		snprintf(to, size, "%" PRIu64 " B", bytes);
		return;
	}
	for (; value >= 1023.95 && i + 1 < sizeof(units) / sizeof(*units); i++)
		value /= 1024;
	snprintf(to, size, "%.1f %s", value, units[i]);
}

static void format_size(cell to, uint64_t bytes)
{
	show_size(to, CELL_SIZE, bytes);
}

static void format_duration(cell to, uint64_t seconds)
{
	if (seconds < 120)
		snprintf(to, CELL_SIZE, "%" PRIu64 " s", seconds);
	else if (seconds < 2 * 3600)
		snprintf(to, CELL_SIZE, "%" PRIu64 " min", seconds / 60);
	else if (seconds < 2 * 86400)
		snprintf(to, CELL_SIZE, "%" PRIu64 " h", seconds / 3600);
	else
		snprintf(to, CELL_SIZE, "%" PRIu64 " days", seconds / 86400);
}

static void format_ago(cell to, uint64_t then)
{
	uint64_t now = (uint64_t)time(NULL);
	cell age;

	if (then == 0 || then + 1 >= now) {
		strcpy(to, then ? "now" : "never");
		return;
	}
	format_duration(age, now - then);
	snprintf(to, CELL_SIZE, "%.32s ago", age);
}

/* "512", or "256-512" where layers differ. */
static void format_budget(cell to, const Treekv__Spec *spec)
{
	uint32_t low = UINT32_MAX, high = 0;

	for (size_t i = 0; i < spec->n_budget; i++) {
		low = spec->budget[i] < low ? spec->budget[i] : low;
		high = spec->budget[i] > high ? spec->budget[i] : high;
	}
	if (low >= high)
		snprintf(to, CELL_SIZE, "%u", high);
	else
		snprintf(to, CELL_SIZE, "%u-%u", low, high);
}

/* A row of empty cells, NULL when there is no memory for it. */
static cell *table_row(struct table *table)
{
	size_t n = (table->rows + 1) * table->columns;
	cell *cells = realloc(table->cells, n * sizeof(*cells));

	if (!cells)
		return NULL;
	table->cells = cells;
	cells += table->rows++ * table->columns;
	memset(cells, 0, table->columns * sizeof(*cells));
	return cells;
}

static void table_line(const struct table *table, const char *const *texts,
		       const size_t *widths)
{
	for (size_t c = 0; c < table->columns; c++) {
		bool right = table->titles[c][0] == '>';
		bool last = c + 1 == table->columns;
		int width = (int)widths[c];

		if (right)
			printf("%*s", width, texts[c]);
		else if (last)
			printf("%s", texts[c]);
		else
			printf("%-*s", width, texts[c]);
		fputs(last ? "\n" : "  ", stdout);
	}
}

/* Prints and frees it. */
static void table_print(struct table *table)
{
	const char *texts[COLUMNS_MAX];
	size_t widths[COLUMNS_MAX];

	for (size_t c = 0; c < table->columns; c++) {
		texts[c] = table->titles[c] + (table->titles[c][0] == '>');
		widths[c] = strlen(texts[c]);
		for (size_t r = 0; r < table->rows; r++) {
			size_t n = strlen(table->cells[r * table->columns + c]);

			widths[c] = n > widths[c] ? n : widths[c];
		}
	}
	table_line(table, texts, widths);
	for (size_t r = 0; r < table->rows; r++) {
		for (size_t c = 0; c < table->columns; c++)
			texts[c] = table->cells[r * table->columns + c];
		table_line(table, texts, widths);
	}
	free(table->cells);
}

static void format_writer(cell to, const Treekv__CacheInfo *info)
{
	if (info->has_writer_pid)
		snprintf(to, CELL_SIZE, "%u", info->writer_pid);
	else
		strcpy(to, "-");
}

static void format_saved(cell to, const Treekv__CacheInfo *info)
{
	if (info->has_snapshot_done)
		snprintf(to, CELL_SIZE, "%.0f %%",
			 info->snapshot_total ?
				 100.0 * (double)info->snapshot_done /
					 (double)info->snapshot_total :
				 0.0);
	else if (info->snapshot_fault && info->snapshot_fault[0])
		strcpy(to, "failed");
	else
		format_ago(to,
			   info->has_snapshot_time ? info->snapshot_time : 0);
}

void show_list(const Treekv__ListReply *list)
{
	static const char *const titles[] = {
		"NAME",	   "OWNER",   "GROUP", "MODE",	"STATE",
		"POLICY",  ">BUDGET", ">TAIL", ">HELD", ">SIZE",
		">WRITER", ">STALLS", "USED",  "SAVED",
	};
	struct table table = { .titles = titles, .columns = 14 };

	if (list->n_cache == 0)
		puts("no caches");
	for (size_t i = 0; i < list->n_cache; i++) {
		const Treekv__CacheInfo *info = list->cache[i];
		cell *row = table_row(&table);

		if (!row)
			break;
		show_name(row[0], CELL_SIZE, info);
		show_owner(row[1], CELL_SIZE, info->uid);
		show_group(row[2], CELL_SIZE, info->gid);
		show_mode(row[3], info->mode);
		snprintf(row[4], CELL_SIZE, "%s", info->state);
		snprintf(row[5], CELL_SIZE, "%s", show_policy(info->spec));
		format_budget(row[6], info->spec);
		snprintf(row[7], CELL_SIZE, "%" PRIu64, info->tail);
		snprintf(row[8], CELL_SIZE, "%u", info->held);
		format_size(row[9], info->bytes);
		format_writer(row[10], info);
		snprintf(row[11], CELL_SIZE, "%" PRIu64, info->stalls);
		format_ago(row[12], info->last_used);
		format_saved(row[13], info);
	}
	if (table.rows)
		table_print(&table);
}

__attribute__((format(printf, 2, 3))) static void fact(const char *name,
						       const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("%-13s", name);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
}

/* "3 min ago", "45 %" of one under way, and what became of the last try. */
static void show_snapshot(const Treekv__CacheInfo *info)
{
	cell taken;

	if (info->has_snapshot_total && info->snapshot_total)
		fact("snapshot", "%.0f %% done",
		     100.0 * (double)info->snapshot_done /
			     (double)info->snapshot_total);
	else if (info->has_snapshot_done)
		fact("snapshot", "about to begin");
	if (info->has_snapshot_time) {
		format_ago(taken, info->snapshot_time);
		fact("snapshot", "taken %s", taken);
	}
	if (info->snapshot_fault && info->snapshot_fault[0])
		fact("snapshot", "failed: %s", info->snapshot_fault);
}

static void show_identity(const Treekv__CacheInfo *info)
{
	cell name, owner, group, used, made, age;
	char mode[10];

	show_name(name, sizeof(name), info);
	show_owner(owner, sizeof(owner), info->uid);
	show_group(group, sizeof(group), info->gid);
	show_mode(mode, info->mode);
	format_ago(used, info->last_used);
	format_ago(made, info->created);
	fact("cache", "%s (id %" PRIu64 ")", name, info->cache);
	fact("owner", "%s, group %s, mode %s", owner, group, mode);
	if (info->has_writer_pid)
		fact("state", "%s, by process %u", info->state,
		     info->writer_pid);
	else
		fact("state", "%s", info->state);
	if (info->fault && info->fault[0])
		fact("fault", "%s", info->fault);
	if (info->parent && info->parent[0])
		fact("parent", "%s", info->parent);
	if (info->children)
		fact("children", "%u", info->children);
	if (info->pinned)
		fact("pinned", "it stays in memory");
	if (info->has_ttl) {
		format_duration(age, info->ttl);
		fact("ttl", "leaves memory when idle for %s", age);
	}
	fact("created", "%s", made);
	fact("last used", "%s", used);
	show_snapshot(info);
}

static void show_spec(const Treekv__Spec *spec)
{
	cell budget;

	format_budget(budget, spec);
	printf("%-13s", "model");
	for (size_t i = 0; i < spec->model.len && i < TREEKV_MODEL_SIZE; i++)
		printf("%02x", spec->model.data[i]);
	putchar('\n');
	fact("shape", "%u layers x %u kv heads, rows of %u + %u bytes, %s",
	     spec->layers, spec->kv_heads, spec->k_row, spec->v_row,
	     show_dtype(spec));
	fact("policy", "%s, positions by %s", show_policy(spec),
	     show_positions(spec));
	fact("budget", "%s, of which %u sinks and %u recent; slack %u", budget,
	     spec->sinks, spec->recent, spec->slack);
}

static void show_state(const Treekv__InspectReply *inspect)
{
	const Treekv__CacheInfo *info = inspect->info;
	cell size;

	format_size(size, info->bytes);
	fact("memory", "%s in %s pages", size, info->huge ? "huge" : "small");
	fact("tokens",
	     "%" PRIu64 " committed, %u of %u rows held, head %" PRIu64,
	     info->tail, info->held, info->capacity, inspect->head);
	fact("order",
	     "generation %" PRIu64 " (the writer uses %" PRIu64
	     "), from token %" PRIu64 ", %" PRIu64 " free, epoch %" PRIu64,
	     info->generation, inspect->seen, inspect->base_tail, inspect->free,
	     inspect->epoch);
	fact("compactions", "%" PRIu64 ", %" PRIu64 " tokens evicted",
	     info->compactions, info->evictions);
	fact("stalls", "%" PRIu64 ", %.3f ms in all", info->stalls,
	     (double)info->stall_ns / 1e6);
}

/* "3 5 5 4"; of many heads only the least and the greatest. */
static void format_walk(cell to, const Treekv__Level *level)
{
	uint32_t low = UINT32_MAX, high = 0;
	size_t used = 0;

	for (size_t i = 0; i < level->n_walk; i++) {
		uint32_t at = level->walk[i];

		low = at < low ? at : low;
		high = at > high ? at : high;
		if (level->n_walk <= WALK_MAX)
			used += (size_t)snprintf(to + used, CELL_SIZE - used,
						 "%s%u", i ? " " : "", at);
	}
	if (level->n_walk > WALK_MAX)
		snprintf(to, CELL_SIZE, "%u to %u", low, high);
}

/* Which layers a strip is of: "0", "0-3". */
static void format_layers(cell to, const Treekv__KeptGroup *group)
{
	if (group->layers > 1)
		snprintf(to, CELL_SIZE, "%u-%u", group->layer,
			 group->layer + group->layers - 1);
	else
		snprintf(to, CELL_SIZE, "%u", group->layer);
}

static void show_kept(const Treekv__KeptReply *kept)
{
	bool utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	const char *const *marks = utf8 ? map_blocks : map_ascii;

	if (map_check(kept))
		return;
	printf("\nkept tokens, from the first to the newest: %s all, %s half, "
	       "%s a quarter, ...\n",
	       marks[MAP_LEVELS - 1], marks[MAP_LEVELS - 2],
	       marks[MAP_LEVELS - 3]);
	for (size_t g = 0; g < kept->n_group; g++) {
		cell layers;

		format_layers(layers, kept->group[g]);
		printf("layer %-7s|", layers);
		for (size_t i = 0; i + 1 < kept->n_edge; i++)
			fputs(marks[map_level(map_density(kept, g, i))],
			      stdout);
		puts("|");
	}
}

void show_inspect(const Treekv__InspectReply *inspect,
		  const Treekv__KeptReply *kept)
{
	static const char *const titles[] = { ">LAYER", ">LIVE", ">BUDGET",
					      ">CAPACITY", "WALK" };
	struct table table = { .titles = titles, .columns = 5 };

	show_identity(inspect->info);
	show_spec(inspect->info->spec);
	show_state(inspect);
	putchar('\n');
	for (size_t i = 0; i < inspect->n_level; i++) {
		const Treekv__Level *level = inspect->level[i];
		cell *row = table_row(&table);

		if (!row)
			break;
		snprintf(row[0], CELL_SIZE, "%zu", i);
		snprintf(row[1], CELL_SIZE, "%u", level->live);
		snprintf(row[2], CELL_SIZE, "%u", level->budget);
		snprintf(row[3], CELL_SIZE, "%u", level->capacity);
		format_walk(row[4], level);
	}
	table_print(&table);
	if (kept)
		show_kept(kept);
}

static void format_metric(cell to, const Treekv__Metric *metric)
{
	if (!strcmp(metric->unit, "bytes"))
		format_size(to, metric->value);
	else if (!strcmp(metric->unit, "seconds"))
		format_duration(to, metric->value);
	else if (!strcmp(metric->unit, "nanoseconds"))
		snprintf(to, CELL_SIZE, "%.3f ms", (double)metric->value / 1e6);
	else
		snprintf(to, CELL_SIZE, "%" PRIu64 "%s%.64s", metric->value,
			 metric->unit[0] ? " " : "", metric->unit);
}

/* "?" when the daemon has no such metric. */
static void find_metric(cell to, const Treekv__StatsReply *stats,
			const char *name)
{
	strcpy(to, "?");
	for (size_t i = 0; i < stats->n_metric; i++) {
		if (!strcmp(stats->metric[i]->name, name))
			format_metric(to, stats->metric[i]);
	}
}

static void show_summary(const struct treekv *kv,
			 const Treekv__StatsReply *stats)
{
	static const struct {
		const char *name;
		const char *metrics[2];
		const char *between;
		const char *after;
	} lines[] = {
		{ "uptime", { "uptime_seconds" }, "", "" },
		{ "pool",
		  { "pool_used_bytes", "pool_limit_bytes" },
		  " of ",
		  " used" },
		{ "huge pages",
		  { "huge_pages_free", "huge_pages" },
		  " of ",
		  " free" },
		{ "caches",
		  { "caches", "caches_quarantined" },
		  ", ",
		  " of them quarantined" },
		{ "clients",
		  { "connections", "leases" },
		  " connected, ",
		  " writing" },
	};

	fact("daemon", "%s, process %d", kv->daemon, (int)kv->daemon_pid);
	fact("socket", "%s", kv->address.sun_path);
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		cell first, second = "";

		find_metric(first, stats, lines[i].metrics[0]);
		if (lines[i].metrics[1])
			find_metric(second, stats, lines[i].metrics[1]);
		fact(lines[i].name, "%s%s%s%s", first, lines[i].between, second,
		     lines[i].after);
	}
}

static void format_ns(cell to, double ns)
{
	static const char *const units[] = { "ns", "us", "ms", "s" };
	size_t i = 0;

	for (; ns >= 999.95 && i + 1 < sizeof(units) / sizeof(*units); i++)
		ns /= 1000;
	snprintf(to, CELL_SIZE, "%.*f %s", i ? 1 : 0, ns, units[i]);
}

/* Those that have something to show. */
static void show_histograms(const Treekv__StatsReply *stats)
{
	static const char *const titles[] = { "TIME", ">COUNT", ">MEAN",
					      ">P50", ">P99",	"WHAT" };
	struct table table = { .titles = titles, .columns = 6 };

	for (size_t i = 0; i < stats->n_histogram; i++) {
		const Treekv__Histogram *h = stats->histogram[i];
		const uint64_t *bucket = h->bucket;
		cell *row = h->count ? table_row(&table) : NULL;

		if (!row)
			continue;
		snprintf(row[0], CELL_SIZE, "%s", h->name);
		snprintf(row[1], CELL_SIZE, "%" PRIu64, h->count);
		format_ns(row[2], (double)h->sum / (double)h->count);
		format_ns(row[3], histogram_quantile(bucket, h->n_bucket, 0.5));
		format_ns(row[4],
			  histogram_quantile(bucket, h->n_bucket, 0.99));
		snprintf(row[5], CELL_SIZE, "%s", h->help);
	}
	if (!table.rows)
		return;
	putchar('\n');
	table_print(&table);
}

/* The daemon's own table of metrics says what there is. */
void show_status(const struct treekv *kv, const Treekv__StatsReply *stats)
{
	static const char *const titles[] = { "METRIC", ">VALUE", "WHAT" };
	struct table table = { .titles = titles, .columns = 3 };

	show_summary(kv, stats);
	if (stats->snapshot_fault && stats->snapshot_fault[0])
		fact("snapshots", "the latest failure: %s",
		     stats->snapshot_fault);
	putchar('\n');
	for (size_t i = 0; i < stats->n_metric; i++) {
		const Treekv__Metric *metric = stats->metric[i];
		cell *row = table_row(&table);

		if (!row)
			break;
		snprintf(row[0], CELL_SIZE, "%s", metric->name);
		format_metric(row[1], metric);
		snprintf(row[2], CELL_SIZE, "%s", metric->help);
	}
	table_print(&table);
	show_histograms(stats);
}
