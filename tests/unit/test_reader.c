// SPDX-License-Identifier: BSD-2-Clause
/*
 * What client/treekv.h promises to readers, on private mappings. That a read
 * is whole or is refused is tested where it hurts: a page of what the reader
 * copies is protected, and his fault lets the writer and the compaction go on
 * in the middle of the copy.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "proto/barrier.h"
#include "tests/unit/fixture.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define STEP_MAX      4
#define PAGE	      4096
#define SLOTS_MAX     512

static struct fixture *f;
static struct treekv_cache reader;

static struct {
	void *page;
	void (*happens)(void);
	struct sigaction before;
	bool sprung;
} trap;

static uint8_t content(uint32_t layer, uint32_t head, uint64_t token)
{
	return (uint8_t)(1 + token * 7 + layer * 3 + head);
}

static void append_layer(uint32_t layer, uint32_t n)
{
	uint8_t k[STEP_MAX][2][16], v[STEP_MAX][2][8];

	for (uint32_t j = 0; j < n; j++)
		for (uint32_t h = 0; h < 2; h++) {
			uint8_t byte = content(layer, h, f->cache.tail + j);

			memset(k[j][h], byte, sizeof(k[j][h]));
			memset(v[j][h], ~byte, sizeof(v[j][h]));
		}
	assert_int_equal(treekv_append(&f->cache, layer, k, v), 0);
}

static void begin(uint32_t n)
{
	assert_int_equal(treekv_step_begin(&f->cache, NULL, n, 0), 0);
	for (uint32_t l = 0; l < 2; l++)
		append_layer(l, n);
	memset(treekv_note(&f->cache), (int)(f->cache.tail + n),
	       TREEKV_NOTE_SIZE);
}

static void step(uint32_t n)
{
	begin(n);
	assert_int_equal(treekv_commit(&f->cache, n), 0);
}

/* Tokens one by one, compacted whenever there is something to compact. */
static void fill(uint64_t tail)
{
	while (f->cache.tail < tail) {
		step(1);
		fixture_compact(f);
	}
}

static void read_begin(void)
{
	assert_int_equal(treekv_read_begin(&reader), 0);
}

static struct treekv_view view_of(uint32_t layer, uint32_t head)
{
	struct treekv_view view;

	assert_int_equal(treekv_view(&reader, layer, head, &view), 0);
	return view;
}

static void assert_rows(const struct treekv_view *view, uint32_t layer,
			uint32_t head)
{
	uint32_t held[SLOTS_MAX], n = 0;

	for (uint32_t s = 0; s < view->slots; s++) {
		const uint8_t *k = view->k, *v = view->v;
		uint8_t byte = content(layer, head, view->token[s]);

		if (view->rank[s] == TREEKV_FREE)
			continue;
		assert_true(view->rank[s] < view->live);
		held[view->rank[s]] = view->token[s];
		assert_int_equal(k[s * view->k_stride], byte);
		assert_int_equal(v[s * view->v_stride], (uint8_t)~byte);
		n++;
	}
	assert_int_equal(n, view->live);
	for (uint32_t r = 1; r < n; r++)
		assert_true(held[r - 1] < held[r]);
	assert_int_equal(held[n - 1], treekv_tail(&reader) - 1);
}

/* What the read shows is all there is at one tail. */
static void assert_whole(void)
{
	const uint8_t *note = treekv_note(&reader);

	for (uint32_t l = 0; l < 2; l++)
		for (uint32_t h = 0; h < 2; h++) {
			struct treekv_view view = view_of(l, h);

			assert_rows(&view, l, h);
		}
	for (int i = 0; i < TREEKV_NOTE_SIZE; i++)
		assert_int_equal(note[i], (uint8_t)treekv_tail(&reader));
}

static int set_up(uint32_t budget)
{
	struct treekv_spec spec = fixture_spec();

	sigaction(SIGSEGV, NULL, &trap.before);
	spec.budget = budget;
	f = fixture_new(&spec, NULL);
	fixture_reader(f, &reader);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return set_up(8);
}

/* An order that takes several pages. */
static int setup_large(void **state)
{
	(void)state;
	return set_up(SLOTS_MAX - 4);
}

