// SPDX-License-Identifier: BSD-2-Clause
/*
 * Options, and what is run: one replay, or with --sweep a grid of them over one
 * pass of the trace. A list of budgets is a sweep's only; without it there is
 * one of each, and an error names the value that does not do.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "client/budget.h"
#include "client/replay.h"
#include "client/replay_impl.h"

#define DEFAULT_BUDGET "256"
#define DEFAULT_SINKS  4
#define BUDGETS_MAX    16 /* of one sweep */
#define SWEPT	       4 /* budgets, by default */

struct settings {
	struct trace trace;
	const char *policy; /* NULL: the default, or all of a sweep */
	const char *budget; /* likewise */
	const char *profile; /* NULL: all layers have the same */
	uint32_t sinks;
	uint32_t recent;
	bool recent_given;
	bool stats;
	bool sweep;
	bool json;
	bool help;
};

/* The replays of one run, and the budgets of their layers. */
struct grid {
	struct replay *replay; /* [policies][budgets] */
	size_t policies;
	size_t budgets;
	uint32_t *layers; /* [policies][budgets][layers] */
	float *weights; /* one row of the trace */
};

enum option_id {
	OPTION_POLICY = 256,
	OPTION_BUDGET,
	OPTION_PROFILE,
	OPTION_SINKS,
	OPTION_RECENT,
	OPTION_STATS,
	OPTION_SWEEP,
	OPTION_JSON,
	OPTION_HELP,
};

static const struct {
	enum option_id id;
	const char *name;
	const char *argument;
	const char *help;
} options[] = {
	{ OPTION_POLICY, "policy", "NAME",
	  "what leaves (default treekv; of a sweep: all)" },
	{ OPTION_BUDGET, "budget", "ROWS", "rows held (default 256)" },
	{ OPTION_PROFILE, "budget-profile", "NAME",
	  "budgets that differ by layer: pyramid (their mean is\n"
	  "                          --budget), or a file with one a line" },
	{ OPTION_SINKS, "sinks", "ROWS", "first rows always kept (default 4)" },
	{ OPTION_RECENT, "recent", "ROWS",
	  "newest rows always kept (default budget / 2 - sinks)" },
	{ OPTION_STATS, "stats", NULL,
	  "print what share of the attention was kept, and of the\n"
	  "                          rows at each distance" },
	{ OPTION_SWEEP, "sweep", NULL,
	  "print the attention kept by policy and budget; --budget\n"
	  "                          takes a list then: 64,128,256" },
	{ OPTION_JSON, "json", NULL, "print JSON" },
	{ OPTION_HELP, "help", NULL, "this text" },
};

#define OPTIONS (sizeof(options) / sizeof(*options))

enum replay_status replay_complain(enum replay_status status,
				   const char *format, ...)
{
	va_list args;

	fputs("treekvctl replay: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\n", stderr);
	if (status == REPLAY_USAGE)
		fputs("Try 'treekvctl replay --help'.\n", stderr);
	return status;
}

static void print_help(void)
{
	printf("Usage: treekvctl replay [OPTION]... TRACE\n"
	       "Run a recorded attention trace through a policy and print, for "
	       "each layer and\nkv head, the positions still held.\n\n");
	for (size_t i = 0; i < OPTIONS; i++) {
		const char *argument = options[i].argument;
		char left[32];

		snprintf(left, sizeof(left), "%s %s", options[i].name,
			 argument ? argument : "");
		printf("  --%-21s %s\n", left, options[i].help);
	}
	printf("\nPolicies:");
	for (size_t i = 0; i < policies_count; i++)
		printf(" %s", policies[i].name);
	printf("\n");
}

static enum replay_status parse_policy(const struct policy **ret,
				       const char *text)
{
	char names[128] = "";
	size_t n = 0;

	*ret = policy_by_name(text);
	if (*ret)
		return REPLAY_OK;
	for (size_t i = 0; i < policies_count && n < sizeof(names); i++)
		n += (size_t)snprintf(names + n, sizeof(names) - n, " %s",
				      policies[i].name);
	return replay_complain(REPLAY_USAGE, "--policy: '%s' is none of%s",
			       text, names);
}

