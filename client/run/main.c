// SPDX-License-Identifier: BSD-2-Clause
/*
 * treekv-run: a small Llama engine on caches that treekvd owns.
 *
 * Model, tokenizer and input are loaded first, so that nothing that can be
 * wrong with them costs a cache; then the cache is attached, and the engine is
 * made for the views that it turns out to have.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/budget.h"
#include "client/cache.h"
#include "client/local.h"
#include "client/run/fault.h"
#include "client/run/prefix.h"
#include "client/run/record.h"
#include "client/run/report.h"
#include "client/run/resume.h"
#include "client/run/views.h"

#define IDS_MAX	 65536
#define HURRY_MS 500

static volatile sig_atomic_t stop; /* the signal */

struct program {
	struct options options;
	struct model *model;
	struct tokenizer *tokenizer;
	struct input input;
	uint32_t *budgets; /* one a layer, or NULL */
	struct treekv *kv;
	struct treekv_cache *cache;
	struct record *record;
	struct views *views;
	struct output *nll;
	struct engine *engine;
	struct run run;
	struct prefix prefix;
	struct report about;
};

static void on_signal(int number)
{
	stop = number;
}

/*
 * No socket or trace may become the stdout of a process that was started
 * without one. Read-only: what is written there is lost, and so is an error.
 */
static bool open_standard(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd)
			return false;
	return true;
}