static int teardown(void **state)
{
	(void)state;
	cache_exit(&reader);
	f = fixture_free(f);
	return 0;
}

/* ---- what is shown ---- */

static void test_an_empty_cache_is_shown_empty(void **state)
{
	(void)state;
	read_begin();
	assert_int_equal(treekv_tail(&reader), 0);
	assert_int_equal(view_of(0, 0).live, 0);
	assert_int_equal(treekv_read_end(&reader), 0);
}

static void test_a_read_shows_what_is_committed(void **state)
{
	(void)state;
	step(3);
	begin(2); /* which is not */
	read_begin();
	assert_int_equal(treekv_tail(&reader), 3);
	assert_int_equal(view_of(1, 1).live, 3);
	assert_whole();
	assert_int_equal(treekv_read_end(&reader), 0);
	assert_int_equal(treekv_commit(&f->cache, 2), 0);
	assert_int_equal(treekv_tail(&reader), 3); /* until it reads again */
	read_begin();
	assert_int_equal(treekv_tail(&reader), 5);
	assert_whole();
	assert_int_equal(treekv_read_end(&reader), 0);
}

static void test_every_tail_is_shown_whole(void **state)
{
	(void)state;
	for (uint64_t tail = 1; tail < 60; tail++) {
		fill(tail);
		read_begin();
		assert_int_equal(treekv_tail(&reader), tail);
		assert_whole();
		assert_int_equal(treekv_read_end(&reader), 0);
	}
}

static void test_a_reader_stores_nothing(void **state)
{
	struct shm_rows before;

	(void)state;
	fill(20);
	memcpy(&before, f->rows, sizeof(before));
	for (int i = 0; i < 3; i++) {
		read_begin();
		assert_int_equal(treekv_read_end(&reader), 0);
	}
	assert_memory_equal(&before, f->rows, sizeof(before));
	assert_int_equal(f->rings, 0);
}

/* ---- the window ---- */

/* Rows stay until head passes base_tail + free, whatever is published. */
static void test_rows_stay_while_the_window_lasts(void **state)
{
	uint64_t limit;

	(void)state;
	fill(20);
	read_begin();
	limit = reader.base_tail + reader.free;
	assert_true(limit > f->cache.tail);
	while (f->cache.tail < limit) {
		assert_whole();
		assert_int_equal(treekv_read_end(&reader), 0);
		step(1);
		fixture_compact(f);
	}
	assert_whole();
	assert_int_equal(treekv_read_end(&reader), 0);
}

static void test_rows_used_again_are_not_accepted(void **state)
{
	uint64_t limit;

	(void)state;
	fill(20);
	read_begin();
	limit = reader.base_tail + reader.free;
	fill(limit);
	assert_int_equal(treekv_read_end(&reader), 0);
	begin(1); /* uncommitted: its slots are dirty all the same */
	assert_int_equal(treekv_read_end(&reader), -EAGAIN);
	assert_non_null(strstr(treekv_error(), "begin the read again"));
	assert_int_equal(treekv_commit(&f->cache, 1), 0);
	read_begin();
	assert_whole();
	assert_int_equal(treekv_read_end(&reader), 0);
}

/* ---- in the middle of a copy ---- */

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	if ((uintptr_t)info->si_addr / PAGE != (uintptr_t)trap.page / PAGE) {
		sigaction(number, &trap.before, NULL);
		return;
	}
	mprotect(trap.page, PAGE, PROT_READ | PROT_WRITE);
	trap.sprung = true;
	trap.happens();
}

