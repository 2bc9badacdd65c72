// SPDX-License-Identifier: BSD-2-Clause
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/budget.h"
#include "client/run/options.h"

#define ROWS_MAX (1U << 24) /* of one layer and head, as the daemon has it */
#define COLUMNS	 80 /* of --help */
#define MARGIN	 28 /* where its texts begin */

enum kind {
	KIND_HELP,
	KIND_VERSION,
	KIND_FLAG,
	KIND_TEXT,
	KIND_COUNT,
	KIND_REAL,
	KIND_POLICY,
	KIND_DTYPE,
	KIND_METHOD,
	KIND_POOLING,
	KIND_MODE,
};

struct option {
	const char *name;
	char letter;
	enum kind kind;
	const char *argument;
	size_t at; /* of the value in struct options */
	size_t given; /* of a bool that is set, 0: none */
	uint64_t min, max;
	const char *help;
};

#define AT(field) offsetof(struct options, field)

static const struct option table[] = {
	{ "tokenizer", 'z', KIND_TEXT, "FILE", AT(tokenizer), 0, 0, 0,
	  "tokenizer in llama2.c's format (default: the embedded one)" },
	{ "prompt", 0, KIND_TEXT, "TEXT", AT(prompt), 0, 0, 0,
	  "read TEXT (a BOS is added)" },
	{ "text", 0, KIND_TEXT, "FILE", AT(text), 0, 0, 0,
	  "read a file of text (a BOS is added)" },
	{ "ids", 0, KIND_TEXT, "FILE", AT(ids), 0, 0, 0,
	  "read a file of little-endian u32 token ids, nothing added" },
	{ "append", 0, KIND_FLAG, NULL, AT(append), 0, 0, 0,
	  "a further turn: all of the input goes behind what the cache has" },
	{ "tokens", 0, KIND_COUNT, "N", AT(tokens), 0, 1, UINT32_MAX - 2,
	  "read the input's first N tokens only" },
	{ "generate", 0, KIND_COUNT, "N", AT(generate), 0, 0, UINT32_MAX - 2,
	  "write N tokens, those of a predecessor included (0)" },
	{ "temperature", 0, KIND_REAL, "X", AT(temperature),
	  AT(temperature_given), 0, 100,
	  "of sampling; 0: the likeliest (0.8)" },
	{ "seed", 0, KIND_COUNT, "N", AT(seed), AT(seed_given), 0, UINT64_MAX,
	  "of sampling (1)" },
	{ "perplexity", 0, KIND_FLAG, NULL, AT(perplexity), 0, 0, 0,
	  "score each token of the input by those before it" },
	{ "nll", 0, KIND_TEXT, "FILE", AT(nll), 0, 0, 0,
	  "write what each token was scored, in nats, one a line" },
	{ "record", 0, KIND_TEXT, "TRACE", AT(record), 0, 0, 0,
	  "write all attention weights, for treekvctl replay" },
	{ "views", 0, KIND_TEXT, "FILE", AT(views), 0, 0, 0,
	  "write what each step saw: tokens held and attention paid" },
	{ "views-every", 0, KIND_COUNT, "N", AT(views_every),
	  AT(views_every_given), 1, UINT32_MAX,
	  "of --views: every Nth step and the last (1)" },
	{ "write-ids", 0, KIND_TEXT, "FILE", AT(write_ids), 0, 0, 0,
	  "write the input's token ids, as --ids reads them; no more" },
	{ "prefill", 0, KIND_FLAG, NULL, AT(prefill), 0, 0, 0,
	  "take the input through the model as a whole, layer by layer, and "
	  "keep of it what fits the budget" },
	{ "prefill-tokens", 0, KIND_COUNT, "N", AT(prefill_tokens),
	  AT(how_given), 1, UINT32_MAX - 2,
	  "so with its first N tokens only, the others one by one (all)" },
	{ "prefill-method", 0, KIND_METHOD, "NAME", AT(how.method),
	  AT(how_given), 0, 0,
	  "which tokens are kept: policy, treekv, treekv-left, treekv-skip, "
	  "streaming, h2o, tova, full, snapkv (policy: as --policy has it)" },
	{ "prefill-budget", 0, KIND_COUNT, "N", AT(prefill_budget),
	  AT(how_given), 1, ROWS_MAX, "how many are kept (--budget)" },
	{ "block", 0, KIND_COUNT, "N", AT(block), AT(how_given), 1, ROWS_MAX,
	  "tokens that treekv keeps or drops together (16)" },
	{ "window", 0, KIND_COUNT, "N", AT(window), AT(how_given), 1, ROWS_MAX,
	  "last tokens that are kept and whose attention counts (32, or half "
	  "of a small budget; h2o, tova: --recent)" },
	{ "pooling", 0, KIND_POOLING, "NAME", AT(how.pooling), AT(how_given), 0,
	  0, "of snapkv: highest, mean (highest)" },
	{ "kernel", 0, KIND_COUNT, "N", AT(kernel), AT(how_given), 1, ROWS_MAX,
	  "tokens that snapkv pools, odd (7)" },
	{ "policy", 0, KIND_POLICY, "NAME", AT(policy), AT(policy_given), 0, 0,
	  "what a full cache gives up: treekv, treekv-left, treekv-skip, "
	  "streaming, h2o, tova, full (treekv)" },
	{ "budget", 0, KIND_COUNT, "N", AT(budget), AT(budget_given), 1,
	  ROWS_MAX, "tokens held (256; full: as many as are fed)" },
	{ "budget-profile", 0, KIND_TEXT, "NAME", AT(budget_profile), 0, 0, 0,
	  "budgets that differ by layer: pyramid (their mean is --budget), or "
	  "a file with one a line" },
	{ "sinks", 0, KIND_COUNT, "N", AT(sinks), AT(sinks_given), 0, ROWS_MAX,
	  "first tokens that are kept (4)" },
	{ "recent", 0, KIND_COUNT, "N", AT(recent), AT(recent_given), 0,
	  ROWS_MAX, "newest tokens that are kept (budget / 2 - sinks)" },
	{ "slack", 0, KIND_COUNT, "N", AT(slack), AT(slack_given), 1, ROWS_MAX,
	  "tokens that fit beyond the budget (64)" },
	{ "lockstep", 0, KIND_FLAG, NULL, AT(lockstep), 0, 0, 0,
	  "slack 1, and wait after each step until it is compacted" },
	{ "by-rank", 0, KIND_FLAG, NULL, AT(by_rank), 0, 0, 0,
	  "add rows up from the oldest on, wherever they lie (slower)" },
	{ "dtype", 0, KIND_DTYPE, "TYPE", AT(dtype), AT(dtype_given), 0, 0,
	  "of keys and values: f32, f16, bf16 (f32)" },
	{ "threads", 0, KIND_COUNT, "N", AT(threads), 0, 1, 256,
	  "that compute (1 for a model below 8 MiB, else one a processor, "
	  "up to 8)" },
	{ "cache", 0, KIND_TEXT, "NAME", AT(cache), 0, 0, 0,
	  "the cache's name; one that exists goes on, with the options it was "
	  "made with (without: anonymous)" },
	{ "mode", 0, KIND_MODE, "MODE", AT(mode), AT(mode_given), 0, 0,
	  "who may read and write a cache that is made, as of a file: 0640 "
	  "(0600, a group's 0660)" },
	{ "prefix-cache", 0, KIND_FLAG, NULL, AT(prefix_cache), 0, 0, 0,
	  "read a prompt once: keep it frozen, and share its rows" },
	{ "local", 0, KIND_FLAG, NULL, AT(local), 0, 0, 0,
	  "no daemon: the same policy in private memory, in lockstep" },
	{ "socket", 0, KIND_TEXT, "PATH", AT(socket), 0, 0, 0,
	  "the daemon's (TREEKV_SOCKET, else /run/treekvd/treekvd.sock)" },
	{ "timeout", 0, KIND_COUNT, "MS", AT(timeout_ms), 0, 1, INT32_MAX,
	  "the longest a step waits for the daemon (10000)" },
	{ "json", 0, KIND_FLAG, NULL, AT(json), 0, 0, 0,
	  "print one object on stdout, everything else on stderr" },
	{ "help", 'h', KIND_HELP, NULL, 0, 0, 0, 0, "print this" },
	{ "version", 0, KIND_VERSION, NULL, 0, 0, 0, 0, "print the version" },
};

