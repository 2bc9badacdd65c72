/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Errands: laying an index out and giving memory back take as long as a cache is
 * large, seconds where it is very large. The control thread would keep everybody
 * waiting meanwhile and a worker its caches, so one more thread does them, one
 * after the other. It has no caches and no deadline.
 */
#ifndef TREEKVD_ERRAND_H
#define TREEKVD_ERRAND_H

#include "daemon/worker.h"

/* Embedded in what it is about. */
struct errand {
	struct worker_job job;
	void (*work)(struct errand *errand); /* on the errands' thread */
	void (*done)(struct errand *errand); /* on the control thread */
};

/* Return: 0 or a negative errno, with @why set. */
int errand_init(struct loop *control, const char **why);

/* Starts its thread. Return: likewise. */
int errand_start(const char **why);

/* Returns when every errand is done; more may be sent meanwhile. */
void errand_settle(void);

/* None is under way. */
void errand_stop(void);

void errand_run(struct errand *errand, void (*work)(struct errand *errand),
		void (*done)(struct errand *errand));

#endif /* TREEKVD_ERRAND_H */
