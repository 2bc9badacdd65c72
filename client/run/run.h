/* SPDX-License-Identifier: BSD-2-Clause */
/* The run: feed tokens, score or sample, commit, step by step. */
#ifndef RUN_RUN_H
#define RUN_RUN_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/run/engine.h"
#include "client/run/input.h"
#include "client/run/note.h"
#include "client/run/output.h"
#include "client/run/progress.h"

/**
 * struct run - one run over an attached cache
 * @options: the command line
 * @model: its vocabulary
 * @engine: for rows of the cache's dtype
 * @tokenizer: NULL when no text is generated
 * @cache: attached, with no step running
 * @input: the ids to read
 * @nll: where each token's score goes, or NULL
 * @plan: where the cache stands; its note is what the run goes on with
 * @stop: set by a signal: end after this step
 *
 * The rest is what came of it.
 *
 * @fed: tokens fed
 * @ns: of feeding them
 * @prompt: of these, as a whole
 * @prompt_ns: of computing and committing them
 * @text: what was generated, @text_size bytes, with --json
 * @within_line: the last byte on stdout was no newline
 * @closed: nobody reads stdout any more
 * @logits: XXH3 over all logits of the run, in their sequence
 * @first_at: when the first token was shown, or 0
 */
struct run {
	const struct options *options;
	const struct model *model;
	struct engine *engine;
	const struct tokenizer *tokenizer;
	struct treekv_cache *cache;
	const struct input *input;
	struct output *nll;
	struct plan plan;
	const volatile sig_atomic_t *stop;
	struct progress progress;

	uint64_t fed;
	uint64_t ns;
	uint64_t prompt;
	uint64_t prompt_ns;
	char *text;
	size_t text_size;
	bool within_line;
	bool closed;
	uint64_t logits;
	uint64_t first_at;
};

/**
 * run_budgets - the budgets of the run's cache
 * @least: set to the least of its layers'
 *
 * Return: the greatest of its layers'.
 */
uint32_t run_budgets(const struct run *run, uint32_t *least);

/* Return: 0 also when stopped, or a negative errno with the fault on stderr. */
int run_tokens(struct run *run);

#endif /* RUN_RUN_H */
