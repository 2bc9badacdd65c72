// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_request SOCKET: what a request costs over a connection that is there
 * already, against a bare echo of 64 bytes by a process that does nothing else,
 * over the same kind of socket. Attach and detach are two requests, and two
 * echoes are their other side. With --hold it attaches, says so, and lies idle
 * until its standard input ends.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "client/conn.h"

enum {
	SAMPLES = 1000,
	WARM_UP = 100,
	ECHO = 64,
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

static void echo_server(int fd)
{
	char message[ECHO];
	ssize_t n;

	for (;;) {
		n = read(fd, message, sizeof(message));
		if (n <= 0 || write(fd, message, n) != n)
			_exit(0);
	}
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

static double echo(int fd, int times)
{
	uint64_t begin = bench_ns();
	char message[ECHO] = { 0 };

	for (int i = 0; i < times; i++)
		if (write(fd, message, ECHO) != ECHO ||
		    read(fd, message, ECHO) != ECHO)
			bench_die("echo", strerror(errno));
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

static void run(const char *name, struct treekv *kv,
		double (*ours)(struct treekv *), int fd, int echoes)
{
	struct bench_row *row = bench_row_new(name);

	for (int i = 0; i < WARM_UP; i++) {
		ours(kv);
		echo(fd, echoes);
	}
	for (int i = 0; i < SAMPLES; i++) {
		bench_ours(row, ours(kv));
		bench_theirs(row, echo(fd, echoes));
	}
	bench_row_end(row);
}

static void hold(struct treekv *kv)
{
	struct treekv_cache *cache;
	char byte;

	bench_check(treekv_open(&cache, kv, "idle", &spec,
				TREEKV_CREATE | TREEKV_EPHEMERAL),
		    "create");
	puts("attached");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	treekv_detach(cache);
}

static void measure(struct treekv *kv)
{
	struct treekv_cache *cache;
	int fd;
	pid_t pid = echo_start(&fd);

	bench_check(treekv_open(&cache, kv, "request", &spec, TREEKV_CREATE),
		    "create");
	treekv_detach(cache);
	run("request.attach", kv, attach, fd, 2);
	run("request.miss", kv, miss, fd, 1);
	run("request.stats", kv, stats, fd, 1);
	close(fd);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	struct treekv *kv;

	if (argc < 2)
		bench_die(argv[0], "needs SOCKET [--hold]");
	bench_check(treekv_connect(&kv, argv[1]), "connect");
	if (argc > 2 && !strcmp(argv[2], "--hold"))
		hold(kv);
	else
		measure(kv);
	treekv_close(kv);
	return 0;
}
