// SPDX-License-Identifier: BSD-2-Clause
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bpf/format.h"
#include "bpf/screen.h"
#include "client/map.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))

/* ---- what several parts draw ---- */

static const char *mark_of(const struct canvas *canvas, unsigned int level)
{
	return canvas->utf8 ? map_blocks[level] : map_ascii[level];
}

void screen_curve(struct canvas *canvas, int y, int x, int width,
		  const struct history *history, enum history_of of)
{
	double most = history_most(history, of, (size_t)width);

	for (int i = 0; i < width; i++) {
		double value = history_at(history, of, (size_t)i);
		unsigned int level = 0;

		if (value > 0 && most > 0)
			level = 1 +
				(unsigned int)(value / most * (MAP_LEVELS - 2));
		canvas_put(canvas, y, x + width - 1 - i, 1, STYLE_GRAPH,
			   mark_of(canvas, level));
	}
}

void screen_meter(struct canvas *canvas, int y, int x, int width,
		  const char *label, double used, double limit,
		  const char *figures)
{
	double part = limit > 0 && used > 0 ? used / limit : 0;
	int bar, inner, n = canvas_width_of(figures);
	enum style style = part >= 0.95 ? STYLE_BAD :
			   part >= 0.8	? STYLE_WARN :
					  STYLE_BAR;

	x = canvas_put(canvas, y, x, width, STYLE_DIM, label);
	inner = width - canvas_width_of(label) - 2;
	if (inner < 1)
		return;
	bar = (int)(fmin(part, 1) * inner + 0.5);
	canvas_put(canvas, y, x, 1, STYLE_STRONG, "[");
	canvas_fill(canvas, y, x + 1, inner, STYLE_PLAIN, ' ');
	canvas_fill(canvas, y, x + 1, bar, style, '|');
	if (n <= inner)
		canvas_put(canvas, y, x + 1 + inner - n, n, STYLE_STRONG,
			   figures);
	canvas_put(canvas, y, x + 1 + inner, 1, STYLE_STRONG, "]");
}

int screen_wrap(struct canvas *canvas, int y, int x, int width, int height,
		enum style style, const char *text)
{
	int lines = 0;

	while (*text && lines < height && width > 0) {
		size_t n = strlen(text), cut = n;

		if (n > (size_t)width) {
			cut = (size_t)width;
			while (cut && text[cut] != ' ')
				cut--;
			cut = cut ? cut : (size_t)width;
		}
		canvas_print(canvas, y + lines++, x, style, "%.*s", (int)cut,
			     text);
		text += cut;
		text += strspn(text, " ");
	}
	return lines;
}

/* A cell shows the densest of the buckets that it stands for. */
void screen_strip(struct canvas *canvas, int y, int x, int width,
		  const Treekv__KeptReply *kept, size_t group)
{
	const Treekv__KeptGroup *from = kept->group[group];
	size_t n = from->n_rows;

	for (int i = 0; i < width; i++) {
		size_t begin = (size_t)i * n / (size_t)width;
		size_t end = ((size_t)i + 1) * n / (size_t)width;
		bool scope = false;
		double most = 0;

		for (size_t b = begin; b < end || b == begin; b++) {
			most = fmax(most, map_density(kept, group, b));
			scope |= from->n_scope && from->scope[b];
		}
		canvas_put(canvas, y, x + i, 1,
			   scope ? STYLE_WARN : STYLE_GRAPH,
			   mark_of(canvas, map_level(most)));
	}
}

/* ---- the foot ---- */

struct key_text {
	const char *key;
	const char *text;
};

static const struct key_text table_keys[] = {
	{ "q", "quit" },	 { "?", "help" },	 { "Enter", "detail" },
	{ "/", "filter" },	 { "<>", "sort" },	 { "r", "reverse" },
	{ "Tab", "next table" }, { "Space", "pause" },	 { "+-", "interval" },
	{ "s", "snapshot" },	 { "b", "break lease" }, { "d", "drop" },
};

static const struct key_text other_table_keys[] = {
	{ "q", "quit" },      { "?", "help" },	    { "/", "filter" },
	{ "<>", "sort" },     { "r", "reverse" },   { "Tab", "next table" },
	{ "Space", "pause" }, { "+-", "interval" },
};

