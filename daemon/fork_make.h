/* SPDX-License-Identifier: BSD-2-Clause */
/* What a fork is made of: worked out from its parent, and put into its memory. */
#ifndef TREEKVD_FORK_MAKE_H
#define TREEKVD_FORK_MAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/cache.h"

/* A fork that is to be. */
struct fork_plan {
	struct cache *parent; /* frozen */
	uint64_t tokens; /* the parent's first ones, that it begins with */
	bool evict_prefix;
	struct shm_spec spec; /* of the fork */
	uint32_t budgets[SHM_LAYERS_MAX];
	struct layout_fork layer[SHM_LAYERS_MAX]; /* fork_check()'s */
};

/**
 * fork_check - can it be?
 * @plan: layer is filled in; spec.ids is cut down to what the parent has, and
 *	evict_prefix is taken back where nothing is ever evicted
 * @why: @size bytes for the reason
 *
 * Return: 0; -EMEDIUMTYPE its rows are not the parent's; -EINVAL tokens, or a
 * prefix that does not fit into a budget.
 */
int fork_check(struct fork_plan *plan, char *why, size_t size);

/* Tokens of an exact prefix that a fork of that spec has room for. */
uint64_t fork_limit(const struct fork_plan *plan);

/* Will it go on with its parent's scores? */
bool fork_carries_scores(const struct shm_index *parent, uint64_t tokens,
			 const struct shm_spec *fork);

/**
 * fork_fill - give a fork its beginning
 * @child: made by cache_new() for @plan, in nobody's hands
 *
 * Its order is the parent's, as far as the plan goes, and so are ids, tokens,
 * and the note where all of the parent is taken over. Scores, since and walks
 * are those of the parent where the fork goes on with the very same sums; else
 * they begin with the fork.
 *
 * Return: 0 or a negative errno.
 */
int fork_fill(struct cache *child, const struct fork_plan *plan);

#endif /* TREEKVD_FORK_MAKE_H */
