/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A writer whose cache checks itself. What a row holds is a function of (layer,
 * head, token number), what a token pays to a row is one of (layer, head, that
 * token, the row's), so anybody who attaches later can tell whether every row
 * and every score is right, without having seen any of it written.
 *
 * Weights are of two kinds. Exact ones are differences of small integers, which
 * add up to f(tail, t) whatever was evicted and whoever wrote: an addition that
 * is lost or made twice shows. In lockstep they are fractions, whose sums
 * round, and are compared with an unbroken run. One token in eight is not
 * observed by a given head, so that scores are carried over as well.
 *
 * Tokens that a step appends and does not commit get rows of other content: one
 * that stays visible is found as well. The note carries the tail and a running
 * hash of all tokens so far.
 *
 * Where somebody is known to have punched a hole into the rows, what lies in it
 * is not judged, and everything else is.
 *
 * A header, because every helper is one object file.
 */
#ifndef TREEKV_TESTS_SELFCHECK_H
#define TREEKV_TESTS_SELFCHECK_H

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cache.h"
#include "client/treekv.h"

#define SELFCHECK_MAGIC UINT64_C(0x6b63656863666c65)

struct selfcheck_note {
	uint64_t magic;
	uint64_t tail;
	uint64_t chain;
};

enum selfcheck_moment {
	SELFCHECK_PROMPT, /* selfcheck_prompt.h: its begin and its heads */
	SELFCHECK_PROMPT_COMMIT,
	SELFCHECK_BEGIN,
	SELFCHECK_LAYER,
	SELFCHECK_COMMIT,
	SELFCHECK_MOMENTS,
};

struct selfcheck {
	struct treekv_cache *cache;
	const struct treekv_spec *spec;
	uint64_t seed; /* of contents and weights */
	uint64_t random; /* what steps do */
	uint32_t per_step; /* tokens of a step, at most */
	uint32_t verify_every; /* steps; 0: never within steps */
	int timeout_ms;
	bool lockstep;
	bool whole; /* no partial commits, no rewinds */
	bool copied; /* never treekv_append_at() */
	uint32_t prompt; /* tokens that came as a whole; 0: none did */
	uint32_t counted; /* queries of it that since and scores speak of */
	uint64_t pinned; /* the first tokens are all held */
	uint64_t scores_from; /* a fork's scores began at this tail; or 0 */
	/* Called before each part of a step; NULL: nothing is. */
	void (*before)(struct selfcheck *s, enum selfcheck_moment moment);
	void *of_before;

	uint64_t hole_at, hole_size; /* bytes of rows; size 0: none */

	uint64_t steps;
	uint64_t rows; /* checked */
	uint64_t holed; /* or not, because of the hole */
	uint64_t wrong;
	char text[256]; /* the first wrong thing */

	uint64_t chain_at; /* tokens that chain covers */
	uint64_t chain;
	uint8_t *k, *v; /* [per_step][kv_heads] rows */
	void **k_at, **v_at;
	float *weights;
	uint32_t *by_rank; /* tokens */
	uint32_t *ids;
};

static inline uint64_t selfcheck_mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static inline uint64_t selfcheck_random(struct selfcheck *s)
{
	return selfcheck_mix(s->random++);
}

static inline uint32_t selfcheck_below(struct selfcheck *s, uint32_t n)
{
	return (uint32_t)(selfcheck_random(s) % n);
}

__attribute__((format(printf, 2, 3))) static inline void
selfcheck_blame(struct selfcheck *s, const char *format, ...)
{
	va_list args;

	if (!s->wrong++) {
		va_start(args, format);
		vsnprintf(s->text, sizeof(s->text), format, args);
		va_end(args);
	}
}

static inline void *selfcheck_alloc(size_t n, size_t size)
{
	void *at = calloc(n ? n : 1, size);

	if (!at) {
		perror("calloc");
		exit(2);
	}
	return at;
}

static inline void selfcheck_init(struct selfcheck *s,
				  const struct treekv_spec *spec)
{
	size_t rows = (size_t)s->per_step * spec->kv_heads;
	size_t slots = 0;

	for (uint32_t l = 0; l < spec->layers; l++) {
		uint32_t b = spec->budgets ? spec->budgets[l] : spec->budget;

		slots = b > slots ? b : slots;
	}
	slots += spec->slack;
	for (uint32_t l = 0; s->cache && l < spec->layers; l++)
		if (s->cache->layer[l].at.slots > slots)
			slots = s->cache->layer[l].at.slots;
	s->spec = spec;
	s->chain = s->seed;
	s->k = selfcheck_alloc(rows, spec->k_row);
	s->v = selfcheck_alloc(rows, spec->v_row);
	s->k_at = selfcheck_alloc(rows, sizeof(void *));
	s->v_at = selfcheck_alloc(rows, sizeof(void *));
	s->weights = selfcheck_alloc(slots, sizeof(float));
	s->by_rank = selfcheck_alloc(slots, sizeof(uint32_t));
	s->ids = selfcheck_alloc(s->per_step, sizeof(uint32_t));
}

static inline void selfcheck_exit(struct selfcheck *s)
{
	free(s->k);
	free(s->v);
	free(s->k_at);
	free(s->v_at);
	free(s->weights);
	free(s->by_rank);
	free(s->ids);
}

/* ---- what things ought to be ---- */

static inline uint64_t selfcheck_place(const struct selfcheck *s,
				       uint32_t layer, uint32_t head,
				       uint64_t token)
{
	return s->seed ^ selfcheck_mix(token << 18 | layer << 9 | head);
}

enum selfcheck_part {
	SELFCHECK_K,
	SELFCHECK_V,
	SELFCHECK_K_DISCARDED,
	SELFCHECK_V_DISCARDED,
};

static inline uint64_t selfcheck_word(uint64_t key, size_t i)
{
	key += i * UINT64_C(0x9e3779b97f4a7c15);
	return key ^ key >> 29;
}

static inline void selfcheck_fill(void *row, size_t size, uint64_t place,
				  enum selfcheck_part part)
{
	uint64_t key = selfcheck_mix(place + part), word;

	for (size_t i = 0; i < size; i += sizeof(word)) {
		word = selfcheck_word(key, i);
		memcpy((char *)row + i, &word,
		       size - i < sizeof(word) ? size - i : sizeof(word));
	}
}

static inline bool selfcheck_holds(const void *row, size_t size, uint64_t place,
				   enum selfcheck_part part)
{
	uint64_t key = selfcheck_mix(place + part), word;

	for (size_t i = 0; i < size; i += sizeof(word)) {
		word = selfcheck_word(key, i);
		if (memcmp((const char *)row + i, &word,
			   size - i < sizeof(word) ? size - i : sizeof(word)))
			return false;
	}
	return true;
}

/* Does this head observe this token? */
static inline bool selfcheck_observes(const struct selfcheck *s, uint32_t layer,
				      uint32_t head, uint64_t query)
{
	return query + 1 == s->prompt || /* or a prompt might be unobserved */
	       selfcheck_mix(selfcheck_place(s, layer, head, query) + 1) % 8;
}

/* The tail as it was when a head last observed something. */
static inline uint64_t selfcheck_observed_tail(const struct selfcheck *s,
					       uint32_t layer, uint32_t head,
					       uint64_t tail)
{
	while (tail && !selfcheck_observes(s, layer, head, tail - 1))
		tail--;
	return tail;
}

static inline float selfcheck_potential(uint64_t place, uint64_t tail,
					uint64_t token)
{
	if (tail <= token)
		return 0;
	return (float)((place ^ tail) * UINT64_C(0xd1342543de82ef95) >> 52);
}

/*
 * What token @query, which this head observes, pays to the row of @token.
 * @before: the observed tail at @query
 */
static inline float selfcheck_weight(const struct selfcheck *s, uint32_t layer,
				     uint32_t head, uint64_t query,
				     uint64_t before, uint64_t token)
{
	uint64_t place = selfcheck_place(s, layer, head, token);

	if (query < token)
		return 0;
	if (s->lockstep)
		return (float)(selfcheck_mix(place + ~query) >> 40) * 0x1p-24F;
	return selfcheck_potential(place, query + 1, token) -
	       selfcheck_potential(place, before, token);
}

/* The score of @token with @tail observed; not in lockstep. */
static inline float selfcheck_score(const struct selfcheck *s, uint32_t layer,
				    uint32_t head, uint64_t tail,
				    uint64_t token)
{
	uint64_t place = selfcheck_place(s, layer, head, token), before;
	float unseen = 0;

	if (token < s->scores_from && tail <= s->scores_from)
		return 0;
	if (token < s->scores_from && s->spec->policy != TREEKV_POLICY_TOVA) {
		before =
			selfcheck_observed_tail(s, layer, head, s->scores_from);
		return selfcheck_potential(place, tail, token) -
		       selfcheck_potential(place, before, token);
	}
	if (token < s->prompt) {
		before = selfcheck_observed_tail(s, layer, head,
						 s->prompt - s->counted);
		unseen = selfcheck_potential(place, before, token);
	}
	if (s->spec->policy != TREEKV_POLICY_TOVA || tail <= token)
		return selfcheck_potential(place, tail, token) - unseen;
	before = selfcheck_observed_tail(s, layer, head, tail - 1);
	return selfcheck_weight(s, layer, head, tail - 1, before, token);
}

static inline uint64_t selfcheck_since(const struct selfcheck *s,
				       uint64_t token)
{
	uint64_t first = s->prompt - s->counted;

	if (token < s->scores_from)
		return s->scores_from;
	return token < s->prompt && token < first ? first : token;
}

static inline uint64_t selfcheck_chain(struct selfcheck *s, uint64_t tail)
{
	if (tail < s->chain_at) {
		s->chain_at = 0;
		s->chain = s->seed;
	}
	while (s->chain_at < tail)
		s->chain = selfcheck_mix(s->chain ^ s->chain_at++);
	return s->chain;
}

static inline uint32_t selfcheck_id(const struct selfcheck *s, uint64_t token)
{
	return (uint32_t)selfcheck_mix(s->seed + token);
}

/* ---- checking ---- */

static inline bool selfcheck_in_hole(const struct selfcheck *s, const void *at,
				     uint64_t size)
{
	uint64_t from =
		(uint64_t)((const char *)at - (const char *)s->cache->rows);

	return from < s->hole_at + s->hole_size && from + size > s->hole_at;
}

/* One of a score's two halves is made of the other. */
static inline bool selfcheck_is_holed(const struct selfcheck *s,
				      const struct cache_head *at,
				      uint32_t slot)
{
	size_t k_row = s->spec->k_row, v_row = s->spec->v_row;

	return selfcheck_in_hole(s, at->k + slot * k_row, k_row) ||
	       selfcheck_in_hole(s, at->v + slot * v_row, v_row) ||
	       selfcheck_in_hole(s, &at->score[0][slot], sizeof(float)) ||
	       selfcheck_in_hole(s, &at->score[1][slot], sizeof(float)) ||
	       selfcheck_in_hole(s, &at->since[slot], sizeof(uint32_t));
}

/* Ranks: a permutation of 0 ... live - 1, in the order of the tokens. */
static inline bool selfcheck_ranks(struct selfcheck *s, uint32_t layer,
				   uint32_t head,
				   const struct treekv_view *view, uint64_t end)
{
	uint32_t found = 0;

	memset(s->by_rank, 0xff, view->live * sizeof(*s->by_rank));
	for (uint32_t slot = 0; slot < view->slots; slot++) {
		uint32_t rank = view->rank[slot];

		if (rank == TREEKV_FREE)
			continue;
		if (rank >= view->live || s->by_rank[rank] != UINT32_MAX)
			goto wrong;
		s->by_rank[rank] = view->token[slot];
		found++;
	}
	if (found != view->live || found > end)
		goto wrong;
	for (uint32_t r = 1; r < found; r++)
		if (s->by_rank[r] <= s->by_rank[r - 1])
			goto wrong;
	for (uint32_t r = 0; r < found && (r < s->spec->sinks || r < s->pinned);
	     r++)
		if (s->by_rank[r] != r)
			goto wrong;
	for (uint32_t i = 1; i <= found && i <= s->spec->recent; i++)
		if (s->by_rank[found - i] != end - i)
			goto wrong;
	return true;
wrong:
	selfcheck_blame(s,
			"layer %u head %u at token %" PRIu64 ": %u ranks "
			"found of %u, or out of order",
			layer, head, end, found, view->live);
	return false;
}

static inline void selfcheck_row(struct selfcheck *s, uint32_t layer,
				 uint32_t head, const struct treekv_view *view,
				 uint32_t slot, uint64_t observed,
				 bool discarded)
{
	const struct cache_head *at = cache_head_at(s->cache, layer, head);
	uint64_t token = view->token[slot], tail = treekv_tail(s->cache);
	uint64_t place = selfcheck_place(s, layer, head, token);
	unsigned int part = discarded ? SELFCHECK_K_DISCARDED : SELFCHECK_K;
	bool first = slot < view->span[0].slots;
	const struct treekv_span *span = &view->span[!first];
	size_t i = first ? slot : slot - view->span[0].slots;
	float score = at->score[s->cache->parity][slot];

	if (selfcheck_is_holed(s, at, slot)) {
		s->holed++;
		return;
	}
	s->rows++;
	if (!selfcheck_holds((const char *)span->k + i * view->k_stride,
			     s->spec->k_row, place,
			     (enum selfcheck_part)part) ||
	    !selfcheck_holds((const char *)span->v + i * view->v_stride,
			     s->spec->v_row, place,
			     (enum selfcheck_part)(part + 1)))
		selfcheck_blame(s,
				"layer %u head %u slot %u: the row of token "
				"%" PRIu64 " is wrong at tail %" PRIu64,
				layer, head, slot, token, tail);
	if (s->cache->reader)
		return; /* scores are not what he is shown */
	if (at->since[slot] != selfcheck_since(s, token))
		selfcheck_blame(s,
				"layer %u head %u slot %u: since is %u, the "
				"token %" PRIu64,
				layer, head, slot, at->since[slot], token);
	if (token < tail && s->cache->scored && !s->lockstep &&
	    score != selfcheck_score(s, layer, head, observed, token))
		selfcheck_blame(s,
				"layer %u head %u slot %u: the score of "
				"token %" PRIu64 " is %g at tail %" PRIu64
				", not %g",
				layer, head, slot, token, (double)score, tail,
				(double)selfcheck_score(s, layer, head,
							observed, token));
}

/* Every live row of a head; tokens from @discarded on will not be committed. */
static inline void selfcheck_head(struct selfcheck *s, uint32_t layer,
				  uint32_t head, uint64_t end,
				  uint64_t discarded)
{
	uint64_t observed =
		selfcheck_observed_tail(s, layer, head, treekv_tail(s->cache));
	struct treekv_view view;
	int r;

	r = treekv_view(s->cache, layer, head, &view);
	if (r == -ESTALE)
		return; /* the lease was broken: the next call says so, too */
	if (r) {
		selfcheck_blame(s, "no view: %s", treekv_error());
		return;
	}
	if (selfcheck_in_hole(s, view.token,
			      view.slots * sizeof(*view.token))) {
		s->holed += view.live; /* nobody can say whose they are */
		return;
	}
	if (!selfcheck_ranks(s, layer, head, &view, end))
		return;
	for (uint32_t slot = 0; slot < view.slots; slot++)
		if (view.rank[slot] != TREEKV_FREE)
			selfcheck_row(s, layer, head, &view, slot, observed,
				      view.token[slot] >= discarded);
}

static inline void selfcheck_note_at(struct selfcheck *s, uint64_t tail)
{
	struct selfcheck_note note;
	const uint32_t *ids;
	uint64_t n = treekv_ids(s->cache, &ids);

	memcpy(&note, treekv_note(s->cache), sizeof(note));
	if (selfcheck_in_hole(s, s->cache->rows, sizeof(*s->cache->rows)) ||
	    selfcheck_in_hole(s, ids, n * sizeof(*ids)))
		return;
	if (tail == s->scores_from && !note.magic)
		tail = 0; /* the note is the parent's last commit's */
	if (tail && (note.magic != SELFCHECK_MAGIC || note.tail != tail ||
		     note.chain != selfcheck_chain(s, tail)))
		selfcheck_blame(s,
				"the note is that of tail %" PRIu64 ", the "
				"cache is at %" PRIu64,
				note.tail, tail);
	for (uint64_t i = 0; i < n; i++)
		if (ids[i] != selfcheck_id(s, i)) {
			selfcheck_blame(s,
					"the id of token %" PRIu64 " is "
					"wrong",
					i);
			return;
		}
}

/* All of a cache between steps: rows, ranks, scores, note, ids. */
static inline void selfcheck_verify(struct selfcheck *s)
{
	uint64_t tail = treekv_tail(s->cache);

	for (uint32_t l = 0; l < s->spec->layers; l++)
		for (uint32_t h = 0; h < s->spec->kv_heads; h++)
			selfcheck_head(s, l, h, tail, UINT64_MAX);
	selfcheck_note_at(s, tail);
}

/*
 * One read of a reader, which counts only if it turns out to have been whole.
 * Return: 0, -EAGAIN, or what the library said.
 */
static inline int selfcheck_read(struct selfcheck *s)
{
	uint64_t wrong = s->wrong;
	int r = treekv_read_begin(s->cache);

	if (r)
		return r;
	selfcheck_verify(s);
	r = treekv_read_end(s->cache);
	if (r)
		s->wrong = wrong;
	return r;
}

/* ---- steps ---- */

static inline int selfcheck_append(struct selfcheck *s, uint32_t layer,
				   uint32_t n, uint32_t m)
{
	bool in_place = !s->copied && selfcheck_below(s, 2);
	size_t k_row = s->spec->k_row, v_row = s->spec->v_row, i = 0;
	uint32_t heads = s->spec->kv_heads;
	int r = 0;

	if (in_place)
		r = treekv_append_at(s->cache, layer, s->k_at, s->v_at);
	for (uint32_t j = 0; !r && j < n; j++)
		for (uint32_t h = 0; h < heads; h++, i++) {
			uint64_t place = selfcheck_place(
				s, layer, h, treekv_tail(s->cache) + j);

			selfcheck_fill(in_place ? s->k_at[i] : s->k + i * k_row,
				       k_row, place,
				       j < m ? SELFCHECK_K :
					       SELFCHECK_K_DISCARDED);
			selfcheck_fill(in_place ? s->v_at[i] : s->v + i * v_row,
				       v_row, place,
				       j < m ? SELFCHECK_V :
					       SELFCHECK_V_DISCARDED);
		}
	if (!r && !in_place)
		r = treekv_append(s->cache, layer, s->k, s->v);
	return r;
}

static inline int selfcheck_observe(struct selfcheck *s, uint32_t layer,
				    uint32_t head, uint32_t m)
{
	struct treekv_view view;
	int r = treekv_view(s->cache, layer, head, &view);

	for (uint32_t j = 0; !r && j < m; j++) {
		uint64_t query = treekv_tail(s->cache) + j;
		uint64_t before =
			selfcheck_observed_tail(s, layer, head, query);

		if (!selfcheck_observes(s, layer, head, query))
			continue;
		for (uint32_t slot = 0; s->cache->scored && slot < view.slots;
		     slot++)
			s->weights[slot] =
				view.rank[slot] == TREEKV_FREE ?
					0 :
					selfcheck_weight(s, layer, head, query,
							 before,
							 view.token[slot]);
		r = treekv_observe(s->cache, layer, head, j, s->weights, 1,
				   view.slots);
	}
	return r;
}

static inline void selfcheck_before(struct selfcheck *s,
				    enum selfcheck_moment moment)
{
	if (s->before)
		s->before(s, moment);
}

static inline int selfcheck_layer(struct selfcheck *s, uint32_t layer,
				  uint32_t n, uint32_t m)
{
	uint64_t tail = treekv_tail(s->cache);
	int r;

	selfcheck_before(s, SELFCHECK_LAYER);
	r = selfcheck_append(s, layer, n, m);

	for (uint32_t h = 0; !r && h < s->spec->kv_heads; h++) {
		if (s->verify_every && s->steps % s->verify_every == 0)
			selfcheck_head(s, layer, h, tail + n, tail + m);
		r = selfcheck_observe(s, layer, h, m);
	}
	return r;
}

/* Ends a step of n tokens with m committed, by one of the ways there are. */
static inline int selfcheck_end(struct selfcheck *s, uint32_t n, uint32_t m)
{
	uint64_t tail = treekv_tail(s->cache) + m;
	struct selfcheck_note note = { SELFCHECK_MAGIC, tail,
				       selfcheck_chain(s, tail) };
	int r = 0;

	if (m < n && selfcheck_below(s, 2)) {
		r = treekv_rewind(s->cache, n - m);
		if (r || !m)
			return r;
	}
	memcpy(treekv_note(s->cache), &note, sizeof(note));
	selfcheck_before(s, SELFCHECK_COMMIT);
	return treekv_commit(s->cache, m);
}

/**
 * selfcheck_step - one step of up to per_step tokens
 * @limit: the tail is not to pass it
 *
 * One in four commits only a part, or nothing. Return: 0, or what the library
 * said.
 */
static inline int selfcheck_step(struct selfcheck *s, uint64_t limit)
{
	uint64_t left = limit - treekv_tail(s->cache);
	uint32_t n = 1 + selfcheck_below(s, s->per_step), m;
	int r;

	n = n < left ? n : (uint32_t)left;
	m = s->whole || selfcheck_below(s, 4) ? n : selfcheck_below(s, n);
	s->steps++;
	for (uint32_t j = 0; j < n; j++)
		s->ids[j] = selfcheck_id(s, treekv_tail(s->cache) + j);
	selfcheck_before(s, SELFCHECK_BEGIN);
	r = treekv_step_begin(s->cache, s->ids, n, s->timeout_ms);
	for (uint32_t l = 0; !r && l < s->spec->layers; l++)
		r = selfcheck_layer(s, l, n, m);
	if (!r)
		r = selfcheck_end(s, n, m);
	if (!r && s->lockstep)
		r = treekv_settle(s->cache, s->timeout_ms);
	return r;
}

#endif /* TREEKV_TESTS_SELFCHECK_H */
