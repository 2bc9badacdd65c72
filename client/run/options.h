/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line: one table in options.c, from which --help comes too. */
#ifndef RUN_OPTIONS_H
#define RUN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "client/treekv.h"

#define OPTIONS_ALL UINT64_MAX /* --tokens not given */

struct options {
	const char *model; /* NULL: embedded */
	const char *tokenizer;
	const char *prompt;
	const char *text;
	const char *ids;
	bool append;
	uint64_t tokens;
	uint64_t generate;
	double temperature;
	bool temperature_given;
	uint64_t seed;
	bool seed_given;
	bool perplexity;
	const char *nll;
	const char *record;
	const char *views;
	uint64_t views_every;
	bool views_every_given;
	const char *write_ids;
	bool prefill;
	uint64_t prefill_tokens; /* of the input; 0: all */
	struct treekv_prefill how;
	uint64_t prefill_budget; /* the counts in how, as they are parsed */
	uint64_t block;
	uint64_t window;
	uint64_t kernel;
	bool how_given; /* any of them */
	enum treekv_policy policy;
	bool policy_given;
	uint64_t budget;
	bool budget_given;
	const char *budget_profile; /* NULL: the same budget for all layers */
	uint64_t sinks;
	bool sinks_given;
	uint64_t recent;
	bool recent_given;
	uint64_t slack;
	bool slack_given;
	bool lockstep;
	bool by_rank;
	bool prefix_cache;
	enum treekv_dtype dtype;
	bool dtype_given;
	uint64_t threads; /* 0: by the model's size */
	const char *cache;
	uint64_t mode; /* 0: as is usual */
	bool mode_given;
	bool local;
	const char *socket;
	uint64_t timeout_ms;
	bool json;
};

/**
 * options_parse - read the command line
 *
 * Return: 0; 1 when --help or --version has been answered; -EINVAL with what
 * was refused, and the way out, on stderr.
 */
int options_parse(struct options *ret, int argc, char **argv);

/* "f32", as --dtype has it. */
const char *options_dtype_name(enum treekv_dtype dtype);

static inline bool options_input(const struct options *o)
{
	return o->prompt || o->text || o->ids;
}

#endif /* RUN_OPTIONS_H */
