// SPDX-License-Identifier: BSD-2-Clause
/* A sample out of a record, or a daemon's answers: checked, then shown. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "bpf/sample.h"
#include "bpf/screen.h"
#include "bpf/state.h"
#include "bpf/top_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void draw(struct state *state, struct view *view, int width, int height)
{
	struct scene scene = {
		.now = state->now,
		.rates = state->rates,
		.history = &state->history,
		.rows = &state->rows,
		.interval = 1,
		.speed = 1,
	};
	struct canvas canvas;

	if (state_arrange(state, view) ||
	    canvas_init(&canvas, width, height, width % 2))
		return;
	screen_draw(&canvas, &scene, view);
	canvas_exit(&canvas);
}

static void show(struct state *state, FILE *nowhere)
{
	struct view view;

	view_init(&view, true);
	for (uint32_t page = 0; page < TABLES; page++) {
		view_press(&view, '1' + page, &state->rows);
		draw(state, &view, 100, 30);
	}
	view_press(&view, '1', &state->rows);
	draw(state, &view, 41, 12);
	view_press(&view, KEY_OF_ENTER, &state->rows);
	draw(state, &view, 120, 50);
	view_press(&view, 'l', &state->rows);
	draw(state, &view, 79, 23);
	top_json(nowhere, state->now, state->rates);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static FILE *nowhere;
	struct state state = { 0 };
	const char *why;
	struct view view;

	if (!nowhere)
		nowhere = fopen("/dev/null", "w");
	view_init(&view, true);
	/* Twice: rates are made of it and itself. */
	for (int i = 0; i < 2; i++) {
		Treekv__Sample *sample =
			treekv__sample__unpack(NULL, size, bytes);

		if (!sample)
			break;
		if (sample_check(sample, &why)) {
			sample_free(sample);
			break;
		}
		sample->clock = (uint64_t)i * 1000000000;
		if (state_take(&state, sample, &view))
			abort();
		show(&state, nowhere);
	}
	state_clear(&state);
	return 0;
}
