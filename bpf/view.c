// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bpf/layout.h"
#include "bpf/view.h"

void view_init(struct view *view, bool playing)
{
	*view = (struct view){ .playing = playing };
	for (size_t i = 0; i < TABLES; i++) {
		view->tables[i].sort = columns_find(&tables[i], tables[i].sort);
		view->tables[i].descending = tables[i].descending;
	}
}

void view_say(struct view *view, enum style style, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(view->message, sizeof(view->message), format, args);
	va_end(args);
	view->message_style = style;
}

int view_sort(struct view *view, enum table_kind table, const char *key,
	      char *why, size_t size)
{
	const struct columns *columns = &tables[table];
	struct table_view *at = &view->tables[table];
	bool reverse = *key == '-';
	size_t found = columns_find(columns, key + reverse);
	size_t used;

	if (found < columns->n) {
		at->sort = found;
		at->descending = !!columns->column[found].number != reverse;
		return 0;
	}
	used = (size_t)snprintf(why, size,
				"%s has no column '%.40s'; there are",
				columns->name, key + reverse);
	for (size_t i = 0; i < columns->n && used < size; i++)
		used += (size_t)snprintf(why + used, size - used, " %s",
					 columns->column[i].key);
	return -EINVAL;
}

int view_filter(struct view *view, enum table_kind table, const char *text,
		char *why, size_t size)
{
	struct table_view *at = &view->tables[table];
	int r = filter_parse(&at->filter, &tables[table], text, why, size);

	if (!r)
		snprintf(at->filter_text, sizeof(at->filter_text), "%s", text);
	return r;
}

static struct table_view *shown(struct view *view)
{
	return &view->tables[view->table];
}

void view_arrange(struct view *view, struct rows *rows)
{
	struct table_view *at = shown(view);
	size_t found;

	rows_arrange(rows, &at->filter, at->sort, at->descending);
	found = rows_find(rows, at->selected);
	if (!at->moved)
		at->at = 0;
	else if (found < rows->shown)
		at->at = found;
	else if (at->at >= rows->shown)
		at->at = rows->shown ? rows->shown - 1 : 0;
	if (rows->shown)
		at->selected = rows_at(rows, at->at)->key;
	at->first = layout_scroll(at->first, at->at, rows->shown,
				  view->body_height - 1);
}

static void select_row(struct view *view, const struct rows *rows, size_t i)
{
	struct table_view *at = shown(view);

	if (!rows->shown)
		return;
	at->moved = true;
	at->at = i < rows->shown ? i : rows->shown - 1;
	at->selected = rows_at(rows, at->at)->key;
}

/* @by: lines down, or up where it is negative. */
static void move(struct view *view, const struct rows *rows, long by)
{
	long to = (long)shown(view)->at + by;

	select_row(view, rows, to < 0 ? 0 : (size_t)to);
}

static void switch_table(struct view *view, int by)
{
	view->table =
		(enum table_kind)(((int)view->table + by + TABLES) % TABLES);
	view->page = PAGE_TABLE;
}

static void next_column(struct view *view, int by)
{
	const struct columns *columns = &tables[view->table];
	struct table_view *at = shown(view);
	int n = (int)columns->n;

	at->sort = (size_t)(((int)at->sort + by + n) % n);
	at->descending = columns->column[at->sort].number;
}

/* ---- one cache ---- */

static void target_init(struct target *target, const struct cache_row *row)
{
	const Treekv__CacheInfo *info = row->info;

	*target = (struct target){ .key = row->row.key, .cache = info->cache };
	snprintf(target->name, sizeof(target->name), "%s", row->name);
	if (info->shared || !info->has_shared)
		memcpy(target->full, row->name, sizeof(target->full));
	else
		snprintf(target->full, sizeof(target->full), "~%u/%s",
			 info->uid, info->name);
	snprintf(target->owner, sizeof(target->owner), "%s", row->owner);
	if (info->has_writer_pid)
		snprintf(target->holder, sizeof(target->holder),
			 "process %u%s%.150s", info->writer_pid,
			 row->command[0] ? ", " : "", row->command);
}

