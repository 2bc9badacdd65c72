// SPDX-License-Identifier: BSD-2-Clause
/*
 * Many caches and many processes: kvmany [--caches N] [--processes P]
 * [--attaches N] [--prefix NAME] [options of the spec]
 *
 * Each process makes its share of N self-checking caches, then attaches to them
 * in a random order, checks all that is in them, adds a few tokens and detaches,
 * as often as asked; all processes at once. Prints how long attaching took, in
 * microseconds:
 *
 *	attaches 640 p50 91 p99 1203 most 4710
 *
 * then "holding", with P connections open and a lease at each, until the end of
 * its standard input. With --samples the times themselves, one a line, come
 * first. Exit status: 0; 1 something was wrong; 3 refused.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/helpers/selfcheck.h"
#include "tests/helpers/spec_options.h"

#define STATUS_WRONG   1
#define STATUS_USAGE   2
#define STATUS_REFUSED 3
#define TOKENS	       20 /* a turn */
#define PROCESSES_MAX  1024

struct options {
	struct treekv_spec spec;
	const char *prefix;
	uint32_t caches;
	uint32_t processes;
	uint32_t attaches; /* of all processes together */
	bool samples;
};

/* One of the processes. */
struct client {
	const struct options *o;
	uint32_t number;
	struct treekv *kv;
	uint64_t random;
	FILE *to; /* the parent: samples, then "done" */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void fail(int status, const char *what, const char *why)
{
	fprintf(stderr, "kvmany: %s: %s\n", what, why);
	exit(status);
}

static void open_one(struct client *c, struct selfcheck *s, uint32_t cache)
{
	uint64_t began;
	char name[64];
	bool made;

	snprintf(name, sizeof(name), "%s%u", c->o->prefix, cache);
	began = now_ns();
	if (treekv_open(&s->cache, c->kv, name, &c->o->spec, TREEKV_CREATE))
		fail(STATUS_REFUSED, name, treekv_error());
	made = !treekv_tail(s->cache);
	if (!made)
		fprintf(c->to, "%" PRIu64 "\n", (now_ns() - began) / 1000);
	selfcheck_init(s, &c->o->spec);
	selfcheck_verify(s);
}

/* Attaches, checks and adds a few tokens; detaches unless it is @kept. */
static void turn(struct client *c, uint32_t cache, bool kept)
{
	struct selfcheck s = {
		.seed = 1 + cache,
		.random = selfcheck_mix(c->random += cache),
		.per_step = 4,
		.timeout_ms = 60000,
	};
	uint64_t end;

	open_one(c, &s, cache);
	end = treekv_tail(s.cache) + TOKENS;
	while (treekv_tail(s.cache) < end && !s.wrong)
		if (selfcheck_step(&s, end))
			fail(STATUS_REFUSED, "step", treekv_error());
	if (s.wrong)
		fail(STATUS_WRONG, "rows", s.text);
	if (!kept)
		treekv_detach(s.cache);
	selfcheck_exit(&s);
}

/* Of the caches of its share, which are number, number + processes, ... */
static uint32_t share(const struct client *c)
{
	return (c->o->caches - c->number + c->o->processes - 1) /
	       c->o->processes;
}

static void client_run(struct client *c)
{
	const struct options *o = c->o;
	uint32_t n = share(c), turns = o->attaches / o->processes;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	c->random = selfcheck_mix(c->number);
	if (treekv_connect(&c->kv, NULL))
		fail(STATUS_REFUSED, "connect", treekv_error());
	for (uint32_t i = 0; i < n; i++)
		turn(c, c->number + i * o->processes, false);
	for (uint32_t i = 0; i < turns; i++) {
		c->random = selfcheck_mix(c->random);
		turn(c, c->number + (uint32_t)(c->random % n) * o->processes,
		     false);
	}
	turn(c, c->number, true);
	fputs("done\n", c->to);
	fflush(c->to);
	for (;;)
		pause();
}

static FILE *client_start(const struct options *o, uint32_t number, pid_t *pid)
{
	struct client c = { .o = o, .number = number };
	int fds[2];

	if (pipe(fds))
		fail(STATUS_REFUSED, "pipe", "no descriptors");
	*pid = fork();
	if (*pid < 0)
		fail(STATUS_REFUSED, "fork", "no processes");
	if (!*pid) {
		close(fds[0]);
		c.to = fdopen(fds[1], "w");
		client_run(&c);
	}
	close(fds[1]);
	return fdopen(fds[0], "r");
}

struct samples {
	uint64_t *us;
	size_t n;
};

/* Return: whether he has come to his end. */
static bool collect(struct samples *all, FILE *from)
{
	char line[64];

	while (fgets(line, sizeof(line), from)) {
		if (!strcmp(line, "done\n"))
			return true;
		all->us = realloc(all->us, (all->n + 1) * sizeof(*all->us));
		if (!all->us)
			fail(STATUS_REFUSED, "samples", "out of memory");
		all->us[all->n++] = strtoull(line, NULL, 10);
	}
	return false;
}

static int by_time(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void report(const struct options *o, struct samples *all)
{
	if (!all->n)
		fail(STATUS_WRONG, "samples", "there are none");
	qsort(all->us, all->n, sizeof(*all->us), by_time);
	for (size_t i = 0; o->samples && i < all->n; i++)
		printf("%" PRIu64 "\n", all->us[i]);
	printf("attaches %zu p50 %" PRIu64 " p99 %" PRIu64 " most %" PRIu64
	       "\n",
	       all->n, all->us[all->n / 2], all->us[all->n * 99 / 100],
	       all->us[all->n - 1]);
}

static void take_option(struct options *o, const char *name, const char *value)
{
	uint32_t number = (uint32_t)strtoul(value, NULL, 0);

	if (!strcmp(name, "--prefix"))
		o->prefix = value;
	else if (!strcmp(name, "--caches"))
		o->caches = number;
	else if (!strcmp(name, "--processes"))
		o->processes = number;
	else if (!strcmp(name, "--attaches"))
		o->attaches = number;
	else if (!spec_option(&o->spec, name, value))
		fail(STATUS_USAGE, "what is", name);
}

static void parse(struct options *o, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--samples"))
			o->samples = true;
		else if (i + 1 == argc)
			fail(STATUS_USAGE, "no value for", argv[i]);
		else
			take_option(o, argv[i], argv[i + 1]), i++;
	}
	if (!o->processes || o->processes > PROCESSES_MAX ||
	    o->caches < o->processes)
		fail(STATUS_USAGE, "--processes",
		     "1 to --caches, 1024 at most");
}

int main(int argc, char **argv)
{
	struct options o = {
		.spec = spec_default(),
		.prefix = "many",
		.caches = 1000,
		.processes = 64,
		.attaches = 640,
	};
	static pid_t pid[PROCESSES_MAX];
	static FILE *from[PROCESSES_MAX];
	struct samples all = { 0 };
	int status = 0, one;

	parse(&o, argc, argv);
	for (uint32_t i = 0; i < o.processes; i++)
		from[i] = client_start(&o, i, &pid[i]);
	for (uint32_t i = 0; i < o.processes && !status; i++)
		if (!collect(&all, from[i]) && waitpid(pid[i], &one, 0) > 0)
			status = WIFEXITED(one) ? WEXITSTATUS(one) :
						  STATUS_WRONG;
	if (!status) {
		report(&o, &all);
		puts("holding");
		fflush(stdout);
		while (getchar() != EOF)
			;
	}
	for (uint32_t i = 0; i < o.processes; i++)
		kill(pid[i], SIGKILL);
	while (wait(NULL) > 0)
		;
	free(all.us);
	return status;
}
