/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order of one (layer, head): a permutation of its slots, the live ones
 * oldest first, then the free ones in the order in which they will be used;
 * and its inverse, rank[slot], for the live ones. Pure, as policy.h.
 */
#ifndef TREEKVD_ORDER_H
#define TREEKVD_ORDER_H

#include <stdint.h>

#include "daemon/policy.h"

/*
 * One (layer, head) within a buffer: arrays of @slots entries. In a fork the
 * first @parent slots are the parent's: once they are not live they never are
 * again, and stand behind the free ones.
 */
struct order {
	void *order;
	void *rank;
	uint32_t parent;
};

/* What a compaction works with: as long as the longest order, each. */
struct order_scratch {
	struct policy_scratch policy;
	uint32_t *evicted;
	uint8_t *gone;
};

/* Bytes that a scratch for orders of @slots entries takes. */
size_t order_scratch_size(uint32_t slots);
void order_scratch_init(struct order_scratch *ret, void *memory,
			uint32_t slots);

/* Slots in their natural sequence, none live. */
void order_init(const struct order *o, uint32_t slots, uint32_t entry_size);

/**
 * order_fork - the order that a fork begins with
 * @o: of the fork; o->parent slots are its parent's, @own are its own
 * @entry_size: of @o
 * @parent: the parent's entries, of which the first @live are taken over
 * @parent_entry_size: theirs
 *
 * The ranks are order_rank()'s.
 */
void order_fork(const struct order *o, uint32_t own, uint32_t entry_size,
		const void *parent, uint32_t parent_entry_size, uint32_t live);

/**
 * order_compact - take the oldest order's surplus out
 * @to: written: survivors in order, then @from's free entries as they stood,
 *	then the slots just freed, in the order in which they left, then those
 *	of the parent that are not live any more
 * @from: only read; must not overlap @to
 * @policy: whose evict is not NULL, or k is 0
 * @scope: as the policy sees @from; scope->live includes what was appended
 *	since @from was made
 * @slots: entries of the order
 * @ranked: rows that @from's rank knows of: its n_live
 * @k: how many to evict
 *
 * Return: the walk afterwards.
 */
uint32_t order_compact(const struct order *to, const struct order *from,
		       const struct policy *policy,
		       const struct policy_scope *scope, uint32_t slots,
		       uint32_t ranked, uint32_t k,
		       const struct order_scratch *scratch);

/*
 * Asks the memory for what order_compact() reads of @from: worth it a head
 * ahead, where it comes from beyond the core's own caches.
 */
void order_prefetch(const struct order *o, uint32_t slots, uint32_t entry_size);

/**
 * order_reveal - make the first @n_live entries of an order live
 * @to: written; must not overlap @from
 * @from: sound, and none of its slots is live
 */
void order_reveal(const struct order *to, const struct order *from,
		  uint32_t slots, uint32_t n_live, uint32_t entry_size);

/**
 * order_rank - make the ranks of an order whose entries were kept
 *
 * Return: 0, or -EBADMSG: an entry is no slot.
 */
int order_rank(const struct order *o, uint32_t slots, uint32_t n_live,
	       uint32_t entry_size);

/**
 * order_check - is this a sound order?
 * @seen: @slots bytes of scratch
 *
 * Return: 0, or -EBADMSG: not a permutation, or rank is not its inverse, or a
 * parent's slot stands before a free one.
 */
int order_check(const struct order *o, uint32_t slots, uint32_t n_live,
		uint32_t entry_size, uint8_t *seen);

/* Entry i of an order or of ranks; free ranks are SHM_FREE32 in either size. */
uint32_t order_entry(const void *entries, uint32_t entry_size, uint32_t i);

#endif /* TREEKVD_ORDER_H */
