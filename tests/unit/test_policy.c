// SPDX-License-Identifier: BSD-2-Clause
/*
 * daemon/policy.c and daemon/order.c against tests/unit/reference.c, slot for
 * slot: which rows stay and in what sequence, where each freed slot waits in
 * the queue, what rank[] says, where the walk stands.
 *
 * A struct side is what the daemon and a writer have between them: two buffers
 * taken in turns, and scores and since by slot. In lockstep the side and the
 * reference are fed the same weights; a batch is one random state, given to
 * both, from which k rows are taken.
 *
 * All randomness comes from one seed, 1 unless TREEKV_SEED says otherwise; what
 * fails prints it, with the policy, the shape and the step.
 */
#include <errno.h>
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

#include "daemon/order.h"
#include "daemon/policy.h"
#include "tests/unit/reference.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof(*(a)))
#define LOCKSTEP_SHAPES 600 /* of each policy */
#define BATCH_SHAPES	900
#define BUDGET_MAX	40
#define WEIGHTS_MAX	1024
#define PAPER_TOKENS	17
#define PAPER_BUDGET	4

enum weights {
	WEIGHTS_UNIFORM,
	WEIGHTS_SKEWED,
	WEIGHTS_TIES,
	WEIGHTS_ZERO,
	WEIGHTS_SPECIAL_RARE,
	WEIGHTS_SPECIAL,
	WEIGHTS_KINDS,
};

static const char *const weights_names[] = {
	"uniform", "skewed", "ties", "zero", "special, rarely", "special",
};

struct shape {
	const struct policy *policy;
	uint64_t seed;
	uint32_t budget;
	uint32_t sinks;
	uint32_t recent;
	uint32_t slots;
	uint32_t entry_size;
	enum weights weights;
	uint32_t steps; /* of a lockstep, k of a batch */
};

struct side {
	const struct shape *shape;
	struct order order[2];
	unsigned int current;
	uint32_t tail;
	uint32_t live;
	uint32_t ranked;
	uint32_t walk;
	float *score; /* by slot, as all three */
	uint32_t *since;
	uint32_t *token;
	void *memory;
	struct order_scratch scratch;
	uint8_t *seen;
};

static uint64_t base_seed(void)
{
	const char *text = getenv("TREEKV_SEED");

	return text ? strtoull(text, NULL, 0) : 1;
}

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint32_t draw_below(uint64_t *state, uint32_t n)
{
	return (draw(state) >> 32) % n;
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
		 (unsigned long long)base_seed(), (unsigned long long)s->seed,
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

	return special[draw_below(rng, ARRAY_SIZE(special))];
}

