/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * order.c for one width of entry: included once with ENTRY uint16_t and once
 * with uint32_t. No include guard, on purpose.
 *
 * Most slots keep their rank or lose k, so the new ranks are made from the old
 * ones in one dense pass that the compiler vectorises; only what lies between
 * the first and the last eviction is then written one by one. A free rank is
 * negative as the compiler's vectors see it, so one comparison tells both.
 */
ORDER_CLONES static void ENTRY_FN(shift)(ENTRY *restrict to,
					 const ENTRY *restrict from,
					 uint32_t slots, ENTRY from_rank,
					 ENTRY k)
{
	for (uint32_t s = 0; s < slots; s++) {
		bool moves = (ENTRY_SIGNED)from[s] >= (ENTRY_SIGNED)from_rank;

		to[s] = from[s] - (moves ? k : 0);
	}
}

static void ENTRY_FN(init)(const struct order *o, uint32_t slots)
{
	ENTRY *order = o->order, *rank = o->rank;

	for (uint32_t s = 0; s < slots; s++) {
		order[s] = s;
		rank[s] = ENTRY_FREE;
	}
}

/* How many parent's slots an order ends with: those that are free are own. */
static uint32_t ENTRY_FN(dead)(const ENTRY *order, uint32_t live,
			       uint32_t slots, uint32_t parent)
{
	uint32_t lo = live, hi = slots;

	while (lo < hi) {
		uint32_t middle = lo + (hi - lo) / 2;

		if (order[middle] < parent)
			hi = middle;
		else
			lo = middle + 1;
	}
	return slots - lo;
}

/* The evicted slots that are own, or those that are not. Return: their end. */
static ENTRY *ENTRY_FN(freed)(ENTRY *to, const ENTRY *old,
			      const uint32_t *evicted, uint32_t k,
			      uint32_t parent, bool own)
{
	for (uint32_t j = 0; j < k; j++)
		if ((old[evicted[j]] >= parent) == own)
			*to++ = old[evicted[j]];
	return to;
}

/* The slots just freed, then the parent's that are dead. */
static void ENTRY_FN(finish)(ENTRY *end, const ENTRY *old,
			     const uint32_t *evicted, uint32_t k,
			     uint32_t slots, uint32_t parent, uint32_t dead)
{
	if (!parent) {
		for (uint32_t j = 0; j < k; j++)
			end[j] = old[evicted[j]];
		return;
	}
	end = ENTRY_FN(freed)(end, old, evicted, k, parent, true);
	memcpy(end, old + slots - dead, dead * sizeof(*end));
	ENTRY_FN(freed)(end + dead, old, evicted, k, parent, false);
}

static void ENTRY_FN(rewrite)(const struct order *to, const struct order *from,
			      uint32_t slots, uint32_t live, uint32_t ranked,
			      uint32_t k, const struct order_scratch *scratch)
{
	const ENTRY *old = from->order;
	const uint32_t *evicted = scratch->evicted;
	ENTRY *new = to->order, *rank = to->rank;
	const uint8_t *gone = scratch->gone;
	uint32_t lo, hi, at, parent = from->parent, dead = 0;

	if (parent)
		dead = ENTRY_FN(dead)(old, live, slots, parent);
	mark(evicted, k, scratch->gone, &lo, &hi);
	ENTRY_FN(shift)(rank, from->rank, slots, hi, k);
	memcpy(new, old, lo * sizeof(*new));
	for (uint32_t i = ranked; i < lo; i++)
		rank[old[i]] = i;
	at = lo;
	for (uint32_t i = lo; i < hi; i++) {
		ENTRY slot = old[i];

		new[at] = slot;
		rank[slot] = gone[i] ? ENTRY_FREE : at;
		at += !gone[i];
	}
	memcpy(new + at, old + hi, (slots - dead - hi) * sizeof(*new));
	for (uint32_t i = ranked > hi ? ranked : hi; i < live; i++)
		rank[old[i]] = i - k;
	at += slots - dead - hi;
	ENTRY_FN(finish)(new + at, old, evicted, k, slots, parent, dead);
}

static int ENTRY_FN(check)(const struct order *o, uint32_t slots,
			   uint32_t n_live, uint8_t *seen)
{
	const ENTRY *order = o->order, *rank = o->rank;

	memset(seen, 0, slots);
	for (uint32_t i = 0; i < slots; i++) {
		ENTRY slot = order[i];

		if (slot >= slots || seen[slot])
			return -EBADMSG;
		if (i > n_live && slot >= o->parent && order[i - 1] < o->parent)
			return -EBADMSG;
		seen[slot] = 1;
		if (rank[slot] != (i < n_live ? (ENTRY)i : ENTRY_FREE))
			return -EBADMSG;
	}
	return 0;
}

static int ENTRY_FN(rank)(const struct order *o, uint32_t slots,
			  uint32_t n_live)
{
	const ENTRY *order = o->order;
	ENTRY *rank = o->rank;

	for (uint32_t s = 0; s < slots; s++) {
		if (order[s] >= slots)
			return -EBADMSG;
		rank[s] = ENTRY_FREE;
	}
	for (uint32_t i = 0; i < n_live; i++)
		rank[order[i]] = i;
	return 0;
}