static void catch_signals(void)
{
	/* A second one kills. */
	struct sigaction action = {
		.sa_handler = on_signal,
		.sa_flags = (int)(SA_RESTART | SA_RESETHAND),
	};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* What the options leave to the input, of @count tokens. */
static int complete(struct options *o, size_t count)
{
	uint64_t prompt = o->prefill_tokens ? o->prefill_tokens : count;
	uint64_t kept = o->prefill && o->prefill_budget ? o->prefill_budget :
							  prompt;

	if (prompt > count ||
	    (o->perplexity && o->prefill && prompt == count)) {
		fprintf(stderr,
			"treekv-run: --prefill-tokens %llu: the input has "
			"only %zu%s\n",
			(unsigned long long)prompt, count,
			prompt == count ? ", which leaves none to score" : "");
		return -EINVAL;
	}
	if (o->policy == TREEKV_POLICY_FULL && !o->budget_given)
		o->budget = (kept < prompt ? kept : prompt) + count - prompt +
			    o->generate;
	return 0;
}

/* The treekv policies walk over what is selected: there must be something. */
static uint32_t selected_min(enum treekv_policy policy)
{
	return policy != TREEKV_POLICY_STREAMING &&
	       policy != TREEKV_POLICY_H2O && policy != TREEKV_POLICY_TOVA &&
	       policy != TREEKV_POLICY_FULL;
}

/* @recent_given: it is settled, by an option or by a cache that exists. */
static int load_budgets(struct program *p, bool recent_given)
{
	struct options *o = &p->options;
	struct budget_shape shape = {
		.mean = (uint32_t)o->budget,
		.sinks = (uint32_t)o->sinks,
		.recent = (uint32_t)o->recent,
		.recent_given = recent_given,
		.selected_min = selected_min(o->policy),
	};
	char why[256];
	int r;

	if (!o->budget_profile)
		return 0;
	if (!p->budgets)
		p->budgets = calloc(p->model->layers, sizeof(*p->budgets));
	if (!p->budgets) {
		fputs("treekv-run: out of memory\n", stderr);
		return -ENOMEM;
	}
	r = budget_load(p->budgets, p->model->layers, o->budget_profile, &shape,
			why, sizeof(why));
	if (r < 0) {
		fprintf(stderr, "treekv-run: --budget-profile: %s\n", why);
		return r;
	}
	o->recent = shape.recent;
	return 0;
}

static int load(struct program *p)
{
	struct options *o = &p->options;
	uint64_t start = progress_clock();
	int r;

	r = model_open(&p->model, o->model);
	if (!r)
		r = load_budgets(p, o->recent_given);
	if (r < 0)
		return r;
	if (!o->ids || o->generate) {
		r = tokenizer_open(&p->tokenizer, o->tokenizer,
				   p->model->vocab);
		if (r < 0)
			return r;
	}
	r = input_read(&p->input, o, p->tokenizer, p->model->vocab);
	if (r < 0)
		return r;
	r = complete(o, p->input.count);
	if (r < 0)
		return r;
	p->about.begun = progress_clock();
	p->about.load_ns = p->about.begun - start;
	return 0;
}

static int write_ids(const struct program *p)
{
	struct output *output;
	int r;

	r = output_open(&output, "--write-ids", p->options.write_ids);
	if (r < 0)
		return r;
	output_put(output, p->input.ids,
		   p->input.count * sizeof(*p->input.ids));
	return output_close(output, true);
}

/* Before there is a cache: a path that will not do costs nothing. */
static int start_outputs(struct program *p)
{
	const struct options *o = &p->options;
	int r = 0;

	if (o->record)
		r = record_open(&p->record, o->record, p->model->layers,
				p->model->kv_heads, (uint32_t)p->input.count);
	if (!r && o->nll)
		r = output_open(&p->nll, "--nll", o->nll);
	return r;
}

static uint32_t greatest_budget(const struct program *p)
{
	uint32_t greatest = 0;

	if (!p->budgets)
		return (uint32_t)p->options.budget;
	for (uint32_t l = 0; l < p->model->layers; l++)
		if (p->budgets[l] > greatest)
			greatest = p->budgets[l];
	return greatest;
}

static uint32_t row_bytes(const struct program *p)
{
	return p->model->head_dim * (p->options.dtype == TREEKV_F32 ? 4 : 2);
}

static void fill_spec(const struct program *p, struct treekv_spec *spec)
{
	const struct options *o = &p->options;
	const struct model *m = p->model;
	uint64_t ids = p->input.count + o->generate;
	uint64_t slots = greatest_budget(p) + o->slack;
	uint32_t row = row_bytes(p);

	if (ids < slots)
		ids = slots;
	*spec = (struct treekv_spec){
		.layers = m->layers,
		.kv_heads = m->kv_heads,
		.k_row = row,
		.v_row = row,
		.dtype = o->dtype,
		.policy = o->policy,
		.positions = TREEKV_POSITIONS_RANK,
		.budget = (uint32_t)o->budget,
		.budgets = p->budgets,
		.sinks = (uint32_t)o->sinks,
		.recent = (uint32_t)o->recent,
		.slack = (uint32_t)o->slack,
		.ids = (uint32_t)(ids < IDS_MAX ? ids : IDS_MAX),
		.mode = (uint32_t)o->mode,
	};
	memcpy(spec->model, m->id, sizeof(spec->model));
}

static const char *attach_advice(const struct options *o, int error)
{
	uint64_t selected = selected_min(o->policy);

	if (error == -ENOENT || error == -ECONNREFUSED)
		return " (--local runs without a daemon)";
	if (error != -EINVAL || o->policy == TREEKV_POLICY_FULL ||
	    o->sinks + o->recent + selected <= o->budget)
		return "";
	if (o->recent_given && o->recent + selected > o->budget)
		return "; give a smaller --recent or a larger --budget";
	return "; give --sinks 0 or a larger --budget";
}

/* Return: what treekv_open() does, -ENOENT foremost. */
static int attach_existing(struct program *p)
{
	struct treekv_spec spec;
	int r;

	r = treekv_open(&p->cache, p->kv, p->options.cache, NULL, 0);
	if (r < 0)
		return r;
	resume_options(&p->options, p->cache);
	r = load_budgets(p, true);
	if (r < 0)
		return error_set(r, "--budget-profile %s does not fit cache %s",
				 p->options.budget_profile, p->options.cache);
	fill_spec(p, &spec);
	return resume_check(p->cache, &spec,
			    p->options.budget_given || p->budgets);
}

/* An existing cache may have another slack than ours, so views are asked. */
static int most_slots(struct program *p, uint32_t *ret)
{
	uint32_t most = 0;
	int r = 0;

	for (uint32_t l = 0; !r && l < p->model->layers; l++) {
		struct treekv_view view;

		r = treekv_view(p->cache, l, 0, &view);
		if (!r && view.slots > most)
			most = view.slots;
	}
	if (r < 0)
		fault_print(r, "cannot look at the cache", p->options.cache,
			    "");
	else
		*ret = most;
	return r;
}

static void watch(void *arg, uint32_t layer, uint32_t head,
		  const struct treekv_view *view, const float *weights,
		  uint32_t group, size_t stride)
{
	const struct program *p = arg;

	(void)layer;
	(void)head;
	if (p->record)
		record_watch(p->record, view, weights, group, stride);
	if (p->views)
		views_watch(p->views, view, weights, stride);
}

static int start_views(struct program *p, uint32_t slots)
{
	const struct model *m = p->model;
	const struct views_shape shape = {
		.layers = m->layers,
		.kv_heads = m->kv_heads,
		.group = m->heads / m->kv_heads,
		.steps = (uint32_t)p->input.count,
		.every = (uint32_t)p->options.views_every,
		.dtype = p->options.dtype,
		.v_row = row_bytes(p),
	};

	if (!p->options.views)
		return 0;
	return views_open(&p->views, p->options.views, &shape, slots);
}

static int start_engine(struct program *p)
{
	struct engine_options options = {
		.dtype = p->options.dtype,
		.threads = (uint32_t)p->options.threads,
		.by_rank = p->options.by_rank,
	};
	int r;

	r = most_slots(p, &options.slots);
	if (!r)
		r = start_views(p, options.slots);
	if (r < 0)
		return r;
	if (p->record || p->views) {
		options.watch = watch;
		options.watch_arg = p;
	}
	return engine_new(&p->engine, p->model, &options);
}

static int prepare(struct program *p)
{
	const struct options *o = &p->options;
	struct run *run = &p->run;

	*run = (struct run){
		.options = o,
		.model = p->model,
		.engine = p->engine,
		.tokenizer = p->tokenizer,
		.cache = p->cache,
		.input = &p->input,
		.nll = p->nll,
		.stop = &stop,
	};
	if (o->json && o->generate) {
		run->text =
			malloc(o->generate * tokenizer_longest(p->tokenizer));
		if (!run->text) {
			fputs("treekv-run: out of memory\n", stderr);
			return -ENOMEM;
		}
	}
	return plan_make(&run->plan, p->cache, o, &p->input, p->model->vocab,
			 p->prefix.used);
}

/* Reads all of the input but its last token. */
static int read_prefix(struct program *p)
{
	uint64_t generate = p->options.generate;
	int r;

	p->options.generate = 0;
	p->input.count--;
	r = start_engine(p);
	if (!r)
		r = prepare(p);
	if (!r)
		r = run_tokens(&p->run);
	if (!r && treekv_tail(p->cache) < p->input.count)
		r = -EINTR;
	p->input.count++;
	p->options.generate = generate;
	p->engine = engine_free(p->engine);
	return r;
}

/*
 * Return: 0; -ENOENT the prompt is read by somebody else this moment, and is to
 * be read once more; another negative errno.
 */
static int make_prefix(struct program *p, const struct treekv_spec *spec)
{
	struct treekv_cache *cache;
	int r = prefix_open(&p->cache, &p->prefix, p->kv, spec, &p->input);

	if (r < 0)
		return r == -EROFS ? 0 : r == -EBUSY ? -ENOENT : r;
	r = read_prefix(p);
	cache = p->cache;
	p->cache = NULL;
	if (r < 0)
		treekv_detach(cache);
	else
		r = treekv_freeze(cache);
	return r;
}

static int attach_prefix(struct program *p, const struct treekv_spec *spec)
{
	const char *name = p->options.cache;
	int r;

	prefix_init(&p->prefix, spec, &p->input);
	r = prefix_fork(&p->cache, &p->prefix, p->kv, name, spec, &p->input);
	if (r != -ENOENT)
		return r;
	r = make_prefix(p, spec);
	if (r < 0)
		return r;
	return prefix_fork(&p->cache, &p->prefix, p->kv, name, spec, &p->input);
}

static int attach_daemon(struct program *p)
{
	const char *name = p->options.cache;
	struct treekv_spec spec;
	int r;

	r = treekv_connect(&p->kv, p->options.socket);
	if (r < 0)
		return r;
	r = name ? attach_existing(p) : -ENOENT;
	if (r != -ENOENT)
		return r;
	fill_spec(p, &spec);
	if (p->options.prefix_cache && p->input.count > 1) {
		r = attach_prefix(p, &spec);
		if (r != -ENOENT)
			return r;
	}
	return treekv_open(&p->cache, p->kv, name, &spec,
			   TREEKV_CREATE | (name ? 0 : TREEKV_EPHEMERAL));
}

static int attach(struct program *p)
{
	const struct options *o = &p->options;
	struct treekv_spec spec;
	int r;

	fill_spec(p, &spec);
	r = o->local ? local_open(&p->cache, &spec) : attach_daemon(p);
	if (r < 0)
		fault_print(r, NULL, o->cache, attach_advice(o, r));
	return r;
}

/* Each is tried; the first error counts. */
static int close_outputs(struct program *p, bool complete)
{
	int record = record_close(p->record);
	int views = views_close(p->views);
	int nll = output_close(p->nll, complete);

	p->record = NULL;
	p->views = NULL;
	p->nll = NULL;
	return record ? record : views ? views : nll;
}

static int execute(struct program *p)
{
	int r;

	r = load(p);
	if (!r && p->options.write_ids)
		return write_ids(p);
	if (!r)
		r = start_outputs(p);
	if (!r)
		r = attach(p);
	if (!r)
		r = start_engine(p);
	if (!r)
		r = prepare(p);
	if (!r)
		r = run_tokens(&p->run);
	if (r < 0)
		return r;
	if (p->options.prefix_cache)
		p->about.prefix = &p->prefix;
	r = report_print(&p->run, &p->about);
	if (r == -EPIPE)
		p->run.closed = true;
	if (r < 0)
		return r;
	return close_outputs(p, !stop);
}

static void release(struct program *p, bool hurry)
{
	close_outputs(p, false);
	free(p->run.text);
	engine_free(p->engine);
	/* A daemon that hangs would let us wait for ten seconds more. */
	if (hurry)
		treekv_detach_within(p->cache, HURRY_MS);
	else
		treekv_detach(p->cache);
	treekv_close(p->kv);
	input_free(&p->input);
	free(p->budgets);
	tokenizer_free(p->tokenizer);
	model_free(p->model);
}

int main(int argc, char **argv)
{
	struct program p = { 0 };
	int r;

	if (!open_standard())
		return 1;
	r = options_parse(&p.options, argc, argv);
	if (r < 0)
		return 2;
	if (r > 0)
		return report_flush() < 0 ? 1 : 0;
	catch_signals();
	r = execute(&p);
	release(&p, stop || r == -ETIMEDOUT);
	if (stop)
		return 128 + (int)stop;
	if (p.run.closed)
		return 128 + SIGPIPE;
	return r < 0 ? 1 : 0;
}
