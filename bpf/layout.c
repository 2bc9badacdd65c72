// SPDX-License-Identifier: BSD-2-Clause
#include "bpf/layout.h"

#define TEXT_MIN     4 /* cells of a text column */
#define TABLE_MIN    4 /* lines: titles and three rows */
#define MAP_MARGIN   4 /* the curve above; legend, scope and scale */
#define STRIPS_MIN   3 /* before facts are left out */
#define CHART_MARGIN 4 /* a blank, title, figures, scale */
#define CHART_MIN    2
#define CHART_MAX    8

static int header_height(enum header_size size, int width)
{
	switch (size) {
	case HEADER_LINE:
		return 1;
	case HEADER_LINES:
		return width >= 60 ? 2 : 3;
	case HEADER_FULL:
		return width >= 80 ? 6 : 9;
	}
	return 1;
}

void layout_page(struct page_layout *ret, int width, int height, bool message)
{
	static const enum header_size sizes[] = { HEADER_FULL, HEADER_LINES,
						  HEADER_LINE };
	int foot = 1 + (message && height >= 7);
	size_t i = 0;

	*ret = (struct page_layout){ .message_at = -1 };
	ret->too_small = width < LAYOUT_WIDTH_MIN || height < LAYOUT_HEIGHT_MIN;
	if (ret->too_small)
		return;
	/* The header has a third of the page at most. */
	while (i < 2 &&
	       (header_height(sizes[i], width) * 3 > height ||
		header_height(sizes[i], width) + foot + TABLE_MIN > height))
		i++;
	ret->header = sizes[i];
	ret->header_height = header_height(sizes[i], width);
	ret->body_at = ret->header_height;
	ret->keys_at = height - 1;
	if (foot == 2)
		ret->message_at = height - 2;
	ret->body_height = height - foot - ret->body_at;
}

static int needed(const struct columns *columns,
		  const struct column_layout *layout)
{
	int sum = 0;

	for (size_t i = 0; i < columns->n; i++)
		if (layout[i].width)
			sum += layout[i].width + 1;
	return sum ? sum - 1 : 0;
}

/* Return: the one to leave out next, or n. */
static size_t first_to_leave(const struct columns *columns,
			     const struct column_layout *layout, size_t keep)
{
	size_t found = columns->n;
	int highest = 0;

	for (size_t i = 0; i < columns->n; i++)
		if (layout[i].width && i != keep &&
		    columns->column[i].leaves > highest) {
			highest = columns->column[i].leaves;
			found = i;
		}
	return found;
}

/* A cell less for the widest text. Return: whether there was one. */
static bool narrow(struct column_layout *layout, const struct columns *columns)
{
	size_t found = columns->n;

	for (size_t i = 0; i < columns->n; i++)
		if (!columns->column[i].right && layout[i].width > TEXT_MIN &&
		    (found == columns->n ||
		     layout[i].width > layout[found].width))
			found = i;
	if (found == columns->n)
		return false;
	layout[found].width--;
	return true;
}

/* A cell at a time to each in turn, so that none starves. */
static void widen(struct column_layout *layout, const struct columns *columns,
		  int left)
{
	bool more = true;

	while (left > 0 && more) {
		more = false;
		for (size_t i = 0; i < columns->n && left > 0; i++) {
			if (!layout[i].width ||
			    layout[i].width >= columns->column[i].wide)
				continue;
			layout[i].width++;
			left--;
			more = true;
		}
	}
}

void layout_columns(struct column_layout *ret, const struct columns *columns,
		    int width, size_t keep)
{
	size_t leaving;
	int at = 0;

	for (size_t i = 0; i < columns->n; i++)
		ret[i].width = columns->column[i].width;
	while (needed(columns, ret) > width) {
		leaving = first_to_leave(columns, ret, keep);
		if (leaving < columns->n)
			ret[leaving].width = 0;
		else if (!narrow(ret, columns))
			break;
	}
	widen(ret, columns, width - needed(columns, ret));
	for (size_t i = 0; i < columns->n; i++) {
		ret[i].at = at;
		if (ret[i].width)
			at += ret[i].width + 1;
	}
}

size_t layout_scroll(size_t first, size_t selected, size_t n, int height)
{
	size_t lines = height > 0 ? (size_t)height : 0;

	if (n <= lines || !lines)
		return 0;
	if (selected >= n)
		selected = n - 1;
	if (first > selected)
		first = selected;
	if (selected - first >= lines)
		first = selected - lines + 1;
	return first > n - lines ? n - lines : first;
}

size_t layout_keys(const int *widths, size_t n, int width)
{
	int used = 0;

	for (size_t i = 0; i < n; i++) {
		used += widths[i] + (i ? 1 : 0);
		if (used > width)
			return i;
	}
	return n;
}

void layout_detail(struct detail_layout *ret, int width, int height, int facts,
		   int groups)
{
	int strips = groups < 1 ? 1 : groups;
	int least = strips < STRIPS_MIN ? strips : STRIPS_MIN;
	int left = height - MAP_MARGIN;

	*ret = (struct detail_layout){ 0 };
	ret->two_columns = width >= 80;
	ret->facts_height = ret->two_columns ? (facts + 1) / 2 : facts;
	if (ret->facts_height > left - least)
		ret->facts_height = left > least ? left - least : 0;
	left -= ret->facts_height;
	ret->map_height = strips < left ? strips : left > 0 ? left : 0;
	left -= ret->map_height + CHART_MARGIN;
	if (left < CHART_MIN)
		return;
	ret->charts = width >= 76 ? 2 : 1;
	ret->chart_height = left < CHART_MAX ? left : CHART_MAX;
}
