// SPDX-License-Identifier: BSD-2-Clause
/*
 * A line is put together on the stack and leaves by one write(2), so that lines
 * of several threads never mix. Under the journal (JOURNAL_STREAM) it begins
 * with a syslog priority and the journal keeps the time; elsewhere with the
 * time in UTC.
 *
 * Names, paths and programs in values come from clients: control characters
 * are escaped, so that nobody else can end a line or move a terminal's cursor.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log.h"

#define LINE_MAX_BYTES 2048
#define ESCAPE_BYTES   4 /* \x1b */

static const struct {
	const char *name;
	int priority; /* of syslog(3) */
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", 3 },
	[LOG_LEVEL_WARNING] = { "warning", 4 },
	[LOG_LEVEL_INFO] = { "info", 6 },
	[LOG_LEVEL_DEBUG] = { "debug", 7 },
};

static atomic_int level_now = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&level_now, level, memory_order_relaxed);
}

static size_t put_prefix(char *to, size_t size, enum log_level level)
{
	struct timespec now;
	struct tm tm;
	size_t n;

	if (getenv("JOURNAL_STREAM") && !isatty(STDERR_FILENO))
		return snprintf(to, size, "<%d>", levels[level].priority);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = strftime(to, size, "%Y-%m-%dT%H:%M:%S", &tm);
	return n +
	       snprintf(to + n, size - n, ".%03ldZ ", now.tv_nsec / 1000000);
}

/* @to has ESCAPE_BYTES + 1 to spare. */
static size_t put_escaped(char *to, unsigned char c)
{
	if (c == '\n')
		return sprintf(to, "\\n");
	if (c < 0x20 || c == 0x7f)
		return sprintf(to, "\\x%02x", c);
	*to = c;
	return 1;
}

static size_t put_text(char *to, size_t size, const char *text)
{
	size_t n = 0;

	for (; *text && n + ESCAPE_BYTES < size; text++)
		n += put_escaped(to + n, *text);
	return n;
}

static void write_line(const char *line, size_t size)
{
	ssize_t n;

	do {
		n = write(STDERR_FILENO, line, size);
	} while (n < 0 && errno == EINTR);
}

void log_line(enum log_level level, const char *event, const char *format, ...)
{
	int saved = errno;
	char text[LINE_MAX_BYTES / 2];
	char line[LINE_MAX_BYTES];
	va_list args;
	size_t n;

	if ((int)level > atomic_load_explicit(&level_now, memory_order_relaxed))
		return;
	va_start(args, format);
	if (vsnprintf(text, sizeof(text), format, args) < 0)
		text[0] = '\0';
	va_end(args);
	n = put_prefix(line, sizeof(line), level);
	n += snprintf(line + n, sizeof(line) - n, "level=%s event=\"",
		      levels[level].name);
	n += put_text(line + n, sizeof(line) / 2 - n, event);
	line[n++] = '"';
	if (text[0])
		line[n++] = ' ';
	n += put_text(line + n, sizeof(line) - 1 - n, text);
	line[n++] = '\n';
	write_line(line, n);
	errno = saved;
}