static const struct key_text play_keys[] = {
	{ "q", "quit" },	 { "?", "help" },     { "Space", "pause" },
	{ "<- ->", "step" },	 { "[ ]", "minute" }, { "+-", "speed" },
	{ "Enter", "detail" },	 { "/", "filter" },   { "<>", "sort" },
	{ "Tab", "next table" },
};

static const struct key_text detail_keys[] = {
	{ "q", "quit" },	{ "Esc", "back" },    { "?", "help" },
	{ "l", "scale" },	{ "Space", "pause" }, { "s", "snapshot" },
	{ "b", "break lease" }, { "d", "drop" },
};

static const struct key_text play_detail_keys[] = {
	{ "q", "quit" },     { "Esc", "back" },	   { "?", "help" },
	{ "l", "scale" },    { "Space", "pause" }, { "<- ->", "step" },
	{ "[ ]", "minute" },
};

static const struct key_text help_keys[] = {
	{ "Esc", "back" },
	{ "Up Down PgUp PgDn", "move" },
};

static void draw_keys(struct canvas *canvas, int y, const struct key_text *keys,
		      size_t n)
{
	int widths[ARRAY_SIZE(table_keys)], x = 0;
	size_t fit;

	for (size_t i = 0; i < n; i++)
		widths[i] =
			(int)(strlen(keys[i].key) + strlen(keys[i].text)) + 2;
	fit = layout_keys(widths, n, canvas->width);
	for (size_t i = 0; i < fit; i++) {
		x = canvas_print(canvas, y, x, STYLE_KEY, "%s", keys[i].key);
		x = canvas_print(canvas, y, x, STYLE_KEY_TEXT, " %s ",
				 keys[i].text);
		x++;
	}
}

static void page_keys(struct canvas *canvas, int y, const struct view *view)
{
	switch (view->page) {
	case PAGE_HELP:
		draw_keys(canvas, y, help_keys, ARRAY_SIZE(help_keys));
		break;
	case PAGE_DETAIL:
		if (view->playing)
			draw_keys(canvas, y, play_detail_keys,
				  ARRAY_SIZE(play_detail_keys));
		else
			draw_keys(canvas, y, detail_keys,
				  ARRAY_SIZE(detail_keys));
		break;
	case PAGE_TABLE:
		if (view->playing)
			draw_keys(canvas, y, play_keys, ARRAY_SIZE(play_keys));
		else if (view->table == TABLE_OF_CACHES)
			draw_keys(canvas, y, table_keys,
				  ARRAY_SIZE(table_keys));
		else
			draw_keys(canvas, y, other_table_keys,
				  ARRAY_SIZE(other_table_keys));
		break;
	}
}

static void draw_prompt(struct canvas *canvas, int y, const struct view *view)
{
	int x = canvas_put(canvas, y, 0, -1, STYLE_KEY, "Filter:");

	x = canvas_print(canvas, y, x, STYLE_STRONG, " %s", view->typed);
	canvas_put(canvas, y, x, 1, STYLE_CURSOR, " ");
	canvas_put(canvas, y, x + 2, -1, STYLE_DIM,
		   "word column=text column>figure !term; Esc: none");
}

/* ---- asking ---- */

static void question(char *to, size_t size, const struct view *view)
{
	const struct target *object = &view->object;

	switch (view->act) {
	case ACT_DROP:
	case ACT_DROP_KEEP:
		snprintf(to, size,
			 "Drop cache %s of %s? Its snapshot on disk goes with "
			 "it (k: drop the cache, keep the snapshot).%s%s",
			 object->name, object->owner,
			 object->holder[0] ? " It is written by " : "",
			 object->holder);
		break;
	case ACT_SNAPSHOT:
		snprintf(to, size, "Write cache %s of %s to disk?",
			 object->name, object->owner);
		break;
	case ACT_BREAK:
		snprintf(to, size,
			 "Take cache %s of %s from %s? What that commits from "
			 "then on is lost.",
			 object->name, object->owner, object->holder);
		break;
	case ACT_NONE:
		*to = '\0';
		break;
	}
}

