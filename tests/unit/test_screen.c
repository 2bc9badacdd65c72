// SPDX-License-Identifier: BSD-2-Clause
/* bpf/canvas.c, layout.c, screen*.c, view.c: what is shown, and what keys do. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/screen.h"
#include "bpf/state.h"
#include "tests/helpers/selfcheck.h"
#include "tests/unit/sample_fixture.h"

#define SECOND	    UINT64_C(1000000000)
#define CACHES	    30
#define LINE_MAX_OF 256

static const char *const caches_of[CACHES] = { "story", "notes", "essay" };

/* A screen without a terminal. */
struct stage {
	struct state state;
	struct view view;
	struct canvas canvas;
	char text[512][LINE_MAX_OF * 3]; /* what was drawn last */
};

static Treekv__Sample *make_sample(uint64_t second)
{
	Treekv__Sample *sample = fixture_sample(second * SECOND);
	static const struct {
		const char *name;
		uint64_t value;
	} metrics[] = {
		{ "uptime_seconds", 3600 },
		{ "pool_used_bytes", 1 << 30 },
		{ "pool_limit_bytes", 4L << 30 },
		{ "huge_pages", 100 },
		{ "huge_pages_free", 40 },
		{ "caches", CACHES },
		{ "caches_quarantined", 1 },
		{ "connections", 3 },
		{ "leases", 2 },
	};

	for (size_t i = 0; i < sizeof(metrics) / sizeof(*metrics); i++)
		fixture_metric(sample, metrics[i].name, metrics[i].value);
	fixture_metric(sample, "stalls_total", 7 + 2 * second);
	fixture_metric(sample, "evictions_total", 1000 * second);
	for (uint64_t i = 0; i < CACHES; i++) {
		char name[32];
		Treekv__CacheInfo *info;

		snprintf(name, sizeof(name), "cache-%02d", (int)i);
		info = fixture_cache(sample, i + 1,
				     caches_of[i] ? caches_of[i] : name);
		info->tail = 1000 + second * (CACHES - i) * 10;
		info->held = 128;
		info->capacity = 192;
		info->bytes = 600 << 10;
		fixture_compactions(info, 13, 40);
	}
	fixture_writer(sample, sample->list->cache[0], 77,
		       "treekv-run --cache story");
	fixture_worker(sample, 555)->busy_ns = second * SECOND / 4;
	fixture_client(sample, 77, "treekv-run")->leases = 1;
	return sample;
}

static int setup(void **state)
{
	struct stage *stage = calloc(1, sizeof(*stage));

	assert_non_null(stage);
	view_init(&stage->view, false);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(state_take(&stage->state, make_sample(i),
					    &stage->view),
				 0);
	*state = stage;
	return 0;
}

static int teardown(void **state)
{
	struct stage *stage = *state;

	canvas_exit(&stage->canvas);
	state_clear(&stage->state);
	free(stage);
	return 0;
}

static void read_lines(struct stage *stage)
{
	char *all = NULL, *line, *save;
	size_t size, n = 0;
	FILE *to = open_memstream(&all, &size);

	canvas_write(&stage->canvas, to);
	fclose(to);
	memset(stage->text, 0, sizeof(stage->text));
	line = all;
	while (line && *line && n < 512) {
		save = strchr(line, '\n');
		if (save)
			*save++ = '\0';
		snprintf(stage->text[n++], sizeof(stage->text[0]), "%s", line);
		line = save;
	}
	free(all);
}

static void draw(struct stage *stage, int width, int height, bool utf8)
{
	struct scene scene = {
		.now = stage->state.now,
		.rates = stage->state.rates,
		.history = &stage->state.history,
		.rows = &stage->state.rows,
		.interval = 1,
		.samples = 3,
		.speed = 1,
	};

	canvas_exit(&stage->canvas);
	assert_int_equal(canvas_init(&stage->canvas, width, height, utf8), 0);
	assert_int_equal(state_arrange(&stage->state, &stage->view), 0);
	screen_draw(&stage->canvas, &scene, &stage->view);
	read_lines(stage);
}

