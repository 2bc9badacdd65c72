// SPDX-License-Identifier: BSD-2-Clause
/*
 * How soon a dead writer's lease is free: kvlease ROUNDS. A child attaches to
 * the cache "lease" and commits; we kill it, reap it, and attach. Prints how
 * often the first try succeeded and how long it took from the reaping to the
 * attached cache. Exit status: 0; 1 some first try failed; 3 refused.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/helpers/selfcheck.h"
#include "tests/helpers/spec_options.h"

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int refused(const char *what)
{
	fprintf(stderr, "kvlease: %s: %s\n", what, treekv_error());
	return 3;
}

static int child(const struct treekv_spec *spec, int ready)
{
	struct selfcheck s = { .seed = 1, .per_step = 4, .timeout_ms = 20000 };
	struct treekv *kv;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (treekv_connect(&kv, NULL) ||
	    treekv_open(&s.cache, kv, "lease", spec, TREEKV_CREATE))
		return refused("the child attaches");
	selfcheck_init(&s, spec);
	if (selfcheck_step(&s, UINT64_MAX))
		return refused("the child steps");
	if (write(ready, "", 1) < 0)
		return 2;
	for (;;)
		pause();
}

static int reap_one(const struct treekv_spec *spec)
{
	int fds[2], status;
	char byte;
	pid_t pid;

	if (pipe(fds))
		return 2;
	pid = fork();
	if (!pid)
		_exit(child(spec, fds[1]));
	close(fds[1]);
	if (read(fds[0], &byte, 1) != 1)
		return 2;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(fds[0]);
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	struct treekv_spec spec = spec_default();
	int rounds = argc > 1 ? atoi(argv[1]) : 20, failed = 0;
	uint64_t *took = selfcheck_alloc((size_t)rounds, sizeof(*took));
	struct treekv_cache *cache;
	struct treekv *kv;
	uint64_t begin;
	int r;

	if (treekv_connect(&kv, NULL))
		return refused("connect");
	for (int i = 0; i < rounds; i++) {
		r = reap_one(&spec);
		if (r)
			return r;
		begin = now_us();
		while (treekv_open(&cache, kv, "lease", &spec, 0)) {
			failed++;
			if (now_us() - begin > 20000000)
				return refused("attach");
		}
		took[i] = now_us() - begin;
		treekv_detach(cache);
	}
	treekv_close(kv);
	qsort(took, (size_t)rounds, sizeof(*took), compare);
	printf("%d of %d at the first try, median %llu us, worst %llu us\n",
	       rounds - !!failed, rounds, (unsigned long long)took[rounds / 2],
	       (unsigned long long)took[rounds - 1]);
	free(took);
	return failed ? 1 : 0;
}
