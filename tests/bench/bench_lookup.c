// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_lookup SOCKET [PREFIXES]: what looking up a prompt of 1,000 tokens
 * costs with 10,000 frozen prefixes of as many. A hundred at a time begin with
 * the same 500 tokens. Against an echo of as many bytes as the prompt has, and
 * an answer of 64, over the same kind of socket.
 */
#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

enum {
	PREFIXES = 10000,
	ALIKE = 100,
	TOKENS = 1000,
	COMMON = 500,
	SAMPLES = 2000,
	WARM_UP = 200,
	ANSWER = 64,
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

static bool read_all(int fd, char *to, size_t size)
{
	while (size) {
		ssize_t n = read(fd, to, size);

		if (n <= 0)
			return false;
		to += n;
		size -= (size_t)n;
	}
	return true;
}

static void echo_server(int fd)
{
	static char message[sizeof(ids)];

	while (read_all(fd, message, sizeof(message)) &&
	       write(fd, message, ANSWER) == ANSWER)
		;
	_exit(0);
}

static pid_t echo_start(int *fd)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		bench_die("socketpair", strerror(errno));
	pid = fork();
	if (pid < 0)
		bench_die("fork", strerror(errno));
	if (!pid) {
		close(pair[0]);
		echo_server(pair[1]);
	}
	close(pair[1]);
	*fd = pair[0];
	return pid;
}

static double echo(int fd)
{
	uint64_t begin = bench_ns();
	char answer[ANSWER];

	if (write(fd, ids, sizeof(ids)) != sizeof(ids) ||
	    !read_all(fd, answer, sizeof(answer)))
		bench_die("echo", strerror(errno));
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

static void run(const char *name, struct treekv *kv, uint32_t prefixes,
		uint32_t agree)
{
	struct bench_row *row = bench_row_new(name);
	uint64_t random = 1;
	int fd;
	pid_t pid = echo_start(&fd);

	for (int i = 0; i < WARM_UP + SAMPLES; i++) {
		uint32_t number = (uint32_t)(bench_random(&random) % prefixes);
		double ours = look_up(kv, number, agree), theirs = echo(fd);

		if (i < WARM_UP)
			continue;
		bench_ours(row, ours);
		bench_theirs(row, theirs);
	}
	close(fd);
	waitpid(pid, NULL, 0);
	bench_row_end(row);
}

int main(int argc, char **argv)
{
	uint32_t prefixes = argc > 2 ? (uint32_t)atoi(argv[2]) : PREFIXES;
	struct treekv *kv;

	if (argc < 2)
		bench_die(argv[0], "needs SOCKET [PREFIXES]");
	bench_check(treekv_connect(&kv, argv[1]), "connect");
	for (uint32_t i = 0; i < prefixes; i++)
		make_prefix(kv, i);
	run("lookup.whole", kv, prefixes, TOKENS);
	run("lookup.part", kv, prefixes, 800);
	run("lookup.miss", kv, prefixes, 0);
	treekv_close(kv);
	return 0;
}
