/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prompts on tests/unit/fixture.h: how they are handed over, what the daemon
 * makes of the request, and what ought to be there afterwards, by
 * prefill_reference.h and reference.h.
 */
#ifndef TREEKV_TESTS_PREFILL_FIXTURE_H
#define TREEKV_TESTS_PREFILL_FIXTURE_H

#include "tests/unit/fixture.h"
#include "tests/unit/reference.h"

#define LAYERS	   2
#define HEADS	   2
#define K_ROW	   16
#define V_ROW	   8
#define PROMPT	   50
#define TOKENS_MAX 160
#define SLOTS_MAX  80

/* What the daemon does with the request of a commit. */
enum daemon_does {
	DAEMON_ANSWERS,
	DAEMON_LOSES_THE_ANSWER, /* it is done, and nobody is told */
	DAEMON_IS_AWAY, /* nothing is done, and nobody is told */
};

extern enum daemon_does daemon_does;

/* As a test's set-up: the ops of a fixture whose daemon answers. */
int prefill_set_up(void **state);

enum compact_prompt_answer prefill_publish(struct fixture *f,
					   const struct cache_prompt *from);

/* Two layers of budgets 21 and 16, 2 sinks, 5 recent, 60 ids. */
struct treekv_spec prefill_spec(enum treekv_policy policy);

void prefill_assert_text(const char *words);

/* A head's keys and values, made up from layer, head and token. */
int prefill_hand_over(struct treekv_cache *cache, uint32_t layer, uint32_t head,
		      uint32_t n);

/* All of a prompt but the commit; the note is 0x5a. */
void prefill_write(struct treekv_cache *cache, const struct treekv_prefill *how,
		   uint32_t n);
void prefill(struct treekv_cache *cache, const struct treekv_prefill *how,
	     uint32_t n);

/* One token more. */
void prefill_step(struct treekv_cache *cache);

/* A prompt that was prefilled; its method's parameters are those of how. */
struct expected {
	enum treekv_policy policy;
	const char *method;
	uint32_t tokens;
	uint32_t window;
	uint32_t block;
	uint32_t budget; /* of prompts; 0: the layer's */
	uint32_t queries; /* that since and score speak of */
	bool scored;
	uint32_t recent; /* newest that h2o and tova keep */
};

/* By (layer, head), to go on from. */
struct references {
	struct reference *of[LAYERS][HEADS];
};

void expect_prompt(struct references *ret, const struct fixture *f,
		   const struct expected *e);
void expect_free(struct references *r);

/* Rows, ranks, tokens, since, scores and walks of all heads. */
void expect_compare(struct fixture *f, const struct expected *e,
		    const struct references *r);

/* Steps in lockstep, after each of which everything is compared. */
void expect_steps(struct fixture *f, const struct expected *e,
		  struct references *r, uint32_t steps);

#endif /* TREEKV_TESTS_PREFILL_FIXTURE_H */
