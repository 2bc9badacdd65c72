/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the bench programs share. Each prints one JSON object a line, a row's
 * name and its samples; bench.py knows what the rows mean and judges them. The
 * two sides of a row are always sampled in turn, so that what else the machine
 * does meanwhile hits both.
 *
 * Everything is in this header because a bench program is linked from one file
 * of this folder and the library.
 */
#ifndef TREEKV_BENCH_H
#define TREEKV_BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "client/treekv.h"

#define BENCH_SAMPLES_MAX 8192
#define BENCH_HUGE_PAGE	  ((size_t)2 << 20)
#define BENCH_ROUNDS_MIN  3
#define BENCH_NS_MAX	  UINT64_C(30000000000)

/* One row: @theirs stays empty where nothing is compared. */
struct bench_row {
	char name[64];
	unsigned int n_ours;
	unsigned int n_theirs;
	double ours[BENCH_SAMPLES_MAX];
	double theirs[BENCH_SAMPLES_MAX];
};

static inline uint64_t bench_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Whether there is to be another round: on a busy machine there are fewer. */
static inline int bench_goes_on(uint64_t begin, int round, int rounds)
{
	return round < rounds &&
	       (round < BENCH_ROUNDS_MIN || bench_ns() - begin < BENCH_NS_MAX);
}

/* splitmix64: the same inputs in every run. */
static inline uint64_t bench_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline float bench_uniform(uint64_t *state)
{
	return (float)(bench_random(state) >> 40) / 16777216.0f;
}

__attribute__((noreturn)) static inline void bench_die(const char *what,
						       const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

/* For what libtreekv returns. */
static inline void bench_check(int r, const char *what)
{
	if (r < 0)
		bench_die(what, treekv_error());
}

static inline struct bench_row *bench_row_new(const char *name)
{
	struct bench_row *row = calloc(1, sizeof(*row));

	if (!row)
		bench_die(name, "out of memory");
	snprintf(row->name, sizeof(row->name), "%s", name);
	return row;
}

static inline void bench_ours(struct bench_row *row, double value)
{
	if (row->n_ours < BENCH_SAMPLES_MAX)
		row->ours[row->n_ours++] = value;
}

static inline void bench_theirs(struct bench_row *row, double value)
{
	if (row->n_theirs < BENCH_SAMPLES_MAX)
		row->theirs[row->n_theirs++] = value;
}

static inline void bench_print_samples(const char *key, const double *at,
				       unsigned int n)
{
	printf(", \"%s\": [", key);
	for (unsigned int i = 0; i < n; i++)
		printf("%s%.6g", i ? ", " : "", at[i]);
	putchar(']');
}

/* Prints the row and frees it. */
static inline void bench_row_end(struct bench_row *row)
{
	printf("{\"row\": \"%s\"", row->name);
	bench_print_samples("ours", row->ours, row->n_ours);
	bench_print_samples("theirs", row->theirs, row->n_theirs);
	puts("}");
	fflush(stdout);
	free(row);
}

/* Private memory of the same kind as the cache that it is compared with. */
static inline void *bench_map(size_t size, int huge)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
	void *at;

	if (huge) {
		size = (size + BENCH_HUGE_PAGE - 1) & -BENCH_HUGE_PAGE;
		flags |= MAP_HUGETLB;
	}
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (at == MAP_FAILED)
		bench_die("private memory",
			  huge ? "no huge pages left" : "out of memory");
	return at;
}

#endif /* TREEKV_BENCH_H */
