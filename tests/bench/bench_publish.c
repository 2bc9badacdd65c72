// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_publish SOCKET: one worker under 64 caches in the shape of an 8B model
 * (32 layers x 8 heads, budget 1024, slack 64), each of which gets 200 tokens a
 * second, eight at a step, one cache after the other at even distances. How long
 * from the commit that rings the doorbell until a new order is seen, and how
 * long the slack would have lasted from there. Theirs is that.
 *
 * One process writes them all, on one core, and leaves out what engines do
 * beside: rows have 16 bytes instead of 256, for a compaction never looks at
 * them (and 64 real ones would take 9 GiB), and nobody observes, so that scores
 * are carried over, which moves as many bytes. It looks for new orders every
 * LOOK_NS while one is due.
 */
#include <sys/prctl.h>

#include "bench.h"
#include "client/cache.h"
#include "proto/barrier.h"

enum {
	CACHES = 64,
	LAYERS = 32,
	HEADS = 8,
	ROW = 16,
	BUDGET = 1024,
	SLACK = 64,
	RATE = 200, /* tokens a second of a cache */
	TOKENS = 8, /* a step */
	FILL = 32, /* tokens a step before it is measured */
	SECONDS = 8,
	LOOK_NS = 50000,
};

#define STEP_NS (UINT64_C(1000000000) * TOKENS / RATE / CACHES)

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

struct one {
	struct treekv_cache *cache;
	uint64_t rung; /* when; 0: no order is due */
	uint64_t lasts; /* ns from there */
	uint64_t stalls; /* before it was measured */
};

static struct one ones[CACHES];
static struct bench_row *row;

/* What is left of the slack, in time. */
static uint64_t lasts(const struct treekv_cache *cache)
{
	uint64_t room = cache->base_tail + cache->free - cache->tail;

	return room * 1000000000 / RATE;
}

static void step(struct one *one, uint32_t tokens)
{
	static const uint8_t rows[FILL * HEADS * ROW];
	struct treekv_cache *cache = one->cache;

	bench_check(treekv_step_begin(cache, NULL, tokens, 20000), "begin");
	for (uint32_t l = 0; l < LAYERS; l++)
		bench_check(treekv_append(cache, l, rows, rows), "append");
	bench_check(treekv_commit(cache, tokens), "commit");
}

static void seen(struct one *one, uint64_t now)
{
	bench_ours(row, (double)(now - one->rung) / 1000);
	bench_theirs(row, (double)one->lasts / 1000);
	one->rung = 0;
}

static bool is_published(const struct treekv_cache *cache)
{
	/* Pairs with the release in compact_publish(). */
	return shm_load_acquire(&cache->index->generation) != cache->generation;
}

static void look(struct one *one, uint64_t now)
{
	if (one->rung && is_published(one->cache))
		seen(one, now);
}

static uint32_t look_at_all(void)
{
	uint64_t now = bench_ns();
	uint32_t due = 0;

	for (int i = 0; i < CACHES; i++) {
		look(&ones[i], now);
		due += ones[i].rung != 0;
	}
	return due;
}

static void sleep_until(uint64_t when)
{
	struct timespec at = { .tv_sec = (time_t)(when / 1000000000),
			       .tv_nsec = (long)(when % 1000000000) };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static void wait_until(uint64_t when)
{
	uint64_t now;

	while ((now = bench_ns()) < when) {
		uint64_t next = look_at_all() ? now + LOOK_NS : when;

		sleep_until(next < when ? next : when);
	}
	look_at_all();
}

/* A new order may also be seen by the step itself, as it begins. */
static void turn(struct one *one)
{
	uint64_t generation = one->cache->generation, begin = bench_ns();

	step(one, TOKENS);
	if (one->rung && one->cache->generation != generation)
		seen(one, begin);
	if (one->rung || one->cache->tail < one->cache->ring_at ||
	    is_published(one->cache))
		return;
	one->rung = bench_ns();
	one->lasts = lasts(one->cache);
}

static void fill(struct treekv *kv)
{
	struct treekv_counters counters;

	for (int i = 0; i < CACHES; i++) {
		bench_check(treekv_open(&ones[i].cache, kv, NULL, &spec,
					TREEKV_CREATE | TREEKV_EPHEMERAL),
			    "create");
		for (int t = 0; t < BUDGET + SLACK; t += FILL)
			step(&ones[i], FILL);
		treekv_counters(ones[i].cache, &counters);
		ones[i].stalls = counters.stalls;
	}
	/* They ring at different times. */
	for (int i = 0; i < CACHES; i++)
		step(&ones[i], 1 + (uint32_t)i % (2 * TOKENS));
}

static void report(const char *name, double ours, double theirs)
{
	struct bench_row *one = bench_row_new(name);

	bench_ours(one, ours);
	if (theirs > 0)
		bench_theirs(one, theirs);
	bench_row_end(one);
}

int main(int argc, char **argv)
{
	uint64_t begin, steps = 0, stalls = 0, end;
	struct treekv_counters counters;
	struct treekv *kv;

	if (argc < 2)
		bench_die(argv[0], "needs SOCKET");
	prctl(PR_SET_TIMERSLACK, 1UL);
	row = bench_row_new("publish");
	bench_check(treekv_connect(&kv, argv[1]), "connect");
	fill(kv);
	begin = bench_ns();
	end = begin + (uint64_t)SECONDS * 1000000000;
	for (; bench_ns() < end; steps++) {
		wait_until(begin + steps * STEP_NS);
		turn(&ones[steps % CACHES]);
	}
	end = bench_ns();
	for (int i = 0; i < CACHES; i++) {
		treekv_counters(ones[i].cache, &counters);
		stalls += counters.stalls - ones[i].stalls;
	}
	bench_row_end(row);
	report("publish.stalls", (double)stalls, 0);
	report("publish.rate",
	       (double)steps * TOKENS / CACHES * 1e9 / (double)(end - begin),
	       RATE);
	return 0;
}
