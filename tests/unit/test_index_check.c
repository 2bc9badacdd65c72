// SPDX-License-Identifier: BSD-2-Clause
/*
 * layout_check_index() of proto/layout.c, on headers as the daemon writes them
 * and as nobody should.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/plan.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define TABLE_FLIPS   2000

/* An index as the daemon leaves it; free() it. */
static struct shm_index *write_index(const struct plan *plan, uint32_t flags,
				     uint64_t *size)
{
	const struct layout *layout = &plan->layout;
	struct shm_index *index;

	*size = layout_round(layout->index_size, flags & SHM_CACHE_INDEX_HUGE);
	index = aligned_alloc(4096, *size);
	assert_non_null(index);
	memset(index, 0, *size);
	index->magic = SHM_INDEX_MAGIC;
	index->version = SHM_VERSION;
	index->header_size = sizeof(*index);
	index->index_size = *size;
	index->rows_size =
		layout_round(layout->rows_size, flags & SHM_CACHE_HUGE);
	index->layers = layout->layers;
	index->buffer[0] = layout->buffer[0];
	index->buffer[1] = layout->buffer[1];
	index->buffer_size = layout->buffer_size;
	index->level = layout->level;
	index->walk = layout->walk;
	index->ids = layout->ids;
	index->parent_id = plan->fork ? 7 : 0;
	index->spec = plan->spec;
	index->flags = flags;
	memcpy((char *)index + layout->layers, plan->layers,
	       plan->spec.layers * sizeof(*plan->layers));
	return index;
}

static void test_index_check_takes_what_was_just_written(void **state)
{
	uint64_t rng = plan_seed() + 3;

	(void)state;
	for (int i = 0; i < PLANS; i++) {
		struct layout_error error = { "" };
		struct shm_index *index;
		struct plan plan;
		uint64_t size;
		int r;

		plan_draw(&plan, &rng);
		index = write_index(&plan,
				    plan_random(&rng) & (SHM_CACHE_EPHEMERAL |
							 SHM_CACHE_HUGE |
							 SHM_CACHE_INDEX_HUGE),
				    &size);
		r = layout_check_index(index, size, &error);
		if (r)
			fail_msg("spec %d: %d, %s", i, r, error.text);
		free(index);
	}
}

static void small_plan(struct plan *ret, bool fork)
{
	memset(ret, 0, sizeof(*ret));
	ret->spec = plan_spec;
	ret->spec.layers = 3;
	ret->fork = fork;
	for (uint32_t l = 0; l < 3; l++) {
		ret->budgets[l] = 100 * (l + 1);
		ret->prefix[l].slots = 50 + l;
		ret->prefix[l].pinned = 20 + l;
	}
	layout_init(&ret->layout, ret->layers, &ret->spec, ret->budgets,
		    fork ? ret->prefix : NULL);
}

#define HEADER_FIELD(field, bits, error)                                    \
	{                                                                   \
#field, offsetof(struct shm_index, field),                  \
			sizeof(((struct shm_index *)0)->field), bits, error \
	}

/*
 * What the check answers for. Every single bit of some fields matters; of
 * others, such as a row size that may grow within its padding, only that the
 * field cannot be turned over whole.
 */
