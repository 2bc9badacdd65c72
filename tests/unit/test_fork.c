// SPDX-License-Identifier: BSD-2-Clause
/*
 * Forks, on the daemon's own caches and without the daemon: what a fork begins
 * with, and that from there on it holds what the rules say, step by step
 * against tests/unit/reference.c, and what a cache would that had read the
 * prefix itself.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "client/cache.h"
#include "daemon/adopt.h"
#include "daemon/fork_make.h"
#include "tests/unit/fixture.h"
#include "tests/unit/reference.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define LAYERS	      2
#define HEADS	      2
#define ROW	      16
#define SLOTS_MAX     256

/* A cache, its writer, and its compaction, which the test runs. */
struct bed {
	struct cache *cache;
	struct treekv_cache writer;
	struct order_scratch scratch;
	void *memory;
};

static const char *const policies_named[] = {
	"treekv", "treekv-left", "treekv-skip", "streaming", "h2o", "tova",
};

/* ---- caches ---- */

static void compact(struct treekv_cache *writer)
{
	struct bed *bed = writer->owner;
	struct compaction *c = &bed->cache->compaction;

	if (!compact_begin(c))
		return;
	while (compact_heads(c, UINT32_MAX))
		;
	assert_int_equal(c->fault, COMPACT_SOUND);
	compact_publish(c);
}

static int compact_wait(struct treekv_cache *writer, uint64_t generation,
			int timeout_ms)
{
	(void)generation;
	(void)timeout_ms;
	compact(writer);
	return 0;
}

static void do_nothing(struct treekv_cache *writer)
{
	(void)writer;
}

static const struct cache_ops ops = {
	.ring = do_nothing,
	.wait = compact_wait,
	.renew = do_nothing,
};

static void attach(struct bed *bed)
{
	struct cache *cache = bed->cache;
	void *rows = mmap(NULL, cache->rows_size, PROT_READ | PROT_WRITE,
			  MAP_SHARED, cache->rows_fd, 0);

	assert_ptr_not_equal(rows, MAP_FAILED);
	bed->writer = (struct treekv_cache){
		.ops = &ops,
		.owner = bed,
		.index = cache->index,
		.rows = rows,
		.index_size = cache->index_size,
		.rows_size = cache->rows_size,
		.rows_inode = cache_rows_inode(cache),
		.name = "bed",
	};
	if (cache->parent) {
		bed->writer.parent = cache->parent->rows;
		bed->writer.parent_size = cache->parent->rows_size;
	}
	assert_int_equal(cache_init(&bed->writer), 0);
	bed->memory = malloc(order_scratch_size(cache->slots));
	assert_non_null(bed->memory);
	order_scratch_init(&bed->scratch, bed->memory, cache->slots);
	cache->compaction.scratch = &bed->scratch;
}

static void detach(struct bed *bed)
{
	if (!bed->writer.rows)
		return;
	munmap(bed->writer.rows, bed->cache->rows_size);
	cache_exit(&bed->writer);
	bed->writer.rows = NULL;
}

static struct bed *bed_new(const struct treekv_spec *from)
{
	struct bed *bed = calloc(1, sizeof(*bed));
	const uint32_t budgets[LAYERS] = { from->budget, from->budget };
	struct shm_spec spec = fixture_shm_spec(from);
	struct cache_error why;

	assert_non_null(bed);
	assert_int_equal(layout_check(&spec, budgets, NULL), 0);
	assert_int_equal(cache_new(&bed->cache, "bed", &spec, budgets, NULL,
				   HUGE_PAGES_NEVER, &why),
			 0);
	cache_format(bed->cache);
	attach(bed);
	return bed;
}

static void bed_free(struct bed *bed)
{
	if (!bed)
		return;
	detach(bed);
	if (bed->cache->parent)
		bed->cache->parent->children--;
	cache_free(bed->cache);
	free(bed->memory);
	free(bed);
}

static void freeze(struct bed *bed)
{
	struct cache *cache = bed->cache;

	detach(bed);
	compact_move(&cache->compaction, cache->rows, cache_rows_inode(cache));
	assert_int_equal(cache->compaction.fault, COMPACT_SOUND);
	assert_int_equal(cache_seal(cache), 0);
	assert_int_equal(cache_freeze(cache), 0);
}

