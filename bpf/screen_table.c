// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <string.h>

#include "bpf/screen.h"

static void draw_titles(struct canvas *canvas, int y,
			const struct columns *columns,
			const struct column_layout *layout,
			const struct table_view *at)
{
	canvas_fill(canvas, y, 0, canvas->width, STYLE_TITLE, ' ');
	for (size_t i = 0; i < columns->n; i++) {
		const struct column *column = &columns->column[i];
		enum style style = i == at->sort ? STYLE_SORTED : STYLE_TITLE;

		if (!layout[i].width)
			continue;
		if (column->right)
			canvas_right(canvas, y, layout[i].at, layout[i].width,
				     style, column->title);
		else
			canvas_put(canvas, y, layout[i].at, layout[i].width,
				   style, column->title);
	}
}

static void draw_row(struct canvas *canvas, int y,
		     const struct columns *columns,
		     const struct column_layout *layout, const void *row)
{
	char cell[CELL_SIZE];

	for (size_t i = 0; i < columns->n; i++) {
		const struct column *column = &columns->column[i];
		enum style style = column->style ? column->style(row) :
						   STYLE_PLAIN;

		if (!layout[i].width)
			continue;
		column->text(cell, sizeof(cell), row);
		if (column->right)
			canvas_right(canvas, y, layout[i].at, layout[i].width,
				     style, cell);
		else
			canvas_put(canvas, y, layout[i].at, layout[i].width,
				   style, cell);
	}
}

static void draw_nothing(struct canvas *canvas, int y,
			 const struct scene *scene, const struct view *view)
{
	const struct table_view *at = &view->tables[view->table];

	if (scene->rows->n)
		canvas_print(canvas, y, 1, STYLE_DIM,
			     "none of %zu passes the filter: %s",
			     scene->rows->n, at->filter_text);
	else if (view->table == TABLE_OF_LATENCY)
		canvas_put(canvas, y, 1, -1, STYLE_DIM,
			   "nothing has been measured yet");
	else
		canvas_print(canvas, y, 1, STYLE_DIM, "no %s",
			     scene->rows->columns->name);
}

void screen_table(struct canvas *canvas, const struct scene *scene,
		  const struct view *view, struct area area, bool cursor)
{
	const struct rows *rows = scene->rows;
	const struct columns *columns = rows->columns;
	const struct table_view *at = &view->tables[view->table];
	struct column_layout layout[COLUMNS_MAX];
	size_t first = cursor ? layout_scroll(at->first, at->at, rows->shown,
					      area.height - 1) :
				0;

	layout_columns(layout, columns, canvas->width, at->sort);
	draw_titles(canvas, area.at, columns, layout, at);
	for (int y = 1; y < area.height; y++) {
		size_t i = first + (size_t)y - 1;

		if (i >= rows->shown)
			break;
		draw_row(canvas, area.at + y, columns, layout,
			 rows_at(rows, i));
		if (cursor && i == at->at)
			canvas_restyle(canvas, area.at + y, 0, canvas->width,
				       STYLE_CURSOR);
	}
	if (!rows->shown)
		draw_nothing(canvas, area.at + 1, scene, view);
}
