// SPDX-License-Identifier: BSD-2-Clause
/*
 * A trace holds, for each step t, layer and kv head, the t + 1 attention
 * weights of the original positions 0 ... t. It is read once, front to back,
 * in the sequence in which it was recorded: traces are quadratic in the number
 * of steps, while the rows held are few. So every (layer, head) has a small
 * cache of its own here, and a step hands each of them one row of weights.
 *
 * A struct head is what daemon and writer share about one (layer, head): two
 * buffers for its order, taken in turns, and scores, since and token by slot.
 * Its capacity is the budget and one, and each step that passes the budget
 * evicts one row at once: Algorithm 1 to the bit.
 *
 * The file may be anything. Its size is checked against its header before the
 * first weight is read, and a file that shrinks meanwhile reads as torn. Memory
 * goes by layers x kv heads x budget and one row of weights, never by the size
 * of the file.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/replay.h"
#include "daemon/order.h"
#include "daemon/policy.h"

#define TRACE_MAGIC	  "TKVTRC1" /* and its NUL */
#define TRACE_MAGIC_SIZE  8
#define TRACE_HEADER_SIZE 20
#define TRACE_BUFFER	  (1 << 20)

#define DEFAULT_BUDGET 256
#define DEFAULT_SINKS  4

enum exit_status {
	EXIT_REFUSED = 1,
	EXIT_USAGE = 2,
};

struct trace {
	const char *path;
	FILE *file;
	uint32_t layers;
	uint32_t kv_heads;
	uint32_t steps;
};

struct head {
	struct order order[2];
	unsigned int current;
	uint32_t live;
	uint32_t ranked;
	uint32_t walk;
	float *score; /* by slot, as all three */
	uint32_t *since;
	uint32_t *token;
};

struct replay {
	const struct policy *policy;
	uint32_t budget;
	uint32_t sinks;
	uint32_t recent;
	struct trace trace;

	uint32_t slots;
	uint32_t entry_size;
	struct head *head; /* [layers][kv_heads] */
	size_t heads;
	char *arrays; /* what every head's pointers point into */
	float *weights; /* one row of the trace */
	void *memory;
	struct order_scratch scratch;
};

enum option_id {
	OPTION_POLICY = 256,
	OPTION_BUDGET,
	OPTION_SINKS,
	OPTION_RECENT,
	OPTION_HELP,
};

static const struct {
	enum option_id id;
	const char *name;
	const char *argument;
	const char *help;
} options[] = {
	{ OPTION_POLICY, "policy", "NAME", "what leaves (default treekv)" },
	{ OPTION_BUDGET, "budget", "ROWS", "rows held (default 256)" },
	{ OPTION_SINKS, "sinks", "ROWS", "first rows always kept (default 4)" },
	{ OPTION_RECENT, "recent", "ROWS",
	  "newest rows always kept (default budget / 2 - sinks)" },
	{ OPTION_HELP, "help", NULL, "this text" },
};

#define OPTIONS (sizeof(options) / sizeof(*options))

__attribute__((format(printf, 2, 3))) static int
complain(enum exit_status status, const char *format, ...)
{
	va_list args;

	fputs("treekvctl replay: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\n", stderr);
	if (status == EXIT_USAGE)
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
		printf("  --%-14s %s\n", left, options[i].help);
	}
	printf("\nPolicies:");
	for (size_t i = 0; i < policies_count; i++)
		printf(" %s", policies[i].name);
	printf("\n");
}

static int parse_policy(const struct policy **ret, const char *text)
{
	char names[128] = "";
	size_t n = 0;

	*ret = policy_by_name(text);
	if (*ret)
		return 0;
	for (size_t i = 0; i < policies_count && n < sizeof(names); i++)
		n += snprintf(names + n, sizeof(names) - n, " %s",
			      policies[i].name);
	return complain(EXIT_USAGE, "--policy: '%s' is none of%s", text, names);
}

static int parse_rows(uint32_t *ret, const char *option, const char *text,
		      uint32_t min)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value < min ||
	    value > SHM_CAPACITY_MAX)
		return complain(EXIT_USAGE,
				"--%s: '%s' is not a number from %u to %u",
				option, text, min, SHM_CAPACITY_MAX);
	*ret = value;
	return 0;
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