/* The row that keys are about; NULL: there is none. */
static const struct cache_row *chosen(const struct view *view,
				      const struct rows *rows)
{
	const struct table_view *at = &view->tables[TABLE_OF_CACHES];
	uint64_t key = view->page == PAGE_DETAIL ? view->target.key :
						   at->selected;
	size_t i;

	if (view->table != TABLE_OF_CACHES)
		return NULL;
	for (i = 0; i < rows->n; i++) {
		const struct cache_row *row =
			(const void *)(rows->items + i * rows->size);

		if (row->row.key == key &&
		    (view->page == PAGE_DETAIL || rows->shown))
			return row;
	}
	return NULL;
}

static enum view_wish open_detail(struct view *view, const struct rows *rows)
{
	const struct cache_row *row = chosen(view, rows);

	if (view->page != PAGE_TABLE || !row)
		return WISH_NOTHING;
	target_init(&view->target, row);
	view->page = PAGE_DETAIL;
	return WISH_TARGET;
}

static enum view_wish ask(struct view *view, const struct rows *rows,
			  enum act act)
{
	const struct cache_row *row = chosen(view, rows);

	if (view->playing) {
		view_say(view, STYLE_WARN,
			 "this is a record: nothing can be done to its caches");
		return WISH_NOTHING;
	}
	if (!row)
		return WISH_NOTHING;
	target_init(&view->object, row);
	if (act == ACT_BREAK && !view->object.holder[0]) {
		view_say(view, STYLE_WARN, "nobody writes %s",
			 view->object.name);
		return WISH_NOTHING;
	}
	view->act = act;
	view->asking = true;
	return WISH_NOTHING;
}

static enum view_wish press_asking(struct view *view, uint32_t key)
{
	view->asking = false;
	if (key == 'k' && view->act == ACT_DROP) {
		view->act = ACT_DROP_KEEP;
		return WISH_ACT;
	}
	if (key == 'y' || key == 'Y')
		return WISH_ACT;
	view->act = ACT_NONE;
	view_say(view, STYLE_PLAIN, "nothing was done");
	return WISH_NOTHING;
}

/* ---- typing a filter ---- */

static void start_typing(struct view *view)
{
	if (view->page != PAGE_TABLE)
		return;
	memcpy(view->typed, shown(view)->filter_text, sizeof(view->typed));
	view->typing = true;
}

/* What cannot be a filter yet changes nothing; Enter says why. */
static void try_typed(struct view *view, bool tell)
{
	char why[256];

	if (view_filter(view, view->table, view->typed, why, sizeof(why)) &&
	    tell)
		view_say(view, STYLE_WARN, "%s", why);
}

static enum view_wish press_typing(struct view *view, uint32_t key)
{
	size_t n = strlen(view->typed);

	if (key == KEY_OF_ENTER) {
		view->typing = false;
		try_typed(view, true);
	} else if (key == KEY_OF_ESCAPE) {
		view->typing = false;
		view->typed[0] = '\0';
		try_typed(view, false);
	} else if (key == KEY_OF_BACKSPACE) {
		if (n)
			view->typed[n - 1] = '\0';
		try_typed(view, false);
	} else if (key >= ' ' && key < 0x7f && n + 1 < sizeof(view->typed)) {
		view->typed[n] = (char)key;
		view->typed[n + 1] = '\0';
		try_typed(view, false);
	}
	return WISH_NOTHING;
}

/* ---- pages ---- */

static enum view_wish go_back(struct view *view)
{
	switch (view->page) {
	case PAGE_HELP:
		view->page = view->below;
		return WISH_NOTHING;
	case PAGE_DETAIL:
		view->page = PAGE_TABLE;
		view->target = (struct target){ 0 };
		return WISH_TARGET;
	case PAGE_TABLE:
		break;
	}
	return WISH_NOTHING;
}

static void show_help(struct view *view)
{
	if (view->page == PAGE_HELP)
		return;
	view->below = view->page;
	view->page = PAGE_HELP;
	view->help_first = 0;
}