static int plan_check(struct fork_plan *plan, struct bed *parent,
		      const struct treekv_spec *from, uint64_t tokens,
		      bool evict_prefix, const char *words)
{
	char why[512] = "";
	int r;

	*plan = (struct fork_plan){
		.parent = parent->cache,
		.tokens = tokens,
		.evict_prefix = evict_prefix,
		.spec = fixture_shm_spec(from),
		.budgets = { from->budget, from->budget },
	};
	r = fork_check(plan, why, sizeof(why));
	if (r && !strstr(why, words))
		fail_msg("\"%s\" does not say \"%s\"", why, words);
	return r;
}

static struct bed *fork_of(struct bed *parent, const struct treekv_spec *spec,
			   uint64_t tokens, bool evict_prefix)
{
	struct bed *bed = calloc(1, sizeof(*bed));
	struct layout_error error;
	struct fork_plan plan;
	struct cache_error why;
	const char *text;

	assert_non_null(bed);
	assert_int_equal(plan_check(&plan, parent, spec, tokens, evict_prefix,
				    "nothing"),
			 0);
	assert_int_equal(cache_new(&bed->cache, "fork", &plan.spec,
				   plan.budgets, plan.layer, HUGE_PAGES_NEVER,
				   &why),
			 0);
	assert_int_equal(fork_fill(bed->cache, &plan), 0);
	cache_set_parent(bed->cache, plan.parent);
	if (layout_check_index(bed->cache->index, bed->cache->index_size,
			       &error))
		fail_msg("%s", error.text);
	if (adopt_check(bed->cache->index, cache_rows_inode(bed->cache), &text))
		fail_msg("%s", text);
	attach(bed);
	return bed;
}

/* ---- steps ---- */

static uint8_t content(uint32_t layer, uint32_t head, uint64_t token)
{
	return (uint8_t)(1 + token * 7 + layer * 3 + head);
}

/* A weight for everybody: never 0, no two sums alike. */
static float weight(uint32_t layer, uint32_t head, uint64_t query,
		    uint64_t token)
{
	uint32_t x = (uint32_t)(query * 2654435761U + token * 40503U +
				layer * 97U + head * 31U);

	return token > query ? 0 : 1e-3F + (float)(x >> 8 & 0xffff) * 0x1p-17F;
}

static void append_layer(struct treekv_cache *writer, uint32_t l, uint32_t n)
{
	uint8_t k[8][HEADS][ROW], v[8][HEADS][ROW];

	for (uint32_t j = 0; j < n; j++)
		for (uint32_t h = 0; h < HEADS; h++) {
			uint8_t byte = content(l, h, writer->tail + j);

			memset(k[j][h], byte, ROW);
			memset(v[j][h], ~byte, ROW);
		}
	assert_int_equal(treekv_append(writer, l, k, v), 0);
}

static void observe(struct treekv_cache *writer, uint32_t l, uint32_t h,
		    uint32_t j)
{
	float weights[SLOTS_MAX] = { 0 };
	struct treekv_view view;

	assert_int_equal(treekv_view(writer, l, h, &view), 0);
	for (uint32_t s = 0; s < view.slots; s++)
		if (view.rank[s] != TREEKV_FREE)
			weights[s] =
				weight(l, h, writer->tail + j, view.token[s]);
	assert_int_equal(treekv_observe(writer, l, h, j, weights, 1, SLOTS_MAX),
			 0);
}

/* n tokens, whose ids are their numbers, and a note that says how many. */
static void step(struct bed *bed, uint32_t n)
{
	struct treekv_cache *writer = &bed->writer;
	uint32_t ids[8];

	for (uint32_t j = 0; j < n; j++)
		ids[j] = (uint32_t)writer->tail + j;
	assert_int_equal(treekv_step_begin(writer, ids, n, -1), 0);
	for (uint32_t l = 0; l < LAYERS; l++) {
		append_layer(writer, l, n);
		for (uint32_t h = 0; h < HEADS; h++)
			for (uint32_t j = 0; j < n; j++)
				observe(writer, l, h, j);
	}
	memset(treekv_note(writer), (int)(writer->tail + n), TREEKV_NOTE_SIZE);
	assert_int_equal(treekv_commit(writer, n), 0);
}

static void lockstep(struct bed *bed, uint64_t tokens)
{
	for (uint64_t i = 0; i < tokens; i++) {
		step(bed, 1);
		assert_int_equal(treekv_settle(&bed->writer, -1), 0);
	}
}

