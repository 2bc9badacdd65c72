// SPDX-License-Identifier: BSD-2-Clause
/*
 * Everything a client can ask a daemon for, while one call fails that the daemon
 * makes for it: the first one of a kind, then the second, and so on until there
 * is no such call any more and the request is carried out as ever. Each time the
 * client is told what is the matter, or has what he wanted; what has been there
 * before is whole; and once all is dropped, nothing is left: no lease, no byte of
 * the pool, no descriptor, no mapping.
 *
 * With an argument only the operations that it matches (*, ?).
 */
#define _GNU_SOURCE
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/control.h"
#include "tests/fault/fault.h"
#include "tests/fault/operations.h"
#include "tests/unit/plane.h"
#include "tests/unit/plane_clear.h"

#define TRIES_MAX      400 /* calls of a kind for one request */
#define WAIT_MS	       10000
#define HANGS_S	       60
#define OPERATIONS_MAX 32

static const struct fault faults[] = {
	{ "malloc", FAULT_ALLOC, ENOMEM },
	{ "open", FAULT_OPEN, EMFILE },
	{ "mmap", FAULT_MAP, ENOMEM },
	{ "ftruncate", FAULT_SIZE, ENOSPC },
	{ "fcntl", FAULT_CONTROL, ENOMEM },
	{ "read", FAULT_READ, EIO },
	{ "read", FAULT_READ, EINTR },
	{ "write", FAULT_WRITE, EIO },
	{ "write", FAULT_WRITE, EINTR },
	{ "stat", FAULT_LOOK, EIO },
	{ "unlink", FAULT_NAME, ENOSPC },
	{ "pthread_create", FAULT_THREAD, EAGAIN },
	{ "io_uring_setup", FAULT_RING, ENOMEM },
	{ "io_uring_enter", FAULT_SUBMIT, EINTR },
	{ "io_uring_enter", FAULT_SUBMIT, EAGAIN },
	{ "io_uring_enter", FAULT_SUBMIT, EBUSY },
	{ "disk", FAULT_DISK, EIO },
	{ "disk", FAULT_DISK, ENOSPC },
	{ "disk", FAULT_DISK, EINTR },
	{ "disk", FAULT_DISK, ENOMEM },
	{ "disk, short", FAULT_SHORT, 0 },
	{ "connection", FAULT_NET, EINTR },
	{ "connection", FAULT_NET, ENOMEM },
	{ "madvise", FAULT_ADVISE, ENOMEM },
};

static const size_t faults_count = sizeof(faults) / sizeof(*faults);

/* ---- what is being tried ---- */

static char tried[1024];

static void note_try(const struct operation *op, const struct fault *fault,
		     unsigned int nth)
{
	snprintf(tried, sizeof(tried), "%s, %s (%s), call %u", op->name,
		 fault->name, strerror(fault->error), nth);
}

/* All of them are told with FAULT_TELL set. */
static void note_outcome(const struct outcome *outcome)
{
	size_t n = strlen(tried);

	snprintf(tried + n, sizeof(tried) - n, ": %d %s", outcome->error,
		 outcome->hung_up ? "(hung up)" : outcome->text);
	if (getenv("FAULT_TELL"))
		print_message("# %s\n", tried);
}

static void must(bool so, const char *else_what)
{
	if (!so)
		fail_msg("%s: %s", tried, else_what);
}

static void on_hang(int number)
{
	(void)number;
	dprintf(STDERR_FILENO, "it hangs: %s\n", tried);
	_exit(1);
}

/* ---- the walk ---- */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static unsigned int maps(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned int n = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, "memfd:") != NULL;
	fclose(file);
	return n;
}

static void restart_client(struct client *c)
{
	struct outcome outcome;

	client_greet(c, &outcome);
	assert_int_equal(outcome.error, 0);
}

/* What the kernel, or another thread, is just about to close counts no more. */
static void assert_nothing_left(unsigned int fds, unsigned int mappings)
{
	uint64_t end = now_ms() + WAIT_MS;

	while ((plane_open_fds() != fds || maps() != mappings) &&
	       now_ms() < end) {
		plane_settle();
		poll(NULL, 0, 1);
	}
	if (plane_open_fds() != fds)
		plane_print_fds();
	must(plane_open_fds() == fds, "other descriptors than before");
	must(maps() == mappings, "other mappings than before");
}

/* The rows of a broken lease are charged as long as its holder lives. */
static bool is_unused(void *arg)
{
	(void)arg;
	return !treekvd.store.used;
}

static void end_client(struct client *c)
{
	client_let_go(c);
	close(c->fd);
	if (c->process)
		plane_kill(c->process);
	plane_clear(0);
	plane_await_end();
	plane_until(is_unused, NULL);
}

/* Return: whether there was an nth call. */
static bool walk_one(const struct operation *op, const struct fault *fault,
		     unsigned int nth)
{
	struct client c = { .next = 1, .bell = -1 };
	struct outcome outcome;
	bool hit;

	note_try(op, fault, nth);
	restart_client(&c);
	op->prepare(&c);
	fault_arm(fault, nth);
	op->ask(&c, &outcome);
	hit = fault_disarm();
	note_outcome(&outcome);
	must(hit || !outcome.error, "it ought to be carried out");
	if (outcome.hung_up) {
		close(c.fd);
		restart_client(&c);
	}
	must(!outcome.error || outcome.hung_up || *outcome.text,
	     "its client ought to be told why");
	must(op->is_sound(&c, &outcome), "what is there is not sound");
	end_client(&c);
	return hit;
}

static void walk(const struct operation *op)
{
	unsigned int fds = plane_open_fds(), mappings = maps();
	bool completions = fault_completions();

	for (size_t i = 0; i < faults_count; i++) {
		unsigned int nth = 1;

		if (faults[i].group >= FAULT_DISK && !completions)
			continue;
		while (walk_one(op, &faults[i], nth)) {
			assert_nothing_left(fds, mappings);
			assert_int_not_equal(++nth, TRIES_MAX);
		}
		assert_nothing_left(fds, mappings);
	}
}

static void test_operation(void **state)
{
	alarm(HANGS_S);
	walk(*state);
	alarm(0);
}

static int start(void **state)
{
	static const char *const options[] = { "--snapshot-on-stop=no", NULL };
	const char *why = "";

	(void)state;
	signal(SIGALRM, on_hang);
	if (!fault_completions())
		print_message("# completions do not fail here: Linux 6.10\n");
	plane_init();
	if (!plane_start(true, options, &why)) {
		plane_pause(); /* the next ones have their socket from it */
		return plane_resume(&why);
	}
	fprintf(stderr, "no daemon: %s\n", why);
	return -1;
}

static int stop(void **state)
{
	(void)state;
	plane_stop();
	plane_exit();
	return 0;
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[OPERATIONS_MAX] = { 0 };

	for (size_t i = 0; i < operations_count; i++)
		tests[i] = (struct CMUnitTest){
			.name = operations[i].name,
			.test_func = test_operation,
			.initial_state = (void *)(uintptr_t)&operations[i],
		};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return _cmocka_run_group_tests("faults", tests, operations_count, start,
				       stop);
}
