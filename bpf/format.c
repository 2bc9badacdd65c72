// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/format.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))

/* Three digits: 4.56, 12.3, 123. */
static void three_digits(char *to, size_t size, double value, const char *unit)
{
	if (value < 9.995)
		snprintf(to, size, "%.2f%s", value, unit);
	else if (value < 99.95)
		snprintf(to, size, "%.1f%s", value, unit);
	else
		snprintf(to, size, "%.0f%s", value, unit);
}

/* @units: the first one's step is 1. */
static void scale(char *to, size_t size, double value, double step,
		  const char *const *units, size_t n)
{
	size_t i = 0;

	for (; value >= step * 0.9995 && i + 1 < n; i++)
		value /= step;
	if (i == 0)
		snprintf(to, size, "%.0f%s", value, units[0]);
	else
		three_digits(to, size, value, units[i]);
}

static int is_unknown(char *to, size_t size, double value)
{
	if (isfinite(value) && value >= 0)
		return 0;
	snprintf(to, size, "-");
	return 1;
}

void format_count(char *to, size_t size, double value)
{
	static const char *const units[] = { "", "k", "M", "G", "T", "P" };

	if (is_unknown(to, size, value))
		return;
	if (value < 9999.5)
		snprintf(to, size, "%.0f", value);
	else
		scale(to, size, value, 1000, units, ARRAY_SIZE(units));
}

void format_rate(char *to, size_t size, double value)
{
	if (is_unknown(to, size, value))
		return;
	if (value < 0.005)
		snprintf(to, size, "0");
	else if (value < 99.95)
		three_digits(to, size, value, "");
	else
		format_count(to, size, value);
}

void format_bytes(char *to, size_t size, double bytes)
{
	static const char *const units[] = { "B", "K", "M", "G", "T", "P" };

	if (!is_unknown(to, size, bytes))
		scale(to, size, bytes, 1024, units, ARRAY_SIZE(units));
}

void format_time(char *to, size_t size, double ns)
{
	static const char *const units[] = { "ns", "us", "ms", "s" };

	if (is_unknown(to, size, ns))
		return;
	if (ns >= 120e9)
		format_age(to, size, ns / 1e9);
	else
		scale(to, size, ns, 1000, units, ARRAY_SIZE(units));
}

void format_age(char *to, size_t size, double seconds)
{
	if (is_unknown(to, size, seconds))
		return;
	if (seconds < 120)
		snprintf(to, size, "%.0fs", floor(seconds));
	else if (seconds < 2 * 3600)
		snprintf(to, size, "%.0fmin", floor(seconds / 60));
	else if (seconds < 2 * 86400)
		snprintf(to, size, "%.0fh", floor(seconds / 3600));
	else
		snprintf(to, size, "%.0fd", floor(seconds / 86400));
}

void format_part(char *to, size_t size, double part)
{
	if (is_unknown(to, size, part))
		return;
	if (part < 0.0005)
		snprintf(to, size, "0%%");
	else if (part < 0.0995)
		snprintf(to, size, "%.1f%%", part * 100);
	else
		snprintf(to, size, "%.0f%%", part * 100);
}

int format_parse(double *ret, const char *text)
{
	static const struct {
		const char *unit;
		double factor;
	} units[] = {
		{ "", 1 },	 { "%", 0.01 },	   { "k", 1e3 },
		{ "K", 1024 },	 { "M", 0x1p20 },  { "G", 0x1p30 },
		{ "T", 0x1p40 }, { "ns", 1 },	   { "us", 1e3 },
		{ "ms", 1e6 },	 { "s", 1e9 },	   { "min", 60e9 },
		{ "h", 3600e9 }, { "d", 86400e9 },
	};
	char *end;
	double value = strtod(text, &end);

	if (end == text || !isfinite(value))
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (!strcmp(end, units[i].unit)) {
			*ret = value * units[i].factor;
			return 0;
		}
	return -EINVAL;
}
