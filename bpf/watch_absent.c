// SPDX-License-Identifier: BSD-2-Clause
/* The loader of a build that lacked clang, bpftool or libbpf: sees nothing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/watch.h"

struct watch {
	enum watch_level level;
};

int watch_new(struct watch **ret, const struct watch_target *target, char *why,
	      size_t size)
{
	struct watch *w = calloc(1, sizeof(*w));

	(void)target;
	if (!w)
		return -ENOMEM;
	snprintf(why, size,
		 "no eBPF, only the daemon's own counters: this program was "
		 "built without it (clang, bpftool or libbpf-dev was missing)");
	*ret = w;
	return 0;
}

struct watch *watch_free(struct watch *w)
{
	free(w);
	return NULL;
}

enum watch_level watch_level(const struct watch *w)
{
	return w->level;
}

bool watch_has(const struct watch *w, enum watch_histogram histogram)
{
	(void)w;
	(void)histogram;
	return false;
}

void watch_follow(struct watch *w, const pid_t *process, size_t processes)
{
	(void)w;
	(void)process;
	(void)processes;
}

int watch_read(struct watch *w, struct watch_data *data)
{
	(void)w;
	memset(data, 0, sizeof(*data));
	return 0;
}
