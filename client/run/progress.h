/* SPDX-License-Identifier: BSD-2-Clause */
/* A bar on stderr, where that is a terminal. */
#ifndef RUN_PROGRESS_H
#define RUN_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool on;
	bool drawn;
	bool blocks; /* the terminal has them */
	uint64_t start;
	uint64_t next; /* when to draw again */
};

/* Nanoseconds of the monotonic clock. */
uint64_t progress_clock(void);

void progress_begin(struct progress *progress);

/* To be called after each token; draws now and then. */
void progress_step(struct progress *progress, const char *what, uint64_t done,
		   uint64_t total, uint64_t held, uint64_t budget);

/* Erases the bar; the next step draws it again. */
void progress_hide(struct progress *progress);

#endif /* RUN_PROGRESS_H */
