// SPDX-License-Identifier: BSD-2-Clause
#include <math.h>

#include "bpf/history.h"

void history_add(struct history *history, const struct rates *rates,
		 const struct cache_rates *cache)
{
	size_t at = history->n++ % HISTORY_LENGTH;

	history->value[HISTORY_TOKENS][at] = rates->tokens;
	history->value[HISTORY_EVICTIONS][at] = rates->evictions;
	history->value[HISTORY_STALLS][at] = rates->stalls;
	history->value[HISTORY_LOAD][at] = rates->load;
	history->value[HISTORY_CACHE][at] = cache ? cache->tokens : NAN;
}

void history_forget(struct history *history, enum history_of of)
{
	for (size_t i = 0; i < HISTORY_LENGTH; i++)
		history->value[of][i] = NAN;
}

double history_at(const struct history *history, enum history_of of, size_t ago)
{
	if (ago >= history->n || ago >= HISTORY_LENGTH)
		return NAN;
	return history->value[of][(history->n - 1 - ago) % HISTORY_LENGTH];
}

double history_most(const struct history *history, enum history_of of, size_t n)
{
	double most = 0;

	for (size_t i = 0; i < n; i++)
		most = fmax(most, history_at(history, of, i));
	return most;
}
