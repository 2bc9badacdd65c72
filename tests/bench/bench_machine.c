// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the machine can do, to hold the other rows against: how fast memory is
 * copied and read, what a system call takes, a wake-up of another process and
 * back, and a page that is touched for the first time.
 */
#include <sys/syscall.h>

#include "bench.h"
#include "peers.h"

enum {
	SIZE = 64 << 20, /* beyond all caches of most machines */
	SAMPLES = 21,
	CALLS = 20000,
	TRIPS = 200,
	TOUCHED = 16 << 20,
};

static void copy(void)
{
	struct bench_row *row = bench_row_new("machine.copy");
	char *a = bench_map(SIZE, 0), *b = bench_map(SIZE, 0);

	for (int i = -1; i < SAMPLES; i++) {
		uint64_t begin = bench_ns();

		memcpy(i & 1 ? a : b, i & 1 ? b : a, SIZE);
		if (i >= 0)
			bench_ours(row, (double)SIZE / (bench_ns() - begin));
	}
	munmap(a, SIZE);
	munmap(b, SIZE);
	bench_row_end(row);
}

/* Four sums, so that it is the memory that is waited for. @n: of four. */
static uint64_t sum(const uint64_t *at, size_t n)
{
	uint64_t sums[4] = { 0 };

	for (size_t i = 0; i < n; i += 4)
		for (size_t j = 0; j < 4; j++)
			sums[j] += at[i + j];
	return sums[0] + sums[1] + sums[2] + sums[3];
}

static void read_all(void)
{
	struct bench_row *row = bench_row_new("machine.read");
	uint64_t *at = bench_map(SIZE, 0);
	volatile uint64_t sink;

	memset(at, 1, SIZE);
	for (int i = -1; i < SAMPLES; i++) {
		uint64_t begin = bench_ns();

		sink = sum(at, SIZE / sizeof(*at));
		if (i >= 0)
			bench_ours(row, (double)SIZE / (bench_ns() - begin));
	}
	(void)sink;
	munmap(at, SIZE);
	bench_row_end(row);
}

static void calls(void)
{
	struct bench_row *row = bench_row_new("machine.syscall");

	for (int i = 0; i < SAMPLES; i++) {
		uint64_t begin = bench_ns();

		for (int n = 0; n < CALLS; n++)
			syscall(SYS_getppid);
		bench_ours(row, (double)(bench_ns() - begin) / CALLS);
	}
	bench_row_end(row);
}

/* Two writes, two reads, two wake-ups: what every request is made of. */
static void wake_ups(void)
{
	struct bench_row *row = bench_row_new("machine.echo");
	char byte = 0;
	int fd;
	pid_t pid = peer_echo_start(&fd, 1, 1);

	for (int i = -1; i < SAMPLES; i++) {
		uint64_t begin = bench_ns();

		for (int n = 0; n < TRIPS; n++) {
			peer_send(fd, &byte, 1);
			peer_receive(fd, &byte, 1);
		}
		if (i >= 0)
			bench_ours(row,
				   (double)(bench_ns() - begin) / TRIPS / 1000);
	}
	peer_echo_end(pid, fd);
	bench_row_end(row);
}

/* A page at a time, so that it is the page and not the writing. */
static void pages(void)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	struct bench_row *row = bench_row_new("machine.page");

	for (int i = 0; i < SAMPLES; i++) {
		volatile char *at = mmap(NULL, TOUCHED, PROT_READ | PROT_WRITE,
					 flags, -1, 0);
		uint64_t begin = bench_ns();

		if (at == MAP_FAILED)
			bench_die("private memory", "out of memory");
		for (size_t n = 0; n < TOUCHED; n += 4096)
			at[n] = 1;
		bench_ours(row,
			   (double)(bench_ns() - begin) / (TOUCHED / 4096));
		munmap((void *)at, TOUCHED);
	}
	bench_row_end(row);
}

static void huge_pages(void)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
	struct bench_row *row = bench_row_new("machine.page.huge");

	for (int i = 0; i < SAMPLES; i++) {
		uint64_t begin = bench_ns();
		volatile char *at = mmap(NULL, BENCH_HUGE_PAGE,
					 PROT_READ | PROT_WRITE, flags, -1, 0);

		if (at == MAP_FAILED)
			return;
		*at = 1;
		bench_ours(row, (double)(bench_ns() - begin) / 1000);
		munmap((void *)at, BENCH_HUGE_PAGE);
	}
	bench_row_end(row);
}

int main(void)
{
	copy();
	read_all();
	calls();
	wake_ups();
	pages();
	huge_pages();
	return 0;
}
