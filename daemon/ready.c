// SPDX-License-Identifier: BSD-2-Clause
/*
 * The kernel clears memory when it is first touched: 2 ms a MiB, by the worker
 * while the cache is new, or by its writer if he is faster. Segments that are
 * kept ready have that behind them. They are made one at a time by an errand, of
 * the sizes that were made last, two of a size; always from a new memfd, so that
 * they hold zeroes and nobody else has them.
 *
 * They lie in what the pool has left and the configuration allows, and are the
 * first to be given up: when caches need the room, when there is no memory, and
 * when the option says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/control.h"
#include "daemon/errand.h"
#include "daemon/ready.h"
#include "proto/layout.h"

#define SIZES  4
#define COPIES 2
#define KEPT   (SIZES * COPIES)
#define STEP   (UINT64_C(2) << 20) /* made present at once */

struct size {
	uint64_t bytes; /* 0: none */
	bool huge;
};

static struct {
	struct size size[SIZES]; /* the latest first */
	struct segment kept[KEPT]; /* unmapped; the oldest first */
	unsigned int n;
	uint64_t bytes; /* of these */
	uint64_t taken;
	bool making;
	bool failed; /* there is no memory for more, until some is taken */
	struct errand errand;
	struct segment made;
	int error;
} ready;

uint64_t ready_bytes(void)
{
	return ready.bytes;
}

uint64_t ready_taken(void)
{
	return ready.taken;
}

/* Out of the list; its descriptor is the caller's. */
static struct segment pull(unsigned int i)
{
	struct segment segment = ready.kept[i];

	ready.n--;
	ready.bytes -= segment.size;
	memmove(&ready.kept[i], &ready.kept[i + 1],
		(ready.n - i) * sizeof(ready.kept[0]));
	return segment;
}

static void give_up(unsigned int i)
{
	close(pull(i).fd);
}

static bool give_up_all(void)
{
	bool any = ready.n;

	while (ready.n)
		give_up(0);
	return any;
}

/* ---- taking ---- */

static bool is_of(const struct segment *segment, uint64_t bytes, bool huge)
{
	return segment->size == bytes && segment->huge == huge;
}

static int find(uint64_t bytes, bool huge)
{
	for (unsigned int i = 0; i < ready.n; i++)
		if (is_of(&ready.kept[i], bytes, huge))
			return (int)i;
	return -1;
}

static bool take(struct segment *ret, uint64_t bytes, bool huge)
{
	int i = find(layout_round(bytes, huge), huge);

	if (i < 0)
		return false;
	*ret = pull((unsigned int)i);
	if (!segment_map(&ret->map, ret->fd, ret->size)) {
		ready.taken++;
		return true;
	}
	close(ret->fd);
	return false;
}

/* The next one may be of that size. */
static void note(uint64_t bytes, bool huge)
{
	unsigned int i = 0;

	while (i < SIZES - 1 &&
	       (ready.size[i].bytes != bytes || ready.size[i].huge != huge))
		i++;
	memmove(&ready.size[1], &ready.size[0], i * sizeof(ready.size[0]));
	ready.size[0] = (struct size){ .bytes = bytes, .huge = huge };
	ready.failed = false;
}

static bool is_short(int error)
{
	return error == -ENOMEM || error == -ENOSPC || error == -EMFILE ||
	       error == -ENFILE;
}

/* In that kind of pages. */
static int take_or_make(struct segment *ret,
			const struct segment_request *request, bool huge,
			bool *present)
{
	struct segment_request exact = *request;
	int r;

	*present = take(ret, request->bytes, huge);
	if (*present)
		return 0;
	exact.mode = huge ? HUGE_PAGES_REQUIRE : HUGE_PAGES_NEVER;
	r = segment_new(ret, &exact);
	if (is_short(r) && give_up_all())
		r = segment_new(ret, &exact);
	return r;
}

int ready_take(struct segment *ret, const struct segment_request *request,
	       bool *present)
{
	int r = -ENOMEM;

	if (request->mode != HUGE_PAGES_NEVER)
		r = take_or_make(ret, request, true, present);
	if (r && request->mode != HUGE_PAGES_REQUIRE && r != -EMFILE &&
	    r != -ENFILE)
		r = take_or_make(ret, request, false, present);
	if (!r)
		note(ret->size, ret->huge);
	return r;
}

/* ---- making ---- */

static void work(struct errand *errand)
{
	struct segment *made = &ready.made;

	(void)errand;
	for (uint64_t at = 0; at < made->size && !ready.error; at += STEP)
		if (fallocate(made->fd, 0, (off_t)at,
			      made->size - at < STEP ? made->size - at : STEP))
			ready.error = -errno;
}

static void on_made(struct errand *errand)
{
	(void)errand;
	ready.making = false;
	if (ready.error) {
		close(ready.made.fd);
		ready.failed = true;
		return;
	}
	ready.kept[ready.n++] = ready.made;
	ready.bytes += ready.made.size;
}

static void make(const struct size *size)
{
	const struct segment_request request = {
		.label = "treekv-rows",
		.bytes = size->bytes,
		.mode = size->huge ? HUGE_PAGES_REQUIRE : HUGE_PAGES_NEVER,
	};

	if (segment_new(&ready.made, &request)) {
		ready.failed = true;
		return;
	}
	segment_unmap(ready.made.map, ready.made.size);
	ready.making = true;
	ready.error = 0;
	errand_run(&ready.errand, work, on_made);
}

/* What they may take now. */
static uint64_t room(void)
{
	const struct store *store = &treekvd.store;
	uint64_t left = store->pool > store->used ? store->pool - store->used :
						    0;

	return left < treekvd.config->ready ? left : treekvd.config->ready;
}

static bool is_wanted(const struct size *size, uint64_t most)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ready.n; i++)
		n += is_of(&ready.kept[i], size->bytes, size->huge);
	return size->bytes && n < COPIES && size->bytes <= most &&
	       ready.bytes <= most - size->bytes;
}

/* Of a size that has not been made for long. */
static bool is_old(const struct segment *segment)
{
	for (unsigned int i = 0; i < SIZES; i++)
		if (is_of(segment, ready.size[i].bytes, ready.size[i].huge))
			return false;
	return true;
}

void ready_look(void)
{
	uint64_t most = room();

	for (unsigned int i = ready.n; i-- > 0;)
		if (is_old(&ready.kept[i]))
			give_up(i);
	while (ready.bytes > most)
		give_up(0);
	if (ready.making || ready.failed)
		return;
	for (unsigned int i = 0; i < SIZES; i++)
		if (is_wanted(&ready.size[i], most)) {
			make(&ready.size[i]);
			return;
		}
}

void ready_exit(void)
{
	give_up_all();
	memset(&ready, 0, sizeof(ready));
}
