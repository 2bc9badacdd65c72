// SPDX-License-Identifier: BSD-2-Clause
/*
 * One thread: it sleeps in ppoll(2) until a key, a sample, a signal or, in a
 * record, the time of the next sample comes, and then draws the page anew;
 * ncurses sends what has changed. Signals are let in there only, so none is
 * missed between a look and the sleep. SIGWINCH is ncurses' own.
 */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bpf/interactive.h"
#include "bpf/sample.h"
#include "bpf/screen.h"
#include "bpf/source.h"
#include "bpf/state.h"
#include "bpf/terminal.h"

#define STRIP_MARGIN 8 /* of the page: what stands before a strip */
#define SPEED_MAX    1024
#define REWIND	     60 /* samples shown as curves after a jump */

struct screen {
	const struct options *options;
	struct view *view;
	struct state state;
	struct source *source; /* live */
	struct record_writer *writer;
	struct record_reader *reader; /* of a record */
	size_t at; /* its sample that is shown */
	long minute; /* samples that one has */
	double speed;
	double interval;
	struct timespec due; /* of its next sample */
	bool quit;
	bool redraw; /* all of it */
};

static volatile sig_atomic_t stopped;

static void on_stop(int signal)
{
	(void)signal;
	stopped = 1;
}

/* Return: what is to be let in while sleeping, in @ret. */
static void take_signals(sigset_t *ret)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = on_stop };
	sigset_t blocked;

	sigemptyset(&blocked);
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		sigaction(signals[i], &action, NULL);
		sigaddset(&blocked, signals[i]);
	}
	sigaddset(&blocked, SIGWINCH);
	/* Threads made from now on inherit this and never take one. */
	sigprocmask(SIG_BLOCK, &blocked, ret);
}

/* ---- drawing ---- */

static void draw(struct screen *screen)
{
	struct scene scene = {
		.now = screen->state.now,
		.rates = screen->state.rates,
		.history = &screen->state.history,
		.rows = &screen->state.rows,
		.interval = screen->interval,
		.sample = screen->at,
		.samples = screen->reader ? record_samples(screen->reader) : 0,
		.speed = screen->speed,
	};
	struct canvas canvas;
	int width, height;

	terminal_size(&width, &height);
	if (canvas_init(&canvas, width, height,
			terminal_is_utf8() && !screen->options->ascii))
		return;
	if (!state_arrange(&screen->state, screen->view))
		screen_draw(&canvas, &scene, screen->view);
	terminal_show(&canvas, screen->redraw);
	screen->redraw = false;
	canvas_exit(&canvas);
}

/* Tells the asking thread what the page of a cache has room for. */
static void want_detail(struct screen *screen)
{
	const struct target *target = &screen->view->target;
	struct gather_detail wanted = { .cache = target->cache };
	int width, height;

	if (!screen->source)
		return;
	terminal_size(&width, &height);
	snprintf(wanted.name, sizeof(wanted.name), "%s", target->full);
	wanted.buckets =
		width > STRIP_MARGIN ? (uint32_t)(width - STRIP_MARGIN) : 1;
	wanted.groups = height < 24 ? 3 : height < 40 ? 6 : 12;
	source_want(screen->source, &wanted);
}

/* ---- live ---- */

static void take_sample(struct screen *screen)
{
	struct view *view = screen->view;
	Treekv__SampleDetail *detail;
	Treekv__Sample *sample;
	struct record_error why;
	int error;
	char text[512];

	sample = source_take(screen->source);
	if (sample && screen->writer &&
	    record_append(screen->writer, sample, &why)) {
		view_say(view, STYLE_BAD, "%s", why.text);
		screen->writer = record_close(screen->writer);
	}
	if (sample)
		state_take(&screen->state, sample, view);
	detail = source_take_detail(screen->source);
	if (detail)
		state_take_detail(&screen->state, detail);
	if (source_take_result(screen->source, &error, text, sizeof(text)))
		view_say(view, error ? STYLE_BAD : STYLE_GOOD, "%s", text);
}

/*
 * An older daemon knows no cache by its number, and of two of one name it would
 * take its own choice.
 */
static bool is_ambiguous(const struct screen *screen)
{
	const Treekv__Sample *now = screen->state.now;
	size_t n = 0;

	if (!now || now->workers)
		return false;
	for (size_t i = 0; i < sample_caches(now); i++)
		n += !strcmp(now->list->cache[i]->name,
			     screen->view->object.name);
	return n > 1;
}

