/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control plane: what requests mean. Owns the store, the leases and the
 * workers; runs on the control thread.
 */
#ifndef TREEKVD_CONTROL_H
#define TREEKVD_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/adopt.h"
#include "daemon/config.h"
#include "daemon/conn.h"
#include "daemon/histogram.h"
#include "daemon/prefix.h"
#include "daemon/store.h"
#include "daemon/worker.h"

#define CONTROL_WORKERS_MAX 64
#define CONTROL_KEPT_MAX    1024 /* caches that a service manager keeps */

/* Totals since the start, for metrics. */
struct control_counters {
	uint64_t requests;
	uint64_t refusals;
	uint64_t creates;
	uint64_t attaches;
	uint64_t readers; /* attaches to read */
	uint64_t detaches;
	uint64_t drops;
	uint64_t freezes;
	uint64_t forks;
	uint64_t lookups;
	uint64_t lookup_hits;
	uint64_t deaths; /* writers that died with a lease */
	uint64_t leases_broken;
	uint64_t stalls_gone; /* of caches that are gone */
	uint64_t snapshots;
	uint64_t snapshot_failures;
	uint64_t snapshot_bytes;
	uint64_t restores;
	uint64_t restore_failures;
	uint64_t prefills;
	uint64_t parks;
	uint64_t park_failures;
	uint64_t reclaims;
};

struct control {
	struct loop loop;
	const struct config *config;
	struct listener *listener;
	struct store store;
	struct prefixes prefixes; /* of frozen caches that have a name */
	struct worker *worker[CONTROL_WORKERS_MAX];
	uint32_t workers;
	uint32_t leases;
	uint64_t started; /* seconds, CLOCK_MONOTONIC */
	bool kept; /* a service manager keeps our descriptors */
	struct adopt_counts adopted;
	struct control_counters counters;
	struct histograms histograms; /* the control thread's */
};

/* There is one; requests arrive without a pointer to it. */
extern struct control treekvd;

/**
 * control_start - ring, workers, listener
 * @why: on failure what went wrong and what to do
 */
int control_start(const struct config *config, const char **why);

/*
 * Stops the workers and lets go of everything. Caches end here, unless a
 * service manager keeps them: then they stay as they are for the next daemon.
 * Return: caches that ought to have been written to disk and were not.
 */
unsigned int control_stop(void);

#endif /* TREEKVD_CONTROL_H */
