// SPDX-License-Identifier: BSD-2-Clause
/*
 * The walk of the treekv policies (Algorithm 1) evicts one of two neighbours,
 * moves one place right and starts again on the left. Within a lap the scopes
 * are disjoint pairs of what the lap found, so a batch of k reads each rank
 * once; only when a lap ends are its survivors moved up to what it has not
 * read yet, which costs one move an eviction at most. Nothing else is moved:
 * policies name ranks, order.c rewrites the order. Most batches lie within one
 * lap: there nothing moves at all, and the pairs are decided side by side.
 *
 * Averages are compared by S1 * C2 > S2 * C1, since divisions would cost more
 * than the rest of the walk. Both products are exact, and the answer is that of
 * the rounded quotients, up to C = 2^27: S has 24 bits and C 27, so quotients
 * that differ at all differ by 2^-51 of themselves. Beyond 134 million tokens
 * averages that agree in their first 50 bits may count as equal.
 */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "daemon/policy.h"
#include "proto/barrier.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
	!defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define POLICY_CLONES                                                    \
	__attribute__((optimize("O3"),                                   \
		       target_clones("arch=x86-64-v4", "arch=x86-64-v3", \
				     "default")))
#else
#define POLICY_CLONES
#endif

#define FEW 16 /* evictions for which passes beat a heap */

/* The walk is a few instructions a pair; calls would be half of it. */
#define POLICY_INLINE static inline __attribute__((always_inline))

static uint32_t slot_at(const struct policy_scope *scope, uint32_t rank)
{
	if (scope->entry_size == 2)
		return ((const uint16_t *)scope->order)[rank];
	return ((const uint32_t *)scope->order)[rank];
}

/* Savg = S / C, undivided. */
struct average {
	double sum;
	double count;
};

/*
 * NaN ranks as -infinity. A since beyond the tail is a lie: such a row counts
 * as new.
 */
POLICY_INLINE struct average average_at(const struct policy_scope *scope,
					uint32_t slot)
{
	uint32_t since = shm_load32_relaxed(&scope->since[slot]);
	float score = shm_load_f32(&scope->score[slot]);

	return (struct average){
		.sum = isnan(score) ? -INFINITY : (double)score,
		.count = since < scope->tail ? scope->tail - since : 1,
	};
}

enum walk_kind {
	WALK_SCORED,
	WALK_LEFT, /* §5.4 */
};

/* Is the left one's average the larger one? */
POLICY_INLINE bool exceeds(const struct policy_scope *scope, uint32_t left,
			   uint32_t right)
{
	struct average l = average_at(scope, left);
	struct average r = average_at(scope, right);

	return l.sum * r.count > r.sum * l.count;
}

static bool evicts_right(const struct policy_scope *scope, enum walk_kind kind,
			 uint32_t left, uint32_t right)
{
	return kind == WALK_SCORED &&
	       exceeds(scope, slot_at(scope, left), slot_at(scope, right));
}

/* Evictions of a lap that does not end: nothing has moved yet. */
static void walk_on(const struct policy_scope *scope, uint32_t k,
		    uint32_t *ranks, enum walk_kind kind, uint32_t stride)
{
	const uint16_t *order16 = scope->order;
	const uint32_t *order32 = scope->order;
	uint32_t left = scope->sinks + scope->walk - 1;

	for (uint32_t j = 0; j < k; j++)
		ranks[j] = left + j * (stride + 1);
	if (kind == WALK_LEFT)
		return;
	if (scope->entry_size == 2)
		for (uint32_t j = 0; j < k; j++)
			ranks[j] += exceeds(scope, order16[ranks[j]],
					    order16[ranks[j] + 1]);
	else
		for (uint32_t j = 0; j < k; j++)
			ranks[j] += exceeds(scope, order32[ranks[j]],
					    order32[ranks[j] + 1]);
}

/*
 * cur holds the ranks of the selected region and of what will slide into it;
 * [base, w) are this lap's survivors, [r, ...) is what it has not read.
 */
static uint32_t walk(const struct policy_scope *scope, uint32_t k,
		     uint32_t *ranks, uint32_t *cur, enum walk_kind kind,
		     uint32_t stride)
{
	uint32_t m = scope->selected, idx = scope->walk, base = 0, w, r, next;

	if ((uint64_t)idx + (uint64_t)k * stride <= m) {
		walk_on(scope, k, ranks, kind, stride);
		return idx + k * stride;
	}
	for (uint32_t i = 0; i < m + k; i++)
		cur[i] = scope->sinks + i;
	w = r = idx - 1;
	for (uint32_t j = 0; j < k; j++) {
		bool right = evicts_right(scope, kind, cur[r], cur[r + 1]);

		ranks[j] = cur[r + right];
		cur[w++] = cur[r + !right];
		r += 2;
		next = (idx + stride - 1) % m + 1;
		if (next == idx + stride) {
			for (; ++idx < next;)
				cur[w++] = cur[r++];
			continue;
		}
		memmove(cur + r - (w - base), cur + base,
			(w - base) * sizeof(*cur));
		base = r - (w - base);
		w = r = base + next - 1;
		idx = next;
	}
	return idx;
}

static uint32_t treekv_evict(const struct policy_scope *scope, uint32_t k,
			     uint32_t *ranks,
			     const struct policy_scratch *scratch)
{
	return walk(scope, k, ranks, scratch->rank, WALK_SCORED, 1);
}

static uint32_t treekv_left_evict(const struct policy_scope *scope, uint32_t k,
				  uint32_t *ranks,
				  const struct policy_scratch *scratch)
{
	return walk(scope, k, ranks, scratch->rank, WALK_LEFT, 1);
}