/* Return: 0, or EXIT_USAGE; *help is set when that is all that is wanted. */
static int parse_options(struct replay *ret, int argc, char **argv, bool *help,
			 bool *has_recent)
{
	struct option list[OPTIONS + 1];
	int c, r = 0;

	fill_long_options(list);
	optind = 0;
	opterr = 0;
	while (!r && (c = getopt_long(argc, argv, ":", list, NULL)) != -1) {
		switch (c) {
		case OPTION_POLICY:
			r = parse_policy(&ret->policy, optarg);
			break;
		case OPTION_BUDGET:
			r = parse_rows(&ret->budget, "budget", optarg, 1);
			break;
		case OPTION_SINKS:
			r = parse_rows(&ret->sinks, "sinks", optarg, 0);
			break;
		case OPTION_RECENT:
			r = parse_rows(&ret->recent, "recent", optarg, 0);
			*has_recent = true;
			break;
		case OPTION_HELP:
			*help = true;
			return 0;
		case ':':
			return complain(EXIT_USAGE, "%s needs a value",
					argv[optind - 1]);
		default:
			return complain(EXIT_USAGE, "no such option: %s",
					argv[optind - 1]);
		}
	}
	return r;
}

/* full takes nothing out, so nothing has to be left to choose from. */
static int check_budget(const struct replay *replay)
{
	uint64_t kept = (uint64_t)replay->sinks + replay->recent;

	if (!replay->policy->evict ||
	    kept + replay->policy->selected_min <= replay->budget)
		return 0;
	return complain(EXIT_USAGE,
			"a budget of %u has no room for sinks %u + recent %u%s",
			replay->budget, replay->sinks, replay->recent,
			replay->policy->selected_min ? " + 1 selected" : "");
}

static int configure(struct replay *ret, int argc, char **argv, bool *help)
{
	bool has_recent = false;
	int r;

	ret->policy = policy_by_id(SHM_POLICY_TREEKV);
	ret->budget = DEFAULT_BUDGET;
	ret->sinks = DEFAULT_SINKS;
	r = parse_options(ret, argc, argv, help, &has_recent);
	if (r || *help)
		return r;
	if (optind + 1 != argc)
		return complain(EXIT_USAGE, optind < argc ?
						    "one trace at a time" :
						    "which trace?");
	ret->trace.path = argv[optind];
	if (!has_recent && ret->budget / 2 > ret->sinks)
		ret->recent = ret->budget / 2 - ret->sinks;
	return check_budget(ret);
}

/* Return: false when it does not fit 64 bits, which no file's size does. */
static bool trace_size(const struct trace *trace, uint64_t *ret)
{
	uint64_t size = (uint64_t)trace->layers * trace->kv_heads;

	if (__builtin_mul_overflow(size, trace->steps, &size) ||
	    __builtin_mul_overflow(size, (uint64_t)trace->steps + 1, &size) ||
	    __builtin_mul_overflow(size, UINT64_C(2), &size) ||
	    __builtin_add_overflow(size, UINT64_C(20), &size))
		return false;
	*ret = size;
	return true;
}

static int check_bound(const struct trace *trace, const char *field,
		       uint32_t value, uint32_t min, uint32_t max)
{
	if (value >= min && value <= max)
		return 0;
	return complain(EXIT_REFUSED,
			"%s is no trace: its header says %u %s, but %u to %u "
			"are possible",
			trace->path, value, field, min, max);
}

static int check_size(const struct trace *trace, uint64_t size)
{
	uint64_t expected;

	if (!trace_size(trace, &expected))
		return complain(EXIT_REFUSED,
				"%s is no trace: %u layers, %u kv heads and %u "
				"steps, as its header says, fit no file; it "
				"has %" PRIu64 " bytes",
				trace->path, trace->layers, trace->kv_heads,
				trace->steps, size);
	if (size == expected)
		return 0;
	return complain(EXIT_REFUSED,
			"%s is %s: %u layers, %u kv heads and %u steps, as its "
			"header says, take %" PRIu64
			" bytes, but it has %" PRIu64,
			trace->path, size < expected ? "cut short" : "too long",
			trace->layers, trace->kv_heads, trace->steps, expected,
			size);
}

