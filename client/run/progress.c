// SPDX-License-Identifier: BSD-2-Clause
#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "client/run/progress.h"

#define COLUMNS 80 /* of a terminal that does not say */
#define BAR_MAX 30
#define BAR_MIN 5
#define FIELD	64 /* bytes */
#define PERIOD	66000000 /* ns */

uint64_t progress_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void progress_begin(struct progress *p)
{
	*p = (struct progress){
		.on = isatty(STDERR_FILENO),
		.start = progress_clock(),
	};
	if (!p->on)
		return;
	setlocale(LC_CTYPE, "");
	p->blocks = !strcmp(nl_langinfo(CODESET), "UTF-8");
	p->next = p->start + PERIOD;
}

/* Cells that a line may fill: the last column stays free, so it never wraps. */
static int columns(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col)
		return COLUMNS - 1;
	return size.ws_col - 1;
}

/* Eighths of a cell, where the terminal can show them. */
static void draw_bar(const struct progress *p, double share, int width)
{
	static const char *const part[] = { " ", "▏", "▎", "▍",
					    "▌", "▋", "▊", "▉" };
	int eighths = (int)(share * width * 8);
	int i = 0;

	for (; i < eighths / 8; i++)
		fputs(p->blocks ? "█" : "#", stderr);
	if (i < width) {
		fputs(p->blocks ? part[eighths % 8] : ".", stderr);
		i++;
	}
	for (; i < width; i++)
		fputs(p->blocks ? " " : ".", stderr);
}

/*
 * The counts, then the speed, then what is held, as far as they fit beside a
 * bar. Returns the bar's width, below BAR_MIN when not even the counts fit.
 */
static int fit(char text[3][FIELD], int room)
{
	int left = room - (int)strlen(text[0]);

	for (int i = 1; i < 3; i++) {
		int length = (int)strlen(text[i]);

		if (left - length < BAR_MIN)
			text[i][0] = '\0';
		else
			left -= length;
	}
	return left < BAR_MAX ? left : BAR_MAX;
}

static void draw(const struct progress *p, const char *what, double share,
		 char text[3][FIELD])
{
	int room = columns();
	int width = fit(text, room - (int)strlen(what) - 3);

	if (width < BAR_MIN) {
		fprintf(stderr, "\r%.*s\033[K", room, text[0] + 1);
		return;
	}
	fprintf(stderr, "\r%s %s", what, p->blocks ? "▕" : "[");
	draw_bar(p, share, width);
	fprintf(stderr, "%s%s%s%s\033[K", p->blocks ? "▏" : "]", text[0],
		text[1], text[2]);
}

void progress_step(struct progress *p, const char *what, uint64_t done,
		   uint64_t total, uint64_t held, uint64_t budget)
{
	char text[3][FIELD];
	uint64_t now;

	if (!p->on)
		return;
	now = progress_clock();
	if (now < p->next)
		return;
	p->next = now + PERIOD;
	p->drawn = true;
	snprintf(text[0], FIELD, " %" PRIu64 "/%" PRIu64, done, total);
	snprintf(text[1], FIELD, "  %.0f tokens/s",
		 (double)done * 1e9 / (double)(now - p->start));
	snprintf(text[2], FIELD, "  held %" PRIu64 ", budget %" PRIu64, held,
		 budget);
	draw(p, what, done < total ? (double)done / (double)total : 1, text);
	fflush(stderr);
}

void progress_hide(struct progress *p)
{
	if (p->drawn)
		fputs("\r\033[K", stderr);
	p->drawn = false;
}
