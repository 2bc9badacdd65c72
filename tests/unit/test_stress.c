// SPDX-License-Identifier: BSD-2-Clause
/*
 * The order protocol with all three parties at full speed in one process, for
 * ThreadSanitizer and for what it cannot see: a writer that checks all it holds
 * (tests/helpers/selfcheck.h), a thread that does to its index what a worker
 * does, and a reader that follows design's rule and checks what it accepts. One
 * mapping, because TSan cannot see across two.
 *
 * The reader copies what the daemon may be rewriting and throws the copy away
 * if generation has moved. Such copies are made unseen by TSan, which knows
 * nothing of copies that are thrown away; rows are not among them.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/barrier.h"
#include "tests/helpers/selfcheck.h"
#include "tests/unit/fixture.h"

#define SHAPE_MS    800 /* unless TREEKV_STRESS_MS says otherwise */
#define DEADLINE_MS 20000 /* that only a lost ring reaches */
#define QUIET_EVERY 4 /* steps */
#define ROW_MAX	    64
#define SLOTS_MAX   256

#define UNSEEN __attribute__((noinline, no_sanitize("thread")))

struct reader {
	uint64_t random;
	uint64_t tries;
	uint64_t old; /* given up: another generation, or the window left */
	uint64_t overtaken; /* read, and head had come too far */
	uint64_t accepted;
	uint64_t rows;
	struct selfcheck check; /* blame */
	uint32_t order[SLOTS_MAX];
	uint32_t token[SLOTS_MAX];
	uint8_t k[SLOTS_MAX][ROW_MAX];
	uint8_t v[SLOTS_MAX][ROW_MAX];
};

struct stress {
	struct fixture *f;
	struct treekv_spec spec;
	struct selfcheck writer;
	struct reader reader;
	int bell;
	uint64_t stop;
	uint64_t compactions; /* the daemon's */
};