/* Of the first @size bytes of @text. */
static enum replay_status parse_rows(uint32_t *ret, const char *option,
				     const char *text, size_t size,
				     uint32_t min)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || end != text + size || errno ||
	    value < min || value > SHM_CAPACITY_MAX)
		return replay_complain(REPLAY_USAGE,
				       "--%s: '%.*s' is not a number from %u "
				       "to %u",
				       option, (int)size, text, min,
				       SHM_CAPACITY_MAX);
	*ret = (uint32_t)value;
	return REPLAY_OK;
}

/* Of a list, too, where there may be one. */
static enum replay_status parse_budgets(uint32_t *ret, size_t *count,
					const char *text, bool list)
{
	enum replay_status r = REPLAY_OK;
	size_t n = 0;

	for (const char *at = text; !r && at; n++) {
		size_t size = list ? strcspn(at, ",") : strlen(at);

		if (n == BUDGETS_MAX)
			return replay_complain(REPLAY_USAGE,
					       "--budget: '%s' has more than "
					       "%d budgets",
					       text, BUDGETS_MAX);
		r = parse_rows(&ret[n], "budget", at, size, 1);
		at = at[size] ? at + size + 1 : NULL;
	}
	*count = n;
	return r;
}

static void fill_long_options(struct option *to)
{
	for (size_t i = 0; i < OPTIONS; i++)
		to[i] = (struct option){
			.name = options[i].name,
			.has_arg = options[i].argument ? required_argument :
							 no_argument,
			.val = (int)options[i].id,
		};
	to[OPTIONS] = (struct option){ 0 };
}

static enum replay_status apply(struct settings *s, enum option_id id,
				const char *text)
{
	switch (id) {
	case OPTION_POLICY:
		s->policy = text;
		return REPLAY_OK;
	case OPTION_BUDGET:
		s->budget = text;
		return REPLAY_OK;
	case OPTION_PROFILE:
		s->profile = text;
		return REPLAY_OK;
	case OPTION_SINKS:
		return parse_rows(&s->sinks, "sinks", text, strlen(text), 0);
	case OPTION_RECENT:
		s->recent_given = true;
		return parse_rows(&s->recent, "recent", text, strlen(text), 0);
	case OPTION_STATS:
		s->stats = true;
		return REPLAY_OK;
	case OPTION_SWEEP:
		s->sweep = true;
		return REPLAY_OK;
	case OPTION_JSON:
		s->json = true;
		return REPLAY_OK;
	case OPTION_HELP:
		s->help = true;
		return REPLAY_OK;
	}
	return REPLAY_USAGE;
}

static enum replay_status parse_options(struct settings *s, int argc,
					char **argv)
{
	struct option list[OPTIONS + 1];
	enum replay_status r = REPLAY_OK;
	int c;

	fill_long_options(list);
	optind = 0;
	opterr = 0;
	while (!r && !s->help &&
	       (c = getopt_long(argc, argv, ":", list, NULL)) != -1) {
		if (c == ':')
			return replay_complain(REPLAY_USAGE, "%s needs a value",
					       argv[optind - 1]);
		if (c == '?')
			return replay_complain(REPLAY_USAGE,
					       "no such option: %s",
					       argv[optind - 1]);
		r = apply(s, (enum option_id)c, optarg);
	}
	return r;
}

static enum replay_status check_settings(const struct settings *s)
{
	bool file = s->profile && !budget_is_named(s->profile);

	if (s->sweep && s->stats)
		return replay_complain(REPLAY_USAGE,
				       "--stats and --sweep exclude each "
				       "other");
	if (file && (s->sweep || s->budget))
		return replay_complain(REPLAY_USAGE,
				       "--budget-profile %s says all budgets: "
				       "leave out %s",
				       s->profile,
				       s->sweep ? "--sweep" : "--budget");
	return REPLAY_OK;
}

static enum replay_status configure(struct settings *ret, int argc, char **argv)
{
	enum replay_status r;

