// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_request SOCKET [REDIS-SOCKET]: what a request costs over a connection
 * that is there already, against a bare echo of 64 bytes by a process that does
 * nothing else, over the same kind of socket, and against Redis asked for as
 * many. Attach and detach are two requests, and two of the others are their
 * other side. With --hold CACHES it creates so many, says so, and lies idle
 * until its standard input ends.
 */
#include <sys/resource.h>

#include "bench.h"
#include "client/conn.h"
#include "peers.h"

enum {
	SAMPLES = 2000,
	WARM_UP = 200,
};

/* The other sides: connections. */
struct other {
	int echo;
	int redis; /* -1: there is none */
};

static const struct treekv_spec spec = {
	.model = "bench",
	.layers = 2,
	.kv_heads = 2,
	.k_row = 256,
	.v_row = 256,
	.dtype = TREEKV_BF16,
	.policy = TREEKV_POLICY_TREEKV,
	.positions = TREEKV_POSITIONS_RANK,
	.budget = 64,
	.sinks = 4,
	.recent = 28,
	.slack = 16,
};

static double echo(const struct other *other, int times)
{
	uint64_t begin = bench_ns();
	char message[PEER_ECHO] = { 0 };

	for (int i = 0; i < times; i++) {
		peer_send(other->echo, message, PEER_ECHO);
		peer_receive(other->echo, message, PEER_ECHO);
	}
	return (double)(bench_ns() - begin) / 1000;
}

static double get(const struct other *other, int times)
{
	uint64_t begin = bench_ns();

	for (int i = 0; i < times; i++)
		peer_redis_get_small(other->redis, 'k');
	return (double)(bench_ns() - begin) / 1000;
}

static double attach(struct treekv *kv)
{
	uint64_t begin = bench_ns();
	struct treekv_cache *cache;

	bench_check(treekv_open(&cache, kv, "request", &spec, 0), "attach");
	treekv_detach(cache);
	return (double)(bench_ns() - begin) / 1000;
}

/* The request with the least to do: a name that is not there. */
static double miss(struct treekv *kv)
{
	uint64_t begin = bench_ns();
	struct treekv_cache *cache;

	if (treekv_open(&cache, kv, "no-such-cache", NULL, 0) != -ENOENT)
		bench_die("attach to what is not there", treekv_error());
	return (double)(bench_ns() - begin) / 1000;
}

static double stats(struct treekv *kv)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Stats body = TREEKV__STATS__INIT;
	uint64_t begin = bench_ns();
	Treekv__Reply *reply;

	request.body_case = TREEKV__REQUEST__BODY_STATS;
	request.stats = &body;
	bench_check(conn_call(kv, &request, &reply, NULL, NULL), "stats");
	treekv__reply__free_unpacked(reply, NULL);
	return (double)(bench_ns() - begin) / 1000;
}

/* All three in turn: a row against echoes, and one against Redis. */
static void run(const char *name, struct treekv *kv,
		double (*ours)(struct treekv *), const struct other *other,
		int requests)
{
	struct bench_row *row = bench_row_new(name), *redis = NULL;
	char redis_name[64];

	snprintf(redis_name, sizeof(redis_name), "%s.redis", name);
	if (other->redis >= 0)
		redis = bench_row_new(redis_name);
	for (int i = 0; i < WARM_UP + SAMPLES; i++) {
		double us = ours(kv), echoes = echo(other, requests);
		double gets = redis ? get(other, requests) : 0;

		if (i < WARM_UP)
			continue;
		bench_ours(row, us);
		bench_theirs(row, echoes);
		if (redis) {
			bench_ours(redis, us);
			bench_theirs(redis, gets);
		}
	}
	bench_row_end(row);
	if (redis)
		bench_row_end(redis);
}

/* One process with @count caches; a descriptor of each stays open. */
static void hold(struct treekv *kv, int count)
{
	struct treekv_cache *cache;
	struct rlimit limit;
	char byte, name[32];

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "idle%d", i);
		bench_check(treekv_open(&cache, kv, name, &spec,
					TREEKV_CREATE | TREEKV_EPHEMERAL),
			    "create");
	}
	puts("attached");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

static void measure(struct treekv *kv, const char *redis)
{
	struct other other = { .redis = -1 };
	struct treekv_cache *cache;
	pid_t pid = peer_echo_start(&other.echo, PEER_ECHO, PEER_ECHO);

	if (redis && *redis)
		other.redis = peer_redis_small(redis, 'k');
	bench_check(treekv_open(&cache, kv, "request", &spec, TREEKV_CREATE),
		    "create");
	treekv_detach(cache);
	run("request.miss", kv, miss, &other, 1);
	run("request.attach", kv, attach, &other, 2);
	run("request.stats", kv, stats, &other, 1);
	peer_echo_end(pid, other.echo);
}

int main(int argc, char **argv)
{
	struct treekv *kv;

	if (argc < 2)
		bench_die(argv[0], "needs SOCKET [--hold CACHES | REDIS]");
	bench_check(treekv_connect(&kv, argv[1]), "connect");
	if (argc > 3 && !strcmp(argv[2], "--hold"))
		hold(kv, atoi(argv[3]));
	else
		measure(kv, argc > 2 ? argv[2] : NULL);
	return 0;
}
