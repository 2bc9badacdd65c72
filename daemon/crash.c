// SPDX-License-Identifier: BSD-2-Clause
#include "daemon/crash.h"

#ifdef TREEKV_FAULTS

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const names[] = {
#define CRASH_NAME(id, name) [CRASH_##id] = name,
	CRASH_POINTS(CRASH_NAME)
#undef CRASH_NAME
};

/* Opening a FIFO takes until somebody opens its other end. */
static void blow(const char *fuse)
{
	struct stat st = { 0 };

	if (!stat(fuse, &st) && S_ISFIFO(st.st_mode))
		close(open(fuse, O_RDONLY | O_CLOEXEC));
	else if (!unlink(fuse))
		raise(SIGKILL);
}

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
	if (atomic_fetch_add(&times, 1) + 1 == wanted)
		blow(fuse);
}

void crash_print_points(void)
{
	for (size_t i = 0; i < CRASH_COUNT; i++)
		puts(names[i]);
}

#endif