static uint32_t treekv_skip_evict(const struct policy_scope *scope, uint32_t k,
				  uint32_t *ranks,
				  const struct policy_scratch *scratch)
{
	return walk(scope, k, ranks, scratch->rank, WALK_SCORED, 2);
}

static uint32_t streaming_evict(const struct policy_scope *scope, uint32_t k,
				uint32_t *ranks,
				const struct policy_scratch *scratch)
{
	(void)scratch;
	for (uint32_t j = 0; j < k; j++)
		ranks[j] = scope->sinks + j;
	return scope->walk;
}

/* So the least score is found without a branch. */
POLICY_INLINE uint64_t key_of(float score, uint32_t rank)
{
	uint32_t bits;

	score = isnan(score) ? -INFINITY : score + 0.0f; /* -0 is 0 */
	memcpy(&bits, &score, sizeof(bits));
	bits ^= bits >> 31 ? UINT32_MAX : UINT32_C(1) << 31;
	return (uint64_t)bits << 32 | rank;
}

uint64_t policy_key(float score, uint32_t rank)
{
	return key_of(score, rank);
}

static uint64_t key_at(const struct policy_scope *scope, uint32_t rank)
{
	return key_of(shm_load_f32(&scope->score[slot_at(scope, rank)]), rank);
}

POLICY_CLONES static uint64_t least(const uint64_t *key, uint32_t n)
{
	uint64_t best = UINT64_MAX;

	for (uint32_t i = 0; i < n; i++)
		best = key[i] < best ? key[i] : best;
	return best;
}

static void sift_down(uint64_t *heap, uint32_t n, uint32_t at)
{
	uint64_t moving = heap[at];
	uint32_t child;

	while ((child = 2 * at + 1) < n) {
		child += child + 1 < n && heap[child + 1] < heap[child];
		if (heap[child] >= moving)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = moving;
}

/* Of many: m + k log m, whoever chose k and m. */
static void evict_many(const struct policy_scope *scope, uint32_t k,
		       uint32_t *ranks, uint64_t *heap)
{
	uint32_t n = scope->selected + 1;

	for (uint32_t i = 0; i < n; i++)
		heap[i] = key_at(scope, scope->sinks + i);
	for (uint32_t i = n / 2; i-- > 0;)
		sift_down(heap, n, i);
	for (uint32_t j = 0; j < k; j++) {
		ranks[j] = (uint32_t)heap[0];
		if (j + 1 < k)
			heap[0] = key_at(scope, scope->sinks + n + j);
		sift_down(heap, n, 0);
	}
}

/* Of few: k dense passes, which the compiler vectorises. */
static void evict_few(const struct policy_scope *scope, uint32_t k,
		      uint32_t *ranks, uint64_t *key)
{
	uint32_t m = scope->selected, sinks = scope->sinks;

	for (uint32_t i = 0; i < m + k; i++)
		key[i] = key_at(scope, sinks + i);
	for (uint32_t j = 0; j < k; j++) {
		ranks[j] = (uint32_t)least(key, m + j + 1);
		key[ranks[j] - sinks] = UINT64_MAX;
	}
}

/* Each eviction lets one more rank into the region. */
static uint32_t lowest_evict(const struct policy_scope *scope, uint32_t k,
			     uint32_t *ranks,
			     const struct policy_scratch *scratch)
{
	if (k <= FEW)
		evict_few(scope, k, ranks, scratch->key);
	else
		evict_many(scope, k, ranks, scratch->key);
	return scope->walk;
}

POLICY_INLINE void prefetch_slot(const struct policy_scope *scope,
				 uint32_t slot)
{
	__builtin_prefetch(&scope->score[slot]);
	__builtin_prefetch(&scope->since[slot]);
}

void policy_prefetch(const struct policy_scope *scope, uint32_t k)
{
	uint32_t first = scope->sinks + scope->walk - 1, end = first + 2 * k;
	const uint16_t *order16 = scope->order;
	const uint32_t *order32 = scope->order;

	end = end < scope->live ? end : scope->live;
	if (scope->entry_size == 2)
		for (uint32_t i = first; i < end; i++)
			prefetch_slot(scope, order16[i]);
	else
		for (uint32_t i = first; i < end; i++)
			prefetch_slot(scope, order32[i]);
}

const struct policy policies[] = {
	{ SHM_POLICY_TREEKV, "treekv", POLICY_SCORES_SUM, 1, treekv_evict },
	{ SHM_POLICY_TREEKV_LEFT, "treekv-left", POLICY_SCORES_NONE, 1,
	  treekv_left_evict },
	{ SHM_POLICY_TREEKV_SKIP, "treekv-skip", POLICY_SCORES_SUM, 1,
	  treekv_skip_evict },
	{ SHM_POLICY_STREAMING, "streaming", POLICY_SCORES_NONE, 0,
	  streaming_evict },
	{ SHM_POLICY_H2O, "h2o", POLICY_SCORES_SUM, 0, lowest_evict },
	{ SHM_POLICY_TOVA, "tova", POLICY_SCORES_LAST, 0, lowest_evict },
	{ SHM_POLICY_FULL, "full", POLICY_SCORES_NONE, 0, NULL },
};
const size_t policies_count = sizeof(policies) / sizeof(*policies);

const struct policy *policy_by_id(uint32_t id)
{
	for (size_t i = 0; i < policies_count; i++)
		if (policies[i].id == id)
			return &policies[i];
	return NULL;
}

const struct policy *policy_by_name(const char *name)
{
	for (size_t i = 0; i < policies_count; i++)
		if (!strcmp(policies[i].name, name))
			return &policies[i];
	return NULL;
}
