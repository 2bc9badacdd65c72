// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "client/cache.h"
#include "client/run/report.h"

/* Bytes of the UTF-8 character at @text, 0: it is none. */
static size_t utf8_size(const unsigned char *text, size_t size)
{
	size_t n = text[0] < 0x80 ? 1 :
		   text[0] < 0xc2 ? 0 :
		   text[0] < 0xe0 ? 2 :
		   text[0] < 0xf0 ? 3 :
		   text[0] < 0xf5 ? 4 :
				    0;

	if (n > size)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	if ((text[0] == 0xe0 && text[1] < 0xa0) ||
	    (text[0] == 0xed && text[1] > 0x9f) ||
	    (text[0] == 0xf0 && text[1] < 0x90) ||
	    (text[0] == 0xf4 && text[1] > 0x8f))
		return 0;
	return n;
}

static void print_string(const char *text, size_t size)
{
	const unsigned char *at = (const unsigned char *)text;

	putchar('"');
	for (size_t i = 0; i < size;) {
		size_t n = utf8_size(at + i, size - i);

		if (!n)
			fputs("\\ufffd", stdout);
		else if (at[i] == '"' || at[i] == '\\')
			printf("\\%c", at[i]);
		else if (at[i] == '\n')
			fputs("\\n", stdout);
		else if (at[i] < 0x20 || at[i] == 0x7f)
			printf("\\u%04x", at[i]);
		else
			fwrite(at + i, 1, n, stdout);
		i += n ? n : 1;
	}
	putchar('"');
}

static void print_count(const char *key, bool applies, uint64_t value)
{
	if (applies)
		printf(", \"%s\": %" PRIu64, key, value);
	else
		printf(", \"%s\": null", key);
}

static void print_real(const char *key, bool applies, double value)
{
	if (applies && isfinite(value))
		printf(", \"%s\": %.10g", key, value);
	else
		printf(", \"%s\": null", key);
}

/* A number, or one a layer where they differ. */
static void print_budget(const struct run *run)
{
	uint32_t least, greatest = run_budgets(run, &least);
	const struct treekv_cache *cache = run->cache;

	if (least == greatest) {
		print_count("budget", true, greatest);
		return;
	}
	fputs(", \"budget\": [", stdout);
	for (uint32_t l = 0; l < cache->spec.layers; l++)
		printf("%s%" PRIu32, l ? ", " : "", cache->layer[l].at.budget);
	putchar(']');
}

static double speed(const struct run *run)
{
	return run->ns ? (double)run->fed * 1e9 / (double)run->ns : 0;
}

static double prompt_speed(const struct run *run)
{
	return run->prompt_ns ?
		       (double)run->prompt * 1e9 / (double)run->prompt_ns :
		       0;
}

static const char *method_name(const struct options *o)
{
	return o->how.method ? treekv_prefill_name(o->how.method) :
			       treekv_policy_name(o->policy);
}

/* Bytes; 0: cannot tell. getrusage() counts what exec() replaced. */
static uint64_t peak_rss(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	unsigned long long kib = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib * 1024;
}

static void print_prefix(const struct run *run, const struct report *about)
{
	const struct prefix *prefix = about->prefix;
	bool used = prefix && prefix->used;

	print_real("first_token_ms", run->first_at,
		   (double)(run->first_at - about->begun) / 1e6);
	print_count("prefix_tokens", prefix, used ? prefix->found.tokens : 0);
	fputs(", \"prefix\": ", stdout);
	if (used)
		print_string(prefix->found.name, strlen(prefix->found.name));
	else
		fputs("null", stdout);
}