static void move_page(struct view *view, const struct rows *rows, long by)
{
	long most;

	if (view->page == PAGE_TABLE)
		move(view, rows, by);
	if (view->page != PAGE_HELP)
		return;
	most = view->help_lines - view->body_height;
	by += view->help_first;
	by = by > most ? most : by;
	view->help_first = by > 0 ? (int)by : 0;
}

static enum view_wish press_table(struct view *view, uint32_t key)
{
	if (view->page != PAGE_TABLE)
		return WISH_NOTHING;
	switch (key) {
	case '<':
	case ',':
		next_column(view, -1);
		break;
	case '>':
	case '.':
		next_column(view, 1);
		break;
	case 'r':
		shown(view)->descending = !shown(view)->descending;
		break;
	case '/':
		start_typing(view);
		break;
	}
	return WISH_NOTHING;
}

static enum view_wish press_anywhere(struct view *view, uint32_t key,
				     const struct rows *rows)
{
	switch (key) {
	case 'q':
	case 'Q':
		return view->page == PAGE_HELP ? go_back(view) : WISH_QUIT;
	case KEY_OF_ESCAPE:
	case KEY_OF_BACKSPACE:
		return go_back(view);
	case '?':
	case 'h':
	case KEY_OF_HELP:
		show_help(view);
		return WISH_NOTHING;
	case 'L' - '@': /* Ctrl-L */
		return WISH_REDRAW;
	case 'p':
	case ' ':
		view->paused = !view->paused;
		return WISH_PAUSE;
	case '+':
		return WISH_FASTER;
	case '-':
		return WISH_SLOWER;
	case 'd':
		return ask(view, rows, ACT_DROP);
	case 's':
		return ask(view, rows, ACT_SNAPSHOT);
	case 'b':
		return ask(view, rows, ACT_BREAK);
	case 'l':
		view->by_age = !view->by_age;
		return WISH_NOTHING;
	}
	return press_table(view, key);
}

/* Through a record. */
static enum view_wish press_playing(uint32_t key)
{
	switch (key) {
	case KEY_OF_LEFT:
		return WISH_BACK;
	case KEY_OF_RIGHT:
		return WISH_ON;
	case '[':
		return WISH_FAR_BACK;
	case ']':
		return WISH_FAR_ON;
	}
	return WISH_NOTHING;
}

static enum view_wish press_moving(struct view *view, uint32_t key,
				   const struct rows *rows)
{
	long lines = view->body_height > 2 ? view->body_height - 2 : 1;
	long all = (long)rows->n + view->help_lines;

	switch (key) {
	case KEY_OF_UP:
		move_page(view, rows, -1);
		break;
	case KEY_OF_DOWN:
		move_page(view, rows, 1);
		break;
	case KEY_OF_PAGE_UP:
		move_page(view, rows, -lines);
		break;
	case KEY_OF_PAGE_DOWN:
		move_page(view, rows, lines);
		break;
	case KEY_OF_HOME:
		move_page(view, rows, -all);
		break;
	case KEY_OF_END:
		move_page(view, rows, all);
		break;
	}
	return WISH_NOTHING;
}

enum view_wish view_press(struct view *view, uint32_t key,
			  const struct rows *rows)
{
	enum view_wish wish;

	view->message[0] = '\0';
	if (view->asking)
		return press_asking(view, key);
	if (view->typing)
		return press_typing(view, key);
	if (key >= '1' && key < '1' + TABLES) {
		wish = view->page == PAGE_DETAIL ? go_back(view) : WISH_NOTHING;
		view->table = (enum table_kind)(key - '1');
		view->page = PAGE_TABLE;
		return wish;
	}
	if (key == KEY_OF_TAB || key == KEY_OF_BACK_TAB) {
		wish = view->page == PAGE_DETAIL ? go_back(view) : WISH_NOTHING;
		switch_table(view, key == KEY_OF_TAB ? 1 : -1);
		return wish;
	}
	if (key == KEY_OF_ENTER)
		return open_detail(view, rows);
	if (view->playing && press_playing(key))
		return press_playing(key);
	if (key >= KEY_OF_UP && key <= KEY_OF_END)
		return press_moving(view, key, rows);
	return press_anywhere(view, key, rows);
}
