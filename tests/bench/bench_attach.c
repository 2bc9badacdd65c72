// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_attach SOCKET NAME MIB [REDIS-SOCKET [MEMCACHED-SOCKET [FILE]]]: how
 * long a fresh process takes until it can read the last byte of a populated
 * cache, and what it takes others to hand as many bytes to one.
 *
 * Every sample of every side is a child of its own, which has no connection and
 * no memory to read into; its clock begins when it runs. Ours connects, says
 * hello, attaches, maps, and touches the last row. Redis and memcached are asked
 * for all bytes, a file in memory is read or mapped, a memfd in huge pages is
 * mapped and no more. Buffers to read into are advised to be huge, which spares
 * the others most of their page faults.
 *
 * Ours is also sampled in a process that has done it before, and with all bytes
 * read. An argument that is empty leaves that side out.
 */
#include <fcntl.h>

#include "bench.h"
#include "peers.h"

enum {
	HEADS = 8,
	ROW = 256, /* head_dim 128, bf16 */
	BUDGET = 928,
	SLACK = 64,
	STEP = 32,
	SAMPLES = 11,
	OURS_A_SAMPLE = 4, /* ours is short: several for one of theirs */
};

/* What all sides are given. */
static struct {
	const char *socket;
	const char *name;
	const char *redis;
	const char *memcached;
	int file; /* in the page cache; -1: none */
	int bare; /* a memfd in huge pages; -1: none */
	size_t size; /* of all of them: that of the cache's memory */
	struct treekv_spec spec;
} bed = {
	.file = -1,
	.bare = -1,
	.spec = {
		.model = "bench",
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
	},
};

/* ---- ours ---- */

/* Every slot gets a row: a cache is as large as it ever will be. */
static void populate(void)
{
	size_t size = (size_t)STEP * HEADS * ROW;
	struct treekv_counters counters;
	struct treekv_cache *cache;
	struct treekv *kv;
	char *rows = malloc(size);
	uint64_t random = 1;

	for (size_t i = 0; i < size; i++)
		rows[i] = (char)bench_random(&random);
	bench_check(treekv_connect_ahead(&kv, bed.socket), "connect");
	bench_check(treekv_open(&cache, kv, bed.name, &bed.spec, TREEKV_CREATE),
		    "create");
	for (int t = 0; t < BUDGET + 2 * SLACK; t += STEP) {
		bench_check(treekv_step_begin(cache, NULL, STEP, 30000),
			    "begin");
		for (uint32_t l = 0; l < bed.spec.layers; l++)
			bench_check(treekv_append(cache, l, rows, rows),
				    "append");
		bench_check(treekv_commit(cache, STEP), "commit");
	}
	treekv_counters(cache, &counters);
	bed.size = counters.bytes;
	if (counters.huge != !strstr(bed.name, "small"))
		bench_die(bed.name, "the cache is not in pages of that kind");
	treekv_detach(cache);
	treekv_close(kv);
	free(rows);
}

