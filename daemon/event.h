/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens, told to whoever wants to know: the counters and the log. One
 * function for each thing that can happen, called where it has happened, on
 * the control thread unless marked otherwise.
 */
#ifndef TREEKVD_EVENT_H
#define TREEKVD_EVENT_H

#include <stdint.h>
#include <sys/types.h>

struct cache;
struct conn;
struct lease;

void event_created(const struct cache *cache, pid_t pid);
void event_attached(const struct cache *cache, pid_t pid);
void event_detached(const struct lease *lease);
void event_writer_died(const struct lease *lease);
void event_lease_broken(const struct cache *cache, pid_t holder,
			uint32_t passes);
void event_dropped(const struct cache *cache, pid_t pid);

/* Nobody holds it any more: its memory is being given back. */
void event_gone(const struct cache *cache);
void event_refused(const struct conn *conn, int error, const char *text);

/* On the cache's worker. */
void event_quarantined(const struct cache *cache);

#endif /* TREEKVD_EVENT_H */
