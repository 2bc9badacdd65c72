// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_lookup SOCKET [REDIS-SOCKET]: what looking up a prompt of 1,000 tokens
 * costs with 10,000 frozen prefixes of as many. A hundred at a time begin with
 * the same 500 tokens. Against an echo of as many bytes as the prompt has, and
 * an answer of 64, over the same kind of socket, and against Redis asked for 64
 * bytes by a short key.
 */
#include "bench.h"
#include "peers.h"

enum {
	PREFIXES = 10000,
	ALIKE = 100,
	TOKENS = 1000,
	COMMON = 500,
	SAMPLES = 2000,
	WARM_UP = 200,
};

static const struct treekv_spec spec = {
	.model = "bench",
	.layers = 1,
	.kv_heads = 1,
	.k_row = 4,
	.v_row = 4,
	.dtype = TREEKV_F32,
	.policy = TREEKV_POLICY_FULL,
	.positions = TREEKV_POSITIONS_RANK,
	.budget = TOKENS,
	.slack = 1,
	.ids = TOKENS,
};

static uint32_t ids[TOKENS];

static void make_ids(uint32_t number)
{
	for (uint32_t i = 0; i < TOKENS; i++)
		ids[i] = i * 2654435761U +
			 (i < COMMON ? number / ALIKE : number + PREFIXES);
}

static void make_prefix(struct treekv *kv, uint32_t number)
{
	static uint32_t rows[TOKENS];
	struct treekv_cache *cache;
	char name[16];

	make_ids(number);
	snprintf(name, sizeof(name), "p%u", number);
	bench_check(treekv_open(&cache, kv, name, &spec, TREEKV_CREATE),
		    "create");
	bench_check(treekv_step_begin(cache, ids, TOKENS, 1000), "begin");
	bench_check(treekv_append(cache, 0, rows, rows), "append");
	bench_check(treekv_commit(cache, TOKENS), "commit");
	bench_check(treekv_freeze(cache), "freeze");
}

static double echo(int fd)
{
	uint64_t begin = bench_ns();
	char answer[PEER_ECHO];

	peer_send(fd, ids, sizeof(ids));
	peer_receive(fd, answer, sizeof(answer));
	return (double)(bench_ns() - begin) / 1000;
}

static double get(int fd)
{
	uint64_t begin = bench_ns();

	peer_redis_get_small(fd, 'k');
	return (double)(bench_ns() - begin) / 1000;
}

/* @agree: tokens of the prompt that are those of some prefix. */
static double look_up(struct treekv *kv, uint32_t number, uint32_t agree)
{
	struct treekv_prefix found = { .tokens = 0 };
	uint64_t begin;
	int r;

	make_ids(number);
	for (uint32_t i = agree; i < TOKENS; i++)
		ids[i] = ~i;
	begin = bench_ns();
	r = treekv_lookup(kv, &found, &spec, ids, TOKENS, 0);
	begin = bench_ns() - begin;
	if (agree / 16 ? r || found.tokens / 16 != agree / 16 : r != -ENOENT)
		bench_die("look up", treekv_error());
	return (double)begin / 1000;
}

struct row_pair {
	struct bench_row *echo;
	struct bench_row *redis; /* NULL: there is none */
};

static void row_pair_new(struct row_pair *pair, const char *name, int redis)
{
	char redis_name[64];

	snprintf(redis_name, sizeof(redis_name), "%s.redis", name);
	pair->echo = bench_row_new(name);
	pair->redis = redis < 0 ? NULL : bench_row_new(redis_name);
}

static void run(const char *name, struct treekv *kv, uint32_t prefixes,
		uint32_t agree, int redis)
{
	struct row_pair pair;
	uint64_t random = 1;
	int fd;
	pid_t pid = peer_echo_start(&fd, sizeof(ids), PEER_ECHO);

	row_pair_new(&pair, name, redis);
	for (int i = 0; i < WARM_UP + SAMPLES; i++) {
		uint32_t number = (uint32_t)(bench_random(&random) % prefixes);
		double ours = look_up(kv, number, agree), theirs = echo(fd);
		double gets = redis < 0 ? 0 : get(redis);

		if (i < WARM_UP)
			continue;
		bench_ours(pair.echo, ours);
		bench_theirs(pair.echo, theirs);
		if (pair.redis) {
			bench_ours(pair.redis, ours);
			bench_theirs(pair.redis, gets);
		}
	}
	peer_echo_end(pid, fd);
	bench_row_end(pair.echo);
	if (pair.redis)
		bench_row_end(pair.redis);
}

int main(int argc, char **argv)
{
	int redis = argc > 2 && *argv[2] ? peer_redis_small(argv[2], 'k') : -1;
	struct treekv *kv;

	if (argc < 2)
		bench_die(argv[0], "needs SOCKET [REDIS]");
	bench_check(treekv_connect(&kv, argv[1]), "connect");
	for (uint32_t i = 0; i < PREFIXES; i++)
		make_prefix(kv, i);
	run("lookup.whole", kv, PREFIXES, TOKENS, redis);
	run("lookup.part", kv, PREFIXES, 800, -1);
	run("lookup.miss", kv, PREFIXES, 0, -1);
	treekv_close(kv);
	return 0;
}
