// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <string.h>

#include "client/run/fault.h"
#include "client/treekv.h"

/* How texts speak of a cache that got its name from us or from the daemon. */
static const char *const nameless[] = { "cache anonymous-", "cache (local)" };

/* Finds the next of them in @text, and where its name ends. */
static const char *find_nameless(const char *text, const char **end)
{
	for (size_t i = 0; i < sizeof(nameless) / sizeof(*nameless); i++) {
		const char *at = strstr(text, nameless[i]);

		if (!at)
			continue;
		*end = at + strlen(nameless[i]);
		*end += strspn(*end, "0123456789-");
		return at;
	}
	return NULL;
}

static void print_text(const char *text, bool named)
{
	const char *at, *end;

	while (!named && (at = find_nameless(text, &end))) {
		fprintf(stderr, "%.*sthe cache", (int)(at - text), text);
		text = end;
	}
	fputs(text, stderr);
}

int fault_print(int error, const char *what, bool named, const char *advice)
{
	fprintf(stderr, "treekv-run: %s%s", what ? what : "", what ? ": " : "");
	print_text(*treekv_error() ? treekv_error() : strerror(-error), named);
	fprintf(stderr, "%s\n", advice);
	return error;
}