static float draw_weight(uint64_t *rng, enum weights kind)
{
	float uniform = (draw(rng) >> 40) * 0x1p-24f;

	switch (kind) {
	case WEIGHTS_UNIFORM:
		return uniform;
	case WEIGHTS_SKEWED:
		return draw_below(rng, 8) ? uniform * 0x1p-10f : uniform;
	case WEIGHTS_TIES:
		return draw_below(rng, 3);
	case WEIGHTS_ZERO:
		return 0;
	case WEIGHTS_SPECIAL_RARE:
		return draw_below(rng, 200) ? uniform : draw_special(rng);
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
static void draw_shape(struct shape *ret, const struct policy *policy,
		       uint64_t seed)
{
	uint64_t rng = seed;
	uint32_t corner = draw_below(&rng, 8);
	uint32_t budget = 1 + draw_below(&rng, BUDGET_MAX);
	uint32_t selected;

	if (corner < 2)
		budget = 2;
	if (draw_below(&rng, 64) == 0)
		budget = 256;
	selected = 1 + draw_below(&rng, budget);
	if (corner == 2)
		selected = 1;
	if (corner == 3)
		selected = policy->selected_min;
	*ret = (struct shape){
		.policy = policy,
		.seed = seed,
		.budget = budget,
		.sinks = draw_below(&rng, budget - selected + 1),
		.entry_size = draw(&rng) & 1 ? 2 : 4,
		.weights = draw_below(&rng, WEIGHTS_KINDS),
		.steps = budget + 20 + draw_below(&rng, 4 * budget),
	};
	if (corner == 4)
		ret->sinks = 0;
	if (corner == 5)
		ret->sinks = budget - selected;
	ret->recent = budget - selected - ret->sinks;
	ret->slots = budget + 1;
	if (draw(&rng) & 1)
		ret->slots += draw_below(&rng, 2 * budget);
	if (ret->steps > WEIGHTS_MAX)
		ret->steps = WEIGHTS_MAX;
}

static void side_init(struct side *ret, const struct shape *shape)
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

static void side_exit(struct side *side)
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

static uint32_t side_slot(const struct side *side, uint32_t i)
{
	return order_entry(side->order[side->current].order,
			   side->shape->entry_size, i);
}

static uint32_t side_rank(const struct side *side, uint32_t slot)
{
	return order_entry(side->order[side->current].rank,
			   side->shape->entry_size, slot);
}

static uint32_t side_append(struct side *side)
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
static void side_compact(struct side *side, uint32_t k)
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

static void compare(struct side *side, const struct reference *ref,
		    uint32_t step)
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

static struct reference *new_reference(const struct shape *shape)
{
	struct reference *ref;

	ref = reference_new(shape->policy->name, shape->budget, shape->sinks,
			    shape->recent, shape->slots);
	assert_non_null(ref);
	return ref;
}

/* Algorithm 1, one token, on both; the sides agree before and after. */
static void lockstep(struct side *side, struct reference *ref,
		     const float *weights, uint32_t step)
{
	reference_step(ref, weights);
	side_append(side);
	side_observe(side, weights);
	if (side->live > side->shape->budget)
		side_compact(side, 1);
	compare(side, ref, step);
}

static void run_lockstep(const struct shape *shape)
{
	struct reference *ref = new_reference(shape);
	uint64_t rng = ~shape->seed;
	float weights[WEIGHTS_MAX];
	struct side side;

	side_init(&side, shape);
	for (uint32_t t = 0; t < shape->steps; t++) {
		for (uint32_t i = 0; i <= t; i++)
			weights[i] = draw_weight(&rng, shape->weights);
		lockstep(&side, ref, weights, t);
		/* An order may be published anew though nothing leaves. */
		if (draw_below(&rng, 16) == 0) {
			side_compact(&side, 0);
			compare(&side, ref, t);
		}
	}
	side_exit(&side);
	reference_free(ref);
}

static void lockstep_shapes(const char *name)
{
	const struct policy *policy = policy_by_name(name);
	uint64_t rng = base_seed();
	struct shape shape;

	assert_non_null(policy);
	for (int i = 0; i < LOCKSTEP_SHAPES; i++) {
		draw_shape(&shape, policy, draw(&rng));
		run_lockstep(&shape);
	}
}

static void test_treekv_in_lockstep_is_algorithm_1(void **state)
{
	(void)state;
	lockstep_shapes("treekv");
}

static void test_treekv_left_in_lockstep_is_the_reference(void **state)
{
	(void)state;
	lockstep_shapes("treekv-left");
}

static void test_treekv_skip_in_lockstep_is_the_reference(void **state)
{
	(void)state;
	lockstep_shapes("treekv-skip");
}

static void test_streaming_in_lockstep_is_the_reference(void **state)
{
	(void)state;
	lockstep_shapes("streaming");
}

static void test_h2o_in_lockstep_is_the_reference(void **state)
{
	(void)state;
	lockstep_shapes("h2o");
}

static void test_tova_in_lockstep_is_the_reference(void **state)
{
	(void)state;
	lockstep_shapes("tova");
}

/* Slots in any sequence, ranks of the first @ranked, arbitrary scores. */
static void side_scramble(struct side *side, uint64_t *rng, uint32_t live,
			  uint32_t ranked)
{
	const struct shape *shape = side->shape;
	uint32_t *slot = allocate(shape->slots, sizeof(*slot));
	uint32_t span = draw(rng) & 1 ? shape->slots : SHM_TAIL_MAX - 1;
	void *order = side->order[0].order, *rank = side->order[0].rank;

	for (uint32_t i = 0; i < shape->slots; i++) {
		uint32_t j = draw_below(rng, i + 1);

		slot[i] = slot[j];
		slot[j] = i;
	}
	for (uint32_t i = 0; i < shape->slots; i++) {
		uint32_t s = slot[i], r = i < ranked ? i : SHM_FREE32;

		if (shape->entry_size == 2) {
			((uint16_t *)order)[i] = s;
			((uint16_t *)rank)[s] = r;
		} else {
			((uint32_t *)order)[i] = s;
			((uint32_t *)rank)[s] = r;
		}
		side->score[s] = draw_weight(rng, shape->weights);
		side->since[s] = draw_below(rng, span);
	}
	free(slot);
	side->tail = span;
	side->live = live;
	side->ranked = ranked;
}

/* The same state for the reference. */
static struct reference *copy_reference(const struct side *side)
{
	struct reference *ref = new_reference(side->shape);

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

/* From one state: k at once, k one by one, and the reference's k. */
static void run_batch(const struct shape *shape, uint32_t live)
{
	uint64_t rng = ~shape->seed, again;
	uint32_t selected = shape->budget - shape->sinks - shape->recent;
	uint32_t walk = 1 + draw_below(&rng, selected ? selected : 1);
	uint32_t ranked = live - draw_below(&rng, live + 1);
	struct side batch, single;
	struct reference *ref;

	again = rng;
	side_init(&batch, shape);
	side_init(&single, shape);
	batch.walk = single.walk = walk;
	side_scramble(&batch, &rng, live, ranked);
	side_scramble(&single, &again, live, ranked);
	ref = copy_reference(&batch);
	for (uint32_t j = 0; j < shape->steps; j++) {
		reference_evict(ref);
		side_compact(&single, 1);
	}
	side_compact(&batch, shape->steps);
	compare(&batch, ref, shape->steps);
	compare(&single, ref, shape->steps);
	reference_free(ref);
	side_exit(&single);
	side_exit(&batch);
}

/* k: one, within a lap, exactly a lap, one more, several laps. */
static uint32_t draw_k(uint64_t *rng, uint32_t selected)
{
	switch (draw_below(rng, 5)) {
	case 0:
		return 1 + draw_below(rng, 3);
	case 1:
		return selected ? selected : 1;
	case 2:
		return selected + 1;
	case 3:
		return 2 * selected + 1 + draw_below(rng, 5 * selected + 1);
	}
	return 1 + draw_below(rng, 64);
}

static void run_random_batch(const struct policy *policy, uint64_t seed)
{
	uint64_t rng = seed + 1;
	struct shape shape;
	uint32_t live;

	draw_shape(&shape, policy, seed);
	shape.steps = draw_k(&rng, shape.budget - shape.sinks - shape.recent);
	live = shape.budget + shape.steps;
	shape.slots = live + draw_below(&rng, 3) * draw_below(&rng, 40);
	run_batch(&shape, live);
}

static void test_a_batch_of_k_is_k_single_evictions(void **state)
{
	uint64_t rng = base_seed() + 100;

	(void)state;
	for (int i = 0; i < BATCH_SHAPES; i++)
		for (size_t p = 0; p < policies_count; p++)
			if (policies[p].evict)
				run_random_batch(&policies[p], draw(&rng));
}

/* The most slots that 2 byte entries take, and more than they could. */
static void test_long_orders_keep_every_slot(void **state)
{
	static const struct {
		uint32_t slots, entry_size;
	} lengths[] = { { SHM_ENTRY16_MAX, 2 }, { 66000, 4 } };

	(void)state;
	for (size_t i = 0; i < policies_count * ARRAY_SIZE(lengths); i++) {
		uint32_t slots = lengths[i % 2].slots;
		struct shape shape = {
			.policy = &policies[i / 2],
			.seed = base_seed() + i,
			.budget = slots - 100,
			.sinks = 4,
			.recent = slots / 2,
			.slots = slots,
			.entry_size = lengths[i % 2].entry_size,
			.steps = 60,
		};

		if (shape.policy->evict)
			run_batch(&shape, shape.budget + shape.steps);
	}
}

static void test_compaction_of_nothing_ranks_what_was_appended(void **state)
{
	(void)state;
	for (size_t p = 0; p < policies_count; p++) {
		struct shape shape = {
			.policy = &policies[p],
			.budget = 8,
			.slots = 9,
			.entry_size = p & 1 ? 2 : 4,
		};
		struct side side;

		side_init(&side, &shape);
		side_compact(&side, 0);
		assert_int_equal(side_rank(&side, 0), SHM_FREE32);
		for (uint32_t i = 0; i < 5; i++)
			side_append(&side);
		side_compact(&side, 0);
		for (uint32_t s = 0; s < shape.slots; s++) {
			assert_int_equal(side_slot(&side, s), s);
			assert_int_equal(side_rank(&side, s),
					 s < 5 ? s : SHM_FREE32);
		}
		assert_int_equal(side.walk, 1);
		side_exit(&side);
	}
}

/* What the writer appends before it adopts lands in the same slots. */
static void test_appends_have_the_same_slots_under_both_orders(void **state)
{
	const struct shape shape = {
		.policy = policy_by_name("treekv"),
		.budget = 6,
		.sinks = 1,
		.recent = 1,
		.slots = 14,
		.entry_size = 2,
	};
	uint32_t free_slots = shape.slots - (shape.budget + 2);
	struct side side;

	(void)state;
	side_init(&side, &shape);
	for (uint32_t i = 0; i < shape.budget + 2; i++)
		side_append(&side);
	side_compact(&side, 2);
	for (uint32_t j = 0; j < free_slots; j++)
		assert_int_equal(side_slot(&side, side.live + j),
				 order_entry(side.order[!side.current].order,
					     shape.entry_size,
					     side.live + 2 + j));
	side_exit(&side);
}

/*
 * The paper's example, tokens 1 to 17 and c = 4, derived by hand from
 * method.md. The scope is the pair at (idx, idx + 1) of the five tokens held;
 * idx cycles through 1, 2, 3, 4, so it is at (1, 2) at steps 5, 9, 13 and 17.
 *
 * treekv-left evicts the token at idx, the left of the scope:
 *
 *	step  held with the new one  idx  evicts
 *	  5    1  2  3  4  5          1    1
 *	  6    2  3  4  5  6          2    3
 *	  7    2  4  5  6  7          3    5
 *	  8    2  4  6  7  8          4    7
 *	  9    2  4  6  8  9          1    2
 *	 10    4  6  8  9 10          2    6
 *	 11    4  8  9 10 11          3    9
 *	 12    4  8 10 11 12          4   11
 *	 13    4  8 10 12 13          1    4
 *	 14    8 10 12 13 14          2   10
 *	 15    8 12 13 14 15          3   13
 *	 16    8 12 14 15 16          4   15
 *	 17    8 12 14 16 17          1    8   leaves 12 14 16 17
 */
static const uint32_t left_evicts[] = {
	1, 3, 5, 7, 2, 6, 9, 11, 4, 10, 13, 15, 8,
};

/*
 * treekv, where token i has the same weight in each step it is held, so that
 * its average is that weight (small integers: the sums are exact).
 */
static const float paper_weights[] = {
	1, 1, 9, 1, 4, 1, 6, 1, 7, 1, 3, 5, 1, 1, 2, 8, 1,
};

/*
 *	step  held with the new one  idx  scope's averages  evicts
 *	  5    1  2  3  4  5          1    1: 1   2: 1       1, a tie
 *	  6    2  3  4  5  6          2    3: 9   4: 1       4
 *	  7    2  3  5  6  7          3    5: 4   6: 1       6
 *	  8    2  3  5  7  8          4    7: 6   8: 1       8
 *	  9    2  3  5  7  9          1    2: 1   3: 9       2
 *	 10    3  5  7  9 10          2    5: 4   7: 6       5
 *	 11    3  7  9 10 11          3    9: 7  10: 1      10
 *	 12    3  7  9 11 12          4   11: 3  12: 5      11
 *	 13    3  7  9 12 13          1    3: 9   7: 6       7
 *	 14    3  9 12 13 14          2    9: 7  12: 5      12
 *	 15    3  9 13 14 15          3   13: 1  14: 1      13, a tie
 *	 16    3  9 14 15 16          4   15: 2  16: 8      15
 *	 17    3  9 14 16 17          1    3: 9   9: 7       9
 *
 * which leaves 3 14 16 17. At step 12 the sums say otherwise, 6 for 11 (held
 * twice) and 5 for 12.
 */
static const uint32_t pair_evicts[] = {
	1, 4, 6, 8, 2, 5, 10, 11, 7, 12, 13, 15, 9,
};

/*
 * treekv-skip, the listing's line 16: idx = (idx + 1) mod 4 + 1, which is 1, 3,
 * 1, 3. Scopes are worded as above, of tokens at places 1 and 2, or 3 and 4.
 *
 *	step  held with the new one  idx  scope's averages  evicts
 *	  5    1  2  3  4  5          1    1: 1   2: 1       1, a tie
 *	  6    2  3  4  5  6          3    4: 1   5: 4       4
 *	  7    2  3  5  6  7          1    2: 1   3: 9       2
 *	  8    3  5  6  7  8          3    6: 1   7: 6       6
 *	  9    3  5  7  8  9          1    3: 9   5: 4       5
 *	 10    3  7  8  9 10          3    8: 1   9: 7       8
 *	 11    3  7  9 10 11          1    3: 9   7: 6       7
 *	 12    3  9 10 11 12          3   10: 1  11: 3      10
 *	 13    3  9 11 12 13          1    3: 9   9: 7       9
 *	 14    3 11 12 13 14          3   12: 5  13: 1      13
 *	 15    3 11 12 14 15          1    3: 9  11: 3      11
 *	 16    3 12 14 15 16          3   14: 1  15: 2      14
 *	 17    3 12 15 16 17          1    3: 9  12: 5      12
 *
 * which leaves 3 15 16 17.
 */
static const uint32_t skip_evicts[] = {
	1, 4, 2, 6, 5, 8, 7, 10, 9, 13, 11, 14, 12,
};

/*
 * The baselines with one sink and a recent window of one, so that three tokens
 * are up for eviction; S is weight times the steps held, tova's the weight.
 *
 *	step  h2o: held, S                       evicts
 *	  5    1 [2: 4  3: 27  4: 2]  5           4
 *	  6    1 [2: 5  3: 36  5: 8]  6           2
 *	  7    1 [3: 45 5: 12  6: 2]  7           6
 *	  8    1 [3: 54 5: 16  7: 12] 8           7
 *	  9    1 [3: 63 5: 20  8: 2]  9           8
 *
 *	step  tova: held, the last weight        evicts
 *	  5    1 [2: 1  3: 9   4: 1]  5           2, a tie
 *	  6    1 [3: 9  4: 1   5: 4]  6           4
 *	  7    1 [3: 9  5: 4   6: 1]  7           6
 *	  8    1 [3: 9  5: 4   7: 6]  8           5
 *	  9    1 [3: 9  7: 6   8: 1]  9           8
 */
static const uint32_t h2o_evicts[] = { 4, 2, 6, 7, 8 };
static const uint32_t tova_evicts[] = { 2, 4, 6, 5, 8 };
static const uint32_t streaming_evicts[] = { 2, 3, 4, 5, 6 };

static void remove_token(uint32_t *held, uint32_t *n, uint32_t token)
{
	uint32_t to = 0;

	for (uint32_t i = 0; i < *n; i++)
		if (held[i] != token)
			held[to++] = held[i];
	assert_int_equal(to + 1, *n);
	*n = to;
}

static void compare_held(const struct side *side, const struct reference *ref,
			 const uint32_t *held, uint32_t n)
{
	assert_int_equal(side->live, n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t slot = side_slot(side, i);

		assert_int_equal(side->token[slot] + 1, held[i]);
		assert_int_equal(ref->tokens[i].number + 1, held[i]);
	}
}

/* Daemon and reference, step by step, against what was worked out by hand. */
static void work_through(const struct shape *shape, const uint32_t *evicts,
			 uint32_t evictions, const uint32_t *walk)
{
	struct reference *ref = new_reference(shape);
	uint32_t held[PAPER_BUDGET + 1], n = 0;
	struct side side;

	side_init(&side, shape);
	for (uint32_t t = 1; t <= PAPER_BUDGET + evictions; t++) {
		if (t > PAPER_BUDGET)
			assert_int_equal(side.walk,
					 walk[(t - PAPER_BUDGET - 1) % 4]);
		lockstep(&side, ref, paper_weights, t);
		held[n++] = t;
		if (t > PAPER_BUDGET)
			remove_token(held, &n, evicts[t - PAPER_BUDGET - 1]);
		compare_held(&side, ref, held, n);
	}
	side_exit(&side);
	reference_free(ref);
}

static void work_through_paper(const char *name, const uint32_t *evicts,
			       const uint32_t *walk)
{
	const struct shape shape = {
		.policy = policy_by_name(name),
		.budget = PAPER_BUDGET,
		.slots = PAPER_BUDGET + 1,
		.entry_size = 2,
	};

	work_through(&shape, evicts, PAPER_TOKENS - PAPER_BUDGET, walk);
}

static void work_through_baseline(const char *name, const uint32_t *evicts)
{
	static const uint32_t walk[] = { 1, 1, 1, 1 };
	const struct shape shape = {
		.policy = policy_by_name(name),
		.budget = PAPER_BUDGET,
		.sinks = 1,
		.recent = 1,
		.slots = PAPER_BUDGET + 1,
		.entry_size = 4,
	};

	work_through(&shape, evicts, ARRAY_SIZE(h2o_evicts), walk);
}

static const uint32_t text_walk[] = { 1, 2, 3, 4 };
static const uint32_t listing_walk[] = { 1, 3, 1, 3 };

static void test_treekv_walks_the_papers_17_token_example(void **state)
{
	(void)state;
	work_through_paper("treekv", pair_evicts, text_walk);
}

static void test_treekv_left_walks_the_papers_17_token_example(void **state)
{
	(void)state;
	work_through_paper("treekv-left", left_evicts, text_walk);
}

static void test_treekv_skip_walks_every_second_scope(void **state)
{
	(void)state;
	work_through_paper("treekv-skip", skip_evicts, listing_walk);
}

static void test_h2o_evicts_the_lowest_sum(void **state)
{
	(void)state;
	work_through_baseline("h2o", h2o_evicts);
}

static void test_tova_evicts_the_lowest_last_weight(void **state)
{
	(void)state;
	work_through_baseline("tova", tova_evicts);
}

static void test_streaming_evicts_the_oldest_after_the_sinks(void **state)
{
	(void)state;
	work_through_baseline("streaming", streaming_evicts);
}

/* One pair of averages, S / C each: is the left of the two evicted? */
static bool evicts_left(const char *name, float s0, uint32_t c0, float s1,
			uint32_t c1)
{
	const uint32_t order[] = { 0, 1 }, since[] = { 100 - c0, 100 - c1 };
	const float score[] = { s0, s1 };
	uint32_t room[2], ranks[1] = { SHM_FREE32 };
	uint64_t key[2];
	const struct policy_scope scope = {
		.order = order,
		.entry_size = sizeof(*order),
		.live = 2,
		.score = score,
		.since = since,
		.tail = 100,
		.selected = 1,
		.walk = 1,
	};
	const struct policy_scratch scratch = { room, key };

	assert_int_equal(
		policy_by_name(name)->evict(&scope, 1, ranks, &scratch), 1);
	assert_in_range(ranks[0], 0, 1);
	return ranks[0] == 0;
}

static void test_ties_evict_the_older(void **state)
{
	(void)state;
	assert_true(evicts_left("treekv", 3, 3, 1, 1));
	assert_true(evicts_left("treekv", 0, 3, -0.0f, 1));
	assert_true(evicts_left("treekv", INFINITY, 3, INFINITY, 1));
	assert_true(evicts_left("h2o", 3, 3, 3, 1));
	assert_true(evicts_left("tova", 3, 3, 3, 1));
}

static void test_a_nan_ranks_as_minus_infinity(void **state)
{
	static const char *const names[] = { "treekv", "treekv-skip", "h2o",
					     "tova" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_true(evicts_left(names[i], NAN, 1, NAN, 1));
		assert_true(evicts_left(names[i], NAN, 1, -INFINITY, 1));
		assert_true(evicts_left(names[i], -INFINITY, 1, NAN, 1));
		assert_true(evicts_left(names[i], NAN, 1, -1e38f, 1));
		assert_false(evicts_left(names[i], -1e38f, 1, NAN, 1));
		assert_false(evicts_left(names[i], 0, 1, -NAN, 1));
		assert_false(evicts_left(names[i], INFINITY, 1, NAN, 1));
	}
}

/* 1/3 in f32 is a little more than 1/3; a quotient in f32 would tie. */
static void test_averages_are_compared_in_double(void **state)
{
	const float third = 1.0f / 3;

	(void)state;
	assert_false(evicts_left("treekv", third, 1, 1, 3));
	assert_true(evicts_left("treekv", 1, 3, third, 1));
}

static void test_h2o_compares_sums_and_treekv_averages(void **state)
{
	(void)state;
	assert_true(evicts_left("treekv", 6, 3, 5, 1));
	assert_false(evicts_left("h2o", 6, 3, 5, 1));
	assert_false(evicts_left("tova", 6, 3, 5, 1));
}

/* since beyond tail, counts of 0: whatever leaves, the order stays sound. */
static void test_hostile_since_gives_a_sound_order(void **state)
{
	uint64_t rng = base_seed() + 200;

	(void)state;
	for (uint32_t i = 0; i < 200; i++) {
		const struct policy *policy = &policies[i % policies_count];
		struct shape shape;
		struct side side;

		draw_shape(&shape, policy, draw(&rng));
		shape.slots = shape.budget + 30;
		side_init(&side, &shape);
		side_scramble(&side, &rng, shape.budget + 20, shape.budget);
		side.tail = 5;
		if (policy->evict)
			side_compact(&side, 20);
		assert_int_equal(order_check(&side.order[side.current],
					     shape.slots, side.ranked,
					     shape.entry_size, side.seen),
				 0);
		side_exit(&side);
	}
}

/* A sound order of 20 slots, 12 of them live, to be damaged. */
static const struct shape damaged_shapes[] = {
	{ .budget = 12, .slots = 20, .entry_size = 2 },
	{ .budget = 12, .slots = 20, .entry_size = 4 },
};

static void put(const struct side *side, void *entries, uint32_t i,
		uint32_t value)
{
	if (side->shape->entry_size == 2)
		((uint16_t *)entries)[i] = value;
	else
		((uint32_t *)entries)[i] = value;
}

static int check_live(struct side *side, uint32_t n_live)
{
	return order_check(&side->order[0], side->shape->slots, n_live,
			   side->shape->entry_size, side->seen);
}

static int check(struct side *side)
{
	return check_live(side, side->live);
}

static void each_damaged(void (*damage)(struct side *side, uint64_t *rng))
{
	uint64_t rng = base_seed() + 300;

	for (int i = 0; i < 400; i++) {
		struct side side;

		side_init(&side, &damaged_shapes[i & 1]);
		side_scramble(&side, &rng, 12, 12);
		assert_int_equal(check(&side), 0);
		damage(&side, &rng);
		assert_int_equal(check(&side), -EBADMSG);
		side_exit(&side);
	}
}

static void duplicate_entry(struct side *side, uint64_t *rng)
{
	uint32_t i = draw_below(rng, 20);
	uint32_t j = (i + 1 + draw_below(rng, 19)) % 20;

	put(side, side->order[0].order, i, side_slot(side, j));
}

static void test_check_refuses_a_duplicate_entry(void **state)
{
	(void)state;
	each_damaged(duplicate_entry);
}

static void enter_out_of_range(struct side *side, uint64_t *rng)
{
	const uint32_t beyond[] = {
		20, 21, 0x7fff, 0x8000, 0x8000 | draw_below(rng, 20), 0xffff,
	};

	put(side, side->order[0].order, draw_below(rng, 20),
	    beyond[draw_below(rng, ARRAY_SIZE(beyond))]);
}

static void test_check_refuses_an_entry_out_of_range(void **state)
{
	(void)state;
	each_damaged(enter_out_of_range);
}

static void rank_wrongly(struct side *side, uint64_t *rng)
{
	uint32_t rank = draw_below(rng, 12);
	uint32_t wrong = (rank + 1 + draw_below(rng, 40)) & 0xffff;

	if (draw(rng) & 1)
		wrong = SHM_FREE32;
	put(side, side->order[0].rank, side_slot(side, rank), wrong);
}

static void test_check_refuses_a_wrong_rank(void **state)
{
	(void)state;
	each_damaged(rank_wrongly);
}

static void rank_free_slot(struct side *side, uint64_t *rng)
{
	put(side, side->order[0].rank, side_slot(side, 12 + draw_below(rng, 8)),
	    draw_below(rng, 20));
}

static void test_check_refuses_a_live_rank_on_a_free_slot(void **state)
{
	(void)state;
	each_damaged(rank_free_slot);
}

static void test_check_refuses_another_number_of_live_rows(void **state)
{
	uint64_t rng = base_seed() + 400;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(damaged_shapes); i++) {
		struct side side;

		side_init(&side, &damaged_shapes[i]);
		side_scramble(&side, &rng, 12, 12);
		for (uint32_t n = 0; n <= 20; n++)
			assert_int_equal(check_live(&side, n),
					 n == 12 ? 0 : -EBADMSG);
		side_exit(&side);
	}
}

/* In 4 byte entries the 2 byte sentinel is a rank, and a wrong one. */
static void test_check_refuses_the_other_sizes_sentinel(void **state)
{
	struct side side;

	(void)state;
	side_init(&side, &damaged_shapes[1]);
	assert_int_equal(check(&side), 0);
	put(&side, side.order[0].rank, 7, SHM_FREE16);
	assert_int_equal(check(&side), -EBADMSG);
	side_exit(&side);
}

static void test_check_takes_every_slot_live_and_none(void **state)
{
	uint64_t rng = base_seed() + 500;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(damaged_shapes); i++) {
		struct side side;

		side_init(&side, &damaged_shapes[i]);
		assert_int_equal(check_live(&side, 0), 0);
		side_scramble(&side, &rng, 20, 20);
		assert_int_equal(check(&side), 0);
		side_exit(&side);
	}
}

/* method.md's names, and what each of them reads. */
static const struct {
	enum shm_policy id;
	const char *name;
	enum policy_scores scores;
	uint32_t selected_min;
	bool refuses;
} known[] = {
	{ SHM_POLICY_TREEKV, "treekv", POLICY_SCORES_SUM, 1, false },
	{ SHM_POLICY_TREEKV_LEFT, "treekv-left", POLICY_SCORES_NONE, 1, false },
	{ SHM_POLICY_TREEKV_SKIP, "treekv-skip", POLICY_SCORES_SUM, 1, false },
	{ SHM_POLICY_STREAMING, "streaming", POLICY_SCORES_NONE, 0, false },
	{ SHM_POLICY_H2O, "h2o", POLICY_SCORES_SUM, 0, false },
	{ SHM_POLICY_TOVA, "tova", POLICY_SCORES_LAST, 0, false },
	{ SHM_POLICY_FULL, "full", POLICY_SCORES_NONE, 0, true },
};

static void test_the_table_has_every_policy_once(void **state)
{
	(void)state;
	assert_int_equal(policies_count, ARRAY_SIZE(known));
	assert_int_equal(SHM_POLICY_FULL, ARRAY_SIZE(known));
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		const struct policy *policy = policy_by_name(known[i].name);

		assert_non_null(policy);
		assert_ptr_equal(policy_by_id(known[i].id), policy);
		assert_int_equal(policy->id, known[i].id);
		assert_string_equal(policy->name, known[i].name);
		assert_int_equal(policy->scores, known[i].scores);
		assert_int_equal(policy->selected_min, known[i].selected_min);
		assert_int_equal(!policy->evict, known[i].refuses);
		for (size_t j = 0; j < i; j++) {
			assert_string_not_equal(policies[i].name,
						policies[j].name);
			assert_int_not_equal(policies[i].id, policies[j].id);
		}
	}
}

