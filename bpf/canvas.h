/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A grid of characters with styles: what a page is drawn on. Whoever has one
 * prints it (--once), puts it on a terminal (terminal.c), or looks at it
 * (tests). What lies outside is cut off; control characters and what is wider
 * than a cell become '?', for names come from elsewhere.
 */
#ifndef TREEKV_CANVAS_H
#define TREEKV_CANVAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What is meant; how it looks is the terminal's affair. */
enum style {
	STYLE_PLAIN,
	STYLE_DIM, /* units, labels */
	STYLE_STRONG,
	STYLE_TITLE, /* of columns */
	STYLE_SORTED, /* the title that the table is sorted by */
	STYLE_CURSOR, /* the selected row */
	STYLE_GOOD,
	STYLE_WARN,
	STYLE_BAD,
	STYLE_BAR,
	STYLE_GRAPH,
	STYLE_NAME,
	STYLE_KEY,
	STYLE_KEY_TEXT,
	STYLES,
};

struct canvas_cell {
	uint32_t character;
	uint8_t style;
};

struct canvas {
	int width;
	int height;
	bool utf8; /* else what is drawn is ASCII */
	struct canvas_cell *cells;
};

/* Return: 0 or -ENOMEM. */
int canvas_init(struct canvas *canvas, int width, int height, bool utf8);
void canvas_exit(struct canvas *canvas);

void canvas_clear(struct canvas *canvas);

/* A cell; one that is outside is a blank. */
struct canvas_cell canvas_at(const struct canvas *canvas, int y, int x);

/**
 * canvas_put - write a text
 * @text: UTF-8
 * @width: cells at most; -1: as far as the canvas goes
 *
 * Return: the column behind it.
 */
int canvas_put(struct canvas *canvas, int y, int x, int width, enum style style,
	       const char *text);

/* The same, set to the right of @width cells. Return: x + width. */
int canvas_right(struct canvas *canvas, int y, int x, int width,
		 enum style style, const char *text);

__attribute__((format(printf, 5, 6))) int canvas_print(struct canvas *canvas,
						       int y, int x,
						       enum style style,
						       const char *format, ...);

/* @n cells of one character. */
void canvas_fill(struct canvas *canvas, int y, int x, int n, enum style style,
		 uint32_t character);

/* Cells that a text takes, cut off nowhere. */
int canvas_width_of(const char *text);

/* Another style for what is there. */
void canvas_restyle(struct canvas *canvas, int y, int x, int n,
		    enum style style);

/* As text, blanks at the end of lines and empty lines at the end left out. */
void canvas_write(const struct canvas *canvas, FILE *to);

#endif /* TREEKV_CANVAS_H */
