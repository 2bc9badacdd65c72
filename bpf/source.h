/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where samples come from while a screen is shown: a thread that asks a daemon,
 * so that one which hangs does not take the screen along. All functions are for
 * one thread, that of the screen.
 */
#ifndef TREEKV_SOURCE_H
#define TREEKV_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "bpf/gather.h"
#include "sample.pb-c.h"

struct source;

struct source_options {
	const char *socket; /* NULL: the default */
	double interval; /* seconds */
	bool ebpf;
};

/* Return: 0, -ENOMEM, or what threads and eventfds fail with. */
int source_new(struct source **ret, const struct source_options *options);

/*
 * Ends the thread. One that is being kept waiting by a daemon is left to the
 * end of the process. Takes NULL, returns it.
 */
struct source *source_free(struct source *source);

/* Readable when there is something to take. */
int source_fd(const struct source *source);

/* What has come since the last time; NULL: nothing. The caller's to free. */
Treekv__Sample *source_take(struct source *source);
Treekv__SampleDetail *source_take_detail(struct source *source);

/* What came of an act. Return: 1, and @error is set; 0: nothing has ended. */
int source_take_result(struct source *source, int *error, char *text,
		       size_t size);

void source_interval(struct source *source, double seconds);
void source_pause(struct source *source, bool paused);

/* From now on samples come with this cache's detail; soon a first one. */
void source_want(struct source *source, const struct gather_detail *wanted);

/* Return: 0; -EBUSY another one is under way; what threads fail with. */
int source_act(struct source *source, enum act act,
	       const struct target *object);

#endif /* TREEKV_SOURCE_H */
