// SPDX-License-Identifier: BSD-2-Clause
/* bpf/screen_header.c: one line says who sees what is shown, and why no more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/screen.h"
#include "bpf/state.h"
#include "bpf/watch.h"
#include "tests/unit/sample_fixture.h"

#define WHY                                                             \
	"no eBPF, only the daemon's own counters: eBPF takes root, or " \
	"CAP_BPF and CAP_PERFMON"

static Treekv__Sample *watched(enum watch_level level, const char *text,
			       uint64_t drops)
{
	Treekv__Sample *sample = fixture_sample(1);
	Treekv__SampleWatch *watch = malloc(sizeof(*watch));

	assert_non_null(watch);
	treekv__sample_watch__init(watch);
	watch->level = level;
	watch->text = strdup(text);
	watch->drops = drops;
	sample->watch = watch;
	return sample;
}

/* Is it on a screen of that size? @help: on the page of help. */
static bool shows(Treekv__Sample *sample, int width, bool help,
		  const char *words)
{
	struct state state = { 0 };
	struct scene scene = { .interval = 1, .speed = 1 };
	struct canvas canvas;
	struct view view;
	char *all = NULL;
	size_t size;
	FILE *to = open_memstream(&all, &size);
	bool found;

	view_init(&view, false);
	assert_int_equal(state_take(&state, sample, &view), 0);
	scene.now = state.now;
	scene.rates = state.rates;
	scene.history = &state.history;
	scene.rows = &state.rows;
	view.page = help ? PAGE_HELP : PAGE_TABLE;
	assert_int_equal(canvas_init(&canvas, width, 60, true), 0);
	assert_int_equal(state_arrange(&state, &view), 0);
	screen_draw(&canvas, &scene, &view);
	canvas_write(&canvas, to);
	fclose(to);
	found = strstr(all, words);
	free(all);
	canvas_exit(&canvas);
	state_clear(&state);
	return found;
}

static void test_all_of_it_where_there_is_room(void **state)
{
	(void)state;
	assert_true(shows(watched(WATCH_NONE, WHY, 0), 160, false, WHY));
	assert_true(shows(watched(WATCH_FULL, "eBPF: probes", 0), 80, false,
			  "eBPF: probes"));
}

/* Nothing is cut off in the middle of its reason. */
static void test_a_word_and_where_the_rest_is(void **state)
{
	(void)state;
	assert_true(shows(watched(WATCH_NONE, WHY, 0), 80, false,
			  "no eBPF: ? has why"));
	assert_false(
		shows(watched(WATCH_NONE, WHY, 0), 80, false, "own counters"));
	assert_true(shows(watched(WATCH_TRACEPOINTS, WHY, 0), 80, false,
			  "eBPF in part: ? has why"));
	assert_true(shows(watched(WATCH_FULL, WHY, 0), 80, false, "  eBPF"));
	assert_true(shows(watched(WATCH_NONE, WHY, 0), 100, true, WHY));
}

/* A record may come from a later version. */
static void test_a_level_unknown(void **state)
{
	(void)state;
	assert_true(shows(watched((enum watch_level)7, WHY, 0), 80, false,
			  "no eBPF, only"));
}

static void test_what_was_not_counted(void **state)
{
	(void)state;
	assert_true(shows(watched(WATCH_FULL, "eBPF: probes", 76), 120, false,
			  "eBPF: probes; 76 not counted: tables are full"));
	assert_true(shows(watched(WATCH_FULL, "eBPF: probes", 76), 80, false,
			  "eBPF: 76 not counted"));
	assert_true(shows(watched(WATCH_FULL, "eBPF: probes", 76), 80, true,
			  "76 not counted: tables are full"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_of_it_where_there_is_room),
		cmocka_unit_test(test_a_word_and_where_the_rest_is),
		cmocka_unit_test(test_a_level_unknown),
		cmocka_unit_test(test_what_was_not_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