/* What the reader takes from the index in one go. */
struct glimpse {
	uint64_t base_tail;
	uint64_t free;
	uint32_t n_live;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- the daemon ---- */

static void wake(struct stress *t)
{
	syscall(SYS_futex, &t->f->index->generation, FUTEX_WAKE, INT_MAX, NULL,
		NULL, 0);
}

/* Lets the others run where it matters, now and then. */
static void dawdle(uint64_t *random)
{
	if (selfcheck_mix((*random)++) % 4 == 0)
		sched_yield();
}

/* worker.c's rest(). Return: whether there is more to do. */
static bool rest(struct stress *t, uint64_t *random)
{
	struct compaction *c = &t->f->compaction;
	struct shm_index *index = t->f->index;

	if (compact_due(c)) {
		dawdle(random);
		shm_store_relaxed(&index->waiting, 1);
		shm_full_barrier();
		if (compact_in_grace(c))
			return false;
		shm_store_relaxed(&index->waiting, 0);
		return true;
	}
	dawdle(random);
	shm_store_relaxed(&index->armed, 1);
	shm_full_barrier();
	if (!compact_due(c))
		return false;
	shm_store_relaxed(&index->armed, 0);
	return true;
}

/* One compaction, with pauses in which the others run. */
static bool compact(struct stress *t, uint64_t *random)
{
	struct compaction *c = &t->f->compaction;

	if (!compact_begin(c))
		return !c->fault && rest(t, random);
	while (compact_heads(c, UINT32_MAX))
		dawdle(random);
	if (c->fault)
		return false;
	compact_publish(c);
	wake(t);
	t->compactions++;
	return rest(t, random);
}

static void *daemon_main(void *arg)
{
	struct stress *t = arg;
	uint64_t random = 1, rings;

	while (!shm_load_acquire(&t->stop)) {
		if (read(t->bell, &rings, sizeof(rings)) < 0)
			break;
		shm_store_relaxed(&t->f->index->armed, 0);
		shm_store_relaxed(&t->f->index->waiting, 0);
		while (compact(t, &random))
			;
	}
	return NULL;
}

/* ---- the writer's ops ---- */

static struct stress *stress_now; /* ops have the fixture only */

static void ring(struct treekv_cache *cache)
{
	uint64_t one = 1;

	(void)cache;
	if (write(stress_now->bell, &one, sizeof(one)) < 0)
		return;
}

/* Not cut into slices: whoever is not woken reaches his deadline. */
static int wait_generation(struct treekv_cache *cache, uint64_t generation,
			   int timeout_ms)
{
	struct timespec ts = { .tv_sec = timeout_ms / 1000,
			       .tv_nsec = timeout_ms % 1000 * 1000000 };

	syscall(SYS_futex, &cache->index->generation, FUTEX_WAIT,
		(uint32_t)generation, &ts, NULL, 0);
	return 0;
}

static void keep(struct treekv_cache *cache, int timeout_ms)
{
	(void)cache;
	(void)timeout_ms;
}

static void do_nothing(struct treekv_cache *cache)
{
	(void)cache;
}

static const struct cache_ops stress_ops = {
	.ring = ring,
	.wait = wait_generation,
	.renew = do_nothing,
	.release = keep,
};

/* Whatever is due must be done without another ring of ours. */
static bool gets_quiet(struct stress *t)
{
	struct treekv_cache *cache = &t->f->cache;
	uint64_t end = now_ms() + DEADLINE_MS;

	while (!cache_adopt(cache) && cache->tail >= cache->ring_at) {
		if (now_ms() >= end)
			return false;
		wait_generation(cache, cache->generation, DEADLINE_MS);
	}
	return true;
}

/* ---- the reader ---- */

UNSEEN static void glance(struct glimpse *ret, const struct stress *t,
			  uint64_t generation, uint32_t layer)
{
	const char *base =
		(const char *)t->f->index + t->f->index->buffer[generation & 1];
	const volatile struct shm_buffer *buffer = (const void *)base;
	const volatile struct shm_level *level =
		(const void *)(base + t->f->index->level);

	ret->base_tail = buffer->base_tail;
	ret->free = buffer->free;
	ret->n_live = level[layer].n_live;
}

UNSEEN static void copy_order(uint32_t *to, const struct stress *t,
			      uint64_t generation, uint32_t layer,
			      uint32_t head)
{
	const struct shm_layer *at = &t->f->layers[layer];
	const char *base = (const char *)t->f->index +
			   t->f->index->buffer[generation & 1] + at->order +
			   head * at->order_stride;
	const volatile uint16_t *order = (const void *)base;

	for (uint32_t i = 0; i < at->slots; i++)
		to[i] = order[i];
}

UNSEEN static uint32_t token_at(const uint32_t *token, uint32_t slot)
{
	return *(const volatile uint32_t *)&token[slot];
}

static void copy_rows(struct reader *r, const struct stress *t, uint32_t layer,
		      uint32_t head, uint32_t n)
{
	const struct cache_head *at = cache_head_at(&t->f->cache, layer, head);

	for (uint32_t i = 0; i < n; i++) {
		size_t slot = r->order[i];

		if (selfcheck_mix(r->random++) % 32 == 0)
			sched_yield();
		r->token[i] = token_at(at->token, slot);
		shm_copy(r->k[i], at->k + slot * t->spec.k_row, t->spec.k_row);
		shm_copy(r->v[i], at->v + slot * t->spec.v_row, t->spec.v_row);
	}
}

/* What was accepted must be what was committed. */
static void check_rows(struct reader *r, const struct stress *t, uint32_t layer,
		       uint32_t head, uint32_t n, uint64_t tail)
{
	struct selfcheck *s = &r->check;

	if (n && r->token[n - 1] != tail - 1)
		selfcheck_blame(s, "the last row is of token %u, not %llu",
				r->token[n - 1], (unsigned long long)tail - 1);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t place = selfcheck_place(s, layer, head, r->token[i]);

		if (i && r->token[i] <= r->token[i - 1])
			selfcheck_blame(s, "rank %u has token %u after %u", i,
					r->token[i], r->token[i - 1]);
		if (!selfcheck_holds(r->k[i], t->spec.k_row, place,
				     SELFCHECK_K) ||
		    !selfcheck_holds(r->v[i], t->spec.v_row, place,
				     SELFCHECK_V))
			selfcheck_blame(s,
					"the row of token %u is wrong at "
					"tail %llu",
					r->token[i], (unsigned long long)tail);
	}
	r->rows += n;
}

/* design's rule: order, generation again, t in the window, rows, head. */
static void read_head(struct reader *r, const struct stress *t, uint32_t layer,
		      uint32_t head)
{
	const struct shm_rows *rows = t->f->rows;
	uint64_t generation, tail;
	struct glimpse at;
	uint32_t n;

	r->tries++;
	/* Pairs with the release in compact_publish(). */
	generation = shm_load_acquire(&t->f->index->generation);
	glance(&at, t, generation, layer);
	copy_order(r->order, t, generation, layer, head);
	shm_load_barrier();
	if (shm_load_relaxed(&t->f->index->generation) != generation) {
		r->old++;
		return;
	}
	/* Pairs with the release in treekv_commit(). */
	tail = shm_commit_tail(shm_load_acquire(&rows->commit));
	if (tail < at.base_tail || tail > at.base_tail + at.free) {
		r->old++;
		return;
	}
	n = at.n_live + (uint32_t)(tail - at.base_tail);
	copy_rows(r, t, layer, head, n);
	dawdle(&r->random);
	shm_load_barrier();
	if (shm_load_relaxed(&rows->head) > at.base_tail + at.free) {
		r->overtaken++;
		return;
	}
	r->accepted++;
	check_rows(r, t, layer, head, n, tail);
}

