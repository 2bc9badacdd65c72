/* SPDX-License-Identifier: BSD-2-Clause */
/* The trace of full attention that treekvctl replay reads. */
#ifndef RUN_RECORD_H
#define RUN_RECORD_H

#include "client/treekv.h"

struct record;

/**
 * record_open - begin a trace
 * @ret: the record
 * @path: its name once it is complete; what has it now must be a regular file
 * @steps: tokens that will be fed
 *
 * Return: 0; -EINVAL @path is a directory, a link or a device; another negative
 * errno. The fault is on stderr.
 */
int record_open(struct record **ret, const char *path, uint32_t layers,
		uint32_t kv_heads, uint32_t steps);

/* What an engine_watch is told; layers and heads in their order. */
void record_watch(struct record *record, const struct treekv_view *view,
		  const float *weights, uint32_t group, size_t stride);

/* Gives the trace its name; an incomplete one is removed. Frees the record. */
int record_close(struct record *record);

#endif /* RUN_RECORD_H */
