/* SPDX-License-Identifier: BSD-2-Clause */
/* The last few minutes of what is drawn as a curve. Pure. */
#ifndef TREEKV_HISTORY_H
#define TREEKV_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "bpf/rates.h"

#define HISTORY_LENGTH 240

enum history_of {
	HISTORY_TOKENS,
	HISTORY_EVICTIONS,
	HISTORY_STALLS,
	HISTORY_LOAD,
	HISTORY_CACHE, /* tokens/s of the one whose page is open */
	HISTORIES,
};

/* Begins zeroed. What is not known is NAN. */
struct history {
	double value[HISTORIES][HISTORY_LENGTH];
	size_t n; /* added so far */
};

/* @cache: of HISTORY_CACHE; NULL: not known */
void history_add(struct history *history, const struct rates *rates,
		 const struct cache_rates *cache);

/* As if there had been none so far: another cache's page is opened. */
void history_forget(struct history *history, enum history_of of);

/* The value @ago samples ago, 0 the newest; NAN when there is none. */
double history_at(const struct history *history, enum history_of of,
		  size_t ago);

/* The greatest of the newest @n; 0 when none is known. */
double history_most(const struct history *history, enum history_of of,
		    size_t n);

#endif /* TREEKV_HISTORY_H */
