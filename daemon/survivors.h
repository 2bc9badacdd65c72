/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prefill (§4.2): which tokens of a whole prompt stay in one (layer, head).
 * Pure, as policy.h; used by whoever writes the rows, which is the writer.
 */
#ifndef TREEKVD_SURVIVORS_H
#define TREEKVD_SURVIVORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/policy.h"

/* The policies, by their numbers, and what knows prompts only. */
enum survivors_method {
	SURVIVORS_TREEKV = SHM_POLICY_TREEKV,
	SURVIVORS_TREEKV_LEFT = SHM_POLICY_TREEKV_LEFT,
	SURVIVORS_TREEKV_SKIP = SHM_POLICY_TREEKV_SKIP,
	SURVIVORS_STREAMING = SHM_POLICY_STREAMING,
	SURVIVORS_H2O = SHM_POLICY_H2O,
	SURVIVORS_TOVA = SHM_POLICY_TOVA,
	SURVIVORS_FULL = SHM_POLICY_FULL,
	SURVIVORS_SNAPKV,
};

/**
 * struct survivors - a prompt and how it is to be compressed
 * @method: of it
 * @tokens: of the prompt, at least 1
 * @budget: how many may stay
 * @sinks: first tokens that always stay
 * @recent: last tokens that always stay (h2o, tova; as far as they fit)
 * @window: last tokens that always stay (treekv, snapkv): those whose queries
 *	make up the scores
 * @block: tokens that come and go together (treekv)
 * @kernel: tokens over which scores are pooled (snapkv), odd; 1: none
 * @mean: pooled to their mean; else to their highest
 * @score: [tokens], read by the methods that survivors_scored() names, else
 *	may be NULL. NaN ranks as -infinity
 *
 * With P tokens, budget c, s sinks, window W and P > c (else all stay):
 *
 *   treekv     the sinks and the last W + rem, rem = (P - s - W) mod b; the
 *              walk of the policy runs over the blocks between, whose score is
 *              the sum of their tokens', with a budget of (c - s - W - rem) / b
 *              blocks. If there is no room for all of rem, its newest stay and
 *              no block does.
 *   snapkv     sinks, window, and the c - s - W highest pooled scores between
 *   h2o, tova  sinks, recent, and the highest scores between, as many as fit
 *   streaming  sinks and the c - s most recent
 *   full       refused by survivors_check()
 *
 * Among equal scores the newer stays.
 */
struct survivors {
	enum survivors_method method;
	uint32_t tokens;
	uint32_t budget;
	uint32_t sinks;
	uint32_t recent;
	uint32_t window;
	uint32_t block;
	uint32_t kernel;
	bool mean;
	const float *score;
};

/* Why a prompt is refused. */
enum survivors_fault {
	SURVIVORS_SOUND,
	SURVIVORS_FAULT_SINKS, /* they do not fit into the budget */
	SURVIVORS_FAULT_WINDOW, /* sinks and window do not, or it is 0 */
	SURVIVORS_FAULT_BLOCK, /* 0 */
	SURVIVORS_FAULT_KERNEL, /* even, or 0 */
	SURVIVORS_FAULT_FULL, /* all would have to stay, and do not fit */
};

/* Does not look at the scores; nor, but for FULL, at the number of tokens. */
enum survivors_fault survivors_check(const struct survivors *s);

bool survivors_scored(enum survivors_method method);
bool survivors_windowed(enum survivors_method method);

/* How many stay; the scores do not matter. @s is sound, here and below. */
uint32_t survivors_count(const struct survivors *s);

/* Bytes of memory to think in. */
size_t survivors_scratch_size(const struct survivors *s);

/**
 * survivors_choose - the tokens that stay
 * @ret: [survivors_count()] of them, rising
 * @scratch: survivors_scratch_size() bytes, aligned for a uint64_t
 */
void survivors_choose(const struct survivors *s, uint32_t *ret, void *scratch);

/**
 * survivors_walk - where the decoding walk goes on
 * @selected: m of the cache
 *
 * At the token where the walk over the blocks stood; from the left when it
 * stood in what is now the recent window, or when there was none.
 *
 * Return: 1 to @selected (1 when that is 0).
 */
uint32_t survivors_walk(const struct survivors *s, uint32_t selected);

#endif /* TREEKVD_SURVIVORS_H */
