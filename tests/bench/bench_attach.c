// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_attach SOCKET LABEL [REDIS-SOCKET]: how long a process that has nothing
 * takes until it can read the last byte of a populated cache of 64 MiB. Ours:
 * connect, hello, open, map, touch the last row, all over a new connection.
 * Theirs: connect, GET, read every byte. A second row reads every byte on our
 * side as well.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench.h"

enum {
	LAYERS = 16,
	HEADS = 8,
	ROW = 256, /* head_dim 128, bf16 */
	BUDGET = 928,
	SLACK = 64,
	STEP = 32,
	SAMPLES = 15,
	OURS_A_SAMPLE = 4, /* ours is short: several for one of theirs */
};

static const struct treekv_spec spec = {
	.model = "bench",
	.layers = LAYERS,
	.kv_heads = HEADS,
	.k_row = ROW,
	.v_row = ROW,
	.dtype = TREEKV_BF16,
	.policy = TREEKV_POLICY_TREEKV,
	.positions = TREEKV_POSITIONS_RANK,
	.budget = BUDGET,
	.sinks = 4,
	.recent = BUDGET / 2 - 4,
	.slack = SLACK,
};

/* ---- the least of a Redis client ---- */

static void send_all(int fd, const void *from, size_t size)
{
	const char *at = from;

	while (size) {
		ssize_t n = write(fd, at, size);

		if (n < 0)
			bench_die("redis: write", strerror(errno));
		at += n;
		size -= n;
	}
}

static void receive_all(int fd, void *to, size_t size)
{
	char *at = to;

	while (size) {
		ssize_t n = read(fd, at, size);

		if (n <= 0)
			bench_die("redis: read", n ? strerror(errno) : "end");
		at += n;
		size -= n;
	}
}

/* A reply's first line, without its end. */
static void receive_line(int fd, char *to, size_t size)
{
	size_t n = 0;

	do {
		if (n == size)
			bench_die("redis", "a line that is too long");
		receive_all(fd, to + n++, 1);
	} while (to[n - 1] != '\n');
	to[n > 1 ? n - 2 : 0] = 0;
}

static int redis_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (void *)&address, sizeof(address)))
		bench_die(path, strerror(errno));
	return fd;
}

static void redis_set(const char *path, const void *value, size_t size)
{
	int fd = redis_connect(path);
	char line[64];

	snprintf(line, sizeof(line), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%zu\r\n",
		 size);
	send_all(fd, line, strlen(line));
	send_all(fd, value, size);
	send_all(fd, "\r\n", 2);
	receive_line(fd, line, sizeof(line));
	if (strcmp(line, "+OK"))
		bench_die("redis: SET", line);
	close(fd);
}

static double redis_get(const char *path, void *to, size_t size)
{
	static const char request[] = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
	uint64_t begin = bench_ns();
	char line[64];
	int fd = redis_connect(path);

	send_all(fd, request, sizeof(request) - 1);
	receive_line(fd, line, sizeof(line));
	if (line[0] != '$' || strtoull(line + 1, NULL, 10) != size)
		bench_die("redis: GET", line);
	receive_all(fd, to, size);
	receive_all(fd, line, 2);
	close(fd);
	return (double)(bench_ns() - begin) / 1000;
}

/* ---- ours ---- */

/* Every slot gets a row: a cache is as large as it ever will be. */
static void populate(const char *socket, const char *name)
{
	size_t size = (size_t)STEP * HEADS * ROW;
	struct treekv_cache *cache;
	struct treekv *kv;
	char *rows = malloc(size);
	uint64_t random = 1;

	for (size_t i = 0; i < size; i++)
		rows[i] = (char)bench_random(&random);
	bench_check(treekv_connect(&kv, socket), "connect");
	bench_check(treekv_open(&cache, kv, name, &spec, TREEKV_CREATE),
		    "create");
	for (int t = 0; t < BUDGET + 2 * SLACK; t += STEP) {
		bench_check(treekv_step_begin(cache, NULL, STEP, 10000),
			    "begin");
		for (int l = 0; l < LAYERS; l++)
			bench_check(treekv_append(cache, l, rows, rows),
				    "append");
		bench_check(treekv_commit(cache, STEP), "commit");
	}
	treekv_detach(cache);
	treekv_close(kv);
	free(rows);
}

static uint64_t sum_rows(struct treekv_cache *cache)
{
	struct treekv_view view;
	uint64_t sum = 0;

	for (int l = 0; l < LAYERS; l++)
		for (int h = 0; h < HEADS; h++) {
			const uint64_t *k, *v;

			bench_check(treekv_view(cache, l, h, &view), "view");
			k = view.k;
			v = view.v;
			for (size_t i = 0; i < view.slots * ROW / 8; i++)
				sum += k[i] + v[i];
		}
	return sum;
}

static uint64_t last_byte(struct treekv_cache *cache)
{
	struct treekv_view view;

	bench_check(treekv_view(cache, LAYERS - 1, HEADS - 1, &view), "view");
	return ((const volatile uint8_t *)view.v)[view.slots * ROW - 1];
}

static double attach(const char *socket, const char *name, int all,
		     uint64_t *bytes, int *huge)
{
	uint64_t begin = bench_ns(), end;
	struct treekv_counters counters;
	struct treekv_cache *cache;
	volatile uint64_t sink;
	struct treekv *kv;

	bench_check(treekv_connect(&kv, socket), "connect");
	bench_check(treekv_open(&cache, kv, name, NULL, 0), "attach");
	sink = all ? sum_rows(cache) : last_byte(cache);
	end = bench_ns();
	(void)sink;
	treekv_counters(cache, &counters);
	*bytes = counters.bytes;
	*huge = counters.huge;
	treekv_detach(cache);
	treekv_close(kv);
	return (double)(end - begin) / 1000;
}

int main(int argc, char **argv)
{
	struct bench_row *touch, *scan;
	char touch_name[64], scan_name[64];
	uint64_t bytes;
	void *to = NULL;
	int huge;

	if (argc < 3)
		bench_die(argv[0], "needs SOCKET LABEL [REDIS-SOCKET]");
	snprintf(touch_name, sizeof(touch_name), "attach.%s", argv[2]);
	snprintf(scan_name, sizeof(scan_name), "attach.scan.%s", argv[2]);
	touch = bench_row_new(touch_name);
	scan = bench_row_new(scan_name);
	populate(argv[1], argv[2]);
	attach(argv[1], argv[2], 1, &bytes, &huge);
	if (huge != !strcmp(argv[2], "huge"))
		bench_die(argv[2], "the cache is not in pages of that kind");
	if (argc > 3) {
		to = bench_map(bytes, 0);
		memset(to, 1, bytes);
		redis_set(argv[3], to, bytes);
	}
	for (int i = 0; i < SAMPLES; i++) {
		for (int j = 0; j < OURS_A_SAMPLE; j++)
			bench_ours(touch,
				   attach(argv[1], argv[2], 0, &bytes, &huge));
		bench_ours(scan, attach(argv[1], argv[2], 1, &bytes, &huge));
		if (argc > 3) {
			double us = redis_get(argv[3], to, bytes);

			bench_theirs(touch, us);
			bench_theirs(scan, us);
		}
	}
	bench_row_end(touch);
	bench_row_end(scan);
	return 0;
}