/* ---- what is held ---- */

struct held {
	uint32_t slot;
	uint32_t token;
	uint32_t since;
	float score;
};

/* By rank. Every row is checked. Return: how many. */
static uint32_t look(struct bed *bed, uint32_t l, uint32_t h, struct held *ret)
{
	const struct cache_head *head = cache_head_at(&bed->writer, l, h);
	struct treekv_view view;
	uint32_t slot = 0, found = 0;

	assert_int_equal(treekv_view(&bed->writer, l, h, &view), 0);
	assert_int_equal(view.spans, bed->cache->parent ? 2 : 1);
	for (uint32_t i = 0; i < view.spans; i++)
		for (uint32_t s = 0; s < view.span[i].slots; s++, slot++) {
			const uint8_t *k = view.span[i].k, *v = view.span[i].v;
			uint8_t byte = content(l, h, view.token[slot]);

			if (view.rank[slot] == TREEKV_FREE)
				continue;
			assert_int_equal(k[s * view.k_stride], byte);
			assert_int_equal(v[s * view.v_stride], (uint8_t)~byte);
			assert_true(view.rank[slot] < view.live);
			ret[view.rank[slot]] = (struct held){
				.slot = slot,
				.token = view.token[slot],
				.since = head->since[slot],
				.score = head->score[bed->writer.parity][slot],
			};
			found++;
		}
	assert_int_equal(slot, view.slots);
	assert_int_equal(found, view.live);
	return found;
}

/* The same tokens with the same sums, wherever they lie. */
static void assert_same_held(struct bed *a, struct bed *b)
{
	struct held x[SLOTS_MAX], y[SLOTS_MAX];

	assert_int_equal(a->writer.tail, b->writer.tail);
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++) {
			uint32_t n = look(a, l, h, x);

			assert_int_equal(n, look(b, l, h, y));
			for (uint32_t r = 0; r < n; r++) {
				assert_int_equal(x[r].token, y[r].token);
				assert_int_equal(x[r].since, y[r].since);
				assert_memory_equal(&x[r].score, &y[r].score,
						    sizeof(float));
			}
			assert_int_equal(cache_walks(a->cache, l)[h],
					 cache_walks(b->cache, l)[h]);
		}
}

static struct treekv_spec spec_of(const char *policy, uint32_t budget)
{
	struct treekv_spec spec = fixture_spec();

	assert_int_equal(treekv_policy_parse(&spec.policy, policy), 0);
	spec.k_row = spec.v_row = ROW;
	spec.budget = budget;
	spec.sinks = 2;
	spec.recent = 5;
	spec.slack = 3;
	spec.ids = 1000;
	return spec;
}

static struct bed *frozen(const struct treekv_spec *spec, uint64_t tokens)
{
	struct bed *bed = bed_new(spec);

	lockstep(bed, tokens);
	freeze(bed);
	return bed;
}

/* ---- what a fork begins with ---- */

static void test_a_fork_begins_where_its_parent_ended(void **state)
{
	struct treekv_spec spec = spec_of("treekv", 24);

	(void)state;
	for (uint64_t tail = 0; tail < 90; tail += 9) {
		struct bed *unbroken = bed_new(&spec);
		struct bed *parent = frozen(&spec, tail);
		struct bed *fork = fork_of(parent, &spec, tail, true);
		const uint32_t *ids;

		lockstep(unbroken, tail);
		assert_same_held(unbroken, fork);
		assert_int_equal(treekv_ids(&fork->writer, &ids), tail);
		for (uint32_t i = 0; i < tail; i++)
			assert_int_equal(ids[i], i);
		assert_memory_equal(treekv_note(&fork->writer),
				    treekv_note(&unbroken->writer),
				    TREEKV_NOTE_SIZE);
		bed_free(fork);
		bed_free(parent);
		bed_free(unbroken);
	}
}