static enum view_wish press(struct stage *stage, uint32_t key)
{
	assert_int_equal(state_arrange(&stage->state, &stage->view), 0);
	return view_press(&stage->view, key, &stage->state.rows);
}

static void type(struct stage *stage, const char *text)
{
	while (*text)
		press(stage, (unsigned char)*text++);
}

/* The line that has @words, or -1. */
static int line_with(const struct stage *stage, const char *words)
{
	for (int i = 0; i < stage->canvas.height && i < 512; i++)
		if (strstr(stage->text[i], words))
			return i;
	return -1;
}

static void assert_shows(const struct stage *stage, const char *words)
{
	if (line_with(stage, words) >= 0)
		return;
	for (int i = 0; i < stage->canvas.height; i++)
		print_error("|%s\n", stage->text[i]);
	fail_msg("'%s' is not shown", words);
}

/* ---- canvas ---- */

static void test_canvas_cuts_off(void **state)
{
	struct canvas c;

	(void)state;
	assert_int_equal(canvas_init(&c, 10, 2, true), 0);
	assert_int_equal(canvas_put(&c, 0, 7, -1, STYLE_BAD, "abcdef"), 10);
	assert_int_equal(canvas_at(&c, 0, 9).character, 'c');
	assert_int_equal(canvas_put(&c, 0, -2, -1, STYLE_BAD, "xyz"), 1);
	assert_int_equal(canvas_at(&c, 0, 0).character, 'z');
	assert_int_equal(canvas_at(&c, 1, 0).character, ' ');
	canvas_put(&c, 5, 0, -1, STYLE_BAD, "nowhere");
	canvas_put(&c, -1, 0, -1, STYLE_BAD, "nowhere");
	canvas_fill(&c, 1, -100, 1000, STYLE_BAR, '=');
	assert_int_equal(canvas_at(&c, 1, 9).character, '=');
	assert_int_equal(canvas_put(&c, 0, 0, 3, STYLE_PLAIN, "abcdef"), 3);
	assert_int_equal(canvas_at(&c, 0, 3).character, ' ');
	assert_int_equal(canvas_right(&c, 0, 0, 5, STYLE_PLAIN, "12"), 5);
	assert_int_equal(canvas_at(&c, 0, 4).character, '2');
	canvas_exit(&c);
	assert_int_equal(canvas_init(&c, 0, 0, true), 0);
	canvas_put(&c, 0, 0, -1, STYLE_PLAIN, "x");
	canvas_exit(&c);
	assert_int_equal(canvas_init(&c, 1 << 20, 1 << 20, true), -ENOMEM);
	assert_int_equal(canvas_init(&c, -1, 5, true), -ENOMEM);
}

/* Names and command lines are other people's. */
static void test_canvas_shows_nothing_that_harms(void **state)
{
	static const char *const bad[] = {
		"\033[2J\a\r\n\x7f",
		"\xc3",
		"\xff\xfe",
		"\xed\xa0\x80",
		"\xc2\x9b"
		"31m",
		"\xe2\x80\xae",
		"\xf0\x9f\x98\x80",
		"\xe4\xb8\xad",
		"e\xcc\x81",
	};
	struct canvas c;

	(void)state;
	assert_int_equal(canvas_init(&c, 20, 1, true), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		canvas_clear(&c);
		canvas_put(&c, 0, 0, -1, STYLE_PLAIN, bad[i]);
		for (int x = 0; x < 20; x++) {
			uint32_t is = canvas_at(&c, 0, x).character;

			assert_true(is >= ' ' && is < 0x7f);
		}
	}
	canvas_put(&c, 0, 0, -1, STYLE_PLAIN, "é▇Ж");
	assert_int_equal(canvas_at(&c, 0, 0).character, 0xe9);
	assert_int_equal(canvas_at(&c, 0, 1).character, 0x2587);
	assert_int_equal(canvas_width_of("é▇Ж"), 3);
	c.utf8 = false;
	canvas_put(&c, 0, 0, -1, STYLE_PLAIN, "é▇Ж");
	for (int x = 0; x < 3; x++)
		assert_int_equal(canvas_at(&c, 0, x).character, '?');
	canvas_exit(&c);
}

/* ---- layout ---- */

