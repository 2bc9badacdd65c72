/* SPDX-License-Identifier: BSD-2-Clause */
/* What is known at a time: the last two samples and what follows from them. */
#ifndef TREEKV_STATE_H
#define TREEKV_STATE_H

#include "bpf/history.h"
#include "bpf/rates.h"
#include "bpf/rows.h"
#include "bpf/view.h"

struct state {
	Treekv__Sample *before;
	Treekv__Sample *now;
	struct rates *rates;
	struct history history;
	struct rows rows;
};

/* Begins zeroed. Takes the next sample over. Return: 0 or -ENOMEM. */
int state_take(struct state *state, Treekv__Sample *sample,
	       const struct view *view);

/* Makes the rows of the table that is shown, and arranges them. */
int state_arrange(struct state *state, struct view *view);

/* The detail of the newest sample is another one now; takes it over. */
void state_take_detail(struct state *state, Treekv__SampleDetail *detail);

/* As if there had been no sample. */
void state_clear(struct state *state);

#endif /* TREEKV_STATE_H */