static void test_unknown_policies_are_null(void **state)
{
	static const char *const names[] = {
		"", "t", "treek", "treekv-", "TreeKV", "treekv ", "fully",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_null(policy_by_name(names[i]));
	assert_null(policy_by_id(0));
	assert_null(policy_by_id(SHM_POLICY_FULL + 1));
	assert_null(policy_by_id(UINT32_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_table_has_every_policy_once),
		cmocka_unit_test(test_unknown_policies_are_null),
		cmocka_unit_test(test_treekv_walks_the_papers_17_token_example),
		cmocka_unit_test(
			test_treekv_left_walks_the_papers_17_token_example),
		cmocka_unit_test(test_treekv_skip_walks_every_second_scope),
		cmocka_unit_test(test_h2o_evicts_the_lowest_sum),
		cmocka_unit_test(test_tova_evicts_the_lowest_last_weight),
		cmocka_unit_test(
			test_streaming_evicts_the_oldest_after_the_sinks),
		cmocka_unit_test(test_ties_evict_the_older),
		cmocka_unit_test(test_a_nan_ranks_as_minus_infinity),
		cmocka_unit_test(test_averages_are_compared_in_double),
		cmocka_unit_test(test_h2o_compares_sums_and_treekv_averages),
		cmocka_unit_test(test_treekv_in_lockstep_is_algorithm_1),
		cmocka_unit_test(test_treekv_left_in_lockstep_is_the_reference),
		cmocka_unit_test(test_treekv_skip_in_lockstep_is_the_reference),
		cmocka_unit_test(test_streaming_in_lockstep_is_the_reference),
		cmocka_unit_test(test_h2o_in_lockstep_is_the_reference),
		cmocka_unit_test(test_tova_in_lockstep_is_the_reference),
		cmocka_unit_test(test_a_batch_of_k_is_k_single_evictions),
		cmocka_unit_test(test_long_orders_keep_every_slot),
		cmocka_unit_test(
			test_compaction_of_nothing_ranks_what_was_appended),
		cmocka_unit_test(
			test_appends_have_the_same_slots_under_both_orders),
		cmocka_unit_test(test_hostile_since_gives_a_sound_order),
		cmocka_unit_test(test_check_refuses_a_duplicate_entry),
		cmocka_unit_test(test_check_refuses_an_entry_out_of_range),
		cmocka_unit_test(test_check_refuses_a_wrong_rank),
		cmocka_unit_test(test_check_refuses_a_live_rank_on_a_free_slot),
		cmocka_unit_test(
			test_check_refuses_another_number_of_live_rows),
		cmocka_unit_test(test_check_refuses_the_other_sizes_sentinel),
		cmocka_unit_test(test_check_takes_every_slot_live_and_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