static void test_columns_fit_at_every_width(void **state)
{
	struct column_layout layout[COLUMNS_MAX];

	(void)state;
	for (size_t t = 0; t < TABLES; t++) {
		const struct columns *columns = &tables[t];
		size_t sort = columns_find(columns, columns->sort);
		size_t shown = 0;

		assert_true(columns->n <= COLUMNS_MAX);
		for (int width = LAYOUT_WIDTH_MIN; width < 400; width++) {
			int end = 0;
			size_t n = 0;

			layout_columns(layout, columns, width, sort);
			for (size_t i = 0; i < columns->n; i++) {
				if (!layout[i].width)
					continue;
				assert_true(layout[i].at >= end);
				assert_true(layout[i].width >=
						    columns->column[i].width ||
					    (!columns->column[i].right &&
					     width < 30));
				end = layout[i].at + layout[i].width + 1;
				n++;
			}
			assert_true(end - 1 <= width);
			assert_true(layout[sort].width);
			assert_true(n >= shown); /* more room, no less */
			shown = n;
		}
		assert_int_equal(shown, columns->n);
	}
}

static void test_sorted_column_is_never_left_out(void **state)
{
	const struct columns *columns = &tables[TABLE_OF_CACHES];
	struct column_layout layout[COLUMNS_MAX];

	(void)state;
	for (size_t i = 0; i < columns->n; i++) {
		layout_columns(layout, columns, 40, i);
		assert_true(layout[i].width);
		assert_true(layout[0].width); /* nor is the name */
	}
}

static void test_pages_use_all_lines(void **state)
{
	struct page_layout l;

	(void)state;
	for (int width = 1; width < 250; width += 3)
		for (int height = 1; height < 80; height++)
			for (int message = 0; message < 2; message++) {
				layout_page(&l, width, height, message);
				assert_int_equal(l.too_small,
						 width < 20 || height < 5);
				if (l.too_small)
					continue;
				assert_int_equal(l.body_at, l.header_height);
				assert_true(l.body_height >= 3);
				assert_int_equal(l.keys_at, height - 1);
				assert_int_equal(l.body_at + l.body_height +
							 (l.message_at >= 0) +
							 1,
						 height);
				assert_true(l.header_height * 3 <= height ||
					    l.header == HEADER_LINE);
			}
}

static void test_scrolling_keeps_the_cursor_visible(void **state)
{
	(void)state;
	for (int height = 1; height < 12; height++)
		for (size_t n = 0; n < 30; n++)
			for (size_t at = 0; at < n; at++)
				for (size_t first = 0; first < 30; first++) {
					size_t f = layout_scroll(first, at, n,
								 height);

					assert_true(f <= at);
					assert_true(at < f + (size_t)height);
					assert_true(f + (size_t)height <= n ||
						    !f);
				}
	assert_int_equal(layout_scroll(5, 7, 20, 10), 5); /* stays */
}

static void test_detail_always_has_a_map(void **state)
{
	struct detail_layout l;

	(void)state;
	for (int width = 20; width < 200; width += 5)
		for (int height = 6; height < 70; height++)
			for (int groups = 1; groups < 16; groups++) {
				int used;

				layout_detail(&l, width, height, 14, groups);
				used = l.facts_height + 4 + l.map_height +
				       (l.charts ? 4 + l.chart_height : 0);
				assert_true(used <= height);
				assert_true(l.map_height >= 1);
				assert_true(l.map_height <= groups);
				assert_true(!l.charts ||
					    l.map_height == groups);
			}
}

/* ---- pages ---- */

/* Whatever the size, nothing breaks: sanitizers look on. */
static void test_all_pages_at_all_sizes(void **state)
{
	struct stage *stage = *state;

	fixture_detail(stage->state.now, stage->state.now->list->cache[0], 60,
		       6);
	for (int page = 0; page < 8; page++) {
		view_init(&stage->view, page == 7);
		if (page < TABLES)
			press(stage, (uint32_t)('1' + page));
		else if (page == 4)
			press(stage, KEY_OF_ENTER);
		else if (page == 5)
			press(stage, '?');
		else if (page == 6)
			press(stage, 'd');
		for (int width = 1; width < 220; width += 1 + width / 4)
			for (int height = 1; height < 70; height += 3)
				draw(stage, width, height, width % 2);
	}
}

