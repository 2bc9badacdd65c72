/* SPDX-License-Identifier: BSD-2-Clause */
/* What came of a run, for people or as JSON. */
#ifndef RUN_REPORT_H
#define RUN_REPORT_H

#include "client/run/run.h"

/**
 * report_print - say what came of it
 * @load_ns: of loading model, tokenizer and input
 *
 * Return: what report_flush() does.
 */
int report_print(const struct run *run, uint64_t load_ns);

/**
 * report_flush - has all of stdout been taken?
 *
 * Return: 0; -EPIPE nobody reads it; another negative errno. The fault is on
 * stderr: a result that is lost is no success.
 */
int report_flush(void);

#endif /* RUN_REPORT_H */
