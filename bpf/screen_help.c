// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <string.h>

#include "bpf/screen.h"

/* What a line is: a heading, or a word and what it means. */
struct line {
	const char *word;
	const char *text;
};

static const struct line lines[] = {
	{ NULL, "Keys" },
	{ "Up Down PgUp PgDn", "choose a row; Home and End, too" },
	{ "Enter", "everything about the chosen cache" },
	{ "Esc", "back" },
	{ "Tab, 1 2 3 4", "caches, clients, workers, latency" },
	{ "< > r", "sort by the column before or after, the other way" },
	{ "/", "filter; an empty one shows all rows" },
	{ "Space, p", "pause" },
	{ "+ -", "look more often, less often; a record: faster, slower" },
	{ "l", "the map's scale: all tokens alike, or finer the newer" },
	{ "s b d", "snapshot, break the lease of, drop a cache; asked first" },
	{ "<- -> [ ]", "in a record: a sample back or on, a minute" },
	{ "Ctrl-L", "draw the screen again" },
	{ "q", "quit" },
	{ NULL, "Filters: terms, all of which must hold" },
	{ "word", "some text of the row contains it" },
	{ "column=text", "it is so; column~text: it contains that" },
	{ "column>figure", "also < >= <= = !=; 10, 1.5k, 3M, 2ms, 5min, 50%" },
	{ "!term", "the term does not hold" },
	{ NULL, "The map of kept tokens" },
	{ "strips", "one for some layers: the newest token is on the right" },
	{ "heights",
	  "full: all tokens are held; an eighth less: half of them" },
	{ "^", "the eviction scope of some head: what leaves next" },
};

#define LINES (sizeof(lines) / sizeof(*lines))

static void draw_line(struct canvas *canvas, int y, struct area area,
		      const struct line *line)
{
	int left = canvas->width >= 60 ? 20 : 14;

	if (y < 0 || y >= area.height)
		return;
	y += area.at;
	if (!line->word) {
		canvas_fill(canvas, y, 0, canvas->width, STYLE_TITLE, ' ');
		canvas_put(canvas, y, 0, -1, STYLE_TITLE, line->text);
		return;
	}
	canvas_put(canvas, y, 1, left - 2, STYLE_NAME, line->word);
	canvas_put(canvas, y, left, -1, STYLE_PLAIN, line->text);
}

/* By whom, in full; the header may have room for a word only. */
static int draw_watch(struct canvas *canvas, int y, struct area area,
		      const struct scene *scene)
{
	const Treekv__SampleWatch *watch = scene->now ? scene->now->watch :
							NULL;
	char text[SEEN_SIZE];

	draw_line(canvas, y++, area, &(struct line){ NULL, "What is seen" });
	if (!watch)
		return y;
	screen_seen(text, sizeof(text), watch);
	if (y >= 0 && y < area.height)
		screen_wrap(canvas, area.at + y, 1, canvas->width - 2,
			    area.height - y, STYLE_PLAIN, text);
	return y + (int)strlen(text) / (canvas->width - 2) + 2;
}

int screen_help(struct canvas *canvas, const struct scene *scene,
		const struct view *view, struct area area)
{
	int y = -view->help_first;

	for (size_t i = 0; i < LINES; i++)
		draw_line(canvas, y++, area, &lines[i]);
	y = draw_watch(canvas, y, area, scene);
	for (size_t t = 0; t < TABLES; t++) {
		const struct columns *columns = &tables[t];
		char heading[64];

		snprintf(heading, sizeof(heading), "Columns of %s",
			 columns->name);
		draw_line(canvas, y++, area, &(struct line){ NULL, heading });
		for (size_t i = 0; i < columns->n; i++)
			draw_line(canvas, y++, area,
				  &(struct line){ columns->column[i].key,
						  columns->column[i].help });
	}
	return y + view->help_first;
}