/* Reads and checks the header; what it says is only used afterwards. */
static int trace_check(struct trace *trace, uint64_t size)
{
	uint8_t header[TRACE_HEADER_SIZE];
	int r;

	if (size < sizeof(header) ||
	    fread(header, 1, sizeof(header), trace->file) != sizeof(header))
		return complain(EXIT_REFUSED,
				"%s is cut short or no trace: a header takes "
				"%d bytes, but it has %" PRIu64,
				trace->path, TRACE_HEADER_SIZE, size);
	if (memcmp(header, TRACE_MAGIC, TRACE_MAGIC_SIZE))
		return complain(EXIT_REFUSED,
				"%s is no trace: it does not begin with "
				"'" TRACE_MAGIC "' and a zero byte",
				trace->path);
	memcpy(&trace->layers, header + 8, sizeof(uint32_t));
	memcpy(&trace->kv_heads, header + 12, sizeof(uint32_t));
	memcpy(&trace->steps, header + 16, sizeof(uint32_t));
	r = check_size(trace, size);
	if (!r)
		r = check_bound(trace, "layers", trace->layers, 1,
				SHM_LAYERS_MAX);
	if (!r)
		r = check_bound(trace, "kv heads", trace->kv_heads, 1,
				SHM_KV_HEADS_MAX);
	return r;
}

