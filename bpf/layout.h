/* SPDX-License-Identifier: BSD-2-Clause */
/* What goes where at what size. Pure: tests need no terminal. */
#ifndef TREEKV_LAYOUT_TOP_H
#define TREEKV_LAYOUT_TOP_H

#include <stdbool.h>
#include <stddef.h>

#include "bpf/rows.h"

#define LAYOUT_WIDTH_MIN  20
#define LAYOUT_HEIGHT_MIN 5

enum header_size {
	HEADER_LINE, /* one line of figures */
	HEADER_LINES, /* two or three of them */
	HEADER_FULL, /* bars and curves */
};

/* A page from top to bottom; heights of 0 are not there. */
struct page_layout {
	bool too_small;
	enum header_size header;
	int header_at;
	int header_height;
	int body_at; /* of a table: its titles */
	int body_height;
	int message_at; /* -1: there is none */
	int keys_at;
};

/* @message: is there something to be said above the keys? */
void layout_page(struct page_layout *ret, int width, int height, bool message);

/* Where a column goes; a width of 0: it is left out. */
struct column_layout {
	int at;
	int width;
};

/**
 * layout_columns - which columns fit, and how wide they are
 * @ret: one for each column
 * @keep: a column that is not left out, for the table is sorted by it
 *
 * Columns are a blank apart. What is left over is shared by those that can be
 * wider.
 */
void layout_columns(struct column_layout *ret, const struct columns *columns,
		    int width, size_t keep);

/* The first of @n lines shown in @height, so that @selected is among them. */
size_t layout_scroll(size_t first, size_t selected, size_t n, int height);

/* The keys that fit, of @n texts of the given widths, a blank apart. */
size_t layout_keys(const int *widths, size_t n, int width);

/* What a page about one cache has, from top to bottom. */
struct detail_layout {
	int facts_height; /* lines of facts */
	bool two_columns; /* of them */
	int map_height; /* strips, without title, scope and scale */
	int charts; /* side by side; 0: none */
	int chart_height; /* of the bars */
};

/* @groups: strips that there can be at most. */
void layout_detail(struct detail_layout *ret, int width, int height, int facts,
		   int groups);

#endif /* TREEKV_LAYOUT_TOP_H */
