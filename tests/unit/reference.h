/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Algorithm 1 and the baselines, naively: what the daemon's order and policies
 * are measured against. Written from method.md (the rules) and design.md (the
 * free queue) alone; it shares no code, table or header with the daemon.
 *
 * One struct reference is one (layer, head): a list of tokens, oldest first,
 * from which memmove takes one at a time, and a first-in-first-out queue of
 * free slots.
 */
#ifndef TREEKV_TESTS_REFERENCE_H
#define TREEKV_TESTS_REFERENCE_H

#include <stdint.h>

struct reference_token {
	uint32_t number; /* 0-based, in the order in which tokens came */
	uint32_t slot;
	float sum; /* S: accumulated weight; for tova the last one */
	uint32_t count; /* C: steps that observed it */
};

struct reference_rules;

struct reference {
	const struct reference_rules *rules;
	uint32_t budget;
	uint32_t sinks;
	uint32_t selected; /* m = budget - sinks - recent */
	uint32_t idx; /* 1-based */
	uint32_t tokens_seen;
	uint32_t live;
	struct reference_token *tokens; /* oldest first */
	uint32_t free_slots;
	uint32_t *free; /* the first is used next */
	uint32_t parent_slots; /* lower ones are a parent's: never free */
};

/*
 * @policy: "treekv", "treekv-left", "treekv-skip", "streaming", "h2o" or
 * "tova"; any other is NULL. @slots: more than @budget. Aborts without memory.
 */
struct reference *reference_new(const char *policy, uint32_t budget,
				uint32_t sinks, uint32_t recent,
				uint32_t slots);

/* What a fork has of its parent. */
struct reference_prefix {
	const struct reference *parent;
	uint32_t tokens; /* of its list, from the oldest on */
	uint32_t parent_slots; /* own ones are numbered from there on */
	int pinned; /* they are never evicted */
	int sums; /* go on with the parent's sums, counts and idx */
};

/*
 * A list that begins with a copy of another's; as reference_new(), with @slots
 * of its own.
 */
struct reference *reference_fork(const struct reference_prefix *prefix,
				 const char *policy, uint32_t budget,
				 uint32_t sinks, uint32_t recent,
				 uint32_t slots);

/* Takes NULL, returns it. */
struct reference *reference_free(struct reference *r);

/* A new token, with S = 0 and C = 0, which no step has observed. Its slot. */
uint32_t reference_append(struct reference *r);

/* One step's attention, by token number: every held token's S and C. */
void reference_observe(struct reference *r, const float *weights);

/* One eviction, whether or not the budget is exceeded; returns the slot. */
uint32_t reference_evict(struct reference *r);

/* Algorithm 1, one token: append, observe, evict what exceeds the budget. */
void reference_step(struct reference *r, const float *weights);

#endif /* TREEKV_TESTS_REFERENCE_H */
