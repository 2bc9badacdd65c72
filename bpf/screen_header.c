// SPDX-License-Identifier: BSD-2-Clause
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bpf/format.h"
#include "bpf/screen.h"
#include "bpf/watch.h"

#define CURVE_LABEL 12 /* "evictions/s " */
#define CURVE_VALUE 7
#define SEEN_ROOM   20 /* without as much nothing is said */

/* "treekvd 0.1.0, process 12, up 3h" */
static void daemon_text(char *to, size_t size, const Treekv__Sample *now)
{
	char uptime[FORMAT_SIZE];

	if (!now || !now->daemon || now->trouble) {
		snprintf(to, size, "no answer from treekvd");
		return;
	}
	format_age(uptime, sizeof(uptime),
		   sample_metric(now, "uptime_seconds"));
	snprintf(to, size, "%s, process %u, up %s", now->daemon, now->pid,
		 uptime);
}

/* "12:03:05 every 1s", "record 3/60 2026-11-23 12:03:05 x4" */
static void clock_text(char *to, size_t size, const struct scene *scene,
		       const struct view *view)
{
	time_t seconds = scene->now ? (time_t)(scene->now->time / 1000000000) :
				      0;
	char when[32] = "";
	struct tm tm;

	if (seconds && localtime_r(&seconds, &tm))
		strftime(when, sizeof(when), view->playing ? "%F %T" : "%T",
			 &tm);
	if (view->playing && view->paused)
		snprintf(to, size, "paused %zu/%zu %s", scene->sample + 1,
			 scene->samples, when);
	else if (view->playing)
		snprintf(to, size, "record %zu/%zu %s x%g", scene->sample + 1,
			 scene->samples, when, scene->speed);
	else if (view->paused)
		snprintf(to, size, "paused %s", when);
	else
		snprintf(to, size, "%s every %gs", when, scene->interval);
}

static void draw_title(struct canvas *canvas, int y, const struct scene *scene,
		       const struct view *view)
{
	const Treekv__Sample *now = scene->now;
	enum style style = now && now->trouble ? STYLE_BAD : STYLE_STRONG;
	char text[160], when[96];
	int room;

	clock_text(when, sizeof(when), scene, view);
	daemon_text(text, sizeof(text), now);
	room = canvas->width - canvas_width_of(when) - 1;
	canvas_right(canvas, y, 0, canvas->width,
		     view->paused ? STYLE_WARN : STYLE_DIM, when);
	if (room > 8)
		canvas_put(canvas, y, 0, room, style, text);
}

/* "1.2G/4.0G" */
static void draw_pool(struct canvas *canvas, int y, int x, int width,
		      const Treekv__Sample *now)
{
	char used[FORMAT_SIZE], limit[FORMAT_SIZE], text[2 * FORMAT_SIZE + 2];
	double from = sample_metric(now, "pool_used_bytes");
	double of = sample_metric(now, "pool_limit_bytes");

	format_bytes(used, sizeof(used), from);
	format_bytes(limit, sizeof(limit), of);
	snprintf(text, sizeof(text), "%s/%s", used, limit);
	screen_meter(canvas, y, x, width, "Pool ", from, of, text);
}

static void draw_huge_pages(struct canvas *canvas, int y, int x, int width,
			    const Treekv__Sample *now)
{
	double total = sample_metric(now, "huge_pages");
	double used = total - sample_metric(now, "huge_pages_free");
	char text[2 * FORMAT_SIZE + 2];

	if (total > 0)
		snprintf(text, sizeof(text), "%.0f/%.0f pages", used, total);
	else
		snprintf(text, sizeof(text), "none reserved");
	screen_meter(canvas, y, x, width, "Huge ", used, total, text);
}

/* A figure that stands out unless it is 0 or unknown. */
static int draw_some(struct canvas *canvas, int y, int x, enum style style,
		     double value, const char *text)
{
	char figure[FORMAT_SIZE];

	if (!(value > 0))
		return x;
	format_count(figure, sizeof(figure), value);
	x = canvas_put(canvas, y, x, -1, STYLE_DIM, ", ");
	return canvas_print(canvas, y, x, style, "%s %s", figure, text);
}