static void writer_dawdles(struct selfcheck *s, enum selfcheck_moment moment)
{
	(void)moment;
	dawdle(&s->random);
}

static void *reader_main(void *arg)
{
	struct stress *t = arg;
	struct reader *r = &t->reader;

	while (!shm_load_acquire(&t->stop)) {
		uint64_t x = selfcheck_mix(r->random++);

		read_head(r, t, (uint32_t)x % t->spec.layers,
			  (uint32_t)(x >> 32) % t->spec.kv_heads);
	}
	return NULL;
}

/* ---- all together ---- */

static int write_for(struct stress *t, uint64_t ms)
{
	struct selfcheck *s = &t->writer;
	uint64_t end = now_ms() + ms;
	int r = 0;

	while (!r && !s->wrong && now_ms() < end) {
		r = selfcheck_step(s, UINT64_MAX);
		if (!r && s->steps % QUIET_EVERY == 0 && !gets_quiet(t))
			selfcheck_blame(s, "a ring was lost");
	}
	return r;
}

static void start(struct stress *t, uint32_t per_step, pthread_t threads[2])
{
	t->f = fixture_new(&t->spec, &stress_ops);
	t->bell = eventfd(0, EFD_CLOEXEC);
	assert_true(t->bell >= 0);
	stress_now = t;
	t->writer.cache = &t->f->cache;
	t->writer.seed = t->reader.check.seed = 1;
	t->writer.per_step = per_step;
	t->writer.verify_every = 5;
	t->writer.timeout_ms = DEADLINE_MS;
	t->writer.copied = true;
	t->writer.before = writer_dawdles;
	selfcheck_init(&t->writer, &t->spec);
	shm_store_relaxed(&t->f->index->armed, 1);
	assert_int_equal(pthread_create(&threads[0], NULL, daemon_main, t), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, reader_main, t), 0);
}

static void finish(struct stress *t, pthread_t threads[2])
{
	shm_store_release(&t->stop, 1);
	ring(&t->f->cache);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
}

static void run(uint32_t layers, uint32_t budget, uint32_t slack,
		uint32_t per_step)
{
	const char *ms = getenv("TREEKV_STRESS_MS");
	static struct stress t;
	pthread_t threads[2];
	int r;

	t = (struct stress){ .spec = fixture_spec() };
	t.spec.layers = layers;
	t.spec.budget = budget;
	t.spec.slack = slack;
	start(&t, per_step, threads);
	r = write_for(&t, ms ? strtoull(ms, NULL, 0) : SHAPE_MS);
	finish(&t, threads);
	if (r)
		fail_msg("a step: %s", treekv_error());
	if (t.writer.wrong)
		fail_msg("the writer: %s", t.writer.text);
	if (t.reader.check.wrong)
		fail_msg("the reader: %s", t.reader.check.text);
	assert_int_equal(t.f->compaction.fault, COMPACT_SOUND);
	print_message("# %llu tokens, %llu compactions; %llu reads, %llu old, "
		      "%llu overtaken, %llu accepted, %llu rows\n",
		      (unsigned long long)treekv_tail(&t.f->cache),
		      (unsigned long long)t.compactions,
		      (unsigned long long)t.reader.tries,
		      (unsigned long long)t.reader.old,
		      (unsigned long long)t.reader.overtaken,
		      (unsigned long long)t.reader.accepted,
		      (unsigned long long)t.reader.rows);
	assert_true(t.compactions > 0);
	if (slack > 1)
		assert_true(t.reader.accepted > 0);
	selfcheck_exit(&t.writer);
	close(t.bell);
	fixture_free(t.f);
}

static void test_nobody_meets_wrong_rows(void **state)
{
	(void)state;
	run(2, 40, 16, 4);
}

static void test_nobody_meets_wrong_rows_in_large_steps(void **state)
{
	(void)state;
	run(3, 20, 64, 16);
}

static void test_one_token_of_slack_loses_no_ring(void **state)
{
	(void)state;
	run(2, 16, 1, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_meets_wrong_rows),
		cmocka_unit_test(test_nobody_meets_wrong_rows_in_large_steps),
		cmocka_unit_test(test_one_token_of_slack_loses_no_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