#define TABLE_SIZE (sizeof(table) / sizeof(*table))

__attribute__((format(printf, 1, 2))) static int refuse(const char *format, ...)
{
	va_list args;

	fputs("treekv-run: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry 'treekv-run --help'.\n", stderr);
	return -EINVAL;
}

/* As many words as fit, line by line; the first line begins at MARGIN. */
static void print_wrapped(const char *text)
{
	while (strlen(text) > COLUMNS - MARGIN) {
		int size = COLUMNS - MARGIN;

		while (size > 1 && text[size] != ' ')
			size--;
		printf("%.*s\n%*s", size, text, MARGIN, "");
		text += size + 1;
	}
	puts(text);
}

static void print_help(void)
{
	puts("usage: treekv-run [MODEL] [-z TOKENIZER] [options]\n"
	     "\n"
	     "Runs a Llama model (llama2.c's v0 fp32 or v2 Q8_0 file; default: "
	     "the embedded\none) with its keys and values in a cache that "
	     "treekvd holds at a budget.\n");
	for (size_t i = 0; i < TABLE_SIZE; i++) {
		const struct option *o = &table[i];
		char left[40];

		snprintf(left, sizeof(left), "%s%c%s--%s %s",
			 o->letter ? "-" : "   ", o->letter ? o->letter : ' ',
			 o->letter ? ", " : "", o->name,
			 o->argument ? o->argument : "");
		printf("  %-*s ", MARGIN - 3, left);
		print_wrapped(o->help);
	}
}