static void print_json(const struct run *run, const struct report *about,
		       const struct treekv_counters *c)
{
	const struct options *o = run->options;
	const struct note *n = &run->plan.note;
	bool scored = o->perplexity && n->scored;
	double nll = scored ? n->nll / (double)n->scored : 0;

	printf("{\"tokens\": %" PRIu64, run->fed);
	if (scored && isfinite(nll))
		printf(", \"nll\": %.17g", nll); /* to the bit */
	else
		print_count("nll", false, 0);
	print_real("ppl", scored, exp(nll));
	printf(", \"policy\": \"%s\"", treekv_policy_name(o->policy));
	print_budget(run);
	print_real("tokens_per_s", run->fed, speed(run));
	print_count("prefill_tokens", run->prompt, run->prompt);
	print_real("prefill_tokens_per_s", run->prompt, prompt_speed(run));
	fputs(", \"prefill_method\": ", stdout);
	if (run->prompt)
		printf("\"%s\"", method_name(o));
	else
		fputs("null", stdout);
	print_count("stalls", !o->local, c->stalls);
	print_count("compactions", true, c->compactions);
	print_real("attach_us", !o->local, (double)c->attach_ns / 1e3);
	print_count("scored", scored, n->scored);
	print_count("tail", true, c->tail);
	print_count("held", true, c->held);
	print_count("bytes", true, c->bytes);
	print_count("shared_bytes", true, c->shared_bytes);
	printf(", \"huge\": %s", o->local ? "null" :
				 c->huge  ? "true" :
					    "false");
	print_real("stall_ms", !o->local, (double)c->stall_ns / 1e6);
	print_count("peak_rss", peak_rss(), peak_rss());
	print_real("load_ms", true, (double)about->load_ns / 1e6);
	if (run->logits)
		printf(", \"logits\": \"%016" PRIx64 "\"", run->logits);
	else
		fputs(", \"logits\": null", stdout);
	fputs(", \"cache\": ", stdout);
	if (o->cache)
		print_string(treekv_name(run->cache), strlen(o->cache));
	else
		fputs("null", stdout);
	print_prefix(run, about);
	printf(", \"resumed\": %s", run->plan.resumed ? "true" : "false");
	print_count("generated", o->generate, n->generated);
	print_count("text_at", o->generate, n->text_bytes - run->text_size);
	fputs(", \"text\": ", stdout);
	if (o->generate)
		print_string(run->text, run->text_size);
	else
		fputs("null", stdout);
	printf(", \"threads\": %u, \"kernel\": \"%s\"}\n",
	       engine_threads(run->engine), engine_kernel(run->engine));
}

static void print_summary(const struct run *run,
			  const struct treekv_counters *c)
{
	const struct options *o = run->options;
	const struct note *n = &run->plan.note;
	uint32_t least, greatest = run_budgets(run, &least);

	if (o->perplexity && n->scored) {
		double nll = n->nll / (double)n->scored;

		printf("perplexity %.4f (%.6f nats) over %" PRIu64 " tokens\n",
		       exp(nll), nll, n->scored);
	}
	fprintf(stderr, "%s, budget %" PRIu32, treekv_policy_name(o->policy),
		least);
	if (least < greatest)
		fprintf(stderr, " to %" PRIu32, greatest);
	fprintf(stderr,
		": %" PRIu64 " tokens at %.0f a second, %" PRIu64
		" held in %.1f MiB, %" PRIu64 " compactions",
		run->fed, speed(run), c->held, (double)c->bytes / (1 << 20),
		c->compactions);
	if (run->prompt)
		fprintf(stderr, ", %" PRIu64 " as a whole at %.0f a second",
			run->prompt, prompt_speed(run));
	if (!o->local)
		fprintf(stderr, ", %" PRIu64 " stalls, attached in %.0f us",
			c->stalls, (double)c->attach_ns / 1e3);
	fputc('\n', stderr);
}

/* Of a cache that had read something; that a signal cuts short is no news. */
static void print_unscored(const struct run *run)
{
	uint64_t scored = run->plan.note.scored;
	uint64_t count = run->input->count;

	if (!run->options->perplexity || !run->plan.resumed || *run->stop ||
	    scored + 1 >= count)
		return;
	fprintf(stderr,
		"treekv-run: %" PRIu64 " tokens scored, the input has %" PRIu64
		": what the cache had read without --perplexity and the first "
		"token after each earlier run's input are not scored\n",
		scored, count);
}

int report_flush(void)
{
	int r;

	errno = 0;
	if (!fflush(stdout) && !ferror(stdout))
		return 0;
	r = errno ? -errno : -EIO; /* of a write before this one */
	fprintf(stderr, "treekv-run: cannot write to standard output: %s\n",
		strerror(-r));
	return r;
}

int report_print(const struct run *run, const struct report *about)
{
	struct treekv_counters counters;

	treekv_counters(run->cache, &counters);
	if (run->options->json)
		print_json(run, about, &counters);
	else
		print_summary(run, &counters);
	print_unscored(run);
	return report_flush();
}
