/* SPDX-License-Identifier: BSD-2-Clause */
/* Metrics over HTTP, for Prometheus. Control thread only. */
#ifndef TREEKVD_HTTP_H
#define TREEKVD_HTTP_H

#include <stdint.h>

struct control;

/**
 * http_start - serve @control's metrics where its configuration says
 *
 * Does nothing where that is nowhere. What keeps it from serving is logged, and
 * the daemon goes on without: caches are worth more than their metrics.
 */
void http_start(struct control *control);

/* Runs the loop until its last operation is back. */
void http_stop(void);

/* Answered so far. */
uint64_t http_requests(void);

#endif /* TREEKVD_HTTP_H */
