// SPDX-License-Identifier: BSD-2-Clause
/* See side.h. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/side.h"

#define BUDGET_MAX 40

static const char *const weights_names[] = {
	"uniform", "skewed", "ties", "zero", "special, rarely", "special",
};

uint64_t side_seed(void)
{
	const char *text = getenv("TREEKV_SEED");

	return text ? strtoull(text, NULL, 0) : 1;
}

/* splitmix64 */
uint64_t side_draw(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint32_t side_draw_below(uint64_t *state, uint32_t n)
{
	return (side_draw(state) >> 32) % n;
}

__attribute__((format(printf, 3, 4), noreturn)) static void
fail_shape(const struct shape *s, uint32_t step, const char *format, ...)
{
	char what[256];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	fail_msg("policy %s, budget %u, sinks %u, recent %u, slots %u, "
		 "entry size %u, weights %s, steps or k %u, step %u, "
		 "TREEKV_SEED %llu, shape's seed %#llx: %s",
		 s->policy->name, s->budget, s->sinks, s->recent, s->slots,
		 s->entry_size, weights_names[s->weights], s->steps, step,
		 (unsigned long long)side_seed(), (unsigned long long)s->seed,
		 what);
	abort();
}

static void *allocate(size_t n, size_t size)
{
	void *memory = calloc(n, size);

	assert_non_null(memory);
	return memory;
}

static float draw_special(uint64_t *rng)
{
	static const float special[] = {
		NAN,	   -NAN,       INFINITY,    -INFINITY, 0.0f, -0.0f,
		0x1p-149f, 0x1.8p127f, -0x1.8p127f, -1.0f,     1.0f,
	};

	return special[side_draw_below(rng, ARRAY_SIZE(special))];
}

float side_weight(uint64_t *rng, enum weights kind)
{
	float uniform = (side_draw(rng) >> 40) * 0x1p-24f;

	switch (kind) {
	case WEIGHTS_UNIFORM:
		return uniform;
	case WEIGHTS_SKEWED:
		return side_draw_below(rng, 8) ? uniform * 0x1p-10f : uniform;
	case WEIGHTS_TIES:
		return side_draw_below(rng, 3);
	case WEIGHTS_ZERO:
		return 0;
	case WEIGHTS_SPECIAL_RARE:
		return side_draw_below(rng, 200) ? uniform : draw_special(rng);
	case WEIGHTS_SPECIAL:
		return draw_special(rng);
	case WEIGHTS_KINDS:
		break;
	}
	abort();
}

/*
 * The corners of a shape: no sinks, no recent window, one selected row, the
 * fewest selected rows that the policy takes (0 where it has no walk).
 */
void side_shape(struct shape *ret, const struct policy *policy, uint64_t seed)
{
	uint64_t rng = seed;
	uint32_t corner = side_draw_below(&rng, 8);
	uint32_t budget = 1 + side_draw_below(&rng, BUDGET_MAX);
	uint32_t selected;

	if (corner < 2)
		budget = 2;
	if (side_draw_below(&rng, 64) == 0)
		budget = 256;
	selected = 1 + side_draw_below(&rng, budget);
	if (corner == 2)
		selected = 1;
	if (corner == 3)
		selected = policy->selected_min;
	*ret = (struct shape){
		.policy = policy,
		.seed = seed,
		.budget = budget,
		.sinks = side_draw_below(&rng, budget - selected + 1),
		.entry_size = side_draw(&rng) & 1 ? 2 : 4,
		.weights = side_draw_below(&rng, WEIGHTS_KINDS),
		.steps = budget + 20 + side_draw_below(&rng, 4 * budget),
	};
	if (corner == 4)
		ret->sinks = 0;
	if (corner == 5)
		ret->sinks = budget - selected;
	ret->recent = budget - selected - ret->sinks;
	ret->slots = budget + 1;
	if (side_draw(&rng) & 1)
		ret->slots += side_draw_below(&rng, 2 * budget);
	if (ret->steps > WEIGHTS_MAX)
		ret->steps = WEIGHTS_MAX;
}

void side_init(struct side *ret, const struct shape *shape)
{
	uint32_t slots = shape->slots;

	*ret = (struct side){ .shape = shape, .walk = 1 };
	for (int i = 0; i < 2; i++) {
		ret->order[i].order = allocate(slots, shape->entry_size);
		ret->order[i].rank = allocate(slots, shape->entry_size);
	}
	ret->score = allocate(slots, sizeof(*ret->score));
	ret->since = allocate(slots, sizeof(*ret->since));
	ret->token = allocate(slots, sizeof(*ret->token));
	ret->seen = allocate(slots, 1);
	ret->memory = allocate(order_scratch_size(slots), 1);
	order_scratch_init(&ret->scratch, ret->memory, slots);
	order_init(&ret->order[0], slots, shape->entry_size);
}

void side_exit(struct side *side)
{
	for (int i = 0; i < 2; i++) {
		free(side->order[i].order);
		free(side->order[i].rank);
	}
	free(side->score);
	free(side->since);
	free(side->token);
	free(side->seen);
	free(side->memory);
}

uint32_t side_slot(const struct side *side, uint32_t i)
{
	return order_entry(side->order[side->current].order,
			   side->shape->entry_size, i);
}

uint32_t side_rank(const struct side *side, uint32_t slot)
{
	return order_entry(side->order[side->current].rank,
			   side->shape->entry_size, slot);
}

uint32_t side_append(struct side *side)
{
	uint32_t slot = side_slot(side, side->live++);

	assert_in_range(slot, 0, side->shape->slots - 1);
	side->score[slot] = 0;
	side->since[slot] = side->token[slot] = side->tail++;
	return slot;
}

static void side_observe(struct side *side, const float *weights)
{
	for (uint32_t i = 0; i < side->live; i++) {
		uint32_t slot = side_slot(side, i);
		float weight = weights[side->token[slot]];

		switch (side->shape->policy->scores) {
		case POLICY_SCORES_NONE:
			break;
		case POLICY_SCORES_SUM:
			side->score[slot] += weight;
			break;
		case POLICY_SCORES_LAST:
			side->score[slot] = weight;
			break;
		}
	}
}

/* Publishes a new order with k rows fewer; the old one must stay as it is. */
void side_compact(struct side *side, uint32_t k)
{
	const struct shape *shape = side->shape;
	const struct order *from = &side->order[side->current];
	const struct order *to = &side->order[!side->current];
	size_t size = (size_t)shape->slots * shape->entry_size;
	void *order = allocate(1, size), *rank = allocate(1, size);
	const struct policy_scope scope = {
		.order = from->order,
		.entry_size = shape->entry_size,
		.live = side->live,
		/* Who needs no scores must not look. */
		.score = shape->policy->scores ? side->score : NULL,
		.since = side->since,
		.tail = side->tail,
		.sinks = shape->sinks,
		.selected = shape->budget - shape->sinks - shape->recent,
		.walk = side->walk,
	};

	memcpy(order, from->order, size);
	memcpy(rank, from->rank, size);
	memset(to->order, 0xa5, size);
	memset(to->rank, 0xa5, size);
	side->walk = order_compact(to, from, shape->policy, &scope,
				   shape->slots, side->ranked, k,
				   &side->scratch);
	assert_memory_equal(order, from->order, size);
	assert_memory_equal(rank, from->rank, size);
	free(order);
	free(rank);
	side->current ^= 1;
	side->live -= k;
	side->ranked = side->live;
}

static void compare_entry(const struct side *side, const struct reference *ref,
			  uint32_t step, uint32_t i)
{
	bool live = i < ref->live;
	uint32_t want = live ? ref->tokens[i].slot : ref->free[i - ref->live];
	uint32_t want_rank = i < side->ranked ? i : SHM_FREE32;
	uint32_t slot = side_slot(side, i);

	if (slot != want)
		fail_shape(side->shape, step,
			   "%s entry %u (%u live) is slot %u, not %u",
			   live ? "live" : "free", i, ref->live, slot, want);
	if (side_rank(side, slot) != want_rank)
		fail_shape(side->shape, step,
			   "rank of slot %u is %u, not %u (%u live)", slot,
			   side_rank(side, slot), want_rank, ref->live);
}

void side_compare(struct side *side, const struct reference *ref, uint32_t step)
{
	const struct shape *shape = side->shape;
	const struct order *o = &side->order[side->current];

	if (side->live != ref->live)
		fail_shape(shape, step, "%u live, not %u", side->live,
			   ref->live);
	for (uint32_t i = 0; i < shape->slots; i++)
		compare_entry(side, ref, step, i);
	if (side->walk != ref->idx)
		fail_shape(shape, step, "the walk is at %u, not %u", side->walk,
			   ref->idx);
	if (order_check(o, shape->slots, side->ranked, shape->entry_size,
			side->seen))
		fail_shape(shape, step, "order_check() refuses a sound order");
}

struct reference *side_reference(const struct shape *shape)
{
	struct reference *ref;

	ref = reference_new(shape->policy->name, shape->budget, shape->sinks,
			    shape->recent, shape->slots);
	assert_non_null(ref);
	return ref;
}

/* Algorithm 1, one token, on both; the sides agree before and after. */
void side_lockstep(struct side *side, struct reference *ref,
		   const float *weights, uint32_t step)
{
	reference_step(ref, weights);
	side_append(side);
	side_observe(side, weights);
	if (side->live > side->shape->budget)
		side_compact(side, 1);
	side_compare(side, ref, step);
}

void side_put(const struct side *side, void *entries, uint32_t i,
	      uint32_t value)
{
	if (side->shape->entry_size == 2)
		((uint16_t *)entries)[i] = value;
	else
		((uint32_t *)entries)[i] = value;
}

/* Slots in any sequence, ranks of the first @ranked, arbitrary scores. */
void side_scramble(struct side *side, uint64_t *rng, uint32_t live,
		   uint32_t ranked)
{
	const struct shape *shape = side->shape;
	uint32_t *slot = allocate(shape->slots, sizeof(*slot));
	uint32_t span = side_draw(rng) & 1 ? shape->slots : SHM_TAIL_MAX - 1;
	void *order = side->order[0].order, *rank = side->order[0].rank;

	for (uint32_t i = 0; i < shape->slots; i++) {
		uint32_t j = side_draw_below(rng, i + 1);

		slot[i] = slot[j];
		slot[j] = i;
	}
	for (uint32_t i = 0; i < shape->slots; i++) {
		uint32_t s = slot[i], r = i < ranked ? i : SHM_FREE32;

		side_put(side, order, i, s);
		side_put(side, rank, s, r);
		side->score[s] = side_weight(rng, shape->weights);
		side->since[s] = side_draw_below(rng, span);
	}
	free(slot);
	side->tail = span;
	side->live = live;
	side->ranked = ranked;
}

/* The same state for the reference. */
struct reference *side_copy_reference(const struct side *side)
{
	struct reference *ref = side_reference(side->shape);

	ref->live = side->live;
	ref->idx = side->walk;
	ref->free_slots = side->shape->slots - side->live;
	for (uint32_t i = 0; i < side->live; i++) {
		uint32_t slot = side_slot(side, i);

		ref->tokens[i] = (struct reference_token){
			.number = i,
			.slot = slot,
			.sum = side->score[slot],
			.count = side->tail - side->since[slot],
		};
	}
	for (uint32_t i = 0; i < ref->free_slots; i++)
		ref->free[i] = side_slot(side, side->live + i);
	return ref;
}
