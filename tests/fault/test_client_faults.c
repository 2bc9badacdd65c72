// SPDX-License-Identifier: BSD-2-Clause
/*
 * Everything a program does with libtreekv, at a daemon that runs beside it,
 * while one call fails that the library makes: the first one of a kind, then the
 * second, and so on until there is no such call any more. Each time the caller
 * is told what is the matter, in the errno that belongs to it and in words, or
 * has what he wanted; done again, it succeeds; the cache has every row of every
 * token; and once all is dropped, nothing is left: no memory, no mapping, no
 * descriptor, neither of the program nor of the daemon.
 *
 * With an argument only the operations that it matches (*, ?).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <limits.h>
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

#include "client/treekv.h"
#include "tests/fault/client_operations.h"
#include "tests/fault/fault.h"
#include "tests/fault/served.h"

#define TRIES_MAX      400 /* calls of a kind for one operation */
#define WAIT_S	       10
#define HANGS_S	       240
#define OPERATIONS_MAX 32

/* What fails, and what the caller may see of it beside success; 0: nothing. */
static const struct {
	struct fault fault;
	int seen;
} faults[] = {
	{ { "malloc", FAULT_ALLOC, ENOMEM }, ENOMEM },
	{ { "open", FAULT_OPEN, EMFILE }, EMFILE },
	{ { "mmap", FAULT_MAP, ENOMEM }, ENOMEM },
	{ { "madvise", FAULT_ADVISE, ENOMEM }, ENOMEM },
	{ { "stat", FAULT_LOOK, EIO }, EIO },
	{ { "connect", FAULT_NAME, EINTR }, 0 },
	{ { "connect", FAULT_NAME, EAGAIN }, ETIMEDOUT },
	{ { "connect", FAULT_NAME, ECONNREFUSED }, ECONNREFUSED },
	{ { "receive", FAULT_READ, EIO }, EIO },
	{ { "receive", FAULT_READ, EINTR }, 0 },
	{ { "receive", FAULT_READ, EAGAIN }, ETIMEDOUT },
	{ { "receive", FAULT_READ, ECONNRESET }, 0 },
	{ { "send", FAULT_WRITE, EIO }, EIO },
	{ { "send", FAULT_WRITE, EINTR }, 0 },
	{ { "send", FAULT_WRITE, EAGAIN }, ETIMEDOUT },
	{ { "send", FAULT_WRITE, EPIPE }, 0 },
	{ { "send or receive a part", FAULT_PART, 0 }, 0 },
	{ { "be passed descriptors", FAULT_PASSED, 0 }, EMFILE },
	{ { "futex", FAULT_SLEEP, EINTR }, 0 },
	{ { "futex", FAULT_SLEEP, EAGAIN }, 0 },
};

#define FAULTS (sizeof(faults) / sizeof(*faults))

/* ---- what is being tried ---- */

static char tried[1536];

static void note_try(const struct client_operation *op,
		     const struct fault *fault, unsigned int nth)
{
	snprintf(tried, sizeof(tried), "%s, %s (%s), call %u", op->name,
		 fault->name, strerror(fault->error), nth);
}

/* All of them are told with FAULT_TELL set. */
static void note_outcome(int r)
{
	size_t n = strlen(tried);

	snprintf(tried + n, sizeof(tried) - n, ": %d %s", r,
		 r ? treekv_error() : "");
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
	served_stop();
	_exit(1);
}

/* ---- what is left behind ---- */

struct left {
	long allocated;
	unsigned int fds;
	unsigned int maps;
	unsigned int served_fds; /* 0: not looked at */
};

static unsigned int count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(folder);
	while (readdir(folder))
		n++;
	closedir(folder);
	return n;
}

static unsigned int count_maps(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	unsigned int n = 0;
	char line[512];

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, "memfd:") != NULL;
	fclose(file);
	return n;
}

static struct left look(void)
{
	return (struct left){ fault_allocated(), count_fds(), count_maps(),
			      served_fds() };
}

/* What the daemon has had least, at rest: less than whenever he is looked at. */
static unsigned int served_least;