static void test_a_fork_copies_no_rows(void **state)
{
	struct treekv_spec spec = spec_of("treekv", 40);
	struct bed *parent = frozen(&spec, 30);
	struct bed *fork = fork_of(parent, &spec, 30, false);
	struct treekv_view view;

	(void)state;
	assert_int_equal(treekv_view(&fork->writer, 1, 1, &view), 0);
	assert_null(view.k);
	assert_null(view.v);
	assert_int_equal(view.span[0].slots, 43);
	assert_int_equal(view.span[1].slots, 40 - 30 + 3);
	assert_true((const char *)view.span[0].k >
		    (const char *)parent->cache->rows);
	assert_true((const char *)view.span[0].k <
		    (const char *)parent->cache->rows +
			    parent->cache->rows_size);
	assert_int_equal(view.slots, 43 + 13);
	assert_int_equal(view.live, 30);
	bed_free(fork);
	fork = fork_of(parent, &spec, 30, true);
	assert_int_equal(treekv_view(&fork->writer, 1, 1, &view), 0);
	assert_int_equal(view.span[1].slots, 43);
	bed_free(fork);
	bed_free(parent);
}

/* ---- going on ---- */

/* evict-prefix: as if it had read the prefix itself. */
static void test_a_fork_goes_on_as_its_parent_would(void **state)
{
	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(policies_named); p++) {
		struct treekv_spec spec = spec_of(policies_named[p], 24);

		for (uint64_t tail = 10; tail < 80; tail += 23) {
			struct bed *unbroken = bed_new(&spec);
			struct bed *parent = frozen(&spec, tail);
			struct bed *fork = fork_of(parent, &spec, tail, true);

			lockstep(unbroken, tail);
			for (int i = 0; i < 150; i++) {
				lockstep(unbroken, 1);
				lockstep(fork, 1);
				assert_same_held(unbroken, fork);
			}
			bed_free(fork);
			bed_free(parent);
			bed_free(unbroken);
		}
	}
}

static void test_a_full_cache_goes_on_in_its_fork(void **state)
{
	struct treekv_spec parents = spec_of("full", 50);
	struct treekv_spec spec = spec_of("full", 90);
	struct bed *unbroken = bed_new(&spec);
	struct bed *parent = bed_new(&parents);
	struct bed *fork;

	(void)state;
	for (int i = 0; i < 50; i++) {
		step(unbroken, 1);
		step(parent, 1);
	}
	freeze(parent);
	fork = fork_of(parent, &spec, 50, true); /* pinned all the same */
	assert_int_equal(fork->cache->index->flags & SHM_CACHE_EVICT_PREFIX, 0);
	for (int i = 0; i < 40; i++) {
		step(unbroken, 1);
		step(fork, 1);
		assert_same_held(unbroken, fork);
	}
	assert_int_equal(treekv_step_begin(&fork->writer, NULL, 1, 0), -ENOSPC);
	bed_free(fork);
	bed_free(parent);
	bed_free(unbroken);
}

/* ---- against the naive lists ---- */

struct pair {
	struct bed *bed;
	struct reference *list[LAYERS][HEADS];
};

static void list_step(struct reference *list, uint32_t l, uint32_t h)
{
	static float weights[1000];

	for (uint32_t i = 0; i <= list->tokens_seen; i++)
		weights[i] = weight(l, h, list->tokens_seen, i);
	reference_step(list, weights);
}

static void pair_step(struct pair *pair)
{
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++)
			list_step(pair->list[l][h], l, h);
	lockstep(pair->bed, 1);
}

static void pair_compare(struct pair *pair)
{
	struct held held[SLOTS_MAX];

	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++) {
			const struct reference *list = pair->list[l][h];

			assert_int_equal(look(pair->bed, l, h, held),
					 list->live);
			for (uint32_t r = 0; r < list->live; r++) {
				assert_int_equal(held[r].token,
						 list->tokens[r].number);
				assert_int_equal(held[r].slot,
						 list->tokens[r].slot);
			}
		}
}

static void pair_free(struct pair *pair)
{
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++)
			reference_free(pair->list[l][h]);
	bed_free(pair->bed);
}

static void make_parent(struct pair *ret, const struct treekv_spec *spec,
			const char *policy, uint32_t tokens)
{
	ret->bed = bed_new(spec);
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++)
			ret->list[l][h] = reference_new(
				policy, spec->budget, spec->sinks, spec->recent,
				spec->budget + spec->slack);
	for (uint32_t i = 0; i < tokens; i++)
		pair_step(ret);
	pair_compare(ret);
	freeze(ret->bed);
}

