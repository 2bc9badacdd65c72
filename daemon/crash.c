// SPDX-License-Identifier: BSD-2-Clause
#include "daemon/crash.h"

#ifdef TREEKV_FAULTS

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {
#define CRASH_NAME(id, name) [CRASH_##id] = name,
	CRASH_POINTS(CRASH_NAME)
#undef CRASH_NAME
};

void crash_at(enum crash_point point)
{
	static atomic_ulong times;
	const char *at = getenv("TREEKV_CRASH_AT");
	const char *fuse = getenv("TREEKV_CRASH_FUSE");
	size_t length = strlen(names[point]);
	unsigned long wanted = 1;

	if (!at || !fuse || strncmp(at, names[point], length))
		return;
	if (at[length] == ':')
		wanted = strtoul(at + length + 1, NULL, 10);
	else if (at[length])
		return;
	if (atomic_fetch_add(&times, 1) + 1 == wanted && !unlink(fuse))
		raise(SIGKILL);
}

void crash_print_points(void)
{
	for (size_t i = 0; i < CRASH_COUNT; i++)
		puts(names[i]);
}

#endif