static int trace_open(struct trace *trace)
{
	struct stat st;

	trace->file = fopen(trace->path, "rbe");
	if (!trace->file || fstat(fileno(trace->file), &st))
		return complain(EXIT_REFUSED, "cannot open the trace %s: %s",
				trace->path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return complain(EXIT_REFUSED,
				"%s is no trace: it is not a regular file",
				trace->path);
	setvbuf(trace->file, NULL, _IOFBF, TRACE_BUFFER);
	return trace_check(trace, st.st_size);
}

static int trace_read(struct trace *trace, float *to, uint32_t n)
{
	if (fread(to, sizeof(*to), n, trace->file) == n)
		return 0;
	if (ferror(trace->file))
		return complain(EXIT_REFUSED, "cannot read the trace %s: %s",
				trace->path, strerror(errno));
	return complain(EXIT_REFUSED, "%s became shorter while it was read",
			trace->path);
}

/* Gives each head its arrays: two orders, two ranks, score, since, token. */
static void heads_init(struct replay *replay)
{
	size_t entries = (size_t)replay->slots * replay->entry_size;
	size_t words = (size_t)replay->slots * sizeof(uint32_t);
	char *at = replay->arrays;

	for (size_t i = 0; i < replay->heads; i++) {
		struct head *head = &replay->head[i];

		head->walk = 1;
		head->score = (void *)at;
		head->since = (void *)(at += words);
		head->token = (void *)(at += words);
		at += words;
		for (int b = 0; b < 2; b++, at += 2 * entries) {
			head->order[b].order = at;
			head->order[b].rank = at + entries;
		}
		order_init(&head->order[0], replay->slots, replay->entry_size);
	}
}

/* No more slots than the trace has steps, whatever the budget. */
static int replay_init(struct replay *replay)
{
	const struct trace *trace = &replay->trace;
	uint32_t held = replay->budget < trace->steps ? replay->budget :
							trace->steps;
	size_t size;

	replay->slots = held + 1;
	replay->entry_size = replay->slots > SHM_ENTRY16_MAX ? 4 : 2;
	replay->heads = (size_t)trace->layers * trace->kv_heads;
	size = 3 * sizeof(uint32_t) + 4 * replay->entry_size;
	replay->head = calloc(replay->heads, sizeof(*replay->head));
	replay->arrays = calloc(replay->heads, size * replay->slots);
	replay->weights = calloc((size_t)trace->steps + 1, sizeof(float));
	replay->memory = malloc(order_scratch_size(replay->slots));
	if (!replay->head || !replay->arrays || !replay->weights ||
	    !replay->memory)
		return complain(EXIT_REFUSED,
				"not enough memory to replay %s: %zu heads of "
				"%u rows; try a smaller --budget",
				trace->path, replay->heads, replay->slots);
	order_scratch_init(&replay->scratch, replay->memory, replay->slots);
	heads_init(replay);
	return 0;
}

static void replay_exit(struct replay *replay)
{
	free(replay->memory);
	free(replay->weights);
	free(replay->arrays);
	free(replay->head);
	if (replay->trace.file)
		fclose(replay->trace.file);
}

static uint32_t slot_at(const struct replay *replay, const struct head *head,
			uint32_t rank)
{
	return order_entry(head->order[head->current].order, replay->entry_size,
			   rank);
}

static void head_append(const struct replay *replay, struct head *head,
			uint32_t token)
{
	uint32_t slot = slot_at(replay, head, head->live++);

	head->score[slot] = 0;
	head->since[slot] = token;
	head->token[slot] = token;
}

/* The weights of rows that have left are passed over; nothing is rescaled. */
static void head_observe(const struct replay *replay, struct head *head)
{
	for (uint32_t i = 0; i < head->live; i++) {
		uint32_t slot = slot_at(replay, head, i);
		float weight = replay->weights[head->token[slot]];

		switch (replay->policy->scores) {
		case POLICY_SCORES_NONE:
			break;
		case POLICY_SCORES_SUM:
			head->score[slot] += weight;
			break;
		case POLICY_SCORES_LAST:
			head->score[slot] = weight;
			break;
		}
	}
}

static void head_evict(const struct replay *replay, struct head *head,
		       uint32_t tail)
{
	const struct order *from = &head->order[head->current];
	const struct policy_scope scope = {
		.order = from->order,
		.entry_size = replay->entry_size,
		.live = head->live,
		.score = head->score,
		.since = head->since,
		.tail = tail,
		.sinks = replay->sinks,
		.selected = replay->budget - replay->sinks - replay->recent,
		.walk = head->walk,
	};

	head->current ^= 1;
	head->walk = order_compact(&head->order[head->current], from,
				   replay->policy, &scope, replay->slots,
				   head->ranked, 1, &replay->scratch);
	head->ranked = --head->live;
}

static int replay_run(struct replay *replay)
{
	struct trace *trace = &replay->trace;
	int r;

	for (uint32_t t = 0; t < trace->steps; t++)
		for (size_t i = 0; i < replay->heads; i++) {
			struct head *head = &replay->head[i];

			r = trace_read(trace, replay->weights, t + 1);
			if (r)
				return r;
			head_append(replay, head, t);
			head_observe(replay, head);
			if (head->live > replay->budget)
				head_evict(replay, head, t + 1);
		}
	return 0;
}

static int print_held(const struct replay *replay)
{
	for (size_t i = 0; i < replay->heads; i++) {
		const struct head *head = &replay->head[i];

		printf("%zu %zu", i / replay->trace.kv_heads,
		       i % replay->trace.kv_heads);
		for (uint32_t rank = 0; rank < head->live; rank++)
			printf(" %u", head->token[slot_at(replay, head, rank)]);
		printf("\n");
	}
	if (fflush(stdout) || ferror(stdout))
		return complain(EXIT_REFUSED, "cannot write the result: %s",
				strerror(errno));
	return 0;
}

/* Said before the trace is read, which may take minutes. */
static int check_full(const struct replay *replay)
{
	if (replay->policy->evict || replay->trace.steps <= replay->budget)
		return 0;
	return complain(EXIT_REFUSED,
			"policy %s refuses when full: %s has %u steps, the "
			"budget is %u; give --budget %u or another policy",
			replay->policy->name, replay->trace.path,
			replay->trace.steps, replay->budget,
			replay->trace.steps);
}

int replay_main(int argc, char **argv)
{
	struct replay replay = { 0 };
	bool help = false;
	int r;

	r = configure(&replay, argc, argv, &help);
	if (r)
		return r;
	if (help) {
		print_help();
		return 0;
	}
	r = trace_open(&replay.trace);
	if (!r)
		r = check_full(&replay);
	if (!r)
		r = replay_init(&replay);
	if (!r)
		r = replay_run(&replay);
	if (!r)
		r = print_held(&replay);
	replay_exit(&replay);
	return r;
}