static void act(struct screen *screen)
{
	struct view *view = screen->view;
	int r;

	if (is_ambiguous(screen)) {
		view_say(view, STYLE_BAD,
			 "several caches are called %s, and this daemon cannot "
			 "tell which is meant: let its owner do it",
			 view->object.name);
		return;
	}
	r = source_act(screen->source, view->act, &view->object);
	if (r == -EBUSY)
		view_say(view, STYLE_WARN, "the last one is still under way");
	else if (r)
		view_say(view, STYLE_BAD, "cannot start a thread: %s",
			 strerror(-r));
	else
		view_say(view, STYLE_PLAIN, "under way ...");
}

static void change_interval(struct screen *screen, int by)
{
	static const double steps[] = {
		0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300
	};
	size_t n = sizeof(steps) / sizeof(*steps), i = 0;

	while (i + 1 < n && steps[i] < screen->interval * 0.999)
		i++;
	if (by > 0 && i + 1 < n && steps[i] < screen->interval * 1.001)
		i++;
	else if (by < 0 && i)
		i--;
	screen->interval = steps[i];
	source_interval(screen->source, screen->interval);
}

/* ---- a record ---- */

/* When the sample after this one comes, at the speed chosen. */
static void set_due(struct screen *screen, const Treekv__Sample *next)
{
	double seconds = 0;
	uint64_t ns;

	if (screen->options->interval_given)
		seconds = screen->options->interval / screen->speed;
	else if (screen->state.now && next->time > screen->state.now->time)
		seconds = (double)(next->time - screen->state.now->time) / 1e9 /
			  screen->speed;
	seconds = fmin(seconds, 10); /* whoever recorded had a break */
	clock_gettime(CLOCK_MONOTONIC, &screen->due);
	ns = (uint64_t)screen->due.tv_nsec + (uint64_t)(seconds * 1e9);
	screen->due.tv_sec += (time_t)(ns / 1000000000);
	screen->due.tv_nsec = (long)(ns % 1000000000);
}

/* Return: 0, or -EBADMSG and others, which are shown. */
static int read_sample(struct screen *screen, size_t i, Treekv__Sample **ret)
{
	struct record_error why;
	int r = record_read(screen->reader, i, ret, &why);

	if (r)
		view_say(screen->view, STYLE_BAD, "%s", why.text);
	return r;
}

static void plan_next(struct screen *screen)
{
	Treekv__Sample *next;

	if (screen->at + 1 >= record_samples(screen->reader) ||
	    read_sample(screen, screen->at + 1, &next))
		return;
	set_due(screen, next);
	sample_free(next);
}

/* Shows sample @to, with what led there as curves. */
static void go_to(struct screen *screen, size_t to)
{
	size_t n = record_samples(screen->reader), from;
	Treekv__Sample *sample;

	to = to < n ? to : n - 1;
	from = to == screen->at + 1 ? to : to > REWIND ? to - REWIND : 0;
	if (from != to || !screen->state.now)
		state_clear(&screen->state);
	for (; from <= to; from++)
		if (!read_sample(screen, from, &sample))
			state_take(&screen->state, sample, screen->view);
	screen->at = to;
	plan_next(screen);
}

static void go_by(struct screen *screen, long by)
{
	if (by < 0 && (size_t)-by > screen->at)
		go_to(screen, 0);
	else
		go_to(screen, (size_t)((long)screen->at + by));
}

/* How many samples a minute has, by the record's first and last one. */
static void count_minute(struct screen *screen)
{
	size_t last = record_samples(screen->reader) - 1;
	Treekv__Sample *sample;
	double seconds;

	screen->minute = 1;
	if (!last || !screen->state.now || read_sample(screen, last, &sample))
		return;
	seconds = (double)(sample->time - screen->state.now->time) / 1e9;
	if (sample->time > screen->state.now->time && seconds < 60.0 * last)
		screen->minute = (long)fmin(60 * last / seconds, last);
	sample_free(sample);
}

static bool is_over(const struct screen *screen)
{
	return screen->at + 1 >= record_samples(screen->reader);
}

