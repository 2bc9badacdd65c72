/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is committed with every token, so that a successor can go on as if
 * nothing had happened.
 *
 * A *turn* is an input and what is generated after it. The first turn begins
 * with the cache, --append begins another.
 */
#ifndef RUN_NOTE_H
#define RUN_NOTE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/run/input.h"
#include "client/run/options.h"
#include "client/treekv.h"

#define NOTE_MAGIC UINT64_C(0x00314e5552564b54) /* "TKVRUN1" */

enum note_flags {
	NOTE_NEXT = 1 << 0, /* next has been sampled */
	NOTE_SHOWN = 1 << 1, /* and written; it counts as generated */
	NOTE_ENDED = 1 << 2, /* it ends the text */
};

struct note {
	uint64_t magic;
	uint32_t flags;
	uint32_t next; /* the id to feed */
	uint64_t base; /* tail at which the turn's input begins */
	uint64_t input; /* ids of the turn's input */
	uint64_t generated; /* in this turn */
	uint64_t text_bytes; /* written in this turn */
	uint64_t random; /* the sampler's state */
	uint64_t seed; /* that it began with */
	double temperature;
	uint64_t scored;
	double nll; /* their sum */
};

static_assert(sizeof(struct note) <= TREEKV_NOTE_SIZE, "must fit");

/**
 * struct plan - where to go on
 * @note: the state to begin with
 * @skip: ids of the input that the cache has read
 * @carry: note.next is fed before the input: the last turn's end
 * @resumed: the cache was not empty
 */
struct plan {
	struct note note;
	size_t skip;
	bool carry;
	bool resumed;
};

/**
 * plan_make - compare what is to be done with what the cache has done
 * @ret: the plan
 * @cache: attached, not in a step
 * @options: the command line
 * @input: its ids
 * @vocab: note.next must be below it
 * @forked: the cache has just been made of a prefix that others have read
 *
 * Return: 0; -EINVAL with the text on stderr: the cache has read another text,
 * or lacks what is needed to go on.
 */
int plan_make(struct plan *ret, struct treekv_cache *cache,
	      const struct options *options, const struct input *input,
	      uint32_t vocab, bool forked);

#endif /* RUN_NOTE_H */