static const struct {
	const char *name;
	size_t at;
	size_t size;
	uint64_t bits; /* that may not flip alone */
	int error;
} header_fields[] = {
	HEADER_FIELD(magic, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(version, UINT32_MAX, -EPROTO),
	HEADER_FIELD(header_size, UINT32_MAX, -EPROTO),
	HEADER_FIELD(index_size, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(rows_size, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(layers, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(buffer[0], UINT64_MAX, -EBADMSG),
	HEADER_FIELD(buffer[1], UINT64_MAX, -EBADMSG),
	HEADER_FIELD(buffer_size, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(level, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(walk, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(ids, UINT64_MAX, -EBADMSG),
	HEADER_FIELD(spec.layers, UINT32_MAX, -EBADMSG),
	HEADER_FIELD(spec.kv_heads, UINT32_MAX, -EBADMSG),
	HEADER_FIELD(spec.k_row, UINT32_MAX << 1, -EBADMSG),
	HEADER_FIELD(spec.v_row, UINT32_MAX << 1, -EBADMSG),
	HEADER_FIELD(spec.dtype, UINT32_MAX << 2, -EBADMSG),
	HEADER_FIELD(spec.policy, UINT32_MAX << 3, -EBADMSG),
	HEADER_FIELD(spec.positions, UINT32_MAX << 2, -EBADMSG),
	HEADER_FIELD(spec.sinks, UINT32_MAX << 7, -EBADMSG),
	HEADER_FIELD(spec.recent, UINT32_MAX << 7, -EBADMSG),
	HEADER_FIELD(spec.slack, UINT32_MAX, -EBADMSG),
	HEADER_FIELD(spec.ids, UINT32_MAX << 5, -EBADMSG),
	HEADER_FIELD(spec.entry_size, UINT32_MAX, -EBADMSG),
	HEADER_FIELD(flags, SHM_CACHE_HUGE | SHM_CACHE_INDEX_HUGE, -EBADMSG),
};

static void assert_index_refused(const struct shm_index *index, uint64_t size,
				 int error, const char *what, uint64_t mask)
{
	struct layout_error text = { "" };
	int r = layout_check_index(index, size, &text);

	if (r != error || !text.text[0])
		fail_msg("%s ^ %#llx: %d \"%s\", not %d", what,
			 (unsigned long long)mask, r, text.text, error);
	assert_int_equal(layout_check_index(index, size, NULL), error);
}

static void flip_field(struct shm_index *index, uint64_t size, size_t i)
{
	uint8_t *field = (uint8_t *)index + header_fields[i].at;
	uint64_t old = 0, new;

	memcpy(&old, field, header_fields[i].size);
	for (unsigned int b = 0; b <= 8 * header_fields[i].size; b++) {
		uint64_t mask = UINT64_C(1) << (b % 64);

		if (b == 8 * header_fields[i].size)
			mask = UINT64_MAX;
		else if (!(header_fields[i].bits & mask))
			continue;
		new = old ^ mask;
		memcpy(field, &new, header_fields[i].size);
		assert_index_refused(index, size, header_fields[i].error,
				     header_fields[i].name, mask);
	}
	memcpy(field, &old, header_fields[i].size);
}

static void test_index_check_refuses_each_damaged_field(void **state)
{
	(void)state;
	for (int fork = 0; fork < 2; fork++) {
		struct shm_index *index;
		struct plan plan;
		uint64_t size;

		small_plan(&plan, fork);
		index = write_index(&plan, 0, &size);
		for (size_t i = 0; i < ARRAY_SIZE(header_fields); i++)
			flip_field(index, size, i);
		assert_int_equal(layout_check_index(index, size, NULL), 0);
		free(index);
	}
}

static void test_index_check_refuses_a_damaged_table_of_layers(void **state)
{
	uint64_t rng = plan_seed() + 4;

	(void)state;
	for (int i = 0; i < TABLE_FLIPS; i++) {
		struct shm_index *index;
		struct plan plan;
		uint64_t size;
		uint32_t at;

		small_plan(&plan, i & 1);
		index = write_index(&plan, 0, &size);
		at = plan_below(&rng, 3 * sizeof(struct shm_layer));
		((uint8_t *)index)[plan.layout.layers + at] ^=
			1 + plan_below(&rng, 255);
		assert_index_refused(index, size, -EBADMSG, "layers, byte", at);
		free(index);
	}
}

static void test_index_check_refuses_another_size(void **state)
{
	struct shm_index *index;
	struct plan plan;
	uint64_t size;

	(void)state;
	small_plan(&plan, false);
	index = write_index(&plan, 0, &size);
	for (uint64_t s = 0; s <= 2 * size; s += s < 5000 ? 61 : 4096)
		if (s != size)
			assert_index_refused(index, s, -EBADMSG, "size", s);
	free(index);
}

/* Only what is there may be read; AddressSanitizer looks on. */
static void test_index_check_stays_within_the_mapping(void **state)
{
	struct shm_index *index;
	struct plan plan;
	uint64_t size;
	void *page;

	(void)state;
	small_plan(&plan, false);
	index = write_index(&plan, 0, &size);
	page = aligned_alloc(4096, sizeof(*index));
	assert_non_null(page);
	memcpy(page, index, sizeof(*index));
	assert_index_refused(page, sizeof(*index), -EBADMSG, "a page", 0);
	((struct shm_index *)page)->spec.layers = SHM_LAYERS_MAX;
	assert_index_refused(page, sizeof(*index), -EBADMSG, "a page", 0);
	free(page);
	page = aligned_alloc(64, 64);
	assert_non_null(page);
	memcpy(page, index, 64);
	assert_index_refused(page, 64, -EBADMSG, "a line", 0);
	free(page);
	free(index);
}

static void test_index_check_names_both_versions(void **state)
{
	struct layout_error error;
	struct shm_index *index;
	struct plan plan;
	uint64_t size;

	(void)state;
	small_plan(&plan, false);
	index = write_index(&plan, 0, &size);
	index->version = 4711;
	assert_int_equal(layout_check_index(index, size, &error), -EPROTO);
	assert_non_null(strstr(error.text, "version 4711"));
	assert_non_null(strstr(error.text, "speaks 1"));
	free(index);
}

static void test_a_fork_has_a_parent(void **state)
{
	(void)state;
	for (int fork = 0; fork < 2; fork++) {
		struct shm_index *index;
		struct plan plan;
		uint64_t size;

		small_plan(&plan, fork);
		index = write_index(&plan, 0, &size);
		index->parent_id = fork ? 0 : 7;
		assert_index_refused(index, size, -EBADMSG, "parent_id", 0);
		free(index);
	}
}

/* The parent's rows are where its own layout has put them. */
static void test_a_parents_rows_are_found(void **state)
{
	uint64_t rng = plan_seed() + 11;

	(void)state;
	for (int i = 0; i < PLANS; i++) {
		struct shm_layer found[PLAN_LAYERS];
		struct plan parent, child;
		struct shm_index *index;
		struct layout layout;
		uint64_t size;

		plan_draw(&parent, &rng);
		if (parent.fork)
			continue;
		child = parent;
		child.fork = true;
		child.spec.ids = 5;
		child.spec.slack = 3;
		for (uint32_t l = 0; l < parent.spec.layers; l++)
			child.prefix[l] = (struct layout_fork){
				.slots = parent.layers[l].capacity,
			};
		layout_init(&child.layout, child.layers, &child.spec,
			    child.budgets, child.prefix);
		index = write_index(&child, 0, &size);
		index->parent_ids = parent.spec.ids;
		assert_int_equal(layout_parent(&layout, found, index), 0);
		assert_int_equal(layout.rows_size, parent.layout.rows_size);
		for (uint32_t l = 0; l < parent.spec.layers; l++) {
			assert_int_equal(found[l].k, parent.layers[l].k);
			assert_int_equal(found[l].k_stride,
					 parent.layers[l].k_stride);
			assert_int_equal(found[l].v, parent.layers[l].v);
			assert_int_equal(found[l].v_stride,
					 parent.layers[l].v_stride);
		}
		free(index);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_index_check_takes_what_was_just_written),
		cmocka_unit_test(test_a_fork_has_a_parent),
		cmocka_unit_test(test_a_parents_rows_are_found),
		cmocka_unit_test(test_index_check_refuses_each_damaged_field),
		cmocka_unit_test(
			test_index_check_refuses_a_damaged_table_of_layers),
		cmocka_unit_test(test_index_check_refuses_another_size),
		cmocka_unit_test(test_index_check_stays_within_the_mapping),
		cmocka_unit_test(test_index_check_names_both_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