/* Milliseconds until the next sample; -1: none will come by itself. */
static int until_due(const struct screen *screen)
{
	struct timespec now;
	double ms;

	if (!screen->reader || screen->view->paused || is_over(screen))
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (double)(screen->due.tv_sec - now.tv_sec) * 1e3 +
	     (double)(screen->due.tv_nsec - now.tv_nsec) / 1e6;
	return ms > 0 ? (int)ceil(ms) : 0;
}

static void change_speed(struct screen *screen, double by)
{
	screen->speed =
		fmin(fmax(screen->speed * by, 1.0 / SPEED_MAX), SPEED_MAX);
	plan_next(screen);
}

/* ---- keys ---- */

static void grant(struct screen *screen, enum view_wish wish)
{
	bool live = screen->source;

	switch (wish) {
	case WISH_NOTHING:
		break;
	case WISH_QUIT:
		screen->quit = true;
		break;
	case WISH_ACT:
		act(screen);
		break;
	case WISH_TARGET:
		history_forget(&screen->state.history, HISTORY_CACHE);
		want_detail(screen);
		break;
	case WISH_FASTER:
	case WISH_SLOWER:
		if (live)
			change_interval(screen, wish == WISH_SLOWER ? 1 : -1);
		else
			change_speed(screen, wish == WISH_SLOWER ? 0.5 : 2);
		break;
	case WISH_PAUSE:
		if (live)
			source_pause(screen->source, screen->view->paused);
		else
			plan_next(screen);
		break;
	case WISH_BACK:
		go_by(screen, -1);
		break;
	case WISH_ON:
		go_by(screen, 1);
		break;
	case WISH_FAR_BACK:
		go_by(screen, -screen->minute);
		break;
	case WISH_FAR_ON:
		go_by(screen, screen->minute);
		break;
	case WISH_REDRAW:
		screen->redraw = true;
		break;
	}
}

static void take_keys(struct screen *screen)
{
	uint32_t key;

	while (!screen->quit && (key = terminal_key()) != TERMINAL_NO_KEY) {
		if (key == TERMINAL_RESIZED) {
			screen->redraw = true;
			want_detail(screen);
			continue;
		}
		state_arrange(&screen->state, screen->view);
		grant(screen,
		      view_press(screen->view, key, &screen->state.rows));
	}
}

/* ---- the loop ---- */

static void turn(struct screen *screen, const sigset_t *let_in)
{
	struct pollfd fds[2] = {
		{ .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = screen->source ? source_fd(screen->source) : -1,
		  .events = POLLIN },
	};
	int ms = until_due(screen);
	struct timespec wait = { ms / 1000, ms % 1000 * 1000000L };

	ppoll(fds, 2, ms < 0 ? NULL : &wait, let_in);
	if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
		screen->quit = true;
	take_keys(screen); /* also a new size, which comes as a signal */
	if (screen->source)
		take_sample(screen);
	else if (!until_due(screen))
		go_by(screen, 1);
}

static int run(struct screen *screen, const sigset_t *let_in)
{
	const char *why;
	int r = terminal_begin(&why);

	if (r) {
		fprintf(stderr, "treekv-top: %s\n", why);
		return r;
	}
	while (!screen->quit && !stopped) {
		draw(screen);
		turn(screen, let_in);
	}
	terminal_end();
	return 0;
}

int interactive_live(const struct options *options, struct view *view,
		     struct record_writer *record)
{
	struct source_options from = { options->socket, options->interval,
				       !options->no_ebpf };
	struct screen screen = {
		.options = options,
		.view = view,
		.writer = record,
		.interval = options->interval,
	};
	sigset_t let_in;
	int r;

	take_signals(&let_in);
	r = source_new(&screen.source, &from);
	if (r)
		fprintf(stderr, "treekv-top: cannot begin: %s\n", strerror(-r));
	else
		r = run(&screen, &let_in);
	source_free(screen.source);
	state_clear(&screen.state);
	record_close(screen.writer);
	return r;
}

int interactive_play(const struct options *options, struct view *view,
		     struct record_reader *record, const char *notice)
{
	struct screen screen = {
		.options = options,
		.view = view,
		.reader = record,
		.speed = 1,
	};
	sigset_t let_in;
	int r;

	take_signals(&let_in);
	go_to(&screen, 0);
	count_minute(&screen);
	if (*notice)
		view_say(view, STYLE_WARN, "%s", notice);
	r = run(&screen, &let_in);
	state_clear(&screen.state);
	return r;
}
