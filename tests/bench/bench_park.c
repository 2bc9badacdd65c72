// SPDX-License-Identifier: BSD-2-Clause
/*
 * How often a cache that is wanted is still in memory, when there are more of
 * them than memory has room for: the daemon's own queues against least recently
 * used, and against Belady's rule, which knows the future and is the ceiling
 * for caches of one size.
 *
 * The trace is synthetic and skewed: sessions that come back by Zipf's law, and
 * among them single ones that never do, now and then a whole wave of these (a
 * batch job). Every sample is a trace of its own.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/park_queue.h"
#include "tests/bench/bench.h"

#define SESSIONS  10000
#define REQUESTS  200000
#define WAVE	  500
#define ALPHA	  0.9
#define TRACES	  5
#define NEVER	  UINT32_MAX
#define NAMES_MAX (SESSIONS + REQUESTS)

struct trace {
	uint32_t name[REQUESTS];
	uint32_t again[REQUESTS]; /* when that name comes next */
	uint32_t names;
};

static double weight_to[SESSIONS]; /* of the sessions up to each, summed up */

static void weights_init(void)
{
	double sum = 0;

	for (uint32_t i = 0; i < SESSIONS; i++)
		weight_to[i] = sum += 1 / pow(i + 1, ALPHA);
}

static uint32_t draw_session(uint64_t *random)
{
	double at = (double)(bench_random(random) >> 11) / 0x1p53 *
		    weight_to[SESSIONS - 1];
	uint32_t low = 0, high = SESSIONS - 1;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (weight_to[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* One in five is a session of a single request, alone or in a wave. */
static void trace_fill(struct trace *t, uint64_t seed)
{
	static uint32_t next[NAMES_MAX];
	uint32_t wave = 0;

	t->names = SESSIONS;
	for (uint32_t i = 0; i < REQUESTS; i++) {
		uint32_t dice = (uint32_t)(bench_random(&seed) % 10000);

		if (!wave && dice < 2)
			wave = WAVE;
		if (wave || dice < 1000) {
			wave -= wave > 0;
			t->name[i] = t->names++;
		} else {
			t->name[i] = draw_session(&seed);
		}
	}
	memset(next, 0xff, sizeof(next));
	for (uint32_t i = REQUESTS; i-- > 0;) {
		t->again[i] = next[t->name[i]];
		next[t->name[i]] = i;
	}
}

/* ---- ours ---- */

static bool always(const struct park_node *node, void *arg)
{
	(void)node;
	(void)arg;
	return true;
}

static double ours(const struct trace *t, uint32_t room)
{
	static struct park_node node[NAMES_MAX];
	struct park_queue *queue = calloc(1, sizeof(*queue));
	uint32_t held = 0, hits = 0;

	if (!queue)
		bench_die("ours", "out of memory");
	memset(node, 0, sizeof(node));
	for (uint32_t i = 0; i < REQUESTS; i++) {
		struct park_node *n = &node[t->name[i]];

		if (n->list) {
			park_queue_hit(n, PARK_HITS_MAX);
			hits++;
			continue;
		}
		if (held == room)
			park_queue_remove(
				queue, park_queue_choose(queue, always, NULL),
				true);
		else
			held++;
		n->key = t->name[i];
		n->bytes = 1;
		park_queue_add(queue, n);
	}
	free(queue);
	return 100.0 * hits / REQUESTS;
}

/* ---- theirs: whoever has the least key goes ---- */

struct heap {
	uint32_t name[NAMES_MAX];
	uint32_t at[NAMES_MAX]; /* of a name, 1-based; 0: is not in it */
	uint64_t key[NAMES_MAX]; /* of a name */
	uint32_t n;
};

static void heap_put(struct heap *h, uint32_t i, uint32_t name)
{
	h->name[i] = name;
	h->at[name] = i + 1;
}

/* Finds a place for @name, from @i up or down. */
static void heap_sift(struct heap *h, uint32_t i, uint32_t name)
{
	uint64_t key = h->key[name];
	uint32_t child;

	for (; i && h->key[h->name[(i - 1) / 2]] > key; i = (i - 1) / 2)
		heap_put(h, i, h->name[(i - 1) / 2]);
	for (; (child = 2 * i + 1) < h->n; i = child) {
		if (child + 1 < h->n &&
		    h->key[h->name[child + 1]] < h->key[h->name[child]])
			child++;
		if (h->key[h->name[child]] >= key)
			break;
		heap_put(h, i, h->name[child]);
	}
	heap_put(h, i, name);
}

static void heap_take_least(struct heap *h)
{
	uint32_t last = h->name[--h->n];

	h->at[h->name[0]] = 0;
	if (h->n)
		heap_sift(h, 0, last);
}

/* @belady: else least recently used. */
static double theirs(const struct trace *t, uint32_t room, bool belady)
{
	static struct heap h;
	uint32_t hits = 0;

	memset(&h, 0, sizeof(h));
	for (uint32_t i = 0; i < REQUESTS; i++) {
		uint32_t name = t->name[i], place = h.at[name];

		h.key[name] = belady ? UINT64_MAX - t->again[i] : i;
		if (place) {
			hits++;
			heap_sift(&h, place - 1, name);
			continue;
		}
		if (h.n == room)
			heap_take_least(&h);
		heap_sift(&h, h.n++, name);
	}
	return 100.0 * hits / REQUESTS;
}

static void measure(struct trace *t, const char *lru, const char *ceiling,
		    uint32_t room)
{
	struct bench_row *a = bench_row_new(lru);
	struct bench_row *b = bench_row_new(ceiling);

	for (uint64_t seed = 1; seed <= TRACES; seed++) {
		double rate;

		trace_fill(t, seed);
		rate = ours(t, room);
		bench_ours(a, rate);
		bench_theirs(a, theirs(t, room, false));
		bench_ours(b, rate);
		bench_theirs(b, theirs(t, room, true));
	}
	bench_row_end(a);
	bench_row_end(b);
}

int main(void)
{
	static struct trace trace;

	weights_init();
	measure(&trace, "park.2", "park.2.ceiling", SESSIONS / 50);
	measure(&trace, "park.10", "park.10.ceiling", SESSIONS / 10);
	return 0;
}