/* The daemon closes what is his when he gets to it. */
static void assert_nothing_left(const struct left *before, bool replaced)
{
	time_t end = time(NULL) + WAIT_S;
	struct left now = look();

	if (replaced)
		served_least = UINT_MAX;
	if (now.served_fds < served_least)
		served_least = now.served_fds;
	must(now.allocated == before->allocated, "memory is left");
	must(now.fds == before->fds, "descriptors are left");
	must(now.maps == before->maps, "mappings are left");
	while (now.served_fds > served_least && time(NULL) < end) {
		poll(NULL, 0, 1);
		now = look();
	}
	must(now.served_fds <= served_least,
	     "the daemon's descriptors are left");
}

/* ---- the walk ---- */

/* It must be told as what it is: an errno of its own, and a text. */
static void check_outcome(size_t i, int r, bool hit)
{
	must(r <= 0, "no result has that number");
	must(hit || !r, "it ought to be carried out");
	must(!r || r == -faults[i].seen, "that is not what has failed");
	must(!r || *treekv_error(), "its caller ought to be told why");
}

/* What nobody waits for any more may still be under way. */
static void do_again(const struct client_operation *op, struct engine *e)
{
	time_t end = time(NULL) + WAIT_S;
	int r;

	do
		r = op->run(e);
	while (r == -EBUSY && time(NULL) < end);
	if (r)
		print_error("# again: %s\n", treekv_error());
	must(!r, "done again, it ought to succeed");
}

/* Return: whether there was an nth call. */
static bool walk_one(const struct client_operation *op, size_t i,
		     unsigned int nth)
{
	struct left before = look();
	struct engine e;
	bool hit;
	int r;

	note_try(op, &faults[i].fault, nth);
	engine_init(&e);
	op->prepare(&e);
	fault_arm(&faults[i].fault, nth);
	r = op->run(&e);
	hit = fault_disarm();
	note_outcome(r);
	check_outcome(i, r, hit);
	if (r)
		do_again(op, &e);
	engine_let_go(&e);
	must(engine_finds(&e, op->tail), "what is there is not sound");
	must(engine_exit(&e), "not everything can be dropped");
	assert_nothing_left(&before, op->replaces);
	return hit;
}

/* How often the operation makes such a call at all, when nothing fails. */
static void count_calls(const struct client_operation *op,
			unsigned int calls[FAULT_GROUPS])
{
	static const struct fault none = { "nothing", FAULT_GROUPS, 0 };
	struct engine e;

	note_try(op, &none, 0);
	engine_init(&e);
	op->prepare(&e);
	for (int g = 0; g < FAULT_GROUPS; g++)
		calls[g] = fault_calls((enum fault_group)g);
	must(!op->run(&e), treekv_error());
	for (int g = 0; g < FAULT_GROUPS; g++)
		calls[g] = fault_calls((enum fault_group)g) - calls[g];
	engine_let_go(&e);
	must(engine_exit(&e), "not everything can be dropped");
}

static void test_operation(void **state)
{
	const struct client_operation *op = *state;
	unsigned int calls[FAULT_GROUPS];

	alarm(HANGS_S);
	count_calls(op, calls);
	for (size_t i = 0; i < FAULTS; i++) {
		unsigned int nth = 0;

		if (!calls[faults[i].fault.group])
			continue;
		do
			assert_int_not_equal(++nth, TRIES_MAX);
		while (walk_one(op, i, nth));
	}
	alarm(0);
}

static int start(void **state)
{
	(void)state;
	if (served_start())
		return -1;
	served_least = UINT_MAX;
	fault_count_here(true);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	served_stop();
	return 0;
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[OPERATIONS_MAX] = { 0 };

	for (size_t i = 0; i < client_operations_count; i++)
		tests[i] = (struct CMUnitTest){
			.name = client_operations[i].name,
			.test_func = test_operation,
			.setup_func = start,
			.teardown_func = stop,
			.initial_state =
				(void *)(uintptr_t)&client_operations[i],
		};
	signal(SIGALRM, on_hang);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return _cmocka_run_group_tests("client faults", tests,
				       client_operations_count, NULL, NULL);
}
