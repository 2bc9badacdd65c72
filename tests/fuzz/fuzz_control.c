// SPDX-License-Identifier: BSD-2-Clause
/*
 * A live control plane and its clients (session.h), from the first connection
 * until nothing is left of what they did; then the next input has its turn with
 * the same daemon.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/control.h"
#include "tests/fuzz/session.h"

#define ACTS_MAX  200
#define TRIES_MAX 2000

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void at_exit(void)
{
	plane_stop();
	plane_exit();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	plane_init();
	return 0;
}

static void start(void)
{
	static const char *const options[] = { "--snapshot-on-stop=no", NULL };
	const char *why = "";

	if (plane_start(true, options, &why)) {
		fprintf(stderr, "no daemon: %s\n", why);
		abort();
	}
	atexit(at_exit);
}

/*
 * A daemon keeps damaged caches that it has adopted, and accounts for the rows
 * that somebody has who has lost his lease: its end is the end of that.
 */
static void begin_anew(void)
{
	const char *why;

	plane_pause();
	plane_sweep();
	plane_forget();
	if (plane_resume(&why))
		abort();
}

/* The kernel takes its time to close what a ring had in its hands. */
static void await_fds(unsigned int fds)
{
	for (int i = 0; plane_open_fds() != fds; i++) {
		if (i < TRIES_MAX) {
			plane_settle();
			poll(NULL, 0, 1);
			continue;
		}
		fprintf(stderr, "%u descriptors, but there were %u:\n",
			plane_open_fds(), fds);
		plane_print_fds();
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static bool started;
	struct session session;
	unsigned int fds;

	if (!started)
		start();
	started = true;
	fds = plane_open_fds(); /* some may be libFuzzer's own */
	session_begin(&session, (struct input){ bytes, size });
	for (int i = 0; i < ACTS_MAX && session.input.left; i++)
		session_act(&session);
	session_end(&session);
	if (session.anew)
		begin_anew();
	await_fds(fds);
	return 0;
}
