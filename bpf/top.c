// SPDX-License-Identifier: BSD-2-Clause
/*
 * treekv-top: what a daemon, its caches, workers and clients do, live, from a
 * record, or once. Exit status: 0; 1 something failed; 2 the command line makes
 * no sense.
 */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "bpf/gather.h"
#include "bpf/interactive.h"
#include "bpf/options.h"
#include "bpf/record.h"
#include "bpf/sample.h"
#include "bpf/screen.h"
#include "bpf/state.h"
#include "bpf/terminal.h"
#include "bpf/top_json.h"

#define EXIT_FAILED 1
#define EXIT_USAGE  2
#define ONCE_WIDTH  160 /* where nothing says how wide it is */

static int complain(const char *what)
{
	fprintf(stderr, "treekv-top: %s\n", what);
	return EXIT_FAILED;
}

/* ---- --once and --json ---- */

static int once_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	int width = columns ? atoi(columns) : 0;

	if (width <= 0 && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size))
		width = size.ws_col;
	if (width <= 0)
		width = ONCE_WIDTH;
	return width < LAYOUT_WIDTH_MIN ? LAYOUT_WIDTH_MIN : width;
}

/* @samples: of a record. */
static int print_table(const struct options *options, struct state *state,
		       struct view *view, size_t samples)
{
	struct scene scene = {
		.now = state->now,
		.rates = state->rates,
		.history = &state->history,
		.rows = &state->rows,
		.interval = options->interval,
		.sample = samples ? samples - 1 : 0,
		.samples = samples,
		.speed = 1,
	};
	int width = once_width();
	struct canvas canvas;

	if (state_arrange(state, view) ||
	    canvas_init(&canvas, width, screen_once_height(&scene, width),
			terminal_is_utf8() && !options->ascii))
		return complain("no memory");
	screen_once(&canvas, &scene, view);
	canvas_write(&canvas, stdout);
	canvas_exit(&canvas);
	return 0;
}

/* One that has trouble instead of a daemon is a failure. */
static int print_state(const struct options *options, struct state *state,
		       struct view *view, size_t samples)
{
	int r = 0;

	if (!state->now)
		return complain("no memory");
	if (options->json)
		top_json(stdout, state->now, state->rates);
	else if (!state->now->trouble)
		r = print_table(options, state, view, samples);
	fflush(stdout); /* what is attached takes a while to come off */
	if (state->now->trouble)
		return complain(state->now->trouble);
	return r;
}

static void sleep_for(double seconds)
{
	struct timespec left = { (time_t)seconds,
				 (long)((seconds - (double)(time_t)seconds) *
					1e9) };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

/* Two looks: what happened between them is half of what is shown. */
static int once_live(const struct options *options, struct view *view)
{
	struct gather *gather = gather_new(options->socket, !options->no_ebpf);
	struct state state = { 0 };
	Treekv__Sample *sample;
	int r;

	for (int i = 0; gather && i < 2; i++) {
		if (i)
			sleep_for(options->interval);
		sample = gather_sample(gather);
		if (!sample || state_take(&state, sample, view) ||
		    sample->trouble)
			break;
		gather_attach(gather, sample);
	}
	r = print_state(options, &state, view, 0);
	state_clear(&state);
	gather_free(gather);
	return r;
}

/* The end of a record. */
static int once_played(const struct options *options, struct view *view,
		       struct record_reader *record)
{
	size_t n = record_samples(record);
	struct state state = { 0 };
	struct record_error why;
	Treekv__Sample *sample;
	int r = 0;

	for (size_t i = n > 1 ? n - 2 : 0; !r && i < n; i++) {
		r = record_read(record, i, &sample, &why);
		if (!r)
			r = state_take(&state, sample, view);
		else
			complain(why.text);
	}
	r = r ? EXIT_FAILED : print_state(options, &state, view, n);
	state_clear(&state);
	return r;
}

/* ---- --record without a terminal ---- */

static volatile sig_atomic_t stopped;

static void on_stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static void wait_until(const struct timespec *due)
{
	while (!stopped &&
	       clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, due, NULL))
		;
}

static int record_on(const struct options *options,
		     struct record_writer *record)
{
	struct gather *gather = gather_new(options->socket, !options->no_ebpf);
	struct record_error why;
	Treekv__Sample *sample;
	struct timespec due;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &due);
	while (gather && !stopped && !r) {
		sample = gather_sample(gather);
		if (!sample)
			break;
		r = record_append(record, sample, &why);
		gather_attach(gather, sample);
		sample_free(sample);
		due.tv_sec += (time_t)options->interval;
		due.tv_nsec += (long)((options->interval -
				       (double)(time_t)options->interval) *
				      1e9);
		if (due.tv_nsec >= 1000000000) {
			due.tv_nsec -= 1000000000;
			due.tv_sec++;
		}
		if (!r)
			wait_until(&due);
	}
	gather_free(gather);
	if (r)
		return complain(why.text);
	return stopped ? 0 : complain("no memory");
}

static int record_only(const struct options *options,
		       struct record_writer *record)
{
	struct sigaction action = { .sa_handler = on_stop };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	return record_on(options, record);
}

/* ---- which of all these ---- */

static int play(const struct options *options, struct view *view)
{
	struct record_reader *record;
	struct record_error why;
	int r;

	if (record_open(&record, options->play, &why))
		return complain(why.text);
	if (options->once || options->json) {
		r = once_played(options, view, record);
		if (why.text[0])
			complain(why.text);
	} else {
		r = interactive_play(options, view, record, why.text) ?
			    EXIT_FAILED :
			    0;
	}
	record_free(record);
	return r;
}

static int live(const struct options *options, struct view *view)
{
	struct record_writer *record = NULL;
	struct record_error why;
	int r;

	if (options->record && record_create(&record, options->record, &why))
		return complain(why.text);
	if (!record || isatty(STDOUT_FILENO))
		return interactive_live(options, view, record) ? EXIT_FAILED :
								 0;
	r = record_only(options, record);
	record_close(record);
	return r;
}

static int apply(const struct options *options, struct view *view)
{
	char why[512];

	view_init(view, options->play);
	if (options->sort &&
	    view_sort(view, TABLE_OF_CACHES, options->sort, why, sizeof(why))) {
		fprintf(stderr, "treekv-top: --sort: %s\n", why);
		return -EINVAL;
	}
	if (options->filter && view_filter(view, TABLE_OF_CACHES,
					   options->filter, why, sizeof(why))) {
		fprintf(stderr, "treekv-top: --filter: %s\n", why);
		return -EINVAL;
	}
	return 0;
}

static int run(int argc, char **argv)
{
	struct options options;
	struct view view;
	int r = options_parse(&options, argc, argv);

	if (r)
		return r < 0 ? EXIT_USAGE : 0;
	if (apply(&options, &view))
		return EXIT_USAGE;
	if (options.play)
		return play(&options, &view);
	if (!options.once && !options.json)
		return live(&options, &view);
	if (options.record) {
		complain("--record goes with neither --once nor --json");
		return EXIT_USAGE;
	}
	return once_live(&options, &view);
}

int main(int argc, char **argv)
{
	int r;

	setlocale(LC_CTYPE, "");
	r = run(argc, argv);
	if (fflush(stdout) || ferror(stdout)) {
		perror("treekv-top: cannot write to stdout");
		return EXIT_FAILED;
	}
	return r;
}
