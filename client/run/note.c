// SPDX-License-Identifier: BSD-2-Clause
/*
 * The cases. An empty cache: begin. An input without --append is the first
 * turn's: what the cache has of it is skipped, the rest is fed; when the cache
 * has all of it, generation goes on where it stood. --append: a turn whose
 * reading was cut short goes on, otherwise a new one begins, with the last
 * sampled token first, since it was shown but never fed. Whether --append is a
 * first turn that goes on, or the next one too early, only the input tells.
 *
 * The cache keeps the ids of its first tokens; as far as they go the input must
 * agree with them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/run/note.h"
#include "client/run/sampler.h"

struct situation {
	struct treekv_cache *cache;
	const struct options *options;
	const struct input *input;
	uint64_t tail;
};

static bool note_check(const struct note *n, uint64_t tail, uint32_t vocab)
{
	return n->magic == NOTE_MAGIC && n->next < vocab && n->base <= tail &&
	       n->input <= UINT32_MAX && n->generated <= tail + 1 &&
	       n->temperature >= 0;
}

/* How many of the input's first @count ids are those from @base on. */
static uint64_t ids_agreeing(const struct situation *s, uint64_t base,
			     uint64_t count)
{
	const uint32_t *ids;
	uint64_t kept = treekv_ids(s->cache, &ids);
	uint64_t i = 0;

	while (i < count &&
	       (base + i >= kept || s->input->ids[i] == ids[base + i]))
		i++;
	return i;
}

static int ids_compare(const struct situation *s, uint64_t base, uint64_t count)
{
	uint64_t i = ids_agreeing(s, base, count);
	const uint32_t *ids;

	if (i == count)
		return 0;
	treekv_ids(s->cache, &ids);
	fprintf(stderr,
		"treekv-run: cache %s has another text: token %llu is id %u "
		"there, %u in the input; give the text it was fed with, or "
		"--append to add to it\n",
		treekv_name(s->cache), (unsigned long long)base + i,
		ids[base + i], s->input->ids[i]);
	return -EINVAL;
}

static void turn_begin(struct plan *plan, const struct situation *s,
		       uint64_t base)
{
	plan->note.base = base;
	plan->note.input = s->input->count;
	plan->note.generated = 0;
	plan->note.text_bytes = 0;
	if (!plan->carry)
		plan->note.flags = 0;
}

static bool cut_short(const struct note *n, uint64_t tail)
{
	return tail - n->base < n->input;
}

static int refuse_half_read(const struct note *n, const struct situation *s)
{
	fprintf(stderr,
		"treekv-run: cache %s has read %llu of %llu tokens of its "
		"input: give the same input again\n",
		treekv_name(s->cache), (unsigned long long)(s->tail - n->base),
		(unsigned long long)n->input);
	return -EINVAL;
}

static int plan_append(struct plan *plan, const struct situation *s)
{
	struct note *n = &plan->note;
	uint64_t read = s->tail - n->base;

	if (!cut_short(n, s->tail)) {
		plan->carry = n->flags == (NOTE_NEXT | NOTE_SHOWN);
		turn_begin(plan, s, s->tail + plan->carry);
		return 0;
	}
	/* This may be a later turn's input: say what the first one lacks. */
	if (!n->base &&
	    (n->input != s->input->count || ids_agreeing(s, 0, read) < read))
		return refuse_half_read(n, s);
	if (n->input != s->input->count) {
		fprintf(stderr,
			"treekv-run: cache %s was cut short in a turn of %llu "
			"tokens, the input has %zu: give the same input\n",
			treekv_name(s->cache), (unsigned long long)n->input,
			s->input->count);
		return -EINVAL;
	}
	plan->skip = read;
	return ids_compare(s, n->base, read);
}

static int plan_input(struct plan *plan, const struct situation *s)
{
	uint64_t count = s->input->count;

	plan->skip = count < s->tail ? count : s->tail;
	if (count > s->tail)
		turn_begin(plan, s, 0);
	return ids_compare(s, 0, plan->skip);
}

/* Generation goes on: there must be something to go on from. */
static int plan_check(const struct plan *plan, const struct situation *s)
{
	const struct note *n = &plan->note;

	if (plan->carry || plan->skip < s->input->count ||
	    !s->options->generate)
		return 0;
	if (cut_short(n, s->tail))
		return refuse_half_read(n, s);
	if (!(n->flags & NOTE_NEXT)) {
		fprintf(stderr,
			"treekv-run: cache %s was not filled by treekv-run: "
			"begin a turn with --append\n",
			treekv_name(s->cache));
		return -EINVAL;
	}
	return 0;
}

/* The same command again is no new seed: the sampler goes on. */
static void note_begin(struct note *n, const struct options *o, bool fresh)
{
	if (fresh || (o->seed_given && o->seed != n->seed)) {
		n->seed = o->seed;
		n->random = sampler_seed(o->seed);
	}
	if (fresh || o->temperature_given)
		n->temperature = o->temperature;
	n->magic = NOTE_MAGIC;
}

int plan_make(struct plan *ret, struct treekv_cache *cache,
	      const struct options *options, const struct input *input,
	      uint32_t vocab, bool forked)
{
	const struct situation s = {
		.cache = cache,
		.options = options,
		.input = input,
		.tail = treekv_tail(cache),
	};
	struct plan plan = { .resumed = s.tail > 0 && !forked };
	bool known;
	int r = 0;

	memcpy(&plan.note, treekv_note(cache), sizeof(plan.note));
	known = s.tail && !forked && note_check(&plan.note, s.tail, vocab);
	if (!known)
		plan.note = (struct note){ 0 };
	note_begin(&plan.note, options, !known);
	if (!s.tail)
		turn_begin(&plan, &s, 0);
	else if (options->append)
		r = plan_append(&plan, &s);
	else if (options_input(options))
		r = plan_input(&plan, &s);
	else
		plan.skip = input->count;
	if (!r)
		r = plan_check(&plan, &s);
	if (!r)
		*ret = plan;
	return r;
}