static void test_too_small_is_said(void **state)
{
	struct stage *stage = *state;

	draw(stage, 19, 10, true);
	assert_shows(stage, "too small: 19x10");
	draw(stage, 80, 4, true);
	assert_shows(stage, "too small: 80x4");
	draw(stage, 20, 5, true);
	assert_int_equal(line_with(stage, "too small"), -1);
	assert_shows(stage, "story");
}

/* A column of the table as it stands on the screen. */
static void cell_of(const struct stage *stage, int line, const char *title,
		    char *to)
{
	int titles = line_with(stage, "NAME ");
	const char *at = strstr(stage->text[titles], title);
	int end, begin;

	assert_non_null(at);
	end = (int)(at - stage->text[titles]) + (int)strlen(title);
	for (begin = end; begin && stage->text[line][begin - 1] != ' ';)
		begin--;
	snprintf(to, 32, "%.*s", end - begin, stage->text[line] + begin);
}

static void test_table_shows_the_figures(void **state)
{
	struct stage *stage = *state;
	char cell[32];
	int line;

	draw(stage, 200, 40, false);
	assert_shows(stage, "treekvd 0.1.0, process 100, up 60min");
	assert_shows(stage, "1.00G/4.00G");
	assert_shows(stage, "60/100 pages");
	assert_shows(stage, "Caches 30, 1 quarantined");
	assert_shows(stage, "Clients 3, 2 writing, stalls 11");
	line = line_with(stage, "story");
	assert_int_equal(line, line_with(stage, "NAME ") + 1);
	cell_of(stage, line, " PID", cell);
	assert_string_equal(cell, "77");
	cell_of(stage, line, "TOKENS", cell);
	assert_string_equal(cell, "1600");
	cell_of(stage, line, "HELD/BUDGET", cell);
	assert_string_equal(cell, "128/128");
	cell_of(stage, line, "RATIO", cell);
	assert_string_equal(cell, "12.5");
	cell_of(stage, line, "MEMORY", cell);
	assert_string_equal(cell, "600K");
	cell_of(stage, line, "TOK/S", cell);
	assert_string_equal(cell, "300");
	assert_shows(stage, "treekv-run --cache story");
	assert_true(line_with(stage, "q quit") == 39);
}

static void test_sort_and_reverse(void **state)
{
	struct stage *stage = *state;

	draw(stage, 80, 24, true);
	assert_int_equal(line_with(stage, "story"),
			 line_with(stage, "NAME ") + 1);
	press(stage, 'r');
	draw(stage, 80, 24, true);
	assert_int_equal(line_with(stage, "cache-29"),
			 line_with(stage, "NAME ") + 1);
	while (strcmp(tables[0].column[stage->view.tables[0].sort].key, "name"))
		press(stage, '<');
	draw(stage, 80, 24, true);
	assert_int_equal(line_with(stage, "cache-03"),
			 line_with(stage, "NAME ") + 1);
}

static void test_cursor_stays_with_its_row(void **state)
{
	struct stage *stage = *state;

	draw(stage, 80, 24, true);
	press(stage, KEY_OF_DOWN);
	press(stage, KEY_OF_DOWN);
	assert_int_equal(stage->view.tables[0].selected, 3);
	press(stage, 'r');
	draw(stage, 80, 24, true);
	assert_int_equal(stage->view.tables[0].selected, 3);
	assert_int_equal(
		canvas_at(&stage->canvas, line_with(stage, "essay"), 0).style,
		STYLE_CURSOR);
	press(stage, KEY_OF_HOME);
	draw(stage, 80, 24, true);
	assert_int_equal(stage->view.tables[0].selected, CACHES);
	press(stage, KEY_OF_END);
	draw(stage, 80, 24, true);
	assert_int_equal(
		canvas_at(&stage->canvas, line_with(stage, "story"), 0).style,
		STYLE_CURSOR);
	press(stage, KEY_OF_PAGE_UP);
	press(stage, KEY_OF_PAGE_UP);
	press(stage, KEY_OF_PAGE_UP);
	assert_int_equal(stage->view.tables[0].at, 0);
}

