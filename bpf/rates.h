/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happened between two samples, a second. Pure. NAN is what cannot be
 * known: there was no sample before, a daemon has begun to count anew, a cache
 * is another than the one that had its number.
 */
#ifndef TREEKV_RATES_H
#define TREEKV_RATES_H

#include <stddef.h>

#include "sample.pb-c.h"

struct cache_rates {
	double tokens;
	double evictions;
	double compactions;
	double stalls;
	double stalled; /* part of the time that its writer waited */
};

struct worker_rates {
	double load; /* part of the time that it compacted */
	double cpu; /* that it ran */
	double delay; /* that it could have run and did not */
	double compactions;
	double evictions;
	double doorbells;
};

struct client_rates {
	double requests;
	double tokens; /* of all caches that it writes */
};

struct rates {
	double seconds; /* between the two */
	double tokens; /* of all caches */
	double evictions;
	double compactions;
	double stalls;
	double requests;
	double load; /* of the busiest worker */
	struct cache_rates *cache; /* one for each of the later sample's */
	size_t caches;
	struct worker_rates *worker;
	size_t workers;
	struct client_rates *client;
	size_t clients;
};

/**
 * rates_new - the difference of two samples
 * @before: NULL: there is none
 *
 * Return: 0 or -ENOMEM.
 */
int rates_new(struct rates **ret, const Treekv__Sample *before,
	      const Treekv__Sample *now);
struct rates *rates_free(struct rates *rates); /* takes NULL, returns it */

#endif /* TREEKV_RATES_H */
