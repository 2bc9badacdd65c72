// SPDX-License-Identifier: BSD-2-Clause
/*
 * Loses an answer of the daemon's, and attaches again all the same:
 *
 *	kvlost CACHE detach|attach KEEPER
 *
 * The keeper is stopped. Then a cache is detached, with its daemon killed and 50
 * ms to wait for an answer; or one is attached, in which the daemon has to die
 * by itself (daemon/crash.h), until the library gives up after ten seconds. With
 * the keeper continued, the next attach, over a new connection, must succeed at
 * once, though this process has had the lease all the while.
 *
 * Exit status: 0; 1 one succeeded that should not, or the other way round; 3 no
 * daemon can be reached.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "client/conn.h"
#include "client/treekv.h"
#include "tests/helpers/spec_options.h"

#define HURRY_MS 50

struct lost {
	const char *name;
	struct treekv_spec spec;
	struct treekv *kv;
	struct treekv_cache *cache;
};

static int attach(struct lost *lost, const char *what, int expected)
{
	int r = treekv_open(&lost->cache, lost->kv, lost->name, &lost->spec,
			    TREEKV_CREATE);

	printf("%s: %s\n", what, r ? treekv_error() : "attached");
	return r == expected ? 0 : 1;
}

static int reconnect(struct lost *lost)
{
	lost->kv = treekv_close(lost->kv);
	if (!treekv_connect(&lost->kv, NULL))
		return 0;
	fprintf(stderr, "kvlost: connect: %s\n", treekv_error());
	return 3;
}

static int run(struct lost *lost, bool detach, pid_t keeper)
{
	int r;

	r = reconnect(lost);
	if (!r)
		r = attach(lost, "at first", 0);
	if (r)
		return r;
	if (!detach)
		lost->cache = treekv_detach(lost->cache);
	kill(keeper, SIGSTOP);
	if (detach) {
		kill(lost->kv->daemon_pid, SIGKILL);
		lost->cache = treekv_detach_within(lost->cache, HURRY_MS);
	} else {
		r = attach(lost, "without answer", -ETIMEDOUT);
	}
	kill(keeper, SIGCONT);
	if (!r)
		r = reconnect(lost);
	return r ? r : attach(lost, "again", 0);
}

int main(int argc, char **argv)
{
	struct lost lost = { .spec = spec_default() };
	int r;

	if (argc != 4) {
		fprintf(stderr, "usage: kvlost CACHE detach|attach KEEPER\n");
		return 2;
	}
	lost.name = argv[1];
	r = run(&lost, !strcmp(argv[2], "detach"), (pid_t)atoi(argv[3]));
	treekv_detach(lost.cache);
	treekv_close(lost.kv);
	return r;
}
