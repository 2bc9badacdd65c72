/* SPDX-License-Identifier: BSD-2-Clause */
/* Every figure the daemon gives of itself: one table in metrics.c. */
#ifndef TREEKVD_METRICS_H
#define TREEKVD_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/histogram.h"

struct control;

struct metric {
	const char *name; /* Prometheus' conventions, without the prefix */
	const char *help;
	const char *unit; /* "bytes", "seconds", ... or "" */
	bool counter; /* only ever rises; else a gauge */
	uint64_t (*read)(const struct control *control);
};

extern const struct metric metrics[];
extern const size_t metrics_count;

/* What all threads have timed so far. */
void metrics_histogram(const struct control *control, enum histogram_id what,
		       struct histogram *ret);

#endif /* TREEKVD_METRICS_H */
