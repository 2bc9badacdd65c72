// SPDX-License-Identifier: BSD-2-Clause
/*
 * A writer that lies: kvhostile LIE. It attaches to the cache "hostile", writes
 * 200 honest tokens, then what the lie says, and rings. Prints "quarantined N"
 * (enum compact_fault) as soon as the daemon has found it out, or "sound" when
 * the lie is one that harms the liar only: then it goes on and the daemon has
 * to follow. One lie goes on until the lease is broken: "lying", then "lost".
 * Exit status: 0; 3 the library refused; 4 nothing came of it.
 */
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "proto/barrier.h"
#include "tests/helpers/selfcheck.h"
#include "tests/helpers/spec_options.h"

#define HONEST	   200
#define DEADLINE_S 20
#define HUGE_PAGE  (UINT64_C(2) << 20)

static void commit_beyond(struct treekv_cache *cache)
{
	shm_store_release(&cache->rows->head, UINT64_C(1) << 41);
	shm_store_release(&cache->rows->commit, UINT64_C(1) << 41);
}

static void commit_of_the_past(struct treekv_cache *cache)
{
	shm_store_release(&cache->rows->commit, 2);
}

static void head_behind(struct treekv_cache *cache)
{
	shm_store_release(&cache->rows->head, 1);
}

/* No order is told: a reader of the rows would wait for his window for ever. */
static void head_beyond(struct treekv_cache *cache)
{
	shm_store_release(&cache->rows->head, UINT64_C(1) << 41);
}

/* Is the lease still ours? */
static bool is_ours(const struct treekv_cache *cache)
{
	uint64_t generation = shm_load_acquire(&cache->index->generation);
	const struct shm_buffer *buffer =
		(const void *)((const char *)cache->index +
			       cache->index->buffer[generation & 1]);

	return buffer->rows_inode == cache->rows_inode;
}

/* Whoever looks twice sees two words, one of which is right. */
static void two_faced(struct treekv_cache *cache)
{
	uint64_t right = shm_load_relaxed(&cache->rows->commit);
	time_t end = time(NULL) + DEADLINE_S;

	puts("lying");
	fflush(stdout);
	while (is_ours(cache) && time(NULL) < end)
		for (int i = 0; i < 1000; i++)
			shm_store_release(&cache->rows->commit,
					  i / 10 % 2 ? right : 2);
}

static void seen_ahead(struct treekv_cache *cache)
{
	shm_store_release(&cache->rows->seen, cache->generation + 7);
}

static void garbage(struct treekv_cache *cache)
{
	uint64_t x = 1;

	for (char *at = (char *)&cache->rows->commit;
	     at < (char *)cache->rows + cache->rows_size; at++)
		*at = (char)selfcheck_mix(x++);
}

static void hole(struct treekv_cache *cache)
{
	if (madvise(cache->rows, cache->rows_size, MADV_REMOVE))
		perror("madvise");
}

/* The page that the hole gave back is taken, so that nobody can fill it. */
static void huge_hole(struct treekv_cache *cache)
{
	char *at;

	hole(cache);
	for (;;) {
		at = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
		if (at == MAP_FAILED)
			return;
		*at = 1;
	}
}

/* Every score a NaN or infinite, every since and token beyond the tail. */
static void bad_numbers(struct treekv_cache *cache)
{
	static const float odd[] = { NAN, INFINITY, -INFINITY, 1e38F };
	size_t heads = (size_t)cache->spec.layers * cache->spec.kv_heads;

	for (size_t i = 0; i < heads; i++)
		for (uint32_t s = 0; s < cache->layer[0].at.slots; s++) {
			shm_store_f32(&cache->head[i].score[0][s], odd[s % 4]);
			shm_store_f32(&cache->head[i].score[1][s], odd[s % 3]);
			cache->head[i].since[s] = UINT32_MAX - s;
			cache->head[i].token[s] = UINT32_MAX;
		}
}

static int refused(const char *what)
{
	fprintf(stderr, "kvhostile: %s: %s\n", what, treekv_error());
	return 3;
}

static int run_to(struct selfcheck *s, uint64_t tail)
{
	while (treekv_tail(s->cache) < tail)
		if (selfcheck_step(s, tail))
			return refused("step");
	return 0;
}

/* The words that we may still read are the daemon's. */
static int await_verdict(struct selfcheck *s)
{
	struct treekv_cache *cache = s->cache;
	const uint64_t *word = &cache->index->quarantined;
	time_t end = time(NULL) + DEADLINE_S;
	uint64_t fault;

	do {
		fault = shm_load_acquire(word);
		if (fault) {
			printf("quarantined %" PRIu64 "\n", fault);
			return 0;
		}
		cache->ops->ring(cache);
		sched_yield();
	} while (time(NULL) < end);
	fprintf(stderr, "kvhostile: nobody minded\n");
	return 4;
}

static int live_with_it(struct selfcheck *s)
{
	uint64_t before = shm_load_relaxed(&s->cache->index->compactions);
	int r = run_to(s, 2 * HONEST);

	if (r)
		return r;
	if (shm_load_relaxed(&s->cache->index->compactions) <= before ||
	    shm_load_relaxed(&s->cache->index->quarantined)) {
		fprintf(stderr, "kvhostile: the daemon did not go on\n");
		return 4;
	}
	puts("sound");
	return 0;
}

/* Our lease has been broken. */
static int lose_it(struct selfcheck *s)
{
	if (selfcheck_step(s, UINT64_MAX) && s->cache->lost) {
		puts("lost");
		return 0;
	}
	fprintf(stderr, "kvhostile: the lease is still ours\n");
	return 4;
}

static const struct lie {
	const char *name;
	void (*tell)(struct treekv_cache *cache);
	int (*then)(struct selfcheck *s);
} lies[] = {
	{ "commit-beyond", commit_beyond, await_verdict },
	{ "commit-of-the-past", commit_of_the_past, await_verdict },
	{ "head-behind", head_behind, await_verdict },
	{ "head-beyond", head_beyond, await_verdict },
	{ "seen-ahead", seen_ahead, await_verdict },
	{ "garbage", garbage, await_verdict },
	{ "hole", hole, await_verdict },
	{ "huge-hole", huge_hole, await_verdict },
	{ "bad-numbers", bad_numbers, live_with_it },
	{ "two-faced", two_faced, lose_it },
};

static const struct lie *find_lie(const char *name)
{
	for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++)
		if (!strcmp(lies[i].name, name))
			return &lies[i];
	return NULL;
}

int main(int argc, char **argv)
{
	const struct lie *lie = argc > 1 ? find_lie(argv[1]) : NULL;
	struct treekv_spec spec = spec_default();
	struct selfcheck s = {
		.seed = 1,
		.per_step = 1,
		.timeout_ms = DEADLINE_S * 1000,
		.whole = true,
	};
	struct treekv *kv;
	int r;

	if (!lie) {
		fprintf(stderr, "usage: kvhostile LIE\n");
		return 2;
	}
	if (treekv_connect(&kv, NULL) ||
	    treekv_open(&s.cache, kv, "hostile", &spec, TREEKV_CREATE))
		return refused("open");
	selfcheck_init(&s, &spec);
	r = run_to(&s, HONEST);
	if (!r) {
		lie->tell(s.cache);
		r = lie->then(&s);
	}
	treekv_detach(s.cache);
	treekv_close(kv);
	selfcheck_exit(&s);
	return r;
}