static void make_fork(struct pair *ret, const struct pair *parent,
		      const struct treekv_spec *spec, const char *policy,
		      uint32_t tokens, bool pinned)
{
	const struct shm_index *of = parent->bed->cache->index;
	uint32_t live = parent->list[0][0]->live;
	bool whole = tokens == of->frozen_tail;
	struct reference_prefix prefix = {
		.tokens = whole ? live : tokens,
		.parent_slots = of->spec.slack + 24,
		.pinned = pinned,
		.sums = whole && of->spec.policy == (uint32_t)spec->policy,
	};
	uint32_t own =
		spec->budget + spec->slack - (pinned ? prefix.tokens : 0);

	ret->bed = fork_of(parent->bed, spec, tokens, !pinned);
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++) {
			prefix.parent = parent->list[l][h];
			ret->list[l][h] =
				reference_fork(&prefix, policy, spec->budget,
					       spec->sinks, spec->recent, own);
		}
}

static void compare_fork(const char *policy, uint32_t tail, uint32_t budget,
			 uint32_t tokens, bool pinned)
{
	struct treekv_spec parents = spec_of(policy, 24);
	struct treekv_spec spec = spec_of(policy, budget);
	struct pair parent, fork;

	make_parent(&parent, &parents, policy, tail);
	make_fork(&fork, &parent, &spec, policy, tokens, pinned);
	if (budget != 24) /* walks of another length begin anew */
		for (uint32_t l = 0; l < LAYERS; l++)
			for (uint32_t h = 0; h < HEADS; h++)
				fork.list[l][h]->idx = 1;
	pair_compare(&fork);
	for (int i = 0; i < 200; i++) {
		pair_step(&fork);
		pair_compare(&fork);
	}
	pair_free(&fork);
	pair_free(&parent);
}

static void test_forks_follow_the_reference(void **state)
{
	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(policies_named); p++) {
		const char *policy = policies_named[p];

		compare_fork(policy, 60, 24, 60, false);
		compare_fork(policy, 60, 40, 60, true);
		compare_fork(policy, 60, 33, 60, false);
		compare_fork(policy, 20, 30, 20, true);
		compare_fork(policy, 1, 24, 1, true); /* less than the sinks */
	}
}

/* The first tokens of an exact cache; their scores begin anew. */
static void test_forks_of_a_part_follow_the_reference(void **state)
{
	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(policies_named); p++) {
		const char *policy = policies_named[p];

		for (uint32_t tokens = 1; tokens < 24; tokens += 7) {
			compare_fork(policy, 24, 40, tokens, true);
			compare_fork(policy, 24, 24, tokens, false);
		}
	}
}

/* Several tokens a step, compacted late: batches of evictions. */
static void test_batches_keep_the_slots_apart(void **state)
{
	struct treekv_spec spec = spec_of("treekv", 24);
	struct held held[SLOTS_MAX];
	struct bed *parent, *fork;

	(void)state;
	spec.slack = 8;
	parent = frozen(&spec, 50);
	fork = fork_of(parent, &spec, 50, true);
	for (int i = 0; i < 100; i++) {
		const char *why;

		step(fork, 1 + (uint32_t)i % 8);
		for (uint32_t l = 0; l < LAYERS; l++)
			for (uint32_t h = 0; h < HEADS; h++)
				look(fork, l, h, held);
		if (i % 3)
			compact(&fork->writer);
		assert_int_equal(adopt_check(fork->cache->index,
					     cache_rows_inode(fork->cache),
					     &why),
				 0);
	}
	/* By now all of the prefix but its sinks has left. */
	look(fork, 0, 0, held);
	for (uint32_t r = 0; r < 24; r++)
		assert_int_equal(held[r].slot < 32, r < 2);
	bed_free(fork);
	bed_free(parent);
}

static void test_forks_do_not_disturb_each_other(void **state)
{
	struct treekv_spec spec = spec_of("treekv", 40);
	struct bed *parent = frozen(&spec, 30);
	struct bed *a = fork_of(parent, &spec, 30, false);
	struct bed *b = fork_of(parent, &spec, 30, false);
	struct bed *c;

	(void)state;
	assert_int_equal(parent->cache->children, 2);
	lockstep(a, 100);
	lockstep(b, 50);
	lockstep(b, 50);
	assert_same_held(a, b);
	c = fork_of(parent, &spec, 30, false);
	lockstep(c, 100);
	assert_same_held(a, c);
	bed_free(a);
	bed_free(b);
	bed_free(c);
	assert_int_equal(parent->cache->children, 0);
	bed_free(parent);
}