static int parse_count(const struct option *o, uint64_t *to, const char *text)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || value < o->min ||
	    value > o->max)
		return refuse("--%s %s: must be a whole number, %llu to %llu",
			      o->name, text, (unsigned long long)o->min,
			      (unsigned long long)o->max);
	*to = value;
	return 0;
}

static int parse_real(const struct option *o, double *to, const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (!*text || *end || !(value >= (double)o->min) ||
	    !(value <= (double)o->max))
		return refuse("--%s %s: must be a number, %llu to %llu",
			      o->name, text, (unsigned long long)o->min,
			      (unsigned long long)o->max);
	*to = value;
	return 0;
}

const char *options_dtype_name(enum treekv_dtype dtype)
{
	switch (dtype) {
	case TREEKV_F32:
		return "f32";
	case TREEKV_F16:
		return "f16";
	case TREEKV_BF16:
		return "bf16";
	}
	return "unknown";
}

static int parse_dtype(enum treekv_dtype *to, const char *text)
{
	for (unsigned int i = TREEKV_F32; i <= TREEKV_BF16; i++) {
		if (!strcmp(text, options_dtype_name((enum treekv_dtype)i))) {
			*to = (enum treekv_dtype)i;
			return 0;
		}
	}
	return refuse("--dtype %s: must be f32, f16 or bf16", text);
}

static int parse_pooling(enum treekv_pooling *to, const char *text)
{
	if (strcmp(text, "highest") && strcmp(text, "mean"))
		return refuse("--pooling %s: must be highest or mean", text);
	*to = !strcmp(text, "mean") ? TREEKV_POOLING_MEAN :
				      TREEKV_POOLING_HIGHEST;
	return 0;
}

static int parse_mode(uint64_t *to, const char *text)
{
	char *end;

	errno = 0;
	*to = strtoull(text, &end, 8);
	if (!isdigit((unsigned char)*text) || *end || errno || !*to ||
	    *to & ~(uint64_t)0666)
		return refuse(
			"--mode %s: must be octal, of r (4) and w (2) for "
			"owner, group and others, as 0640",
			text);
	return 0;
}