static uint64_t sum_rows(struct treekv_cache *cache)
{
	struct treekv_view view;
	uint64_t sum = 0;

	for (uint32_t l = 0; l < bed.spec.layers; l++)
		for (uint32_t h = 0; h < HEADS; h++) {
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

	bench_check(treekv_view(cache, bed.spec.layers - 1, HEADS - 1, &view),
		    "view");
	return ((const volatile uint8_t *)view.v)[view.slots * ROW - 1];
}

/* Returns when it has the last byte, or all of them. */
static uint64_t attach(int all)
{
	struct treekv_cache *cache;
	volatile uint64_t sink;
	struct treekv *kv;
	uint64_t end;

	bench_check(treekv_connect_ahead(&kv, bed.socket), "connect");
	bench_check(treekv_open(&cache, kv, bed.name, NULL, 0), "attach");
	sink = all ? sum_rows(cache) : last_byte(cache);
	end = bench_ns();
	(void)sink;
	treekv_detach(cache);
	treekv_close(kv);
	return end;
}

static uint64_t attach_touch(void)
{
	return attach(0);
}

static uint64_t attach_scan(void)
{
	return attach(1);
}

/* ---- theirs ---- */

static char *buffer(void)
{
	size_t huge = BENCH_HUGE_PAGE;
	char *at = mmap(NULL, bed.size + huge, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		bench_die("a buffer", "out of memory");
	at = (char *)(((uintptr_t)at + huge - 1) & -huge);
	madvise(at, bed.size, MADV_HUGEPAGE);
	return at;
}

static uint64_t from_redis(void)
{
	int fd = peer_connect(bed.redis);

	peer_redis_get(fd, "k", buffer(), bed.size);
	return bench_ns();
}

static uint64_t from_memcached(void)
{
	int fd = peer_connect(bed.memcached);

	peer_memcached_get(fd, buffer(), bed.size);
	return bench_ns();
}

static uint64_t from_file(void)
{
	char *to = buffer();

	for (size_t at = 0; at < bed.size;) {
		ssize_t n = pread(bed.file, to + at, bed.size - at, (off_t)at);

		if (n <= 0)
			bench_die("read", strerror(errno));
		at += (size_t)n;
	}
	return bench_ns();
}

static uint64_t touch_mapping(int fd)
{
	const volatile uint8_t *at = mmap(NULL, bed.size, PROT_READ,
					  MAP_SHARED | MAP_POPULATE, fd, 0);

	if (at == MAP_FAILED)
		bench_die("mmap", strerror(errno));
	(void)at[bed.size - 1];
	return bench_ns();
}

static uint64_t from_mapped_file(void)
{
	return touch_mapping(bed.file);
}

static uint64_t from_bare_memfd(void)
{
	return touch_mapping(bed.bare);
}

static void fill_redis(const char *from)
{
	int fd = peer_connect(bed.redis);

	peer_redis_set(fd, "k", from, bed.size);
	close(fd);
}

static void fill_memcached(const char *from)
{
	int fd = peer_connect(bed.memcached);

	peer_memcached_set(fd, from, bed.size);
	close(fd);
}

static void fill_file(const char *path, const char *from)
{
	bed.file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (bed.file < 0)
		bench_die(path, strerror(errno));
	peer_send(bed.file, from, bed.size);
}

static void fill_bare(void)
{
	void *at;

	bed.size = (bed.size + BENCH_HUGE_PAGE - 1) & -BENCH_HUGE_PAGE;
	bed.bare = memfd_create("bench", MFD_CLOEXEC | MFD_HUGETLB);
	if (bed.bare < 0 || ftruncate(bed.bare, (off_t)bed.size))
		bench_die("a memfd in huge pages", strerror(errno));
	at = mmap(NULL, bed.size, PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_POPULATE, bed.bare, 0);
	if (at == MAP_FAILED)
		bench_die("a memfd in huge pages", strerror(errno));
	memset(at, 1, bed.size);
	munmap(at, bed.size);
}

/* ---- one against the other ---- */

/* In a child that has done nothing yet; us. */
static double sample(uint64_t (*get)(void))
{
	uint64_t begin, end = 0;
	int fds[2];
	pid_t pid;

	if (pipe(fds))
		bench_die("pipe", strerror(errno));
	pid = fork();
	if (pid < 0)
		bench_die("fork", strerror(errno));
	if (!pid) {
		begin = bench_ns();
		end = get() - begin;
		_exit(write(fds[1], &end, sizeof(end)) != sizeof(end));
	}
	close(fds[1]);
	if (read(fds[0], &end, sizeof(end)) != sizeof(end))
		bench_die("a sample", "its process has ended early");
	close(fds[0]);
	waitpid(pid, NULL, 0);
	return (double)end / 1000;
}

struct side {
	const char *suffix;
	uint64_t (*get)(void);
	uint64_t (*ours)(void);
	struct bench_row *row;
};

static void side_new(struct side *side, int wanted)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%s", bed.name, side->suffix);
	side->row = wanted ? bench_row_new(name) : NULL;
}

static void compare(void)
{
	struct side sides[] = {
		{ "", from_redis, attach_touch, NULL },
		{ ".scan", from_redis, attach_scan, NULL },
		{ ".memcached", from_memcached, attach_touch, NULL },
		{ ".read", from_file, attach_touch, NULL },
		{ ".mmap", from_mapped_file, attach_touch, NULL },
		{ ".bare", from_bare_memfd, attach_touch, NULL },
	};
	int wanted[] = { !!*bed.redis,	!!*bed.redis,  !!*bed.memcached,
			 bed.file >= 0, bed.file >= 0, bed.bare >= 0 };
	size_t n = sizeof(sides) / sizeof(*sides);
	uint64_t begin = bench_ns();

	for (size_t i = 0; i < n; i++)
		side_new(&sides[i], wanted[i]);
	for (int round = -1; bench_goes_on(begin, round, SAMPLES); round++)
		for (size_t i = 0; i < n; i++) {
			double ours, theirs;

			if (!wanted[i])
				continue;
			ours = sample(sides[i].ours);
			theirs = sample(sides[i].get);
			if (round <
			    0) /* memory is touched for the first time */
				continue;
			bench_ours(sides[i].row, ours);
			bench_theirs(sides[i].row, theirs);
		}
	for (size_t i = 0; i < n; i++)
		if (wanted[i])
			bench_row_end(sides[i].row);
}

/* In this process, which has done it before. */
static void by_itself(void)
{
	struct bench_row *row;
	char name[64];

	snprintf(name, sizeof(name), "%s.us", bed.name);
	row = bench_row_new(name);
	attach_touch();
	for (int i = 0; i < SAMPLES * OURS_A_SAMPLE; i++) {
		uint64_t begin = bench_ns();

		bench_ours(row, (double)(attach_touch() - begin) / 1000);
	}
	bench_row_end(row);
}

static const char *argument(int argc, char **argv, int i)
{
	return argc > i ? argv[i] : "";
}

int main(int argc, char **argv)
{
	char *from;

	if (argc < 4)
		bench_die(argv[0], "needs SOCKET NAME MIB [PEER...]");
	bed.socket = argv[1];
	bed.name = argv[2];
	bed.redis = argument(argc, argv, 4);
	bed.memcached = argument(argc, argv, 5);
	bed.spec.layers = (uint32_t)atoi(argv[3]) / 4;
	populate();
	if (!strstr(bed.name, "small"))
		fill_bare();
	from = buffer();
	memset(from, 1, bed.size);
	if (*bed.redis)
		fill_redis(from);
	if (*bed.memcached)
		fill_memcached(from);
	if (*argument(argc, argv, 6))
		fill_file(argv[6], from);
	munmap(from, bed.size);
	by_itself();
	compare();
	return 0;
}
