// SPDX-License-Identifier: BSD-2-Clause
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bpf/format.h"
#include "bpf/screen.h"
#include "client/map.h"
#include "client/show.h"

#define FACTS_MAX   16
#define FACT_SIZE   256
#define LABEL_WIDTH 12
#define TICK	    6 /* cells of a number on the scale */
#define STRIP_LABEL 8 /* "L 24-31 " */

struct fact {
	const char *label;
	enum style style;
	char text[FACT_SIZE];
};

struct facts {
	struct fact at[FACTS_MAX];
	size_t n;
};

__attribute__((format(printf, 4, 5))) static void fact(struct facts *facts,
						       const char *label,
						       enum style style,
						       const char *format, ...)
{
	struct fact *to = &facts->at[facts->n];
	va_list args;

	if (facts->n == FACTS_MAX)
		return;
	facts->n++;
	to->label = label;
	to->style = style;
	va_start(args, format);
	vsnprintf(to->text, sizeof(to->text), format, args);
	va_end(args);
}

/* ---- facts ---- */

static void add_state(struct facts *facts, const struct cache_row *row)
{
	const Treekv__CacheInfo *info = row->info;
	const char *fault = info->fault && info->fault[0] ? info->fault : NULL;

	fact(facts, "state", fault ? STYLE_BAD : STYLE_PLAIN, "%s%s%s",
	     info->state, fault ? ": " : "", fault ? fault : "");
	if (info->has_writer_pid)
		fact(facts, "writer", STYLE_PLAIN, "%u %s", info->writer_pid,
		     row->command);
	else
		fact(facts, "writer", STYLE_DIM, "none");
}

static void add_tokens(struct facts *facts, const struct cache_row *row)
{
	const Treekv__CacheInfo *info = row->info;
	char ratio[FORMAT_SIZE], evicted[FORMAT_SIZE];

	format_rate(ratio, sizeof(ratio),
		    info->held ? (double)info->tail / info->held : NAN);
	format_rate(evicted, sizeof(evicted), row->rates->evictions);
	fact(facts, "tokens", STYLE_STRONG, "%" PRIu64 " seen", info->tail);
	fact(facts, "held", STYLE_PLAIN, "%u of %u rows, one in %s", info->held,
	     info->capacity, ratio);
	fact(facts, "evicted", STYLE_PLAIN, "%" PRIu64 ", %s/s",
	     info->evictions, evicted);
}

static void add_times(struct facts *facts, const struct cache_row *row)
{
	const Treekv__CacheInfo *info = row->info;
	char p50[FORMAT_SIZE], p99[FORMAT_SIZE], all[FORMAT_SIZE];
	char part[FORMAT_SIZE];

	format_time(p50, sizeof(p50), row->p50);
	format_time(p99, sizeof(p99), row->p99);
	fact(facts, "compactions", STYLE_PLAIN, "%" PRIu64 ", p50 %s, p99 %s",
	     info->compactions, p50, p99);
	format_time(all, sizeof(all), (double)info->stall_ns);
	format_part(part, sizeof(part), row->rates->stalled);
	fact(facts, "stalls", row->rates->stalls > 0 ? STYLE_BAD : STYLE_PLAIN,
	     "%" PRIu64 ", %s in all, %s now", info->stalls, all, part);
}

static void add_memory(struct facts *facts, const struct cache_row *row)
{
	const Treekv__CacheInfo *info = row->info;
	char bytes[FORMAT_SIZE], used[FORMAT_SIZE];

	format_bytes(bytes, sizeof(bytes), (double)info->bytes);
	format_age(used, sizeof(used), row->age / 1e9);
	fact(facts, "memory", STYLE_PLAIN, "%s in %s pages", bytes,
	     info->huge ? "huge" : "small");
	fact(facts, "used", STYLE_PLAIN, "%s%s, by %s",
	     row->age > 0 ? used : "now", row->age > 0 ? " ago" : "",
	     row->owner);
}

static void add_snapshot(struct facts *facts, const struct cache_row *row,
			 const Treekv__Sample *now)
{
	const Treekv__CacheInfo *info = row->info;
	char age[FORMAT_SIZE];

	if (info->snapshot_fault && info->snapshot_fault[0]) {
		fact(facts, "snapshot", STYLE_BAD, "failed: %s",
		     info->snapshot_fault);
	} else if (info->has_snapshot_done) {
		fact(facts, "snapshot", STYLE_WARN, "%.0f %% written",
		     info->snapshot_total ?
			     100.0 * (double)info->snapshot_done /
				     (double)info->snapshot_total :
			     0.0);
	} else if (info->has_snapshot_time) {
		format_age(age, sizeof(age),
			   (double)now->time / 1e9 -
				   (double)info->snapshot_time);
		fact(facts, "snapshot", STYLE_PLAIN, "%s ago", age);
	} else {
		fact(facts, "snapshot", STYLE_DIM, "none");
	}
}

