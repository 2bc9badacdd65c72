// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_scale SOCKET PROCESSES CACHES SECONDS: so many processes at once, each
 * with a share of so many small caches and a connection of its own, attach to
 * one of them at random, add 20 tokens and detach, as often as they can in the
 * time. One row: "ours" is how many of these turns there were in a second, of
 * all together, "theirs" how long single attaches took, in us.
 */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

enum {
	TOKENS = 20,
	A_STEP = 4,
	ROW = 32,
	HEADS = 2,
	LAYERS = 2,
	PROCESSES_MAX = 256,
};

static const struct treekv_spec spec = {
	.model = "bench",
	.layers = LAYERS,
	.kv_heads = HEADS,
	.k_row = ROW,
	.v_row = ROW,
	.dtype = TREEKV_F32,
	.policy = TREEKV_POLICY_TREEKV,
	.positions = TREEKV_POSITIONS_RANK,
	.budget = 64,
	.sinks = 4,
	.recent = 28,
	.slack = 16,
};

/* Shared by all of them. */
struct result {
	uint64_t turns;
	uint64_t samples;
	float us[BENCH_SAMPLES_MAX];
};

struct board {
	uint64_t begin; /* 0: somebody has ended early */
	struct result result[];
};

static uint32_t processes, caches;
static uint64_t limit_ns;

static void open_one(struct treekv_cache **cache, struct treekv *kv, uint32_t i)
{
	char name[32];

	snprintf(name, sizeof(name), "scale%u", i);
	bench_check(treekv_open(cache, kv, name, &spec, TREEKV_CREATE),
		    "attach");
}

static void add_tokens(struct treekv_cache *cache)
{
	static const uint8_t rows[A_STEP * HEADS * ROW];

	for (int t = 0; t < TOKENS; t += A_STEP) {
		bench_check(treekv_step_begin(cache, NULL, A_STEP, 60000),
			    "begin");
		for (uint32_t l = 0; l < LAYERS; l++)
			bench_check(treekv_append(cache, l, rows, rows),
				    "append");
		bench_check(treekv_commit(cache, A_STEP), "commit");
	}
}

static void turn(struct treekv *kv, uint32_t i, struct result *result)
{
	uint64_t begin = bench_ns();
	struct treekv_cache *cache;

	open_one(&cache, kv, i);
	if (result->samples < BENCH_SAMPLES_MAX / processes)
		result->us[result->samples++] =
			(float)(bench_ns() - begin) / 1000;
	add_tokens(cache);
	treekv_detach(cache);
	result->turns++;
}

/* Of the caches number, number + processes, ... */
static int ready[2], go[2]; /* pipes */

static void work(const char *socket, uint32_t number, struct board *board)
{
	struct result *result = &board->result[number];
	uint32_t share = (caches - number + processes - 1) / processes;
	uint64_t random = number, begin;
	struct treekv *kv;
	char byte;

	bench_check(treekv_connect(&kv, socket), "connect");
	if (write(ready[1], "", 1) != 1 || close(ready[1]) || close(go[1]))
		bench_die("say that all is ready", "no pipe");
	if (read(go[0], &byte, 1)) /* ends when it is closed */
		bench_die("wait for the others", "no pipe");
	begin = board->begin;
	while (bench_ns() - begin < limit_ns)
		turn(kv,
		     number + (uint32_t)(bench_random(&random) % share) *
				      processes,
		     result);
	treekv_close(kv);
	_exit(0);
}

/* Made by one, so that nobody's first turn is dearer than his others. */
static void make_all(const char *socket)
{
	struct treekv_cache *cache;
	struct treekv *kv;

	bench_check(treekv_connect(&kv, socket), "connect");
	for (uint32_t i = 0; i < caches; i++) {
		open_one(&cache, kv, i);
		if (!treekv_tail(cache))
			for (int n = 0; n < 5; n++)
				add_tokens(cache);
		treekv_detach(cache);
	}
	treekv_close(kv);
}

static void start_all(const char *socket, struct board *board)
{
	uint32_t n = 0;
	char byte;

	if (pipe2(ready, O_CLOEXEC) || pipe2(go, O_CLOEXEC))
		bench_die("pipe", "no descriptors");
	for (uint32_t i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			bench_die("fork", "no processes");
		if (!pid)
			work(socket, i, board);
	}
	close(ready[1]);
	while (n < processes && read(ready[0], &byte, 1) == 1)
		n++;
	if (n < processes)
		bench_die("a process", "has ended early");
	board->begin = bench_ns();
	close(go[1]);
}

int main(int argc, char **argv)
{
	struct bench_row *row = bench_row_new("scale");
	uint64_t turns = 0, end;
	struct board *board;
	int status;

	if (argc < 5)
		bench_die(argv[0], "needs SOCKET PROCESSES CACHES SECONDS");
	processes = (uint32_t)atoi(argv[2]);
	caches = (uint32_t)atoi(argv[3]);
	limit_ns = (uint64_t)(atof(argv[4]) * 1e9);
	if (!processes || processes > PROCESSES_MAX || caches < processes)
		bench_die(argv[2], "1 to 256, and no more than caches");
	make_all(argv[1]);
	board = mmap(NULL, sizeof(*board) + processes * sizeof(struct result),
		     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		bench_die("shared memory", "out of memory");
	start_all(argv[1], board);
	for (uint32_t i = 0; i < processes; i++)
		if (wait(&status) < 0 || status)
			bench_die("a process", "has failed");
	end = bench_ns();
	for (uint32_t i = 0; i < processes; i++) {
		turns += board->result[i].turns;
		for (uint64_t n = 0; n < board->result[i].samples; n++)
			bench_theirs(row, (double)board->result[i].us[n]);
	}
	bench_ours(row, (double)turns * 1e9 / (double)(end - board->begin));
	bench_row_end(row);
	return 0;
}
