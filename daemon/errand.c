// SPDX-License-Identifier: BSD-2-Clause
#include <stddef.h>

#include "daemon/errand.h"

static struct {
	struct worker *worker;
	struct loop *control;
	unsigned int under_way;
} errands;

int errand_init(struct loop *control, const char **why)
{
	errands.control = control;
	return worker_new(&errands.worker, control, "treekvd-errands", why);
}

int errand_start(const char **why)
{
	return worker_start(errands.worker, why);
}

void errand_settle(void)
{
	while (errands.under_way && !loop_turn(errands.control))
		;
}

void errand_stop(void)
{
	errands.worker = worker_free(errands.worker);
}

static void work(struct worker_job *job)
{
	struct errand *errand = loop_entry(job, struct errand, job);

	errand->work(errand);
}

static void done(struct worker_job *job)
{
	struct errand *errand = loop_entry(job, struct errand, job);

	errands.under_way--;
	errand->done(errand);
}

void errand_run(struct errand *errand, void (*work_of)(struct errand *errand),
		void (*done_with)(struct errand *errand))
{
	errand->work = work_of;
	errand->done = done_with;
	errand->job = (struct worker_job){ .done = done };
	errands.under_way++;
	worker_do(errands.worker, &errand->job, work);
}