/* @text is NULL for options that have no argument. */
static int apply(struct options *options, const struct option *o,
		 const char *text)
{
	void *to = (char *)options + o->at;

	if (o->given)
		*(bool *)((char *)options + o->given) = true;
	switch (o->kind) {
	case KIND_HELP:
		print_help();
		return 1;
	case KIND_VERSION:
		puts("treekv-run " TREEKV_VERSION);
		return 1;
	case KIND_FLAG:
		*(bool *)to = true;
		return 0;
	case KIND_TEXT:
		*(const char **)to = text;
		return 0;
	case KIND_COUNT:
		return parse_count(o, to, text);
	case KIND_REAL:
		return parse_real(o, to, text);
	case KIND_POLICY:
		if (treekv_policy_parse(to, text) < 0)
			return refuse("--policy %s: %s", text, treekv_error());
		return 0;
	case KIND_DTYPE:
		return parse_dtype(to, text);
	case KIND_METHOD:
		if (treekv_prefill_parse(to, text) < 0)
			return refuse("--prefill-method %s: %s", text,
				      treekv_error());
		return 0;
	case KIND_POOLING:
		return parse_pooling(to, text);
	case KIND_MODE:
		return parse_mode(to, text);
	}
	return -EINVAL;
}

/* "--name", "--name=value" or "-x"; NULL when it is none of the table's. */
static const struct option *find(const char *text, const char **value)
{
	size_t size = strcspn(text, "=");

	*value = text[size] ? text + size + 1 : NULL;
	for (size_t i = 0; i < TABLE_SIZE; i++) {
		const struct option *o = &table[i];

		if (text[1] == '-' && size - 2 == strlen(o->name) &&
		    !memcmp(text + 2, o->name, size - 2))
			return o;
		if (o->letter && text[1] == o->letter && !text[2])
			return o;
	}
	return NULL;
}

static int parse(struct options *options, int argc, char **argv)
{
	int r = 0;

	for (int i = 1; !r && i < argc; i++) {
		const struct option *o;
		const char *value;

		if (argv[i][0] != '-' || !argv[i][1]) {
			if (options->model)
				return refuse("%s: a second model after %s; "
					      "text is given with --prompt",
					      argv[i], options->model);
			options->model = argv[i];
			continue;
		}
		o = find(argv[i], &value);
		if (!o)
			return refuse("%s: no such option", argv[i]);
		if (!o->argument && value)
			return refuse("--%s takes no value", o->name);
		if (o->argument && !value) {
			if (++i == argc)
				return refuse("--%s needs a value: %s", o->name,
					      o->argument);
			value = argv[i];
		}
		r = apply(options, o, value);
	}
	return r;
}

struct contradiction {
	bool met;
	const char *text;
};

static int contradicts(const struct contradiction *all, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (all[i].met)
			return refuse("%s", all[i].text);
	return 0;
}

static int check_budgets(const struct options *o)
{
	const char *profile = o->budget_profile;
	const struct contradiction all[] = {
		{ profile && (o->record || o->policy == TREEKV_POLICY_FULL),
		  "--budget-profile is of policies that evict: full keeps "
		  "everything in every layer" },
		{ profile && !budget_is_named(profile) && o->budget_given,
		  "--budget-profile FILE says all budgets: leave out "
		  "--budget" },
	};

	return contradicts(all, sizeof(all) / sizeof(*all));
}

/* What is written beside the text. */
static int check_files(const struct options *o)
{
	bool input = options_input(o);
	bool full = o->policy == TREEKV_POLICY_FULL;
	const struct contradiction all[] = {
		{ o->nll && !o->perplexity, "--nll needs --perplexity" },
		{ o->record && o->policy_given && !full,
		  "--record is of full attention: leave out --policy" },
		{ o->record && !input,
		  "--record needs --prompt, --text or --ids" },
		{ o->record && o->generate,
		  "--record is of a text that is read: leave out --generate" },
		{ o->record && o->cache,
		  "--record begins with an empty cache: leave out --cache" },
		{ o->views && !input,
		  "--views needs --prompt, --text or --ids" },
		{ o->views && o->generate,
		  "--views is of a text that is read: leave out --generate" },
		{ o->views && o->cache,
		  "--views begins with an empty cache: leave out --cache" },
		{ o->views && o->prefill,
		  "--views is of single steps: leave out --prefill" },
		{ o->views_every_given && !o->views,
		  "--views-every needs --views" },
		{ o->write_ids && !input,
		  "--write-ids needs --prompt, --text or --ids" },
		{ o->write_ids && (o->generate || o->perplexity || o->record ||
				   o->views),
		  "--write-ids runs no model: leave out --generate, "
		  "--perplexity, --record and --views" },
	};

	return contradicts(all, sizeof(all) / sizeof(*all));
}