static void add_spec(struct facts *facts, const struct cache_row *row)
{
	const Treekv__Spec *spec = row->info->spec;

	fact(facts, "policy", STYLE_PLAIN, "%s, positions by %s",
	     show_policy(spec), show_positions(spec));
	fact(facts, "budget", STYLE_PLAIN,
	     "%u%s: sinks %u, recent %u, slack %u",
	     spec->n_budget ? spec->budget[0] : 0,
	     spec->n_budget > 1 ? "..." : "", spec->sinks, spec->recent,
	     spec->slack);
	fact(facts, "shape", STYLE_PLAIN, "%u layers x %u, %u+%u %s",
	     spec->layers, spec->kv_heads, spec->k_row, spec->v_row,
	     show_dtype(spec));
}

static void add_order(struct facts *facts, const Treekv__InspectReply *inspect)
{
	fact(facts, "order", STYLE_PLAIN,
	     "%" PRIu64 " (writer %" PRIu64 "), %" PRIu64 " free",
	     inspect->info->generation, inspect->seen, inspect->free);
}

static void draw_facts(struct canvas *canvas, struct area area,
		       const struct detail_layout *layout,
		       const struct facts *facts)
{
	int half = canvas->width / 2;

	for (size_t i = 0; i < facts->n; i++) {
		bool right = layout->two_columns && i % 2;
		int line = layout->two_columns ? (int)i / 2 : (int)i;
		int x = right ? half : 0;
		int width = layout->two_columns && !right ? half - 1 :
							    canvas->width - x;

		if (line >= layout->facts_height)
			break;
		canvas_put(canvas, area.at + line, x, LABEL_WIDTH, STYLE_DIM,
			   facts->at[i].label);
		canvas_put(canvas, area.at + line, x + LABEL_WIDTH,
			   width - LABEL_WIDTH, facts->at[i].style,
			   facts->at[i].text);
	}
}

/* ---- the map ---- */

static void draw_scale(struct canvas *canvas, int y, int x, int width,
		       const Treekv__KeptReply *kept)
{
	int ticks = width / (2 * TICK) < 4 ? width / (2 * TICK) : 4;
	size_t n = kept->n_edge - 1;
	char text[FORMAT_SIZE];

	for (int i = 0; i < ticks; i++) {
		int at = i * width / ticks;
		size_t edge = (size_t)at * n / (size_t)width;

		format_count(text, sizeof(text), (double)kept->edge[edge]);
		canvas_put(canvas, y, x + at, -1, STYLE_DIM, text);
	}
	format_count(text, sizeof(text), (double)kept->edge[n]);
	canvas_right(canvas, y, x + width - TICK, TICK, STYLE_DIM, text);
}

/* Marks where the heads of all groups have their scope. */
static void draw_scope(struct canvas *canvas, int y, int x, int width,
		       const Treekv__KeptReply *kept)
{
	size_t n = kept->n_edge - 1;

	canvas_put(canvas, y, 0, STRIP_LABEL, STYLE_DIM, "scope");
	for (size_t g = 0; g < kept->n_group; g++)
		for (size_t b = 0; b < kept->group[g]->n_scope; b++)
			if (kept->group[g]->scope[b])
				canvas_put(canvas, y,
					   x + (int)(b * (size_t)width / n), 1,
					   STYLE_WARN, "^");
}

static void draw_legend(struct canvas *canvas, int y, const struct view *view)
{
	const char *const *marks = canvas->utf8 ? map_blocks : map_ascii;
	int x = canvas_put(canvas, y, 0, -1, STYLE_STRONG, "Kept tokens");

	x = canvas_print(canvas, y, x, STYLE_DIM, ", oldest left; %s",
			 view->by_age ? "finer the newer" : "all tokens alike");
	x = canvas_put(canvas, y, x, -1, STYLE_DIM, "; ");
	x = canvas_put(canvas, y, x, 1, STYLE_GRAPH, marks[MAP_LEVELS - 1]);
	x = canvas_put(canvas, y, x, -1, STYLE_DIM, " all ");
	x = canvas_put(canvas, y, x, 1, STYLE_GRAPH, marks[MAP_LEVELS - 2]);
	x = canvas_put(canvas, y, x, -1, STYLE_DIM, " half ");
	x = canvas_put(canvas, y, x, 1, STYLE_GRAPH, marks[MAP_LEVELS - 3]);
	canvas_put(canvas, y, x, -1, STYLE_DIM, " a quarter ...");
}

