/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which idle cache is given up first when memory is short: S3-FIFO, with caches
 * for objects. Pure: no I/O, no clock, no log, no allocation.
 */
#ifndef TREEKVD_PARK_QUEUE_H
#define TREEKVD_PARK_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#define PARK_HITS_MAX	 3 /* an ordinary cache's */
#define PARK_HITS_SHARED 12 /* of one that others are made from */
#define PARK_GHOSTS	 4096

struct park_node {
	struct park_node *newer;
	struct park_node *older;
	struct park_list *list; /* NULL: in none */
	uint64_t key; /* tells it from others, also when it comes back */
	uint64_t bytes;
	uint32_t hits; /* since it came, or was passed over */
};

struct park_list {
	struct park_node *newest;
	struct park_node *oldest;
	uint64_t bytes;
	uint32_t nodes;
};

/* Zero at first. */
struct park_queue {
	struct park_list small; /* came a while ago at most */
	struct park_list main; /* have been used again */
	uint64_t ghost[PARK_GHOSTS]; /* keys that left small: a ring */
	uint32_t ghost_at; /* the oldest */
	uint32_t ghosts;
};

/* Its key and bytes are set. One that left small not long ago comes to main. */
void park_queue_add(struct park_queue *queue, struct park_node *node);

/* It goes; @parked: and may come back. Takes no harm from one in no list. */
void park_queue_remove(struct park_queue *queue, struct park_node *node,
		       bool parked);

/**
 * park_queue_hit - it has been used
 * @most: hits that count; more keep it for longer
 */
void park_queue_hit(struct park_node *node, uint32_t most);

/* Whether it may go: it may be in use, or pinned, or being given up already. */
typedef bool park_may_go(const struct park_node *node, void *arg);

/**
 * park_queue_choose - who is to go next
 *
 * He stays in his list until he is removed. Whoever is asked and may not go, is
 * asked again when all others of his list have been.
 *
 * Return: NULL when nobody may.
 */
struct park_node *park_queue_choose(struct park_queue *queue,
				    park_may_go *may_go, void *arg);

/* He could not go after all: others first. */
void park_queue_pass(struct park_node *node);

#endif /* TREEKVD_PARK_QUEUE_H */
