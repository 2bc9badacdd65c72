// SPDX-License-Identifier: BSD-2-Clause
/*
 * S3-FIFO (Yang et al., SOSP 2023): most of what is used once is not used soon
 * again, so what is new goes through a small queue, a tenth of the memory, and
 * only what was used there twice more comes to the main one, where each use
 * buys another round. What left the small queue is remembered for as many
 * departures as there are caches: if it comes back within that time it was
 * given up too soon, and goes to the main queue at once. A hit moves nothing.
 *
 * What differs from blocks of a disk: a cache can be in use for hours, or pinned,
 * and cannot go then. One that is met so goes to the new end of its own queue:
 * it has been in use until now, and so is not the one that was unused for
 * longest; but it is not promoted for that, or every cache of a wave of new ones
 * would be. And a prefix that many caches are made from is worth more than one
 * of them: its uses count up to a higher limit.
 */
#include <stddef.h>

#include "daemon/park_queue.h"

#define SMALL_SHARE 10 /* one in so many bytes */
#define PROMOTED    2 /* hits */

static void push(struct park_list *list, struct park_node *node)
{
	node->list = list;
	node->newer = NULL;
	node->older = list->newest;
	*(list->newest ? &list->newest->newer : &list->oldest) = node;
	list->newest = node;
	list->bytes += node->bytes;
	list->nodes++;
}

static void pull(struct park_node *node)
{
	struct park_list *list = node->list;

	*(node->newer ? &node->newer->older : &list->newest) = node->older;
	*(node->older ? &node->older->newer : &list->oldest) = node->newer;
	list->bytes -= node->bytes;
	list->nodes--;
	node->list = NULL;
}

static void move(struct park_list *to, struct park_node *node)
{
	pull(node);
	push(to, node);
}

/* ---- ghosts ---- */

static uint64_t *ghost(struct park_queue *queue, uint32_t i)
{
	return &queue->ghost[(queue->ghost_at + i) % PARK_GHOSTS];
}

static void forget_oldest(struct park_queue *queue)
{
	queue->ghost_at = (queue->ghost_at + 1) % PARK_GHOSTS;
	queue->ghosts--;
}

static void remember(struct park_queue *queue, uint64_t key)
{
	uint32_t most = queue->small.nodes + queue->main.nodes;

	most = most < PARK_GHOSTS ? most : PARK_GHOSTS;
	while (queue->ghosts && queue->ghosts >= most)
		forget_oldest(queue);
	if (most)
		*ghost(queue, queue->ghosts++) = key;
}

/* Was it remembered? No longer, then: those behind it close up. */
static bool recall(struct park_queue *queue, uint64_t key)
{
	uint32_t i = 0;

	while (i < queue->ghosts && *ghost(queue, i) != key)
		i++;
	if (i == queue->ghosts)
		return false;
	for (; i + 1 < queue->ghosts; i++)
		*ghost(queue, i) = *ghost(queue, i + 1);
	queue->ghosts--;
	return true;
}

/* ---- coming, being used, going ---- */

void park_queue_add(struct park_queue *queue, struct park_node *node)
{
	node->hits = 0;
	push(recall(queue, node->key) ? &queue->main : &queue->small, node);
}

void park_queue_remove(struct park_queue *queue, struct park_node *node,
		       bool parked)
{
	bool small = node->list == &queue->small;

	if (!node->list)
		return;
	pull(node);
	if (parked && small)
		remember(queue, node->key);
}

void park_queue_hit(struct park_node *node, uint32_t most)
{
	if (node->hits < most)
		node->hits++;
}

void park_queue_pass(struct park_node *node)
{
	if (node->list)
		move(node->list, node);
}

/* ---- choosing ---- */

static struct park_node *choose_small(struct park_queue *queue,
				      park_may_go *may_go, void *arg)
{
	for (uint32_t left = queue->small.nodes; left; left--) {
		struct park_node *node = queue->small.oldest;

		if (!may_go(node, arg))
			move(&queue->small, node);
		else if (node->hits >= PROMOTED)
			move(&queue->main, node);
		else
			return node;
	}
	return NULL;
}

/* Ends: in a round without a loss of hits nobody may go. */
static struct park_node *choose_main(struct park_queue *queue,
				     park_may_go *may_go, void *arg)
{
	bool lost = true;

	while (lost) {
		lost = false;
		for (uint32_t left = queue->main.nodes; left; left--) {
			struct park_node *node = queue->main.oldest;

			if (may_go(node, arg)) {
				if (!node->hits)
					return node;
				node->hits--;
				lost = true;
			}
			move(&queue->main, node);
		}
	}
	return NULL;
}

struct park_node *park_queue_choose(struct park_queue *queue,
				    park_may_go *may_go, void *arg)
{
	uint64_t all = queue->small.bytes + queue->main.bytes;
	struct park_node *node = NULL;

	if (queue->small.bytes >= all / SMALL_SHARE)
		node = choose_small(queue, may_go, arg);
	if (!node)
		node = choose_main(queue, may_go, arg);
	if (!node)
		node = choose_small(queue, may_go, arg);
	return node;
}
