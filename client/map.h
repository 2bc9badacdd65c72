/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The map of kept tokens: where along the sequence to divide it, and how dense
 * each part of a reply is. treekvctl and treekv-top draw the same.
 */
#ifndef TREEKV_MAP_H
#define TREEKV_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "treekv.pb-c.h"

#define MAP_BUCKETS_MAX 512
#define MAP_LEVELS	9 /* nothing, then 1/128 and less up to all */

enum map_scale {
	MAP_EVEN, /* buckets of as many tokens each */
	MAP_BY_AGE, /* finer towards the newest token */
};

/**
 * map_edges - divide a sequence
 * @edge: @buckets + 1 of them, from 0 to @tail
 * @buckets: 1 to MAP_BUCKETS_MAX
 *
 * Return: how many buckets there are: @buckets or, of a short sequence, fewer;
 * 0 of an empty one.
 */
size_t map_edges(uint64_t *edge, size_t buckets, uint64_t tail,
		 enum map_scale scale);

/* Is a reply one that can be drawn? It came from a socket, or from a file. */
int map_check(const Treekv__KeptReply *kept);

/* Of the tokens of a bucket, which part is held; the mean over the heads. */
double map_density(const Treekv__KeptReply *kept, size_t group, size_t bucket);

/* MAP_LEVELS - 1 for all, one less for each halving, 0 for nothing. */
unsigned int map_level(double density);

/* A character a level: blocks, as UTF-8, or ASCII. */
extern const char *const map_blocks[MAP_LEVELS];
extern const char *const map_ascii[MAP_LEVELS];

#endif /* TREEKV_MAP_H */