static void test_filter_is_typed(void **state)
{
	struct stage *stage = *state;

	draw(stage, 80, 24, true);
	press(stage, '/');
	type(stage, "name~cache-1 tokens>1.2k");
	draw(stage, 80, 24, true);
	assert_shows(stage, "Filter: name~cache-1 tokens>1.2k");
	assert_int_equal(line_with(stage, "story"), -1);
	press(stage, KEY_OF_ENTER);
	draw(stage, 80, 24, true);
	assert_shows(stage, "filter: name~cache-1 tokens>1.2k");
	assert_int_equal(stage->state.rows.shown, 10);
	/* q is a letter while a filter is typed */
	press(stage, '/');
	assert_int_equal(press(stage, 'q'), WISH_NOTHING);
	press(stage, KEY_OF_BACKSPACE);
	type(stage, " nothing=5");
	press(stage, KEY_OF_ENTER);
	draw(stage, 80, 24, true);
	assert_shows(stage, "caches has no column 'nothing'");
	press(stage, '/');
	press(stage, KEY_OF_ESCAPE);
	draw(stage, 80, 24, true);
	assert_shows(stage, "story");
	press(stage, '/');
	type(stage, "no-such-cache");
	press(stage, KEY_OF_ENTER);
	draw(stage, 80, 24, true);
	assert_shows(stage, "none of 30 passes the filter: no-such-cache");
	assert_int_equal(press(stage, KEY_OF_ENTER), WISH_NOTHING);
	assert_int_equal(press(stage, 'd'), WISH_NOTHING);
	assert_false(stage->view.asking);
}

static void test_detail_shows_one_cache(void **state)
{
	struct stage *stage = *state;

	draw(stage, 100, 30, true);
	assert_int_equal(press(stage, KEY_OF_ENTER), WISH_TARGET);
	assert_int_equal(stage->view.target.cache, 1);
	draw(stage, 100, 30, true);
	assert_shows(stage, "77 treekv-run --cache story");
	assert_shows(stage, "1600 seen");
	assert_shows(stage, "Asking for the map");
	fixture_detail(stage->state.now, stage->state.now->list->cache[0], 8,
		       2);
	draw(stage, 100, 30, true);
	assert_shows(stage, "Kept tokens");
	/* an eighth of the strip a bucket, each half as dense as the next */
	assert_shows(stage, "L 0     ▁▁▁▁▁▁▁▁▁▁▁▁");
	assert_shows(stage,
		     "▂▂▂▂▂▂▂▂▂▂▂▃▃▃▃▃▃▃▃▃▃▃▃▄▄▄▄▄▄▄▄▄▄▄▅▅▅▅▅▅▅▅▅▅▅▅▆▆▆▆▆▆"
		     "▆▆▆▆▆▇▇▇▇▇▇▇▇▇▇▇▇███████████");
	assert_shows(stage, "L 1 ");
	assert_shows(stage, "^");
	assert_shows(stage, "Compactions of this cache");
	draw(stage, 100, 30, false);
	assert_shows(stage, "L 0     ............");
	assert_int_equal(press(stage, KEY_OF_ESCAPE), WISH_TARGET);
	assert_int_equal(stage->view.target.cache, 0);
}

static void test_cache_that_goes_is_said(void **state)
{
	struct stage *stage = *state;

	draw(stage, 100, 30, true);
	press(stage, KEY_OF_ENTER);
	assert_int_equal(state_take(&stage->state, fixture_sample(9 * SECOND),
				    &stage->view),
			 0);
	draw(stage, 100, 30, true);
	assert_shows(stage, "cache story is gone");
	assert_int_equal(press(stage, 'd'), WISH_NOTHING);
	assert_false(stage->view.asking);
	press(stage, KEY_OF_ESCAPE);
	draw(stage, 100, 30, true);
	assert_shows(stage, "no caches");
}