static void draw_map(struct canvas *canvas, int y, const struct view *view,
		     const struct detail_layout *layout,
		     const Treekv__KeptReply *kept)
{
	int x = STRIP_LABEL, width = canvas->width - STRIP_LABEL;

	draw_legend(canvas, y++, view);
	for (int i = 0; i < layout->map_height && (size_t)i < kept->n_group;
	     i++) {
		const Treekv__KeptGroup *group = kept->group[i];

		if (group->layers > 1)
			canvas_print(canvas, y, 0, STYLE_DIM, "L %u-%u",
				     group->layer,
				     group->layer + group->layers - 1);
		else
			canvas_print(canvas, y, 0, STYLE_DIM, "L %u",
				     group->layer);
		screen_strip(canvas, y++, x, width, kept, (size_t)i);
	}
	draw_scope(canvas, y++, x, width, kept);
	draw_scale(canvas, y, x, width, kept);
}

static const Treekv__KeptReply *map_of(const Treekv__SampleDetail *detail,
				       const struct view *view)
{
	if (!detail || detail->cache != view->target.cache)
		return NULL;
	return view->by_age ? detail->by_age : detail->even;
}

/* ---- histograms ---- */

struct chart {
	const char *title;
	const char *source;
	const uint64_t *bucket;
	size_t buckets;
};

static void draw_bar(struct canvas *canvas, int bottom, int height, int x,
		     int width, double part)
{
	const char *const *marks = canvas->utf8 ? map_blocks : map_ascii;
	int eighths = (int)ceil(part * height * (MAP_LEVELS - 1));

	for (int i = 0; i < height && eighths > 0; i++) {
		int level = eighths < MAP_LEVELS - 1 ? eighths : MAP_LEVELS - 1;

		for (int c = 0; c < width; c++)
			canvas_put(canvas, bottom - i, x + c, 1, STYLE_GRAPH,
				   marks[level]);
		eighths -= MAP_LEVELS - 1;
	}
}

static void draw_bars(struct canvas *canvas, struct area area, int x, int width,
		      const struct chart *chart, size_t first, size_t last)
{
	int n = (int)(last - first + 1), each = width / n, label = 0;
	uint64_t most = 1;
	char text[FORMAT_SIZE];

	each = each > 7 ? 7 : each < 1 ? 1 : each;
	for (size_t i = first; i <= last; i++)
		most = chart->bucket[i] > most ? chart->bucket[i] : most;
	for (size_t i = first; i <= last; i++) {
		int at = x + (int)(i - first) * each;

		if (at >= x + width)
			break;
		draw_bar(canvas, area.at + area.height - 1, area.height, at,
			 each > 1 ? each - 1 : 1,
			 (double)chart->bucket[i] / (double)most);
		if (at < label)
			continue;
		format_time(text, sizeof(text), i ? ldexp(1, (int)i) : 0);
		label = canvas_put(canvas, area.at + area.height, at,
				   x + width - at, STYLE_DIM, text) +
			1;
	}
}

/* A title, the bars, and where they begin. */
static void draw_chart(struct canvas *canvas, struct area area, int x,
		       int width, const struct chart *chart)
{
	size_t first = 0, last = chart->buckets;
	uint64_t count = 0;
	char p50[FORMAT_SIZE], p99[FORMAT_SIZE];

	for (size_t i = 0; i < chart->buckets; i++)
		count += chart->bucket[i];
	format_time(p50, sizeof(p50),
		    sample_quantile(chart->bucket, chart->buckets, 0.5));
	format_time(p99, sizeof(p99),
		    sample_quantile(chart->bucket, chart->buckets, 0.99));
	canvas_fill(canvas, area.at, x, width, STYLE_TITLE, ' ');
	canvas_put(canvas, area.at, x, width, STYLE_TITLE, chart->title);
	if (!count) {
		canvas_put(canvas, area.at + 1, x, width, STYLE_DIM,
			   "not yet measured");
		return;
	}
	while (!chart->bucket[first])
		first++;
	while (!chart->bucket[last - 1])
		last--;
	canvas_print(canvas, area.at + 1, x, STYLE_DIM,
		     "%" PRIu64 ", p50 %s, p99 %s (%s)", count, p50, p99,
		     chart->source);
	draw_bars(canvas, (struct area){ area.at + 2, area.height - 3 }, x,
		  width, chart, first, last - 1);
}

