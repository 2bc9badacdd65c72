// SPDX-License-Identifier: BSD-2-Clause
/*
 * Rewrites an order and its ranks after the policy has named who leaves. The
 * old free entries stay first and in sequence, so a writer that appends
 * meanwhile uses the same slots under both generations.
 */
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "daemon/order.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
	!defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ORDER_CLONES                                                     \
	__attribute__((optimize("O3"),                                   \
		       target_clones("arch=x86-64-v4", "arch=x86-64-v3", \
				     "default")))
#else
#define ORDER_CLONES
#endif

#define LINE 64

/* Leaves [lo, hi), the span of the evictions, marked in gone. */
static void mark(const uint32_t *evicted, uint32_t k, uint8_t *gone,
		 uint32_t *ret_lo, uint32_t *ret_hi)
{
	uint32_t lo = UINT32_MAX, hi = 0;

	for (uint32_t j = 0; j < k; j++) {
		lo = evicted[j] < lo ? evicted[j] : lo;
		hi = evicted[j] >= hi ? evicted[j] + 1 : hi;
	}
	lo = k ? lo : 0;
	memset(gone + lo, 0, hi - lo);
	for (uint32_t j = 0; j < k; j++)
		gone[evicted[j]] = 1;
	*ret_lo = lo;
	*ret_hi = hi;
}

#define ENTRY	       uint16_t
#define ENTRY_SIGNED   int16_t
#define ENTRY_FREE     SHM_FREE16
#define ENTRY_FN(name) order16_##name
#include "daemon/order_entries.h"
#undef ENTRY
#undef ENTRY_SIGNED
#undef ENTRY_FREE
#undef ENTRY_FN

#define ENTRY	       uint32_t
#define ENTRY_SIGNED   int32_t
#define ENTRY_FREE     SHM_FREE32
#define ENTRY_FN(name) order32_##name
#include "daemon/order_entries.h"

size_t order_scratch_size(uint32_t slots)
{
	return (size_t)slots * (sizeof(uint64_t) + 2 * sizeof(uint32_t) + 1);
}

void order_scratch_init(struct order_scratch *ret, void *memory, uint32_t slots)
{
	ret->policy.key = memory;
	ret->policy.rank = (void *)(ret->policy.key + slots);
	ret->evicted = ret->policy.rank + slots;
	ret->gone = (void *)(ret->evicted + slots);
}

static void set_entry(void *entries, uint32_t entry_size, uint32_t i,
		      uint32_t value)
{
	if (entry_size == 2)
		((uint16_t *)entries)[i] = (uint16_t)value;
	else
		((uint32_t *)entries)[i] = value;
}

void order_prefetch(const struct order *o, uint32_t slots, uint32_t entry_size)
{
	size_t size = (size_t)slots * entry_size;

	for (size_t i = 0; i < size; i += LINE) {
		__builtin_prefetch((const char *)o->order + i);
		__builtin_prefetch((const char *)o->rank + i);
	}
}

void order_init(const struct order *o, uint32_t slots, uint32_t entry_size)
{
	if (entry_size == 2)
		order16_init(o, slots);
	else
		order32_init(o, slots);
}

void order_fork(const struct order *o, uint32_t own, uint32_t entry_size,
		const void *parent, uint32_t parent_entry_size, uint32_t live)
{
	uint32_t slots = o->parent + own, at = 0;

	for (uint32_t i = 0; i < live; i++)
		set_entry(o->order, entry_size, at++,
			  order_entry(parent, parent_entry_size, i));
	for (uint32_t s = o->parent; s < slots; s++)
		set_entry(o->order, entry_size, at++, s);
	for (uint32_t i = live; i < o->parent; i++)
		set_entry(o->order, entry_size, at++,
			  order_entry(parent, parent_entry_size, i));
}

uint32_t order_compact(const struct order *to, const struct order *from,
		       const struct policy *policy,
		       const struct policy_scope *scope, uint32_t slots,
		       uint32_t ranked, uint32_t k,
		       const struct order_scratch *scratch)
{
	uint32_t next = scope->walk;

	assert(ranked <= scope->live && scope->live <= slots);
	assert(!k ||
	       (uint64_t)k + scope->sinks + scope->selected <= scope->live);
	if (k)
		next = policy->evict(scope, k, scratch->evicted,
				     &scratch->policy);
	if (scope->entry_size == 2)
		order16_rewrite(to, from, slots, scope->live, ranked, k,
				scratch);
	else
		order32_rewrite(to, from, slots, scope->live, ranked, k,
				scratch);
	return next;
}

void order_reveal(const struct order *to, const struct order *from,
		  uint32_t slots, uint32_t n_live, uint32_t entry_size)
{
	assert(n_live <= slots);
	memcpy(to->order, from->order, (size_t)slots * entry_size);
	if (order_rank(to, slots, n_live, entry_size))
		assert(!"a sound order");
}

int order_rank(const struct order *o, uint32_t slots, uint32_t n_live,
	       uint32_t entry_size)
{
	if (entry_size == 2)
		return order16_rank(o, slots, n_live);
	return order32_rank(o, slots, n_live);
}

int order_check(const struct order *o, uint32_t slots, uint32_t n_live,
		uint32_t entry_size, uint8_t *seen)
{
	if (n_live > slots)
		return -EBADMSG;
	if (entry_size == 2)
		return order16_check(o, slots, n_live, seen);
	return order32_check(o, slots, n_live, seen);
}

uint32_t order_entry(const void *entries, uint32_t entry_size, uint32_t i)
{
	uint16_t entry;

	if (entry_size == 4)
		return ((const uint32_t *)entries)[i];
	entry = ((const uint16_t *)entries)[i];
	return entry == SHM_FREE16 ? SHM_FREE32 : entry;
}
