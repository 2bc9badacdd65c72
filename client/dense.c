// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the writer does with every slot of a head: scores added up, ranks copied.
 * Plain C, built for AVX-512, for AVX2 and for anything; the loader takes what
 * the machine has. All builds compute the same, to the bit: sums go in one
 * sequence, and a product that could be fused with a sum is an exact one.
 */
#include <string.h>

#include "client/cache.h"
#include "proto/barrier.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
	!defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define DENSE_CLONES                                                     \
	__attribute__((optimize("O3"),                                   \
		       target_clones("arch=x86-64-v4", "arch=x86-64-v3", \
				     "default")))
#else
#define DENSE_CLONES
#endif

#define OBSERVE_BLOCK 64 /* weights summed over a group at a time */

/* Scores are ordered by commit; a plain store lets the compiler use vectors. */
static inline void store_score(float *to, float value)
{
#if SHM_TSAN
	shm_store_f32(to, value);
#else
	*to = value;
#endif
}

DENSE_CLONES static void widen(uint32_t *to, const uint16_t *from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		to[i] = from[i] == SHM_FREE16 ? SHM_FREE32 : from[i];
}

void cache_copy_ranks(const struct treekv_cache *cache, uint32_t layer,
		      const struct cache_head *head, uint64_t generation)
{
	const void *from = head->published[generation & 1];
	uint32_t slots = cache->layer[layer].at.slots;

	if (cache->spec.entry_size == 2)
		widen(head->rank, from, slots);
	else
		memcpy(head->rank, from, slots * sizeof(uint32_t));
}

/*
 * a = mean of the group's weights; to = from + a, or a where from is NULL. For
 * a constant group that is a power of 2: the division is an exact product, and
 * the loop has no branch and no intermediate store. to and from may be one.
 */
static inline __attribute__((always_inline)) void
add_means(float *to, const float *from, const float *weights, uint32_t group,
	  size_t stride, uint32_t slots)
{
	const float part = 1.0f / (float)group;

#pragma GCC ivdep
	for (uint32_t s = 0; s < slots; s++) {
		float sum = weights[s];

		for (uint32_t g = 1; g < group; g++)
			sum += weights[g * stride + s];
		store_score(&to[s], (from ? from[s] : 0) + sum * part);
	}
}

/* The same for every other group, a block at a time. */
static inline __attribute__((always_inline)) void
add_blocks(float *to, const float *from, const float *weights, uint32_t group,
	   size_t stride, uint32_t slots)
{
	float sum[OBSERVE_BLOCK], of = group;

	for (uint32_t s = 0; s < slots; s += OBSERVE_BLOCK) {
		uint32_t n = slots - s;

		n = n < OBSERVE_BLOCK ? n : OBSERVE_BLOCK;
		for (uint32_t i = 0; i < n; i++)
			sum[i] = weights[s + i];
		for (uint32_t g = 1; g < group; g++)
			for (uint32_t i = 0; i < n; i++)
				sum[i] += weights[g * stride + s + i];
#pragma GCC ivdep
		for (uint32_t i = 0; i < n; i++)
			store_score(&to[s + i],
				    (from ? from[s + i] : 0) + sum[i] / of);
	}
}

DENSE_CLONES void cache_add_scores(float *to, const float *from,
				   const float *weights, uint32_t group,
				   size_t stride, uint32_t slots)
{
	switch (group) {
	case 1:
		add_means(to, from, weights, 1, stride, slots);
		return;
	case 2:
		add_means(to, from, weights, 2, stride, slots);
		return;
	case 4:
		add_means(to, from, weights, 4, stride, slots);
		return;
	case 8:
		add_means(to, from, weights, 8, stride, slots);
		return;
	default:
		add_blocks(to, from, weights, group, stride, slots);
	}
}