static struct chart cache_chart(const struct cache_row *row,
				const Treekv__Sample *now)
{
	const Treekv__SampleWatchCache *watch =
		sample_watch_cache(now, row->info->cache);

	if (watch && watch->n_compaction)
		return (struct chart){ "Compactions of this cache", "ebpf",
				       watch->compaction, watch->n_compaction };
	return (struct chart){ "Compactions of this cache", "daemon",
			       row->info->compaction, row->info->n_compaction };
}

/* Of all caches: what most deserves a look. */
static struct chart common_chart(const Treekv__Sample *now)
{
	static const struct {
		const char *name;
		const char *title;
	} wanted[] = {
		{ "stall", "Stalls, all caches" },
		{ "publication", "Doorbell to publication, all caches" },
		{ "compaction", "Compactions, all caches" },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		const Treekv__SampleHistogram *h =
			sample_histogram(now, wanted[i].name);

		if (h && h->count)
			return (struct chart){ wanted[i].title, h->source,
					       h->bucket, h->n_bucket };
	}
	return (struct chart){ "Compactions, all caches", "daemon", NULL, 0 };
}

/* ---- the page ---- */

static const struct cache_row *find_row(const struct scene *scene,
					const struct view *view)
{
	const struct rows *rows = scene->rows;

	for (size_t i = 0; i < rows->n; i++) {
		const struct cache_row *row =
			(const void *)(rows->items + i * rows->size);

		if (row->row.key == view->target.key)
			return row;
	}
	return NULL;
}

static void add_facts(struct facts *facts, const struct scene *scene,
		      const struct view *view, const struct cache_row *row)
{
	const Treekv__SampleDetail *detail = scene->now->detail;

	add_state(facts, row);
	add_tokens(facts, row);
	add_times(facts, row);
	add_memory(facts, row);
	add_snapshot(facts, row, scene->now);
	add_spec(facts, row);
	if (detail && detail->inspect && detail->cache == view->target.cache)
		add_order(facts, detail->inspect);
}

static const char *why_no_map(const struct scene *scene,
			      const struct view *view,
			      const struct cache_row *row)
{
	const Treekv__SampleDetail *detail = scene->now->detail;

	if (!view->target.cache)
		return "It is on disk only.";
	if (detail && detail->cache == view->target.cache && detail->trouble)
		return detail->trouble;
	if (!row->info->tail)
		return "It is empty.";
	if (view->playing)
		return "This was not recorded: its page was not open.";
	return "Asking for the map of kept tokens ...";
}

static void draw_charts(struct canvas *canvas, int y, const struct scene *scene,
			const struct detail_layout *layout,
			const struct cache_row *row)
{
	struct area area = { y, layout->chart_height + 3 };
	int width = layout->charts == 2 ? canvas->width / 2 - 1 : canvas->width;
	struct chart chart = cache_chart(row, scene->now);

	if (!layout->charts)
		return;
	draw_chart(canvas, area, 0, width, &chart);
	if (layout->charts == 1)
		return;
	chart = common_chart(scene->now);
	draw_chart(canvas, area, width + 2, canvas->width - width - 2, &chart);
}

static void draw_curve(struct canvas *canvas, int y, const struct scene *scene,
		       const struct cache_row *row)
{
	char speed[FORMAT_SIZE];
	int x = LABEL_WIDTH;

	format_rate(speed, sizeof(speed), row->rates->tokens);
	canvas_put(canvas, y, 0, -1, STYLE_DIM, "tokens/s");
	x = canvas_put(canvas, y, x, -1, STYLE_STRONG, speed) + 1;
	screen_curve(canvas, y, x, canvas->width - x, scene->history,
		     HISTORY_CACHE);
}

void screen_detail(struct canvas *canvas, const struct scene *scene,
		   const struct view *view, struct area area)
{
	const struct cache_row *row = find_row(scene, view);
	struct detail_layout layout;
	struct facts facts = { 0 };
	const Treekv__KeptReply *kept;
	int y = area.at;

	if (!row) {
		canvas_print(canvas, y + 1, 1, STYLE_WARN, "cache %s is gone",
			     view->target.name);
		return;
	}
	kept = map_of(scene->now->detail, view);
	add_facts(&facts, scene, view, row);
	layout_detail(&layout, canvas->width, area.height, (int)facts.n,
		      kept ? (int)kept->n_group : 1);
	draw_facts(canvas, area, &layout, &facts);
	y += layout.facts_height;
	draw_curve(canvas, y, scene, row);
	if (kept)
		draw_map(canvas, y + 1, view, &layout, kept);
	else
		screen_wrap(canvas, y + 1, 0, canvas->width, 2, STYLE_DIM,
			    why_no_map(scene, view, row));
	draw_charts(canvas, y + layout.map_height + 4 + 1, scene, &layout, row);
}
