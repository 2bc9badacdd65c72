/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What processes and users are called: command lines from /proc, names from the
 * password database, remembered, for asking anew each time would cost more than
 * all the rest.
 */
#ifndef TREEKV_PROCESSES_H
#define TREEKV_PROCESSES_H

#include "sample.pb-c.h"

struct processes;

struct processes *processes_new(void); /* NULL: no memory */
struct processes *processes_free(struct processes *processes); /* takes NULL */

/* Adds to a sample the commands and owners of whom its lists speak. */
int processes_describe(struct processes *processes, Treekv__Sample *sample);

#endif /* TREEKV_PROCESSES_H */
