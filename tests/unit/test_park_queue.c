// SPDX-License-Identifier: BSD-2-Clause
/*
 * The queues of what is given up first, against a reference that keeps two
 * plain arrays and says S3-FIFO's rules one by one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/park_queue.h"

#define NAMES 60
#define STEPS 200000

/* ---- the reference: index 0 is the oldest ---- */

struct line {
	int name[4 * NAMES];
	int n;
};

struct model {
	struct line small, main, ghosts;
	int hits[NAMES];
	uint64_t bytes[NAMES];
	bool busy[NAMES];
};

static int line_find(const struct line *line, int name)
{
	for (int i = 0; i < line->n; i++)
		if (line->name[i] == name)
			return i;
	return -1;
}

static void line_cut(struct line *line, int at)
{
	line->n--;
	for (int i = at; i < line->n; i++)
		line->name[i] = line->name[i + 1];
}

static void line_append(struct line *line, int name)
{
	line->name[line->n++] = name;
}

static uint64_t line_bytes(const struct model *m, const struct line *line)
{
	uint64_t sum = 0;

	for (int i = 0; i < line->n; i++)
		sum += m->bytes[line->name[i]];
	return sum;
}

static bool model_has(const struct model *m, int name)
{
	return line_find(&m->small, name) >= 0 ||
	       line_find(&m->main, name) >= 0;
}

static void model_add(struct model *m, int name)
{
	int at = line_find(&m->ghosts, name);

	m->hits[name] = 0;
	if (at >= 0)
		line_cut(&m->ghosts, at);
	line_append(at >= 0 ? &m->main : &m->small, name);
}

static void model_remove(struct model *m, int name, bool parked)
{
	int at = line_find(&m->small, name);

	if (at < 0) {
		line_cut(&m->main, line_find(&m->main, name));
		return;
	}
	line_cut(&m->small, at);
	if (!parked)
		return;
	while (m->ghosts.n && m->ghosts.n >= m->small.n + m->main.n)
		line_cut(&m->ghosts, 0);
	if (m->small.n + m->main.n)
		line_append(&m->ghosts, name);
}

static void to_the_end(struct line *from, struct line *to)
{
	int name = from->name[0];

	line_cut(from, 0);
	line_append(to, name);
}

static int choose_small(struct model *m)
{
	int n = m->small.n;

	for (int i = 0; i < n; i++) {
		int name = m->small.name[0];

		if (m->busy[name])
			to_the_end(&m->small, &m->small);
		else if (m->hits[name] >= 2)
			to_the_end(&m->small, &m->main);
		else
			return name;
	}
	return -1;
}

static int choose_main(struct model *m)
{
	for (;;) {
		int n = m->main.n;
		bool any = false;

		for (int i = 0; i < n; i++) {
			int name = m->main.name[0];

			if (!m->busy[name] && !m->hits[name])
				return name;
			if (!m->busy[name]) {
				m->hits[name]--;
				any = true;
			}
			to_the_end(&m->main, &m->main);
		}
		if (!any)
			return -1;
	}
}

static int model_choose(struct model *m)
{
	uint64_t small = line_bytes(m, &m->small);
	int name = -1;

	if (small >= (small + line_bytes(m, &m->main)) / 10)
		name = choose_small(m);
	if (name < 0)
		name = choose_main(m);
	return name < 0 ? choose_small(m) : name;
}

static void model_pass(struct model *m, int name)
{
	struct line *line = line_find(&m->small, name) >= 0 ? &m->small :
							      &m->main;

	line_cut(line, line_find(line, name));
	line_append(line, name);
}

/* ---- both ---- */

struct both {
	struct park_queue queue;
	struct park_node node[NAMES];
	struct model model;
};

static uint32_t draw(uint64_t *state, uint32_t below)
{
	*state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(*state >> 33) % below;
}

static bool may_go(const struct park_node *node, void *arg)
{
	const struct both *b = arg;

	return !b->model.busy[node->key];
}

static void compare_line(const struct both *b, const struct park_list *list,
			 const struct line *line)
{
	const struct park_node *node = list->oldest;
	uint64_t bytes = 0;

	assert_int_equal(list->nodes, line->n);
	for (int i = 0; i < line->n; i++, node = node->newer) {
		assert_int_equal(node->key, line->name[i]);
		assert_int_equal(node->hits, b->model.hits[line->name[i]]);
		assert_ptr_equal(node->list, list);
		bytes += node->bytes;
	}
	assert_null(node);
	assert_int_equal(list->bytes, bytes);
}

static void choose(struct both *b, uint64_t *random)
{
	struct park_node *node = park_queue_choose(&b->queue, may_go, b);
	int name = model_choose(&b->model);

	assert_int_equal(node ? (int)node->key : -1, name);
	if (!node)
		return;
	if (draw(random, 4)) {
		park_queue_remove(&b->queue, node, true);
		model_remove(&b->model, name, true);
	} else {
		park_queue_pass(node);
		model_pass(&b->model, name);
	}
}

static void step(struct both *b, uint64_t *random)
{
	int name = (int)draw(random, NAMES);
	uint32_t most = name % 7 ? PARK_HITS_MAX : PARK_HITS_SHARED;
	bool parked = draw(random, 2);

	if (!model_has(&b->model, name)) {
		b->model.bytes[name] = b->node[name].bytes =
			1 + draw(random, 100);
		b->node[name].key = (uint64_t)name;
		park_queue_add(&b->queue, &b->node[name]);
		model_add(&b->model, name);
		return;
	}
	switch (draw(random, 8)) {
	case 0:
		b->model.busy[name] = !b->model.busy[name];
		break;
	case 1:
		park_queue_remove(&b->queue, &b->node[name], parked);
		model_remove(&b->model, name, parked);
		break;
	case 2:
	case 3:
		choose(b, random);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		park_queue_hit(&b->node[name], most);
		if (b->model.hits[name] < (int)most)
			b->model.hits[name]++;
		break;
	}
}

