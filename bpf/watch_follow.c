// SPDX-License-Identifier: BSD-2-Clause
/*
 * The library's probes are in programs that are not ours: whatever writers run,
 * with the library linked in, preloaded or opened late. Each such file is
 * attached to once, for all processes; its inode is what tells it. It is
 * reached by the process's own mapping, which is right in another mount
 * namespace, too, and where the file has been replaced since.
 *
 * A process is looked at when it is first seen with a lease. So that the first
 * writer of all is not missed meanwhile, the files of the daemon's own
 * installation are looked at beforehand.
 */
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpf/watch_impl.h"

#define LIBRARY "libtreekv.so.0"

/* Return: whether it is new; it is not, from now on. */
static bool note_file(struct watch *w, const struct stat *st)
{
	struct watch_file *more;

	for (size_t i = 0; i < w->files; i++)
		if (w->file[i].dev == st->st_dev &&
		    w->file[i].ino == st->st_ino)
			return false;
	more = realloc(w->file, (w->files + 1) * sizeof(*more));
	if (!more)
		return false; /* attaching twice would count twice */
	w->file = more;
	more[w->files++] = (struct watch_file){ st->st_dev, st->st_ino };
	return true;
}

static void look_at_file(struct watch *w, const char *path)
{
	struct stat st;
	int r;

	if (stat(path, &st) || !S_ISREG(st.st_mode) || !note_file(w, &st))
		return;
	r = watch_attach_all(w, "libtreekv", -1, path);
	if (r && r != -ENOENT && r != -EINVAL && r != -ESRCH)
		w->programs_missed++;
}

void watch_look_beside(struct watch *w, pid_t daemon)
{
	char link[32], exe[PATH_MAX], path[PATH_MAX + 32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/exe", daemon);
	n = readlink(link, exe, sizeof(exe) - 1);
	if (n <= 0)
		return;
	exe[n] = '\0';
	*strrchr(exe, '/') = '\0';
	snprintf(path, sizeof(path), "%s/treekv-run", exe);
	look_at_file(w, path);
	snprintf(path, sizeof(path), "%s/../lib/" LIBRARY, exe);
	look_at_file(w, path);
	look_at_file(w, "/usr/lib/" LIBRARY);
}

bool watch_is_gone(pid_t pid)
{
	return kill(pid, 0) && errno == ESRCH;
}

static bool is_followed(const struct watch *w, pid_t pid)
{
	for (size_t i = 0; i < w->follows; i++)
		if (w->followed[i] == pid)
			return true;
	return false;
}

static int note_process(struct watch *w, pid_t pid)
{
	pid_t *more = realloc(w->followed, (w->follows + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	w->followed = more;
	more[w->follows++] = pid;
	return 0;
}

void watch_forget(struct watch *w, pid_t pid)
{
	for (size_t i = 0; i < w->follows; i++)
		if (w->followed[i] == pid) {
			w->followed[i] = w->followed[--w->follows];
			return;
		}
}

void watch_look_at(struct watch *w, pid_t pid)
{
	uint64_t begin, end, offset, inode;
	char path[80], line[PATH_MAX + 128], perms[5];
	unsigned int major, minor;
	FILE *maps;

	if (is_followed(w, pid) || note_process(w, pid))
		return;
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	if (!maps)
		return;
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line,
			   "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x "
			   "%" SCNu64,
			   &begin, &end, perms, &offset, &major, &minor,
			   &inode) != 7 ||
		    perms[2] != 'x' || !inode)
			continue;
		snprintf(path, sizeof(path),
			 "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, pid, begin,
			 end);
		look_at_file(w, path);
	}
	fclose(maps);
}

void watch_follow(struct watch *w, const pid_t *process, size_t processes)
{
	struct table_process counts = { 0 };

	if (w->level != WATCH_FULL)
		return;
	for (size_t i = 0; i < processes; i++) {
		uint32_t key = (uint32_t)process[i];
		int r = bpf_map__update_elem(w->bpf->maps.processes, &key,
					     sizeof(key), &counts,
					     sizeof(counts), BPF_NOEXIST);

		if (r == -E2BIG)
			__atomic_fetch_add(
				&w->bpf->bss->drops[WATCH_TABLE_PROCESSES], 1,
				__ATOMIC_RELAXED);
		watch_look_at(w, process[i]);
	}
}