static void test_actions_are_confirmed(void **state)
{
	struct stage *stage = *state;

	draw(stage, 80, 24, true);
	assert_int_equal(press(stage, 'd'), WISH_NOTHING);
	draw(stage, 80, 24, true);
	assert_shows(stage, "Drop cache story of root?");
	assert_shows(stage, "process 77, treekv-run");
	/* the table may change meanwhile: it is still that cache */
	press(stage, 'n');
	draw(stage, 80, 24, true);
	assert_shows(stage, "nothing was done");
	press(stage, 'd');
	assert_int_equal(press(stage, KEY_OF_ENTER), WISH_NOTHING);
	press(stage, 'd');
	assert_int_equal(press(stage, 'y'), WISH_ACT);
	assert_int_equal(stage->view.act, ACT_DROP);
	assert_int_equal(stage->view.object.cache, 1);
	press(stage, 'd');
	assert_int_equal(press(stage, 'k'), WISH_ACT);
	assert_int_equal(stage->view.act, ACT_DROP_KEEP);
	press(stage, 's');
	assert_int_equal(press(stage, 'k'), WISH_NOTHING);
	press(stage, 's');
	assert_int_equal(press(stage, 'Y'), WISH_ACT);
	assert_int_equal(stage->view.act, ACT_SNAPSHOT);
	press(stage, KEY_OF_DOWN);
	press(stage, 'b'); /* notes, which nobody writes */
	draw(stage, 80, 24, true);
	assert_shows(stage, "nobody writes notes");
	press(stage, '2');
	press(stage, 'd');
	assert_false(stage->view.asking); /* clients are not dropped */
}

static void test_record_is_not_acted_upon(void **state)
{
	struct stage *stage = *state;

	view_init(&stage->view, true);
	draw(stage, 80, 24, true);
	assert_shows(stage, "record 1/3 2026-11-23 12:00:02");
	press(stage, 'd');
	assert_false(stage->view.asking);
	draw(stage, 80, 24, true);
	assert_shows(stage, "this is a record");
	assert_int_equal(press(stage, KEY_OF_LEFT), WISH_BACK);
	assert_int_equal(press(stage, KEY_OF_RIGHT), WISH_ON);
	assert_int_equal(press(stage, '['), WISH_FAR_BACK);
	assert_int_equal(press(stage, ']'), WISH_FAR_ON);
}

static void test_trouble_is_shown(void **state)
{
	struct stage *stage = *state;
	Treekv__Sample *trouble = sample_new("/run/test.sock");

	trouble->trouble =
		strdup("cannot connect to treekvd at /run/test.sock");
	trouble->time = stage->state.now->time;
	assert_int_equal(state_take(&stage->state, trouble, &stage->view), 0);
	draw(stage, 80, 24, true);
	assert_shows(stage, "no answer from treekvd");
	assert_shows(stage, "cannot connect to treekvd at /run/test.sock");
	press(stage, KEY_OF_ENTER);
	assert_int_equal(
		state_take(&stage->state, make_sample(5), &stage->view), 0);
	draw(stage, 80, 24, true);
	assert_shows(stage, "story");
}

static void test_tables_are_switched(void **state)
{
	static const char *const shown[] = { "NAME ", "PROGRAM", "THREAD",
					     "WHAT", "NAME " };
	struct stage *stage = *state;

	for (size_t i = 0; i < 5; i++) {
		draw(stage, 120, 30, true);
		assert_shows(stage, shown[i]);
		press(stage, KEY_OF_TAB);
	}
	press(stage, KEY_OF_BACK_TAB);
	press(stage, '3');
	draw(stage, 120, 30, true);
	assert_shows(stage, "    555");
	assert_shows(stage, "25%"); /* its load */
}

static void test_help_has_every_column(void **state)
{
	struct stage *stage = *state;

	draw(stage, 80, 200, true);
	press(stage, '?');
	draw(stage, 80, 200, true);
	for (size_t t = 0; t < TABLES; t++)
		for (size_t i = 0; i < tables[t].n; i++) {
			assert_shows(stage, tables[t].column[i].key);
			assert_shows(stage, tables[t].column[i].help);
		}
	assert_int_equal(press(stage, 'q'), WISH_NOTHING); /* back */
	assert_int_equal(press(stage, 'q'), WISH_QUIT);
	press(stage, '?');
	draw(stage, 80, 24, true);
	press(stage, KEY_OF_END);
	draw(stage, 80, 24, true);
	assert_shows(stage, "none takes longer"); /* the last line */
	press(stage, KEY_OF_DOWN);
	draw(stage, 80, 24, true);
	assert_shows(stage, "none takes longer");
}