static void draw_question(struct canvas *canvas, const struct view *view,
			  struct area area)
{
	int width = canvas->width < 64 ? canvas->width : 64;
	int x = (canvas->width - width) / 2, lines;
	char text[768];
	int at;

	question(text, sizeof(text), view);
	lines = ((int)strlen(text) * 5 / 4) / (width - 4) + 1;
	lines = lines > area.height - 3 ? area.height - 3 : lines;
	lines = lines < 1 ? 1 : lines;
	at = area.at + (area.height - lines - 3) / 2;
	at = at < area.at ? area.at : at;
	for (int i = 0; i < lines + 3; i++)
		canvas_fill(canvas, at + i, x, width, STYLE_CURSOR, ' ');
	lines = screen_wrap(canvas, at + 1, x + 2, width - 4, lines,
			    STYLE_CURSOR, text);
	canvas_put(canvas, at + 1 + lines, x + 2, width - 4, STYLE_CURSOR,
		   view->act == ACT_DROP ? "y yes   k yes, keep the snapshot   "
					   "n no" :
					   "y yes   n no");
}

/* ---- a page ---- */

static void draw_body(struct canvas *canvas, const struct scene *scene,
		      struct view *view, struct area area)
{
	const char *trouble = scene->now ? scene->now->trouble :
					   "waiting for the first answer";

	switch (view->page) {
	case PAGE_HELP:
		view->help_lines = screen_help(canvas, scene, view, area);
		return;
	case PAGE_DETAIL:
	case PAGE_TABLE:
		break;
	}
	if (trouble)
		screen_wrap(canvas, area.at + area.height / 3, 2,
			    canvas->width - 4, area.height, STYLE_BAD, trouble);
	else if (view->page == PAGE_DETAIL)
		screen_detail(canvas, scene, view, area);
	else
		screen_table(canvas, scene, view, area, true);
}

void screen_draw(struct canvas *canvas, const struct scene *scene,
		 struct view *view)
{
	struct page_layout layout;
	struct area body;

	canvas_clear(canvas);
	layout_page(&layout, canvas->width, canvas->height, view->message[0]);
	if (layout.too_small) {
		canvas_print(canvas, 0, 0, STYLE_WARN, "too small: %dx%d",
			     canvas->width, canvas->height);
		canvas_print(canvas, 1, 0, STYLE_PLAIN, "needs %dx%d",
			     LAYOUT_WIDTH_MIN, LAYOUT_HEIGHT_MIN);
		return;
	}
	body = (struct area){ layout.body_at, layout.body_height };
	view->body_height = layout.body_height;
	screen_header(canvas, scene, view, &layout);
	draw_body(canvas, scene, view, body);
	if (view->message[0])
		canvas_put(canvas,
			   layout.message_at >= 0 ? layout.message_at :
						    layout.keys_at,
			   0, -1, view->message_style, view->message);
	if (view->typing)
		draw_prompt(canvas, layout.keys_at, view);
	else if (!view->message[0] || layout.message_at >= 0)
		page_keys(canvas, layout.keys_at, view);
	if (view->asking)
		draw_question(canvas, view, body);
}

/* ---- --once ---- */

static void once_layout(struct page_layout *ret, int width)
{
	layout_page(ret, width < LAYOUT_WIDTH_MIN ? LAYOUT_WIDTH_MIN : width,
		    100, false);
}

int screen_once_height(const struct scene *scene, int width)
{
	struct page_layout layout;

	once_layout(&layout, width);
	return layout.header_height + 2 + (int)scene->rows->shown;
}

void screen_once(struct canvas *canvas, const struct scene *scene,
		 const struct view *view)
{
	struct page_layout layout;
	struct area area;

	once_layout(&layout, canvas->width);
	area = (struct area){ layout.header_height,
			      canvas->height - layout.header_height };
	screen_header(canvas, scene, view, &layout);
	if (scene->now->trouble)
		screen_wrap(canvas, area.at, 0, canvas->width, area.height,
			    STYLE_BAD, scene->now->trouble);
	else
		screen_table(canvas, scene, view, area, false);
}
