/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * order.c for one width of entry: included once with ENTRY uint16_t and once
 * with uint32_t. No include guard, on purpose.
 *
 * Most slots keep their rank or lose k, so the new ranks are made from the old
 * ones in one dense pass that the compiler vectorises; only what lies between
 * the first and the last eviction is then written one by one.
 */
ORDER_CLONES static void ENTRY_FN(shift)(ENTRY *to, const ENTRY *from,
					 uint32_t slots, ENTRY from_rank,
					 ENTRY k)
{
	for (uint32_t s = 0; s < slots; s++) {
		ENTRY r = from[s];
		ENTRY down = r >= from_rank && r != ENTRY_FREE ? k : 0;

		to[s] = r - down;
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

/* Leaves [lo, hi), the span of the evictions, marked in gone. */
static void ENTRY_FN(mark)(const uint32_t *evicted, uint32_t k, uint8_t *gone,
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

static void ENTRY_FN(rewrite)(const struct order *to, const struct order *from,
			      uint32_t slots, uint32_t live, uint32_t ranked,
			      uint32_t k, const struct order_scratch *scratch)
{
	const ENTRY *old = from->order;
	const uint32_t *evicted = scratch->evicted;
	ENTRY *new = to->order, *rank = to->rank;
	const uint8_t *gone = scratch->gone;
	uint32_t lo, hi, at, parent = from->parent, dead = 0;
	ENTRY *end;

	if (parent)
		dead = ENTRY_FN(dead)(old, live, slots, parent);
	ENTRY_FN(mark)(evicted, k, scratch->gone, &lo, &hi);
	memcpy(new, old, lo * sizeof(*new));
	at = lo;
	for (uint32_t i = lo; i < hi; i++) {
		new[at] = old[i];
		at += !gone[i];
	}
	memcpy(new + at, old + hi, (slots - dead - hi) * sizeof(*new));
	end = ENTRY_FN(freed)(new + at + slots - dead - hi, old, evicted, k,
			      parent, true);
	if (parent) {
		memcpy(end, old + slots - dead, dead * sizeof(*new));
		ENTRY_FN(freed)(end + dead, old, evicted, k, parent, false);
	}

	ENTRY_FN(shift)(rank, from->rank, slots, hi, k);
	for (uint32_t i = ranked; i < lo; i++)
		rank[old[i]] = i;
	for (uint32_t i = lo; i + k < hi; i++)
		rank[new[i]] = i;
	for (uint32_t j = 0; j < k; j++)
		rank[old[evicted[j]]] = ENTRY_FREE;
	for (uint32_t i = ranked > hi ? ranked : hi; i < live; i++)
		rank[old[i]] = i - k;
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
