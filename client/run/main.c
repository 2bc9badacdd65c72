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

#include "client/local.h"
#include "client/run/fault.h"
#include "client/run/record.h"
#include "client/run/report.h"
#include "client/run/resume.h"

#define IDS_MAX	 65536
#define HURRY_MS 500

static volatile sig_atomic_t stop; /* the signal */

struct program {
	struct options options;
	struct model *model;
	struct tokenizer *tokenizer;
	struct input input;
	struct treekv *kv;
	struct treekv_cache *cache;
	struct record *record;
	struct engine *engine;
	struct run run;
	uint64_t load_ns;
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

static int load(struct program *p)
{
	struct options *o = &p->options;
	uint64_t start = progress_clock();
	int r;

	r = model_open(&p->model, o->model);
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
	p->load_ns = progress_clock() - start;
	return 0;
}

/* Before there is a cache: a path that will not do costs nothing. */
static int start_record(struct program *p)
{
	if (!p->options.record)
		return 0;
	return record_open(&p->record, p->options.record, p->model->layers,
			   p->model->kv_heads, (uint32_t)p->input.count);
}

static void fill_spec(const struct program *p, struct treekv_spec *spec)
{
	const struct options *o = &p->options;
	const struct model *m = p->model;
	uint64_t ids = p->input.count + o->generate;
	uint32_t row = m->head_dim * (o->dtype == TREEKV_F32 ? 4 : 2);

	if (ids < o->budget + o->slack)
		ids = o->budget + o->slack;
	*spec = (struct treekv_spec){
		.layers = m->layers,
		.kv_heads = m->kv_heads,
		.k_row = row,
		.v_row = row,
		.dtype = o->dtype,
		.policy = o->policy,
		.positions = TREEKV_POSITIONS_RANK,
		.budget = (uint32_t)o->budget,
		.sinks = (uint32_t)o->sinks,
		.recent = (uint32_t)o->recent,
		.slack = (uint32_t)o->slack,
		.ids = (uint32_t)(ids < IDS_MAX ? ids : IDS_MAX),
	};
	memcpy(spec->model, m->id, sizeof(spec->model));
}

static const char *attach_advice(const struct options *o, int error)
{
	uint64_t selected = o->policy != TREEKV_POLICY_STREAMING &&
			    o->policy != TREEKV_POLICY_H2O &&
			    o->policy != TREEKV_POLICY_TOVA;

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
	fill_spec(p, &spec);
	return resume_check(p->cache, &spec, p->options.budget_given);
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

static int start_engine(struct program *p)
{
	struct engine_options options = {
		.dtype = p->options.dtype,
		.threads = (uint32_t)p->options.threads,
	};
	int r;

	r = most_slots(p, &options.slots);
	if (r < 0)
		return r;
	if (p->record) {
		options.watch = record_watch;
		options.watch_arg = p->record;
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
	return plan_make(&run->plan, p->cache, o, &p->input, p->model->vocab);
}

static int execute(struct program *p)
{
	int r;

	r = load(p);
	if (!r)
		r = start_record(p);
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
	r = report_print(&p->run, p->load_ns);
	if (r == -EPIPE)
		p->run.closed = true;
	if (r < 0)
		return r;
	r = record_close(p->record);
	p->record = NULL;
	return r;
}

static void release(struct program *p, bool hurry)
{
	record_close(p->record);
	free(p->run.text);
	engine_free(p->engine);
	/* A daemon that hangs would let us wait for ten seconds more. */
	if (hurry)
		treekv_detach_within(p->cache, HURRY_MS);
	else
		treekv_detach(p->cache);
	treekv_close(p->kv);
	input_free(&p->input);
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
