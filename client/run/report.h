/* SPDX-License-Identifier: BSD-2-Clause */
/* What came of a run, for people or as JSON. */
#ifndef RUN_REPORT_H
#define RUN_REPORT_H

#include "client/run/prefix.h"
#include "client/run/run.h"

/**
 * struct report - of a run
 * @load_ns: of loading model, tokenizer and input
 * @begun: when that was done
 * @prefix: what the run's cache began with; NULL: without --prefix-cache
 */
struct report {
	uint64_t load_ns;
	uint64_t begun;
	const struct prefix *prefix;
};

/**
 * report_print - say what came of it
 * @about: what the run itself does not know
 *
 * Return: what report_flush() does.
 */
int report_print(const struct run *run, const struct report *about);

/**
 * report_flush - has all of stdout been taken?
 *
 * Return: 0; -EPIPE nobody reads it; another negative errno. The fault is on
 * stderr: a result that is lost is no success.
 */
int report_flush(void);

#endif /* RUN_REPORT_H */
