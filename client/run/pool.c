// SPDX-License-Identifier: BSD-2-Clause
/*
 * A token of a small model takes a tenth of a millisecond and has some thirty
 * jobs, so threads spin a while for the next one before they sleep.
 *
 * Parts are claimed, not dealt out: a thread that the scheduler keeps from
 * running delays nobody, the others do its share. One word, the ticket, names
 * the job and the next free part, so that a thread that comes late claims a
 * part of the job that there is, or none. What the job is may be read once a
 * part is claimed: the caller does not go on before that part is done.
 *
 * Whoever is about to sleep says so in sleepers (or caller_sleeps) first and
 * then looks at the word again, inside FUTEX_WAIT; whoever changes the word
 * looks for sleepers afterwards. All of these are sequentially consistent: that
 * order is what keeps a wake-up from being lost.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/run/pool.h"

#define SPINS 4000
#define PARTS 4 /* of a job, for each thread */

struct pool {
	uint32_t threads;
	uint32_t started;
	uint32_t parts; /* of each job */
	pool_job job;
	void *arg;
	atomic_bool stop;
	_Alignas(128) atomic_uint round; /* jobs so far */
	atomic_uint sleepers;
	_Alignas(128) _Atomic uint64_t ticket; /* round << 32 | next part */
	_Alignas(128) atomic_uint left; /* parts that are not done */
	atomic_uint caller_sleeps;
	pthread_t thread[];
};

static void relax(void)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
}

static void futex(atomic_uint *word, int op, unsigned int value)
{
	syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/* Waits until @word is no longer @value; returns what it is. */
static unsigned int wait_change(atomic_uint *word, atomic_uint *sleepers,
				unsigned int value)
{
	unsigned int now;

	for (unsigned int i = 0; i < SPINS; i++) {
		now = atomic_load_explicit(word, memory_order_acquire);
		if (now != value)
			return now;
		relax();
	}
	atomic_fetch_add(sleepers, 1);
	while ((now = atomic_load(word)) == value)
		futex(word, FUTEX_WAIT, value);
	atomic_fetch_sub(sleepers, 1);
	return now;
}

static void work(struct pool *pool)
{
	for (;;) {
		uint32_t part = (uint32_t)atomic_fetch_add(&pool->ticket, 1);

		if (part >= pool->parts)
			return;
		pool->job(pool->arg, part, pool->parts);
		if (atomic_fetch_sub(&pool->left, 1) == 1 &&
		    atomic_load(&pool->caller_sleeps))
			futex(&pool->left, FUTEX_WAKE, 1);
	}
}

static void *thread_main(void *arg)
{
	struct pool *pool = arg;
	unsigned int round = 0;

	for (;;) {
		round = wait_change(&pool->round, &pool->sleepers, round);
		if (atomic_load(&pool->stop))
			return NULL;
		work(pool);
	}
}

static void announce(struct pool *pool)
{
	atomic_fetch_add(&pool->round, 1);
	if (atomic_load(&pool->sleepers))
		futex(&pool->round, FUTEX_WAKE, INT_MAX);
}

int pool_new(struct pool **ret, uint32_t threads)
{
	size_t size = sizeof(struct pool) + threads * sizeof(pthread_t);
	sigset_t all, old;
	struct pool *pool;
	int r = 0;

	pool = aligned_alloc(128, (size + 127) / 128 * 128);
	if (!pool)
		return -ENOMEM;
	*pool = (struct pool){
		.threads = threads,
		.parts = threads * PARTS,
		.ticket = threads * PARTS, /* none is free */
	};
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (!r && pool->started + 1 < threads) {
		r = -pthread_create(&pool->thread[pool->started], NULL,
				    thread_main, pool);
		pool->started += !r;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0) {
		pool_free(pool);
		return r;
	}
	*ret = pool;
	return 0;
}

struct pool *pool_free(struct pool *pool)
{
	if (!pool)
		return NULL;
	atomic_store(&pool->stop, true);
	announce(pool);
	for (uint32_t i = 0; i < pool->started; i++)
		pthread_join(pool->thread[i], NULL);
	free(pool);
	return NULL;
}

void pool_run(struct pool *pool, pool_job job, void *arg)
{
	unsigned int left;

	if (pool->threads == 1) {
		job(arg, 0, 1);
		return;
	}
	pool->job = job;
	pool->arg = arg;
	atomic_store(&pool->left, pool->parts);
	atomic_store(&pool->ticket, (uint64_t)(atomic_load(&pool->round) + 1)
					    << 32);
	announce(pool);
	work(pool);
	while ((left = atomic_load_explicit(&pool->left, memory_order_acquire)))
		wait_change(&pool->left, &pool->caller_sleeps, left);
}
