/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers that only tell: list, inspect, stats. */
#ifndef TREEKVD_REPORT_H
#define TREEKVD_REPORT_H

#include "daemon/control.h"

/* The caches of @peer; all of them for root and the daemon's own user. */
void report_list(struct control *control, struct conn *conn, uint64_t id);

void report_inspect(struct control *control, struct conn *conn, uint64_t id,
		    const struct cache *cache);

void report_stats(struct control *control, struct conn *conn, uint64_t id);

/* Root and the daemon's own user see every cache. */
bool report_sees_all(const struct conn *conn);

#endif /* TREEKVD_REPORT_H */
