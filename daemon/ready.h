/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows kept ready: memory of the sizes of caches made lately, present already,
 * for the next ones. Control thread only.
 */
#ifndef TREEKVD_READY_H
#define TREEKVD_READY_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/segment.h"

/**
 * ready_take - rows for a cache, as by segment_new()
 * @present: whether all of them are, or still have to be made so
 *
 * Where there is no memory or descriptor left, those that are kept are given up
 * first. Return: as segment_new().
 */
int ready_take(struct segment *ret, const struct segment_request *request,
	       bool *present);

/* Before the loop sleeps: more or fewer of them, as there is room. */
void ready_look(void);

/* Gives all of them up; once errands have settled. */
void ready_exit(void);

/* What they take, beside the caches; how many were taken. */
uint64_t ready_bytes(void);
uint64_t ready_taken(void);

#endif /* TREEKVD_READY_H */