/* ---- refusals ---- */

static void assert_refused(struct bed *parent, const struct treekv_spec *spec,
			   uint64_t tokens, bool evict_prefix, int error,
			   const char *words)
{
	struct fork_plan plan;

	assert_int_equal(plan_check(&plan, parent, spec, tokens, evict_prefix,
				    words),
			 error);
}

static void test_what_cannot_be_forked(void **state)
{
	struct treekv_spec spec = spec_of("treekv", 24);
	struct bed *exact = frozen(&spec, 20), *parent = frozen(&spec, 60);

	(void)state;
	assert_refused(parent, &spec, 61, true, -EINVAL,
		       "61 tokens of it are wanted, it has 60");
	assert_refused(parent, &spec, 59, true, -EINVAL,
		       "it does not hold all of its 60 tokens");
	assert_refused(exact, &spec, 21, true, -EINVAL, "it has 20");
	assert_refused(parent, &spec, 60, false, -EINVAL,
		       "the budget of layer 0 is 24, but a prefix of 24 rows");
	spec.budget = 29;
	assert_refused(parent, &spec, 60, false, -EINVAL, "evict the prefix");
	spec.budget = 30;
	assert_refused(parent, &spec, 60, false, 0, "");
	spec.budget = 23;
	assert_refused(parent, &spec, 60, true, -EINVAL,
		       "the prefix has 24 rows in layer 0, its budget is 23");
	spec.budget = 24;
	spec.dtype = TREEKV_F16;
	assert_refused(exact, &spec, 20, true, -EMEDIUMTYPE, "dtype f32");
	spec.dtype = TREEKV_F32;
	spec.model[0] ^= 1;
	assert_refused(exact, &spec, 20, true, -EMEDIUMTYPE, "model");
	bed_free(exact);
	bed_free(parent);
}

/* The ids that the parent has not kept are not made up. */
static void test_ids_end_where_the_parents_end(void **state)
{
	struct treekv_spec spec = spec_of("treekv", 24);
	struct bed *parent, *fork;
	const uint32_t *ids;

	(void)state;
	spec.ids = 7;
	parent = frozen(&spec, 20);
	spec.ids = 100;
	fork = fork_of(parent, &spec, 20, true);
	lockstep(fork, 10);
	assert_int_equal(treekv_ids(&fork->writer, &ids), 7);
	assert_int_equal(ids[6], 6);
	bed_free(fork);
	fork = fork_of(parent, &spec, 5, true);
	lockstep(fork, 10);
	assert_int_equal(treekv_ids(&fork->writer, &ids), 15);
	assert_int_equal(ids[14], 14);
	bed_free(fork);
	bed_free(parent);
}

static void test_a_damaged_order_is_not_adopted(void **state)
{
	struct treekv_spec spec = spec_of("treekv", 24);
	struct bed *parent = frozen(&spec, 20);
	struct bed *fork = fork_of(parent, &spec, 20, true);
	uint16_t *order = (uint16_t *)(uintptr_t)cache_order(fork->cache, 1, 1);
	uint64_t inode = cache_rows_inode(fork->cache);
	const char *why;

	(void)state;
	assert_int_equal(adopt_check(fork->cache->index, inode, &why), 0);
	/* The first free slot, and the first that will never be free. */
	assert_int_equal(order[20], 27);
	assert_int_equal(order[20 + 27], 20);
	order[20] = 20;
	order[20 + 27] = 27;
	assert_int_equal(adopt_check(fork->cache->index, inode, &why),
			 -EBADMSG);
	bed_free(fork);
	bed_free(parent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_fork_begins_where_its_parent_ended),
		cmocka_unit_test(test_a_fork_copies_no_rows),
		cmocka_unit_test(test_a_fork_goes_on_as_its_parent_would),
		cmocka_unit_test(test_a_full_cache_goes_on_in_its_fork),
		cmocka_unit_test(test_forks_follow_the_reference),
		cmocka_unit_test(test_forks_of_a_part_follow_the_reference),
		cmocka_unit_test(test_batches_keep_the_slots_apart),
		cmocka_unit_test(test_forks_do_not_disturb_each_other),
		cmocka_unit_test(test_what_cannot_be_forked),
		cmocka_unit_test(test_ids_end_where_the_parents_end),
		cmocka_unit_test(test_a_damaged_order_is_not_adopted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