static void draw_caches(struct canvas *canvas, int y, int x,
			const Treekv__Sample *now)
{
	char figure[FORMAT_SIZE];

	x = canvas_put(canvas, y, x, -1, STYLE_DIM, "Caches ");
	format_count(figure, sizeof(figure), sample_metric(now, "caches"));
	x = canvas_put(canvas, y, x, -1, STYLE_STRONG, figure);
	x = draw_some(canvas, y, x, STYLE_BAD,
		      sample_metric(now, "caches_quarantined"), "quarantined");
	x = draw_some(canvas, y, x, STYLE_PLAIN,
		      sample_metric(now, "caches_dropped"), "dropped");
	draw_some(canvas, y, x, STYLE_PLAIN,
		  sample_metric(now, "snapshots_on_disk"), "on disk");
}

static void draw_clients(struct canvas *canvas, int y, int x,
			 const struct scene *scene)
{
	char figure[FORMAT_SIZE];

	x = canvas_put(canvas, y, x, -1, STYLE_DIM, "Clients ");
	format_count(figure, sizeof(figure),
		     sample_metric(scene->now, "connections"));
	x = canvas_put(canvas, y, x, -1, STYLE_STRONG, figure);
	x = draw_some(canvas, y, x, STYLE_GOOD,
		      sample_metric(scene->now, "leases"), "writing");
	format_count(figure, sizeof(figure),
		     sample_metric(scene->now, "stalls_total"));
	x = canvas_put(canvas, y, x, -1, STYLE_DIM, ", stalls ");
	canvas_put(canvas, y, x, -1,
		   scene->rates->stalls > 0 ? STYLE_BAD : STYLE_STRONG, figure);
}

static void draw_curve(struct canvas *canvas, int y, int x, int width,
		       const struct scene *scene, const char *label,
		       enum history_of of,
		       void (*format)(char *to, size_t size, double value))
{
	char figure[FORMAT_SIZE];

	format(figure, sizeof(figure), history_at(scene->history, of, 0));
	canvas_put(canvas, y, x, CURVE_LABEL, STYLE_DIM, label);
	canvas_right(canvas, y, x + CURVE_LABEL, CURVE_VALUE - 1, STYLE_STRONG,
		     figure);
	screen_curve(canvas, y, x + CURVE_LABEL + CURVE_VALUE,
		     width - CURVE_LABEL - CURVE_VALUE, scene->history, of);
}

void screen_seen(char *to, size_t size, const Treekv__SampleWatch *watch)
{
	if (watch->drops)
		snprintf(to, size, "%s; %llu not counted: tables are full",
			 watch->text, (unsigned long long)watch->drops);
	else
		snprintf(to, size, "%s", watch->text);
}

/* The same where there is less room; the page of help has all of it. */
static void seen_in_short(char *to, size_t size,
			  const Treekv__SampleWatch *watch)
{
	static const char *const levels[] = {
		[WATCH_NONE] = "no eBPF: ? has why",
		[WATCH_TRACEPOINTS] = "eBPF in part: ? has why",
		[WATCH_FULL] = "eBPF",
	};

	if (watch->drops)
		snprintf(to, size, "eBPF: %llu not counted",
			 (unsigned long long)watch->drops);
	else
		snprintf(to, size, "%s",
			 watch->level <= WATCH_FULL ? levels[watch->level] :
						      watch->text);
}

static void draw_seen(struct canvas *canvas, int y, int x,
		      const Treekv__SampleWatch *watch)
{
	int room = canvas->width - x, n;
	char text[SEEN_SIZE];

	if (room <= SEEN_ROOM)
		return;
	screen_seen(text, sizeof(text), watch);
	if (canvas_width_of(text) > room)
		seen_in_short(text, sizeof(text), watch);
	n = canvas_width_of(text);
	canvas_put(canvas, y, n < room ? canvas->width - n : x, room,
		   watch->drops ? STYLE_WARN : STYLE_DIM, text);
}

