/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TREEKVD_CLOCK_H
#define TREEKVD_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in nanoseconds; about 20 of them by itself. */
static inline uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

#endif /* TREEKVD_CLOCK_H */
