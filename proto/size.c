// SPDX-License-Identifier: BSD-2-Clause
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/size.h"

int size_parse_digits(uint64_t *ret, const char *text, char **end)
{
	unsigned long long value;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, end, 10);
	if (errno)
		return -EINVAL;
	*ret = value;
	return 0;
}

static int of_whole(uint64_t *ret, uint64_t percent, uint64_t whole)
{
	if (percent < 1 || percent > 100 || !whole)
		return -EINVAL;
	*ret = whole / 100 * percent;
	return 0;
}

int size_parse(uint64_t *ret, const char *text, uint64_t whole)
{
	static const char units[] = "KMGT";
	const char *unit;
	uint64_t value;
	unsigned int shift;
	char *end;

	if (size_parse_digits(&value, text, &end))
		return -EINVAL;
	if (!*end) {
		*ret = value;
		return 0;
	}
	if (end[1])
		return -EINVAL;
	if (*end == '%')
		return of_whole(ret, value, whole);
	unit = strchr(units, *end);
	if (!unit)
		return -EINVAL;
	shift = 10 * (unsigned int)(unit - units + 1);
	if (value > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = value << shift;
	return 0;
}