	ret->sinks = DEFAULT_SINKS;
	r = parse_options(ret, argc, argv);
	if (!r && !ret->help)
		r = check_settings(ret);
	if (r || ret->help)
		return r;
	if (optind + 1 != argc)
		return replay_complain(REPLAY_USAGE,
				       optind < argc ? "one trace at a time" :
						       "which trace?");
	ret->trace.path = argv[optind];
	return REPLAY_OK;
}

/* Sixteenth, eighth, quarter and half of the trace, as far as rows fit. */
static size_t swept_budgets(uint32_t *ret, const struct settings *s)
{
	size_t n = 0;

	for (int i = SWEPT; i > 0; i--) {
		uint32_t budget = s->trace.steps >> i;

		if (budget > s->sinks + (s->recent_given ? s->recent : 0))
			ret[n++] = budget;
	}
	return n;
}

static enum replay_status choose_budgets(const struct settings *s,
					 uint32_t *ret, size_t *count)
{
	const char *text = s->budget ? s->budget : DEFAULT_BUDGET;

	if (s->budget || !s->sweep)
		return parse_budgets(ret, count, text, s->sweep);
	*count = swept_budgets(ret, s);
	if (*count)
		return REPLAY_OK;
	return replay_complain(REPLAY_USAGE,
			       "%s has %u steps, too few for a sweep with "
			       "sinks %u + recent %u: give --budget",
			       s->trace.path, s->trace.steps, s->sinks,
			       s->recent_given ? s->recent : 0);
}

/* full takes nothing out, so nothing has to be left to choose from. */
static enum replay_status check_budget(const struct replay *replay)
{
	uint64_t kept = (uint64_t)replay->sinks + replay->recent;

	if (!replay->policy->evict ||
	    kept + replay->policy->selected_min <= replay->mean)
		return REPLAY_OK;
	return replay_complain(
		REPLAY_USAGE,
		"a budget of %u has no room for sinks %u + recent %u%s",
		replay->mean, replay->sinks, replay->recent,
		replay->policy->selected_min ? " + 1 selected" : "");
}

/* Said before the trace is read, which may take minutes. */
static enum replay_status check_full(const struct replay *replay,
				     const struct trace *trace)
{
	if (replay->policy->evict || trace->steps <= replay->mean)
		return REPLAY_OK;
	return replay_complain(REPLAY_REFUSED,
			       "policy %s refuses when full: %s has %u steps, "
			       "the budget is %u; give --budget %u or another "
			       "policy",
			       replay->policy->name, trace->path, trace->steps,
			       replay->mean, trace->steps);
}

static enum replay_status load_profile(struct replay *replay,
				       const struct settings *s)
{
	struct budget_shape shape = {
		.mean = replay->mean,
		.sinks = replay->sinks,
		.recent = replay->recent,
		.recent_given = s->recent_given,
		.selected_min = replay->policy->selected_min,
	};
	char why[256];

	if (!replay->policy->evict)
		return replay_complain(REPLAY_USAGE,
				       "--budget-profile is of policies that "
				       "evict: %s keeps everything",
				       replay->policy->name);
	if (budget_load(replay->budget, s->trace.layers, s->profile, &shape,
			why, sizeof(why)))
		return replay_complain(REPLAY_USAGE, "--budget-profile: %s",
				       why);
	replay->recent = shape.recent;
	return REPLAY_OK;
}

/* Budgets and what is kept of each replay, whose policy and mean are set. */
static enum replay_status settle(struct replay *replay,
				 const struct settings *s)
{
	enum replay_status r;

	replay->sinks = s->sinks;
	replay->recent = s->recent_given ?
				 s->recent :
				 budget_recent(replay->mean, s->sinks);
	if (s->profile)
		return load_profile(replay, s);
	r = check_budget(replay);
	if (!r)
		r = check_full(replay, &s->trace);
	for (uint32_t l = 0; l < s->trace.layers; l++)
		replay->budget[l] = replay->mean;
	return r;
}