/* Tables by number, the filter, and who sees all this. */
static void draw_tabs(struct canvas *canvas, int y, const struct scene *scene,
		      const struct view *view)
{
	const Treekv__SampleWatch *watch = scene->now->watch;
	const char *filter = view->tables[view->table].filter_text;
	int x = 0;

	if (view->page == PAGE_DETAIL)
		x = canvas_print(canvas, y, x, STYLE_SORTED, " %s ",
				 view->target.name);
	for (size_t i = 0; i < TABLES && view->page == PAGE_TABLE; i++) {
		x = canvas_print(canvas, y, x,
				 i == view->table ? STYLE_SORTED : STYLE_DIM,
				 " %zu %s ", i + 1, tables[i].name);
	}
	if (view->page == PAGE_TABLE && *filter)
		x = canvas_print(canvas, y, x + 1, STYLE_WARN, "filter: %s",
				 filter);
	if (watch)
		draw_seen(canvas, y, x, watch);
}

static void draw_full(struct canvas *canvas, const struct scene *scene)
{
	const Treekv__Sample *now = scene->now;
	bool wide = canvas->width >= 80;
	int half = wide ? canvas->width / 2 - 1 : canvas->width;
	int x = wide ? half + 2 : 0, width = canvas->width - x;
	int y = wide ? 1 : 5;

	draw_pool(canvas, 1, 0, half, now);
	draw_huge_pages(canvas, 2, 0, half, now);
	draw_caches(canvas, 3, 0, now);
	draw_clients(canvas, 4, 0, scene);
	/* Whatever of the left half is too long ends here. */
	for (int i = y; wide && i < y + 4; i++)
		canvas_fill(canvas, i, x - 1, width + 1, STYLE_PLAIN, ' ');
	draw_curve(canvas, y++, x, width, scene, "tokens/s", HISTORY_TOKENS,
		   format_rate);
	draw_curve(canvas, y++, x, width, scene, "evictions/s",
		   HISTORY_EVICTIONS, format_rate);
	draw_curve(canvas, y++, x, width, scene, "stalls/s", HISTORY_STALLS,
		   format_rate);
	if (wide)
		draw_curve(canvas, y, x, width, scene, "worker load",
			   HISTORY_LOAD, format_part);
}

static int draw_figure(struct canvas *canvas, int y, int x, const char *label,
		       const char *figure)
{
	if (x)
		x = canvas_put(canvas, y, x, -1, STYLE_DIM, "  ");
	x = canvas_put(canvas, y, x, -1, STYLE_DIM, label);
	return canvas_put(canvas, y, x, -1, STYLE_STRONG, figure);
}

/* As many figures as there is room for, the first ones first. */
static void draw_figures(struct canvas *canvas, int y, int height,
			 const struct scene *scene)
{
	const Treekv__Sample *now = scene->now;
	const struct {
		const char *label;
		void (*format)(char *to, size_t size, double value);
		double value;
	} figures[] = {
		{ "tok/s ", format_rate, scene->rates->tokens },
		{ "pool ", format_part,
		  sample_metric(now, "pool_used_bytes") /
			  sample_metric(now, "pool_limit_bytes") },
		{ "caches ", format_count, sample_metric(now, "caches") },
		{ "stalls ", format_count, sample_metric(now, "stalls_total") },
		{ "writing ", format_count, sample_metric(now, "leases") },
		{ "evi/s ", format_rate, scene->rates->evictions },
		{ "load ", format_part, scene->rates->load },
	};
	char text[FORMAT_SIZE];
	int x = 0;

	for (size_t i = 0; i < sizeof(figures) / sizeof(*figures); i++) {
		int n;

		figures[i].format(text, sizeof(text), figures[i].value);
		n = (int)(strlen(figures[i].label) + strlen(text)) +
		    (x ? 2 : 0);
		if (x + n > canvas->width) {
			if (--height == 0)
				return;
			y++;
			x = 0;
		}
		x = draw_figure(canvas, y, x, figures[i].label, text);
	}
}

void screen_header(struct canvas *canvas, const struct scene *scene,
		   const struct view *view, const struct page_layout *layout)
{
	int y = layout->header_at, height = layout->header_height;

	if (layout->header == HEADER_LINE && scene->now && scene->now->stats) {
		draw_figures(canvas, y, height, scene);
		return;
	}
	draw_title(canvas, y, scene, view);
	if (!scene->now || !scene->now->stats)
		return;
	switch (layout->header) {
	case HEADER_FULL:
		draw_full(canvas, scene);
		draw_tabs(canvas, y + height - 1, scene, view);
		break;
	case HEADER_LINES:
		draw_figures(canvas, y + 1, height - 1, scene);
		break;
	case HEADER_LINE:
		break;
	}
}