static void test_the_queues_are_those_of_the_reference(void **state)
{
	static struct both b;

	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		uint64_t random = seed;

		memset(&b, 0, sizeof(b));
		for (int i = 0; i < STEPS; i++) {
			step(&b, &random);
			if (i % 16)
				continue;
			compare_line(&b, &b.queue.small, &b.model.small);
			compare_line(&b, &b.queue.main, &b.model.main);
		}
	}
}

/* ---- what it is for ---- */

static bool anybody(const struct park_node *node, void *arg)
{
	(void)node;
	(void)arg;
	return true;
}

static bool nobody(const struct park_node *node, void *arg)
{
	(void)node;
	(void)arg;
	return false;
}

static void add(struct park_queue *queue, struct park_node *node, uint64_t key)
{
	node->key = key;
	node->bytes = 1;
	park_queue_add(queue, node);
}

static void test_a_wave_of_new_ones_leaves_the_used_ones(void **state)
{
	static struct park_node used[20], wave[400];
	struct park_queue queue = { 0 };

	(void)state;
	for (uint64_t i = 0; i < 20; i++) {
		add(&queue, &used[i], i);
		park_queue_hit(&used[i], PARK_HITS_MAX);
		park_queue_hit(&used[i], PARK_HITS_MAX);
	}
	for (uint64_t i = 0; i < 400; i++) {
		struct park_node *gone;

		add(&queue, &wave[i], 1000 + i);
		if (i < 10)
			continue;
		gone = park_queue_choose(&queue, anybody, NULL);
		assert_true(gone->key >= 1000);
		park_queue_remove(&queue, gone, true);
	}
}

static void test_what_comes_back_soon_is_kept_longer(void **state)
{
	struct park_node node[4] = { 0 };
	struct park_queue queue = { 0 };

	(void)state;
	for (uint64_t i = 0; i < 3; i++)
		add(&queue, &node[i], i);
	assert_ptr_equal(park_queue_choose(&queue, anybody, NULL), &node[0]);
	park_queue_remove(&queue, &node[0], true);
	park_queue_add(&queue, &node[0]);
	assert_ptr_equal(node[0].list, &queue.main);
	assert_ptr_equal(node[1].list, &queue.small);
	park_queue_remove(&queue, &node[1], false); /* dropped: not back */
	park_queue_add(&queue, &node[1]);
	assert_ptr_equal(node[1].list, &queue.small);
}

static void test_a_shared_one_outlives_many_rounds(void **state)
{
	struct park_node node[3] = { 0 };
	struct park_queue queue = { 0 };

	(void)state;
	for (uint64_t i = 0; i < 3; i++) {
		add(&queue, &node[i], i);
		for (int k = 0; k < 100; k++)
			park_queue_hit(&node[i],
				       i ? PARK_HITS_MAX : PARK_HITS_SHARED);
	}
	assert_ptr_not_equal(park_queue_choose(&queue, anybody, NULL),
			     &node[0]);
	assert_int_equal(node[0].hits, PARK_HITS_SHARED - PARK_HITS_MAX - 1);
}

static void test_nobody_goes_where_nobody_may(void **state)
{
	struct park_node node[3] = { 0 };
	struct park_queue queue = { 0 };

	(void)state;
	assert_null(park_queue_choose(&queue, anybody, NULL));
	for (uint64_t i = 0; i < 3; i++)
		add(&queue, &node[i], i);
	park_queue_hit(&node[1], PARK_HITS_MAX);
	assert_null(park_queue_choose(&queue, nobody, NULL));
	assert_ptr_equal(park_queue_choose(&queue, anybody, NULL), &node[0]);
	park_queue_remove(&queue, &node[0], false);
	park_queue_remove(&queue, &node[0], false); /* in none: no harm */
	assert_int_equal(queue.small.nodes, 2);
}

static void test_ghosts_are_bounded(void **state)
{
	static struct park_node node[3 * PARK_GHOSTS];
	static struct park_queue queue;

	(void)state;
	for (uint64_t i = 0; i < 3 * PARK_GHOSTS; i++)
		add(&queue, &node[i], i);
	for (uint64_t i = 0; i < 2 * PARK_GHOSTS; i++)
		park_queue_remove(&queue, &node[i], true);
	assert_int_equal(queue.ghosts, PARK_GHOSTS);
	park_queue_add(&queue, &node[0]); /* left too long ago */
	assert_ptr_equal(node[0].list, &queue.small);
	park_queue_add(&queue, &node[2 * PARK_GHOSTS - 1]);
	assert_ptr_equal(node[2 * PARK_GHOSTS - 1].list, &queue.main);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_queues_are_those_of_the_reference),
		cmocka_unit_test(test_a_wave_of_new_ones_leaves_the_used_ones),
		cmocka_unit_test(test_what_comes_back_soon_is_kept_longer),
		cmocka_unit_test(test_a_shared_one_outlives_many_rounds),
		cmocka_unit_test(test_nobody_goes_where_nobody_may),
		cmocka_unit_test(test_ghosts_are_bounded),
	};

	return cmocka_run_group_tests_name("park_queue", tests, NULL, NULL);
}