static int check_prefill(const struct options *o)
{
	const struct contradiction all[] = {
		{ o->prefill && !options_input(o),
		  "--prefill needs --prompt, --text or --ids" },
		{ o->prefill && o->append,
		  "--prefill is of an empty cache: leave out --append" },
		{ o->prefill && o->record,
		  "--record is of single steps: leave out --prefill" },
		{ o->prefill && o->perplexity && !o->prefill_tokens,
		  "--perplexity scores what is fed one by one: give "
		  "--prefill-tokens, less than the input has" },
		{ !o->prefill && o->how_given,
		  "--prefill-tokens, --prefill-method, --prefill-budget, "
		  "--block, --window, --pooling and --kernel need --prefill" },
		{ o->kernel && o->kernel % 2 == 0, "--kernel must be odd" },
	};

	return contradicts(all, sizeof(all) / sizeof(*all));
}

static int check_input(const struct options *o)
{
	bool input = options_input(o);
	const struct contradiction all[] = {
		{ (o->prompt != NULL) + (o->text != NULL) + (o->ids != NULL) >
			  1,
		  "--prompt, --text and --ids exclude each other" },
		{ !input && o->tokens != OPTIONS_ALL,
		  "--tokens needs --prompt, --text or --ids" },
		{ o->perplexity && !input,
		  "--perplexity needs --prompt, --text or --ids" },
		{ o->perplexity && o->generate,
		  "--perplexity and --generate exclude each other" },
		{ o->append && (!input || !o->cache),
		  "--append needs --cache and --prompt, --text or --ids" },
		{ o->append && o->perplexity,
		  "--append and --perplexity exclude each other" },
		{ o->local && o->cache,
		  "--local has no named caches: leave out --cache" },
		{ o->local && o->mode_given,
		  "--local is this process's own: leave out --mode" },
		{ o->local && o->socket,
		  "--local needs no daemon: leave out --socket" },
		{ o->lockstep && o->slack_given && o->slack != 1,
		  "--lockstep means --slack 1: leave out one of them" },
		{ o->prefix_cache && (!input || !o->generate),
		  "--prefix-cache needs --prompt, --text or --ids, and "
		  "--generate" },
		{ o->prefix_cache && o->local,
		  "--prefix-cache is the daemon's: leave out --local" },
		{ o->prefix_cache && o->prefill,
		  "--prefix-cache reads a prompt so that all of it is kept: "
		  "leave out --prefill" },
		{ o->prefix_cache && o->append,
		  "--prefix-cache and --append exclude each other" },
		{ !input && !o->generate,
		  "nothing to do: give --prompt, --text or --ids, --generate, "
		  "or both" },
	};

	return contradicts(all, sizeof(all) / sizeof(*all));
}

static void complete(struct options *o)
{
	if (o->record)
		o->policy = TREEKV_POLICY_FULL;
	if (o->local && !o->slack_given)
		o->lockstep = true;
	if (o->lockstep)
		o->slack = 1;
	if (!o->recent_given)
		o->recent =
			budget_recent((uint32_t)o->budget, (uint32_t)o->sinks);
	o->how.budget = (uint32_t)o->prefill_budget;
	o->how.block = (uint32_t)o->block;
	o->how.window = (uint32_t)o->window;
	o->how.kernel = (uint32_t)o->kernel;
}

int options_parse(struct options *ret, int argc, char **argv)
{
	struct options options = {
		.tokens = OPTIONS_ALL,
		.temperature = 0.8,
		.seed = 1,
		.policy = TREEKV_POLICY_TREEKV,
		.views_every = 1,
		.budget = 256,
		.sinks = 4,
		.slack = 64,
		.dtype = TREEKV_F32,
		.timeout_ms = 10000,
	};
	int r;

	r = parse(&options, argc, argv);
	if (r)
		return r;
	r = check_input(&options);
	if (!r)
		r = check_prefill(&options);
	if (!r)
		r = check_budgets(&options);
	if (!r)
		r = check_files(&options);
	if (r < 0)
		return r;
	complete(&options);
	*ret = options;
	return 0;
}
