/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages, drawn on a canvas from what is known: nothing here asks a daemon, a
 * file, a clock or a terminal. screen.c puts a page together, screen_header.c,
 * screen_table.c, screen_detail.c and screen_help.c draw its parts.
 */
#ifndef TREEKV_SCREEN_H
#define TREEKV_SCREEN_H

#include "bpf/canvas.h"
#include "bpf/history.h"
#include "bpf/layout.h"
#include "bpf/rates.h"
#include "bpf/rows.h"
#include "bpf/view.h"

/* All that a page shows. */
struct scene {
	const Treekv__Sample *now; /* NULL: nothing has come yet */
	const struct rates *rates; /* of @now */
	const struct history *history;
	const struct rows *rows; /* of the table that is shown, arranged */
	double interval; /* seconds */
	/* Of a record: which sample of how many, how fast. */
	size_t sample;
	size_t samples;
	double speed;
};

/* A whole page. What it finds out on the way is noted in @view. */
void screen_draw(struct canvas *canvas, const struct scene *scene,
		 struct view *view);

/* Every row and column of a table, for a canvas as large as it takes. */
int screen_once_height(const struct scene *scene, int width);
void screen_once(struct canvas *canvas, const struct scene *scene,
		 const struct view *view);

/* ---- the parts ---- */

struct area {
	int at; /* the first line */
	int height;
};

void screen_header(struct canvas *canvas, const struct scene *scene,
		   const struct view *view, const struct page_layout *layout);
void screen_table(struct canvas *canvas, const struct scene *scene,
		  const struct view *view, struct area area, bool cursor);
void screen_detail(struct canvas *canvas, const struct scene *scene,
		   const struct view *view, struct area area);

/* Return: lines that it has in all. */
int screen_help(struct canvas *canvas, const struct scene *scene,
		const struct view *view, struct area area);

/* ---- what several of them draw ---- */

/* The newest values from the right, the highest as high as a cell. */
void screen_curve(struct canvas *canvas, int y, int x, int width,
		  const struct history *history, enum history_of of);

/* "Pool [|||||     1.2G/4.0G]" */
void screen_meter(struct canvas *canvas, int y, int x, int width,
		  const char *label, double used, double limit,
		  const char *figures);

/* Text in lines of @width, words kept whole. Return: lines it takes. */
int screen_wrap(struct canvas *canvas, int y, int x, int width, int height,
		enum style style, const char *text);

#define SEEN_SIZE 512

/* By whom, and of what too much came: in one line. */
void screen_seen(char *to, size_t size, const Treekv__SampleWatch *watch);

/* The strip of one group of layers of a map. */
void screen_strip(struct canvas *canvas, int y, int x, int width,
		  const Treekv__KeptReply *kept, size_t group);

#endif /* TREEKV_SCREEN_H */
