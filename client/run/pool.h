/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that share the parts of one job and meet again. */
#ifndef RUN_POOL_H
#define RUN_POOL_H

#include <stdint.h>

struct pool;

/* Parts run in any order, and at once. */
typedef void (*pool_job)(void *arg, uint32_t part, uint32_t parts);

/* Return: 0; -EAGAIN, -ENOMEM: fewer threads than asked for can be had. */
int pool_new(struct pool **ret, uint32_t threads);
struct pool *pool_free(struct pool *pool);

/* The caller takes its share. Returns when every part has been run. */
void pool_run(struct pool *pool, pool_job job, void *arg);

#endif /* RUN_POOL_H */
