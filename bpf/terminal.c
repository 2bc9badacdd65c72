// SPDX-License-Identifier: BSD-2-Clause
/*
 * Eight colours are enough, so every terminal that has any shows the same;
 * where there are none, or NO_COLOR is set, bold and reverse tell apart what
 * has to be told apart. Backgrounds stay the terminal's own.
 */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NCURSES_WIDECHAR 1
#include <curses.h>

#include "bpf/terminal.h"
#include "bpf/view.h"

#define ESCAPE_MS 25 /* a lone Esc, and not the beginning of a key */

struct look {
	short colour; /* -1: the terminal's own */
	short ground;
	attr_t with; /* beside the colour */
	attr_t without; /* where there are none */
};

static const struct look looks[STYLES] = {
	[STYLE_PLAIN] = { -1, -1, A_NORMAL, A_NORMAL },
	[STYLE_DIM] = { COLOR_CYAN, -1, A_NORMAL, A_NORMAL },
	[STYLE_STRONG] = { -1, -1, A_BOLD, A_BOLD },
	[STYLE_TITLE] = { COLOR_BLACK, COLOR_GREEN, A_NORMAL, A_REVERSE },
	[STYLE_SORTED] = { COLOR_BLACK, COLOR_CYAN, A_NORMAL,
			   A_REVERSE | A_BOLD },
	[STYLE_CURSOR] = { COLOR_BLACK, COLOR_CYAN, A_NORMAL, A_REVERSE },
	[STYLE_GOOD] = { COLOR_GREEN, -1, A_BOLD, A_BOLD },
	[STYLE_WARN] = { COLOR_YELLOW, -1, A_BOLD, A_BOLD },
	[STYLE_BAD] = { COLOR_RED, -1, A_BOLD, A_BOLD | A_UNDERLINE },
	[STYLE_BAR] = { COLOR_GREEN, -1, A_NORMAL, A_NORMAL },
	[STYLE_GRAPH] = { COLOR_GREEN, -1, A_NORMAL, A_NORMAL },
	[STYLE_NAME] = { -1, -1, A_BOLD, A_BOLD },
	[STYLE_KEY] = { -1, -1, A_BOLD, A_BOLD },
	[STYLE_KEY_TEXT] = { COLOR_BLACK, COLOR_CYAN, A_NORMAL, A_REVERSE },
};

static attr_t attributes[STYLES];
static short pairs[STYLES];
static bool begun;

static void choose_looks(void)
{
	const char *no_color = getenv("NO_COLOR");
	bool colours = has_colors() && !(no_color && *no_color);

	if (colours) {
		start_color();
		use_default_colors();
	}
	for (int i = 0; i < STYLES; i++) {
		attributes[i] = colours ? looks[i].with : looks[i].without;
		pairs[i] = 0;
		if (!colours || (looks[i].colour < 0 && looks[i].ground < 0))
			continue;
		if (init_pair((short)(i + 1), looks[i].colour,
			      looks[i].ground) != ERR)
			pairs[i] = (short)(i + 1);
	}
}

bool terminal_is_utf8(void)
{
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

int terminal_begin(const char **why)
{
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		*why = "standard input and output are not a terminal; see "
		       "--once, --json and --record";
		return -ENOTTY;
	}
	if (!newterm(NULL, stdout, stdin)) {
		*why = "this terminal is not known (set TERM), or cannot be "
		       "drawn on; see --once and --json";
		return -ENOTTY;
	}
	begun = true;
	cbreak();
	noecho();
	nonl();
	intrflush(stdscr, FALSE);
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	set_escdelay(ESCAPE_MS);
	curs_set(0);
	choose_looks();
	return 0;
}

void terminal_end(void)
{
	if (!begun)
		return;
	begun = false;
	endwin();
}

void terminal_size(int *width, int *height)
{
	getmaxyx(stdscr, *height, *width);
}

static void put_cell(int y, int x, const struct canvas_cell *cell)
{
	wchar_t text[2] = { (wchar_t)cell->character, L'\0' };
	cchar_t c;

	setcchar(&c, text, attributes[cell->style], pairs[cell->style], NULL);
	mvadd_wch(y, x, &c);
}

void terminal_show(const struct canvas *canvas, bool anew)
{
	if (anew)
		clear();
	for (int y = 0; y < canvas->height; y++)
		for (int x = 0; x < canvas->width; x++) {
			struct canvas_cell cell = canvas_at(canvas, y, x);

			put_cell(y, x, &cell);
		}
	refresh();
}

uint32_t terminal_key(void)
{
	static const struct {
		wint_t from;
		uint32_t to;
	} keys[] = {
		{ KEY_UP, KEY_OF_UP },
		{ KEY_DOWN, KEY_OF_DOWN },
		{ KEY_LEFT, KEY_OF_LEFT },
		{ KEY_RIGHT, KEY_OF_RIGHT },
		{ KEY_PPAGE, KEY_OF_PAGE_UP },
		{ KEY_NPAGE, KEY_OF_PAGE_DOWN },
		{ KEY_HOME, KEY_OF_HOME },
		{ KEY_END, KEY_OF_END },
		{ KEY_ENTER, KEY_OF_ENTER },
		{ KEY_BTAB, KEY_OF_BACK_TAB },
		{ KEY_BACKSPACE, KEY_OF_BACKSPACE },
		{ KEY_F(1), KEY_OF_HELP },
		{ KEY_RESIZE, TERMINAL_RESIZED },
	};
	wint_t c;
	int r = get_wch(&c);

	if (r == ERR)
		return TERMINAL_NO_KEY;
	for (size_t i = 0;
	     r == KEY_CODE_YES && i < sizeof(keys) / sizeof(*keys); i++)
		if (keys[i].from == c)
			return keys[i].to;
	if (r == KEY_CODE_YES)
		return TERMINAL_NO_KEY;
	switch (c) {
	case '\r':
	case '\n':
		return KEY_OF_ENTER;
	case '\t':
		return KEY_OF_TAB;
	case 27:
		return KEY_OF_ESCAPE;
	case 127:
	case '\b':
		return KEY_OF_BACKSPACE;
	}
	return (uint32_t)c;
}