static enum replay_status grid_allocate(struct grid *grid,
					const struct trace *trace)
{
	size_t n = grid->policies * grid->budgets;

	grid->replay = calloc(n, sizeof(*grid->replay));
	grid->layers = calloc(n * trace->layers, sizeof(*grid->layers));
	grid->weights = calloc((size_t)trace->steps + 1, sizeof(float));
	if (grid->replay && grid->layers && grid->weights)
		return REPLAY_OK;
	return replay_complain(REPLAY_REFUSED,
			       "not enough memory to replay %s: %zu times %u "
			       "layers, rows of %u weights",
			       trace->path, n, trace->layers, trace->steps);
}

/* Every policy that evicts, or the one that is named. */
static size_t choose_policies(const struct policy **ret,
			      const struct policy *named)
{
	size_t n = 0;

	if (named) {
		*ret = named;
		return 1;
	}
	for (size_t i = 0; i < policies_count; i++)
		if (policies[i].evict)
			ret[n++] = &policies[i];
	return n;
}

static enum replay_status grid_init(struct grid *grid, const struct settings *s)
{
	const struct policy *policy[SHM_POLICY_FULL] = { NULL };
	const struct policy *named = NULL;
	enum replay_status r = REPLAY_OK;
	uint32_t budget[BUDGETS_MAX] = { 0 };

	if (s->policy || !s->sweep)
		r = parse_policy(&named, s->policy ? s->policy : "treekv");
	if (!r)
		r = choose_budgets(s, budget, &grid->budgets);
	if (r)
		return r;
	grid->policies = choose_policies(policy, named);
	r = grid_allocate(grid, &s->trace);
	for (size_t i = 0; !r && i < grid->policies * grid->budgets; i++) {
		struct replay *replay = &grid->replay[i];

		replay->policy = policy[i / grid->budgets];
		replay->mean = budget[i % grid->budgets];
		replay->budget = grid->layers + i * s->trace.layers;
		r = settle(replay, s);
		if (!r)
			r = replay_init(replay, &s->trace);
	}
	return r;
}

static void grid_exit(struct grid *grid)
{
	for (size_t i = 0; grid->replay && i < grid->policies * grid->budgets;
	     i++)
		replay_exit(&grid->replay[i]);
	free(grid->replay);
	free(grid->layers);
	free(grid->weights);
}

static enum replay_status grid_run(struct grid *grid, struct settings *s)
{
	size_t heads = trace_heads(&s->trace);
	bool counted = s->stats || s->sweep;

	for (uint32_t t = 0; t < s->trace.steps; t++)
		for (size_t h = 0; h < heads; h++) {
			enum replay_status r =
				trace_read(&s->trace, grid->weights, t + 1);
			double total = -1;

			if (r)
				return r;
			if (counted)
				total = replay_total(grid->weights, t + 1);
			for (size_t i = 0; i < grid->policies * grid->budgets;
			     i++)
				replay_step(&grid->replay[i], h, t,
					    grid->weights, total);
		}
	return REPLAY_OK;
}

static enum replay_status grid_print(const struct grid *grid,
				     const struct settings *s)
{
	if (s->sweep)
		replay_print_sweep(grid->replay, grid->policies, grid->budgets,
				   s->json);
	else if (s->stats)
		replay_print_stats(grid->replay, s->json);
	else
		replay_print_held(grid->replay, s->json);
	if (fflush(stdout) || ferror(stdout))
		return replay_complain(REPLAY_REFUSED,
				       "cannot write the result: %s",
				       strerror(errno));
	return REPLAY_OK;
}

int replay_main(int argc, char **argv, bool json)
{
	struct settings settings = { .json = json };
	struct grid grid = { 0 };
	enum replay_status r;

	r = configure(&settings, argc, argv);
	if (r)
		return r;
	if (settings.help) {
		print_help();
		return 0;
	}
	r = trace_open(&settings.trace);
	if (!r)
		r = grid_init(&grid, &settings);
	if (!r)
		r = grid_run(&grid, &settings);
	if (!r)
		r = grid_print(&grid, &settings);
	grid_exit(&grid);
	trace_close(&settings.trace);
	return r;
}
