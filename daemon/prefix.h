/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sequences of token ids, found by what a prompt begins with. Knows hashes and
 * ids, not caches: whose a sequence is, is the owner's affair. Control thread
 * only.
 */
#ifndef TREEKVD_PREFIX_H
#define TREEKVD_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PREFIX_BLOCK 16 /* tokens that are hashed together */

struct prefix_bucket;
struct prefix_node;

struct prefixes {
	struct prefix_bucket *bucket; /* as many as there may be, mapped */
	uint32_t buckets; /* in use */
	uint32_t nodes;
	uint32_t briefs; /* sequences that are shorter than a block */
	uint64_t mask; /* of all hashes: fewer bits make collisions, for tests */
};

/**
 * struct prefix - a sequence that is known
 * @seed: of the hashes; sequences of different seeds are never found for each
 *	other, whatever their ids
 * @ids: @tokens of them, which stay and do not change
 * @partial: a prompt may also begin with a part of it, in whole blocks; else
 *	only with all of it
 * @owner: the owner's
 */
struct prefix {
	uint64_t seed;
	const uint32_t *ids;
	uint64_t tokens;
	bool partial;
	void *owner;

	struct prefix_node *nodes; /* one a block, and one for all of it */
};

/* Return: 0 or -ENOMEM. */
int prefixes_init(struct prefixes *all);
void prefixes_exit(struct prefixes *all);

/* The fields but nodes are set. Return: 0, -ENOMEM. */
int prefix_add(struct prefixes *all, struct prefix *prefix);
void prefix_remove(struct prefixes *all, struct prefix *prefix);

/**
 * struct prefix_prompt - what is looked for
 * @seed: whose sequences are meant
 * @ids: the prompt
 * @n: its length
 * @may_have: is this one for who asks? NULL: all are
 * @arg: what it is called with
 */
struct prefix_prompt {
	uint64_t seed;
	const uint32_t *ids;
	size_t n;
	bool (*may_have)(const struct prefix *prefix, const void *arg);
	const void *arg;
};

/**
 * prefix_find - the longest beginning of a prompt that is known
 * @tokens: set to how many of the prompt's ids the result has
 *
 * What may not be had is passed over: the result is the one there would be if it
 * were not known.
 * Sequences under one seed are all partial, or none is. Every candidate's ids
 * are compared with the prompt's, so two sequences of one hash are not mistaken
 * for each other.
 *
 * Return: a sequence that begins so, or NULL when none does.
 */
const struct prefix *prefix_find(const struct prefixes *all,
				 const struct prefix_prompt *prompt,
				 uint64_t *tokens);

/* A seed that depends on all of @size bytes. */
uint64_t prefix_seed(const void *bytes, size_t size);

#endif /* TREEKVD_PREFIX_H */
