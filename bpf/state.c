// SPDX-License-Identifier: BSD-2-Clause
#include "bpf/sample.h"
#include "bpf/state.h"

static const struct cache_rates *rates_of(const struct state *state,
					  uint64_t cache)
{
	for (size_t i = 0; cache && i < state->rates->caches; i++)
		if (state->now->list->cache[i]->cache == cache)
			return &state->rates->cache[i];
	return NULL;
}

int state_take(struct state *state, Treekv__Sample *sample,
	       const struct view *view)
{
	struct rates *rates;
	int r = rates_new(&rates, state->now, sample);

	if (r) {
		sample_free(sample);
		return r;
	}
	rows_exit(&state->rows); /* it points into what goes */
	rates_free(state->rates);
	sample_free(state->before);
	state->before = state->now;
	state->now = sample;
	state->rates = rates;
	history_add(&state->history, rates,
		    rates_of(state, view->target.cache));
	return 0;
}

int state_arrange(struct state *state, struct view *view)
{
	int r;

	rows_exit(&state->rows);
	if (!state->now)
		return 0;
	r = rows_init(&state->rows, view->table, state->now, state->rates);
	if (!r)
		view_arrange(view, &state->rows);
	return r;
}

void state_take_detail(struct state *state, Treekv__SampleDetail *detail)
{
	if (!state->now) {
		treekv__sample_detail__free_unpacked(detail, NULL);
		return;
	}
	if (state->now->detail)
		treekv__sample_detail__free_unpacked(state->now->detail, NULL);
	state->now->detail = detail;
}

void state_clear(struct state *state)
{
	rows_exit(&state->rows);
	rates_free(state->rates);
	sample_free(state->before);
	sample_free(state->now);
	*state = (struct state){ 0 };
}
