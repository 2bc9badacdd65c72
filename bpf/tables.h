/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What treekv.bpf.c counts and watch.c reads: which histograms there are, the
 * values of the maps and how many each may hold. The compiler for BPF has no C
 * library's headers: plain types only.
 */
#ifndef TREEKV_TABLES_H
#define TREEKV_TABLES_H

#include <linux/types.h>

#define TABLE_CACHES	4096
#define TABLE_PROCESSES 1024
#define TABLE_WRITERS	4096
#define TABLE_WORKERS	64 /* the daemon has no more */
#define TABLE_REQUESTS	1024
#define TABLE_STALLS	1024
#define TABLE_IO	4096

#define TABLE_BUCKETS 64

#define WATCH_REQUESTS 80 /* numbers that treekv.proto may come to use */

/* All in nanoseconds. */
enum watch_histogram {
	WATCH_COMPACTION, /* from its start to its end */
	WATCH_PUBLICATION, /* from the doorbell to the publication */
	WATCH_STALL, /* of a writer: each time that it waited */
	WATCH_RUN_DELAY, /* a worker could run and did not */
	WATCH_IO_URING, /* from submission to completion: files, sends */
	WATCH_REQUEST, /* + its number in treekv.proto: until the reply */
	WATCH_HISTOGRAMS = WATCH_REQUEST + WATCH_REQUESTS,
};

/* What could not be followed because a table of bounded size was full. */
enum watch_table {
	WATCH_TABLE_CACHES,
	WATCH_TABLE_PROCESSES,
	WATCH_TABLE_WRITERS, /* processes, each with a cache */
	WATCH_TABLE_REQUESTS, /* at one time */
	WATCH_TABLE_STALLS, /* at one time */
	WATCH_TABLE_IO, /* operations at one time */
	WATCH_TABLE_PROGRAMS, /* that writers run */
	WATCH_TABLES,
};

struct table_histogram {
	__u64 bucket[TABLE_BUCKETS];
	__u64 sum;
};

struct table_cache {
	__u64 started; /* the compaction that is under way; 0: none */
	__u64 rung; /* the doorbell that has not been answered; 0: none */
	__u64 compactions;
	__u64 evictions;
	__u64 publications;
	__u64 doorbells;
	__u64 stalls;
	__u64 stall_ns;
	__u64 gone; /* its memory was given back */
	struct table_histogram compaction;
};

struct table_process {
	char comm[16];
	__u64 stalls;
	__u64 stall_ns;
};

/* A process with a cache. */
struct table_writer_key {
	__u64 cache;
	__u64 pid;
};

struct table_progress {
	__u64 steps;
	__u64 commits;
	__u64 tokens;
};

struct table_writer {
	struct table_progress now; /* what it last told */
	struct table_progress from; /* what it had told when first seen */
};

struct table_worker {
	__u64 runnable; /* since when, while it does not run; 0: it runs */
	struct table_histogram delay;
};

/* A writer may stall in several threads. */
struct table_stall {
	__u64 thread; /* tgid, pid */
	__u64 cache;
};

struct table_request {
	__u64 begun;
	__u64 type;
};

#endif /* TREEKV_TABLES_H */