/* When the page of @at is touched next, @happens comes first. */
static void set_trap(const void *at, void (*happens)(void))
{
	struct sigaction action = {
		.sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	trap.page = (void *)((uintptr_t)at & ~(uintptr_t)(PAGE - 1));
	trap.happens = happens;
	trap.sprung = false;
	sigaction(SIGSEGV, &action, NULL);
	assert_int_equal(mprotect(trap.page, PAGE, PROT_NONE), 0);
}

static void end_trap(void)
{
	sigaction(SIGSEGV, &trap.before, NULL);
	assert_true(trap.sprung);
}

/*
 * The last of the ranks, on a page that is touched after the commit and the
 * first of the ranks have been read.
 */
static const void *last_ranks(void)
{
	const char *buffer = (const char *)f->index +
			     f->index->buffer[f->index->generation & 1];
	uint64_t at = f->layers[1].rank + f->layers[1].rank_stride;

	assert_true(f->layers[0].rank < PAGE && at >= PAGE);
	return buffer + at;
}

/* The buffer that is being copied is the spare one by now. */
static void second_compaction(void)
{
	assert_true(fixture_compact(f));
}

/* After the generation has been loaded, before the commit is. */
static void first_compaction(void)
{
	const void *ranks = last_ranks();

	assert_true(fixture_compact(f));
	step(2); /* within the room of either order */
	set_trap(ranks, second_compaction);
}

static void test_an_order_rewritten_while_it_is_copied(void **state)
{
	uint64_t generation;

	(void)state;
	fill(SLOTS_MAX + 20);
	step(1);
	generation = f->index->generation;
	set_trap((const char *)f->index + f->index->buffer[generation & 1],
		 first_compaction);
	read_begin();
	end_trap();
	assert_int_equal(f->index->generation, generation + 2);
	assert_int_equal(treekv_tail(&reader), f->cache.tail);
	assert_whole();
	assert_int_equal(treekv_read_end(&reader), 0);
}

static void two_commits(void)
{
	step(1);
	step(1);
}

/* The commit has been loaded, its note has not been copied. */
static void test_a_note_rewritten_while_it_is_copied(void **state)
{
	(void)state;
	fill(100);
	set_trap(last_ranks(), two_commits);
	read_begin();
	end_trap();
	assert_int_equal(treekv_tail(&reader), 102);
	assert_whole();
	assert_int_equal(treekv_read_end(&reader), 0);
}

/* ---- refusals ---- */

static void test_a_reader_takes_no_step(void **state)
{
	struct treekv_view view;

	(void)state;
	assert_int_equal(treekv_step_begin(&reader, NULL, 1, 0), -EROFS);
	assert_int_equal(treekv_settle(&reader, 0), -EROFS);
	assert_int_equal(treekv_commit(&reader, 0), -EINVAL);
	assert_int_equal(treekv_view(&reader, 0, 0, &view), -EINVAL);
	assert_non_null(strstr(treekv_error(), "treekv_read_begin()"));
	assert_int_equal(treekv_read_end(&reader), -EINVAL);
	assert_int_equal(treekv_read_begin(&f->cache), -EINVAL);
}

static void test_another_memory_is_noticed(void **state)
{
	struct shm_buffer *buffer =
		(void *)((char *)f->index + f->index->buffer[1]);

	(void)state;
	fill(3);
	buffer->rows_inode = 99;
	assert_int_equal(treekv_read_begin(&reader), -ESTALE);
	assert_non_null(strstr(treekv_error(), "attach again"));
}

static void test_a_tail_without_an_order_is_refused(void **state)
{
	(void)state;
	fill(3);
	f->rows->commit = shm_commit_pack(1000, 0);
	assert_int_equal(treekv_read_begin(&reader), -EAGAIN);
	f->index->quarantined = 1;
	assert_int_equal(treekv_read_begin(&reader), -EUCLEAN);
}

#define TEST(name)  cmocka_unit_test_setup_teardown(name, setup, teardown)
#define LARGE(name) cmocka_unit_test_setup_teardown(name, setup_large, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_an_empty_cache_is_shown_empty),
		TEST(test_a_read_shows_what_is_committed),
		TEST(test_every_tail_is_shown_whole),
		TEST(test_a_reader_stores_nothing),
		TEST(test_rows_stay_while_the_window_lasts),
		TEST(test_rows_used_again_are_not_accepted),
		LARGE(test_an_order_rewritten_while_it_is_copied),
		LARGE(test_a_note_rewritten_while_it_is_copied),
		TEST(test_a_reader_takes_no_step),
		TEST(test_another_memory_is_noticed),
		TEST(test_a_tail_without_an_order_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
