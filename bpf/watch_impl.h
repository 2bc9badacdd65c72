/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the loader share; for nobody else. */
#ifndef TREEKV_WATCH_IMPL_H
#define TREEKV_WATCH_IMPL_H

#include <bpf/libbpf.h>

#include "bpf/watch.h"
#include "treekv.skel.h"

/* A program or library of writers that has been looked at. */
struct watch_file {
	dev_t dev;
	ino_t ino;
};

struct watch {
	struct treekv_bpf *bpf; /* NULL: WATCH_NONE */
	enum watch_level level;
	bool io; /* this kernel has the tracepoints */
	uint32_t workers;
	struct bpf_link **link;
	size_t links;
	struct watch_file *file;
	size_t files;
	pid_t *followed; /* whose programs have been looked at */
	size_t follows;
	uint64_t programs_missed;
};

/**
 * watch_attach - attach a program to what its name says
 * @pid: -1: in every process
 * @path: of the program or library that has the probe; NULL: a tracepoint
 *
 * Return: 0 or a negative errno; -ENOENT: it has no such probe.
 */
int watch_attach(struct watch *w, struct bpf_program *program, pid_t pid,
		 const char *path);

/* Attaches all programs of that provider, or none. */
int watch_attach_all(struct watch *w, const char *provider, pid_t pid,
		     const char *path);

/* Looks for the library's probes where a daemon's programs are installed. */
void watch_look_beside(struct watch *w, pid_t daemon);

/* Is that process over? */
bool watch_is_gone(pid_t pid);

/* Attaches to what a process runs, the first time. */
void watch_look_at(struct watch *w, pid_t pid);
void watch_forget(struct watch *w, pid_t pid);

#endif /* TREEKV_WATCH_IMPL_H */
