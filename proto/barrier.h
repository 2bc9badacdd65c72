/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every access to a word that two processes share goes through this header:
 * nothing else may touch one. A release names the acquire it pairs with where
 * it is used. The bulk helpers move rows and scores, which are ordered by such
 * a pair; under ThreadSanitizer, which cannot see order made by fences, they
 * become relaxed atomic copies.
 */
#ifndef TREEKV_BARRIER_H
#define TREEKV_BARRIER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define SHM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHM_TSAN 1
#endif
#endif
#ifndef SHM_TSAN
#define SHM_TSAN 0
#endif

static inline uint64_t shm_load_acquire(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline uint64_t shm_load_relaxed(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void shm_store_release(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline void shm_store_relaxed(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static inline uint32_t shm_load32_relaxed(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline uint32_t shm_load32_acquire(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void shm_store32_release(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline void shm_store32_relaxed(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* Store, then load of another word, both ways: doorbells and waiting words. */
static inline void shm_full_barrier(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Stores before it are seen before stores after it: head, then the rows. */
static inline void shm_store_barrier(void)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

/* Loads before it are done before loads after it: the rows, then head. */
static inline void shm_load_barrier(void)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
}

static inline float shm_load_f32(const float *word)
{
	uint32_t bits =
		shm_load32_relaxed((const uint32_t *)(const void *)word);
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static inline void shm_store_f32(float *word, float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	shm_store32_relaxed((uint32_t *)(void *)word, bits);
}

/* Copies a row that is ordered by head and commit; both ends aligned to 1. */
static inline void shm_copy(void *to, const void *from, size_t size)
{
#if SHM_TSAN
	for (size_t i = 0; i < size; i++)
		__atomic_store_n((char *)to + i,
				 __atomic_load_n((const char *)from + i,
						 __ATOMIC_RELAXED),
				 __ATOMIC_RELAXED);
#else
	memcpy(to, from, size);
#endif
}

#endif /* TREEKV_BARRIER_H */
