// SPDX-License-Identifier: BSD-2-Clause
/*
 * The order of things within a step is what makes a killed run continue
 * exactly. A token is sampled, then written to stdout, and only then are its
 * predecessor's rows committed, together with a note that names it and counts
 * it as written. So what the note counts has been written; what is written at
 * most one token beyond it, when the run dies between the two, is sampled from
 * the same state, and written again, by the successor. It reports the byte at
 * which it goes on (text_at), for whoever has to join the two to the byte.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "client/cache.h"
#include "client/run/fault.h"
#include "client/run/run.h"
#include "client/run/sampler.h"

#define SLICE_MS 200 /* of a wait, between looks at the stop flag */

static int emit(struct run *run, const char *text, size_t size)
{
	if (run->text) {
		memcpy(run->text + run->text_size, text, size);
		run->text_size += size;
		return 0;
	}
	if (size)
		run->within_line = text[size - 1] != '\n';
	while (size) {
		ssize_t n = write(STDOUT_FILENO, text, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EPIPE) {
			run->closed = true;
			return 0;
		}
		if (n < 0) {
			n = -errno;
			fprintf(stderr, "treekv-run: cannot write: %s\n",
				strerror((int)-n));
			return (int)n;
		}
		text += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Nothing else of ours begins within a line of text on a terminal. */
static int end_line(struct run *run)
{
	if (!run->within_line || !isatty(STDOUT_FILENO))
		return 0;
	return emit(run, "\n", 1);
}

static int fault(struct run *run, int error, const char *what)
{
	progress_hide(&run->progress);
	end_line(run);
	return fault_print(error, what, run->options->cache, "");
}

static bool wanted(const struct run *run)
{
	return run->plan.note.generated < run->options->generate;
}

/* Writes the sampled token, which follows token @previous. */
static int show(struct run *run, uint32_t previous)
{
	struct note *n = &run->plan.note;
	const char *text;
	size_t size;
	int r;

	if (n->next == TOKENIZER_BOS || n->next == TOKENIZER_EOS) {
		n->flags |= NOTE_ENDED;
		return 0;
	}
	text = tokenizer_decode(run->tokenizer, &size, previous, n->next);
	r = emit(run, text, size);
	if (r < 0)
		return r;
	if (!run->first_at)
		run->first_at = progress_clock();
	n->flags |= NOTE_SHOWN;
	n->generated++;
	n->text_bytes += size;
	return 0;
}

/**
 * struct token - one to feed
 * @id: it
 * @successor: the one to be scored, when @score
 * @sample: the one after it is not known: sample it
 */
struct token {
	uint32_t id;
	uint32_t successor;
	bool score;
	bool sample;
};

static void score(struct run *run, double nll)
{
	char line[32];

	run->plan.note.nll += nll;
	run->plan.note.scored++;
	if (run->nll)
		output_put(run->nll, line,
			   (size_t)snprintf(line, sizeof(line), "%.9g\n", nll));
}

static int judge(struct run *run, const struct token *token, float *logits)
{
	struct note *n = &run->plan.note;
	uint32_t vocab = run->model->vocab;

	if (logits)
		run->logits = XXH3_64bits_withSeed(
			logits, vocab * sizeof(*logits), run->logits);
	n->flags = 0;
	if (token->score)
		score(run, sampler_nll(run->engine, logits, vocab,
				       token->successor));
	if (!token->sample)
		return 0;
	n->next = sampler_next(run->engine, logits, vocab,
			       (float)n->temperature, &n->random);
	n->flags = NOTE_NEXT;
	return wanted(run) ? show(run, token->id) : 0;
}

/*
 * Begins a step with token @id, or settles where that is NULL. The wait is cut
 * into slices, between which a signal is seen.
 *
 * Return: 0; -EINTR stopped before it came to that; another negative errno.
 */
static int await(struct run *run, const uint32_t *id)
{
	int timeout = (int)run->options->timeout_ms;
	int left = timeout;

	for (;;) {
		int slice = left < SLICE_MS ? left : SLICE_MS;
		int r = id ? treekv_step_begin(run->cache, id, 1, slice) :
			     treekv_settle(run->cache, slice);

		if (r != -ETIMEDOUT)
			return r;
		if (*run->stop)
			return -EINTR;
		left -= slice;
		if (!left)
			return error_set(r,
					 "cache %s: treekvd has not made room "
					 "within %d ms; is it running?",
					 treekv_name(run->cache), timeout);
	}
}

/* Return: 0 also when it was stopped while it waited. */
static int step(struct run *run, const struct token *token)
{
	bool logits_wanted = token->score || token->sample;
	float *logits;
	int r;

	r = await(run, &token->id);
	if (r == -EINTR)
		return 0;
	if (r < 0)
		return fault(run, r, "cannot begin a step");
	r = engine_step(run->engine, run->cache, token->id,
			logits_wanted ? &logits : NULL);
	if (r < 0)
		return fault(run, r, "cannot attend");
	r = judge(run, token, logits_wanted ? logits : NULL);
	if (r < 0)
		return r;
	memcpy(treekv_note(run->cache), &run->plan.note,
	       sizeof(run->plan.note));
	r = treekv_commit(run->cache, 1);
	if (r < 0)
		return fault(run, r, "cannot commit");
	run->fed++;
	if (!run->options->lockstep)
		return 0;
	r = await(run, NULL);
	if (r == -EINTR)
		return 0;
	return r < 0 ? fault(run, r, "cannot wait for the compaction") : 0;
}

uint32_t run_budgets(const struct run *run, uint32_t *least)
{
	const struct treekv_cache *cache = run->cache;
	uint32_t greatest = 0;

	*least = UINT32_MAX;
	for (uint32_t l = 0; l < cache->spec.layers; l++) {
		uint32_t budget = cache->layer[l].at.budget;

		*least = budget < *least ? budget : *least;
		greatest = budget > greatest ? budget : greatest;
	}
	return greatest;
}

static void draw(struct run *run, const char *what, uint64_t done,
		 uint64_t total)
{
	struct treekv_counters counters;
	uint32_t least;

	if (!run->progress.on)
		return;
	treekv_counters(run->cache, &counters);
	progress_step(&run->progress, what, done, total, counters.held,
		      run_budgets(run, &least));
}

static bool stopped(const struct run *run)
{
	return *run->stop || run->closed;
}

/* An engine_progress: draws, and sees a signal. */
static bool watch_prompt(void *arg, uint64_t done, uint64_t total)
{
	struct run *run = arg;
	uint64_t tokens = run->input->count;

	draw(run, "reading", done * tokens / total, tokens);
	return !*run->stop;
}

/* Return: 0; -EINTR stopped while it waited for the daemon. */
static int commit_prompt(struct run *run)
{
	int left = (int)run->options->timeout_ms, r;

	for (;;) {
		int slice = left < SLICE_MS ? left : SLICE_MS;

		r = treekv_prefill_commit(run->cache, slice);
		if (r != -ETIMEDOUT || left <= slice)
			return r;
		if (*run->stop)
			return -EINTR;
		left -= slice;
	}
}

/*
 * The first tokens of the input, all at once. As in a step, what is shown is
 * shown before it is committed. Return: 0 also when it was stopped.
 */
static int read_prompt(struct run *run, uint32_t n)
{
	const struct engine_progress progress = { watch_prompt, run };
	const struct input *input = run->input;
	bool last = n == input->count;
	const struct token token = {
		.id = input->ids[n - 1],
		.successor = last ? 0 : input->ids[n],
		.score = run->options->perplexity && !last,
		.sample = last,
	};
	uint64_t start = progress_clock();
	bool wants_logits = token.score || token.sample;
	float *logits;
	int r;

	r = treekv_prefill_begin(run->cache, &run->options->how, input->ids, n);
	if (r < 0)
		return fault(run, r, "cannot begin a prefill");
	r = engine_prompt(run->engine, run->cache, input->ids, n, &progress,
			  wants_logits ? &logits : NULL);
	if (r == -EINTR)
		return treekv_prefill_abort(run->cache);
	if (r < 0)
		return fault(run, r, "cannot read the prompt");
	progress_hide(&run->progress);
	r = judge(run, &token, wants_logits ? logits : NULL);
	if (r < 0)
		return r;
	memcpy(treekv_note(run->cache), &run->plan.note,
	       sizeof(run->plan.note));
	r = commit_prompt(run);
	if (r == -EINTR)
		return 0;
	if (r < 0)
		return fault(run, r, "cannot commit the prompt");
	run->fed += n;
	run->prompt = n;
	run->prompt_ns = progress_clock() - start;
	return 0;
}

static int read_input(struct run *run)
{
	const struct options *o = run->options;
	const struct input *input = run->input;
	bool perplexity = o->perplexity;
	size_t from = run->plan.skip;
	int r = 0;

	if (run->plan.carry) {
		const struct token end = { .id = run->plan.note.next };

		r = step(run, &end);
	}
	if (o->prefill && !treekv_tail(run->cache)) {
		from = o->prefill_tokens ? o->prefill_tokens : input->count;
		r = read_prompt(run, (uint32_t)from);
	}
	for (size_t i = from; !r && i < input->count; i++) {
		bool last = i + 1 == input->count;
		const struct token token = {
			.id = input->ids[i],
			.successor = last ? 0 : input->ids[i + 1],
			.score = perplexity && !last,
			.sample = last,
		};

		if (stopped(run))
			break;
		if (last)
			progress_hide(&run->progress);
		r = step(run, &token);
		if (!last) /* the text has begun */
			draw(run, perplexity ? "scoring" : "reading", i + 1,
			     input->count);
	}
	return r;
}

static int generate(struct run *run)
{
	const struct note *n = &run->plan.note;
	int r = 0;

	if (!(n->flags & NOTE_NEXT))
		return 0;
	progress_hide(&run->progress);
	if (isatty(STDOUT_FILENO) && !run->text)
		run->progress.on = false;
	if (!(n->flags & (NOTE_SHOWN | NOTE_ENDED)) && wanted(run))
		r = show(run, UINT32_MAX);
	while (!r && wanted(run) && !(n->flags & NOTE_ENDED)) {
		const struct token token = { .id = n->next, .sample = true };

		if (stopped(run))
			break;
		r = step(run, &token);
		draw(run, "writing", n->generated, run->options->generate);
	}
	return r;
}

int run_tokens(struct run *run)
{
	uint64_t start = progress_clock();
	int r;

	progress_begin(&run->progress);
	r = read_input(run);
	if (!r && !stopped(run) && wanted(run))
		r = generate(run);
	progress_hide(&run->progress);
	if (!r)
		r = end_line(run);
	run->ns = progress_clock() - start;
	return r;
}
