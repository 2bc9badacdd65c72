// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/canvas.h"

#define CELLS_MAX (1 << 20)

int canvas_init(struct canvas *canvas, int width, int height, bool utf8)
{
	struct canvas_cell *cells;

	if (width < 0 || height < 0 || (height && width > CELLS_MAX / height))
		return -ENOMEM;
	cells = calloc((size_t)width * (size_t)height + 1, sizeof(*cells));
	if (!cells)
		return -ENOMEM;
	*canvas = (struct canvas){ width, height, utf8, cells };
	canvas_clear(canvas);
	/* cppcheck-suppress memleak ; canvas_exit() frees them */
	return 0;
}

void canvas_exit(struct canvas *canvas)
{
	free(canvas->cells);
	*canvas = (struct canvas){ 0 };
}

static struct canvas_cell *cell_at(const struct canvas *canvas, int y, int x)
{
	if (y < 0 || y >= canvas->height || x < 0 || x >= canvas->width)
		return NULL;
	return &canvas->cells[(size_t)y * (size_t)canvas->width + (size_t)x];
}

void canvas_clear(struct canvas *canvas)
{
	for (int y = 0; y < canvas->height; y++)
		canvas_fill(canvas, y, 0, canvas->width, STYLE_PLAIN, ' ');
}

struct canvas_cell canvas_at(const struct canvas *canvas, int y, int x)
{
	const struct canvas_cell *cell = cell_at(canvas, y, x);

	return cell ? *cell : (struct canvas_cell){ ' ', STYLE_PLAIN };
}

static void set(struct canvas *canvas, int y, int x, enum style style,
		uint32_t character)
{
	struct canvas_cell *cell = cell_at(canvas, y, x);

	if (!cell)
		return;
	cell->character = character;
	cell->style = (uint8_t)style;
}

/* Bytes of the sequence at @s, 1 when it is none; *ret is '?' then. */
static size_t decode(const unsigned char *s, uint32_t *ret)
{
	size_t n = s[0] < 0xc2 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t c = n == 1 ? s[0] : s[0] & (0x7fU >> n);

	*ret = '?';
	if (n == 1 && s[0] >= 0x80)
		return 1;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 1;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 1;
	*ret = c;
	return n;
}

/*
 * Only what takes one cell wherever it is shown: Latin, Greek and Cyrillic
 * letters, and the blocks, lines and arrows that are drawn here.
 */
static uint32_t showable(uint32_t c, bool utf8)
{
	if (c >= ' ' && c < 0x7f)
		return c;
	if (!utf8)
		return '?';
	if ((c >= 0xa1 && c < 0x300 && c != 0xad) ||
	    (c >= 0x370 && c < 0x483) || (c >= 0x48a && c < 0x530))
		return c;
	if ((c >= 0x2010 && c < 0x2028) || (c >= 0x2190 && c < 0x2200) ||
	    (c >= 0x2500 && c < 0x2600))
		return c;
	return '?';
}

int canvas_put(struct canvas *canvas, int y, int x, int width, enum style style,
	       const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	int end = width < 0 || width > canvas->width - x ? canvas->width :
							   x + width;
	uint32_t c;

	while (*s && x < end) {
		s += decode(s, &c);
		set(canvas, y, x++, style, showable(c, canvas->utf8));
	}
	return x;
}

int canvas_width_of(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	uint32_t c;
	int n = 0;

	for (; *s; n++)
		s += decode(s, &c);
	return n;
}

int canvas_right(struct canvas *canvas, int y, int x, int width,
		 enum style style, const char *text)
{
	int n = canvas_width_of(text);

	if (n < width)
		canvas_put(canvas, y, x + width - n, n, style, text);
	else
		canvas_put(canvas, y, x, width, style, text);
	return x + width;
}

int canvas_print(struct canvas *canvas, int y, int x, enum style style,
		 const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return canvas_put(canvas, y, x, -1, style, text);
}

void canvas_fill(struct canvas *canvas, int y, int x, int n, enum style style,
		 uint32_t character)
{
	for (int i = 0; i < n; i++)
		set(canvas, y, x + i, style, character);
}

void canvas_restyle(struct canvas *canvas, int y, int x, int n,
		    enum style style)
{
	for (int i = 0; i < n; i++) {
		struct canvas_cell *cell = cell_at(canvas, y, x + i);

		if (cell)
			cell->style = (uint8_t)style;
	}
}

static void write_character(FILE *to, uint32_t c)
{
	if (c < 0x80) {
		fputc((int)c, to);
	} else if (c < 0x800) {
		fputc((int)(0xc0 | c >> 6), to);
		fputc((int)(0x80 | (c & 0x3f)), to);
	} else {
		fputc((int)(0xe0 | c >> 12), to);
		fputc((int)(0x80 | (c >> 6 & 0x3f)), to);
		fputc((int)(0x80 | (c & 0x3f)), to);
	}
}

void canvas_write(const struct canvas *canvas, FILE *to)
{
	int empty = 0;

	for (int y = 0; y < canvas->height; y++) {
		int end = canvas->width;

		while (end && canvas_at(canvas, y, end - 1).character == ' ')
			end--;
		if (!end) {
			empty++;
			continue;
		}
		for (; empty; empty--)
			fputc('\n', to);
		for (int x = 0; x < end; x++)
			write_character(to, canvas_at(canvas, y, x).character);
		fputc('\n', to);
	}
}