static void test_sort_by_name_on_the_command_line(void **state)
{
	struct view view;
	char why[256];

	(void)state;
	view_init(&view, false);
	assert_int_equal(view_sort(&view, TABLE_OF_CACHES, "stalls", why,
				   sizeof(why)),
			 0);
	assert_true(view.tables[0].descending);
	assert_int_equal(view_sort(&view, TABLE_OF_CACHES, "-stalls", why,
				   sizeof(why)),
			 0);
	assert_false(view.tables[0].descending);
	assert_int_equal(
		view_sort(&view, TABLE_OF_CACHES, "name", why, sizeof(why)), 0);
	assert_false(view.tables[0].descending);
	assert_int_equal(view_sort(&view, TABLE_OF_CACHES, "size", why,
				   sizeof(why)),
			 -EINVAL);
	assert_non_null(strstr(why, "no column 'size'; there are name"));
}

/* Any keys in any sequence: nothing breaks, and Esc leads back. */
static void test_random_keys(void **state)
{
	static const uint32_t keys[] = {
		KEY_OF_UP,
		KEY_OF_DOWN,
		KEY_OF_LEFT,
		KEY_OF_RIGHT,
		KEY_OF_PAGE_UP,
		KEY_OF_PAGE_DOWN,
		KEY_OF_HOME,
		KEY_OF_END,
		KEY_OF_ENTER,
		KEY_OF_ESCAPE,
		KEY_OF_TAB,
		KEY_OF_BACK_TAB,
		KEY_OF_BACKSPACE,
		KEY_OF_HELP,
		'/',
		'<',
		'>',
		'r',
		'd',
		's',
		'b',
		'y',
		'n',
		'k',
		'l',
		' ',
		'?',
		'1',
		'2',
		'3',
		'4',
		'q',
	};
	struct stage *stage = *state;
	uint64_t random = 3;

	for (int i = 0; i < 4000; i++) {
		press(stage, keys[selfcheck_mix(random++) %
				  (sizeof(keys) / sizeof(*keys))]);
		if (i % 16 == 0) {
			int width = 20 + (int)(selfcheck_mix(random++) % 150);
			int height = 5 + (int)(selfcheck_mix(random++) % 50);

			draw(stage, width, height, i % 32);
		}
		if (i % 300 == 0)
			assert_int_equal(
				state_take(&stage->state,
					   make_sample(3 + (uint64_t)i),
					   &stage->view),
				0);
	}
	for (int i = 0; i < 4; i++)
		press(stage, KEY_OF_ESCAPE);
	draw(stage, 80, 24, true);
	assert_int_equal(stage->view.page, PAGE_TABLE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canvas_cuts_off),
		cmocka_unit_test(test_canvas_shows_nothing_that_harms),
		cmocka_unit_test(test_columns_fit_at_every_width),
		cmocka_unit_test(test_sorted_column_is_never_left_out),
		cmocka_unit_test(test_pages_use_all_lines),
		cmocka_unit_test(test_scrolling_keeps_the_cursor_visible),
		cmocka_unit_test(test_detail_always_has_a_map),
		TEST(test_all_pages_at_all_sizes),
		TEST(test_too_small_is_said),
		TEST(test_table_shows_the_figures),
		TEST(test_sort_and_reverse),
		TEST(test_cursor_stays_with_its_row),
		TEST(test_filter_is_typed),
		TEST(test_detail_shows_one_cache),
		TEST(test_cache_that_goes_is_said),
		TEST(test_actions_are_confirmed),
		TEST(test_record_is_not_acted_upon),
		TEST(test_trouble_is_shown),
		TEST(test_tables_are_switched),
		TEST(test_help_has_every_column),
		cmocka_unit_test(test_sort_by_name_on_the_command_line),
		TEST(test_random_keys),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
