// SPDX-License-Identifier: BSD-2-Clause
/*
 * What a probe costs this thread's processor: a loop with one against the same
 * loop without. With --attached it says "ready" and waits for a line, so that
 * somebody can attach to this process: then it is the trap that is measured.
 */
#include "bench.h"
#include "proto/probe.h"

#define SAMPLES	 501
#define IDLE	 100000
#define ATTACHED 500

/* Neither is inlined, and neither loop can be folded. */
__attribute__((noinline)) static void without(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		__asm__ volatile("" : : "r"(i) : "memory");
}

__attribute__((noinline)) static void with(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		__asm__ volatile("" : : "r"(i) : "memory");
		PROBE(libtreekv, progress, i, "bench", i, i, i);
	}
}

/* Not the time that others had it. */
static uint64_t own_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static double ns_each(void (*loop)(uint64_t n), uint64_t n)
{
	uint64_t begin = own_ns();

	loop(n);
	return (double)(own_ns() - begin) / (double)n;
}

int main(int argc, char **argv)
{
	int attached = argc > 1 && !strcmp(argv[1], "--attached");
	uint64_t n = attached ? ATTACHED : IDLE;
	struct bench_row *row =
		bench_row_new(attached ? "probe.attached" : "probe");
	char line[8];

	if (attached) {
		puts("ready");
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			bench_die("probe", "nobody said go");
		if (!PROBE_WANTED(libtreekv, progress))
			bench_die("probe", "nobody is attached");
	}
	for (int i = 0; PROBE_AVAILABLE && i < SAMPLES; i++) {
		bench_theirs(row, ns_each(without, n));
		bench_ours(row, ns_each(with, n));
	}
	bench_row_end(row);
	return 0;
}
