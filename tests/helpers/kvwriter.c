// SPDX-License-Identifier: BSD-2-Clause
/*
 * A writer of a self-checking cache (selfcheck.h), for shell tests and by hand:
 *
 *	kvwriter --cache NAME --steps N [options]
 *
 * It attaches, checks all that is there, runs steps until N more tokens are
 * committed, checks again, and prints one line of totals. Exit status: 0; 1
 * something was wrong (said on stderr); 3 the library refused (its text is
 * printed on stderr). With --prompt P the cache begins with P tokens that come
 * as a whole, its successors' too.
 *
 * With --progress it prints "committed TAIL" after each commit; with --hold it
 * prints "holding TAIL" when its steps are done and goes on at the end of its
 * standard input. With --pause it prints "paused TAIL" before its first step
 * and, once, when a step has timed out, and goes on at the next input byte.
 *
 * With --punch it lies half-way: it gives pages of its rows back to the kernel,
 * here or there, and prints "hole FROM:SIZE". Whoever attaches later with --hole
 * FROM:SIZE, and it itself, judge what is not in that hole. Among the words at
 * the head of the rows it makes a cache that nobody can go on with.
 *
 * With --again it does all of it twice, the second time as if it had just begun.
 *
 * With --freeze it freezes the cache when it is done; with --keep-mapping it has
 * kept a writable mapping of the rows then, and writes garbage all over it once
 * they are frozen.
 *
 * With --fork PARENT it makes the cache as a fork, of the first --tokens. Forks
 * are told by --pinned how many of the first tokens must stay, and, where the
 * scores of their prefix begin anew, by --scores-from at which tail.
 *
 * With --lookup N it looks up the N ids that its tokens would have, those from
 * --diverge on being others, and says what was found; with --fork-prefix N it
 * forks that. --compacted asks for compacted caches as well.
 *
 * With --read it attaches as a reader and reads all of the cache again and
 * again until it has seen the tail N, and says how many reads were whole, and
 * how many tails it has seen.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/local.h"
#include "client/treekv.h"
#include "tests/helpers/selfcheck_prompt.h"
#include "tests/helpers/spec_options.h"

#define STATUS_WRONG   1
#define STATUS_USAGE   2
#define STATUS_REFUSED 3
#define HUGE_PAGE      (UINT64_C(2) << 20)
#define LIAR_MS	       2000 /* his stall may never end */

struct options {
	struct treekv_spec spec;
	const char *cache; /* NULL: anonymous */
	uint64_t steps; /* tokens to commit */
	uint64_t seed;
	uint32_t prompt;
	uint32_t per_step;
	uint32_t verify_every;
	int timeout_ms;
	bool attach; /* do not create */
	bool any; /* attach without a spec to compare */
	bool exclusive;
	bool ephemeral;
	bool lockstep;
	bool local;
	bool verify_only;
	bool whole;
	bool progress;
	bool hold;
	bool pause;
	bool punch;
	bool again;
	uint64_t hole_at, hole_size;
	bool read;
	bool freeze;
	bool keep_mapping;
	const char *fork; /* the parent */
	uint64_t tokens; /* of it */
	uint64_t pinned; /* tokens that must stay */
	uint64_t scores_from;
	bool evict_prefix;
	bool compacted;
	uint64_t lookup; /* ids; 0: none */
	uint64_t fork_prefix;
	uint64_t diverge;
};

static const struct {
	const char *name;
	size_t offset;
} flags[] = {
	{ "--attach", offsetof(struct options, attach) },
	{ "--any", offsetof(struct options, any) },
	{ "--exclusive", offsetof(struct options, exclusive) },
	{ "--ephemeral", offsetof(struct options, ephemeral) },
	{ "--lockstep", offsetof(struct options, lockstep) },
	{ "--local", offsetof(struct options, local) },
	{ "--verify-only", offsetof(struct options, verify_only) },
	{ "--whole", offsetof(struct options, whole) },
	{ "--progress", offsetof(struct options, progress) },
	{ "--hold", offsetof(struct options, hold) },
	{ "--pause", offsetof(struct options, pause) },
	{ "--punch", offsetof(struct options, punch) },
	{ "--again", offsetof(struct options, again) },
	{ "--read", offsetof(struct options, read) },
	{ "--compacted", offsetof(struct options, compacted) },
	{ "--evict-prefix", offsetof(struct options, evict_prefix) },
	{ "--freeze", offsetof(struct options, freeze) },
	{ "--keep-mapping", offsetof(struct options, keep_mapping) },
};

static bool take_flag(struct options *o, const char *name)
{
	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
		if (!strcmp(name, flags[i].name)) {
			*(bool *)((char *)o + flags[i].offset) = true;
			return true;
		}
	return false;
}

static bool take_value(struct options *o, const char *name, const char *value)
{
	if (!strcmp(name, "--cache"))
		o->cache = value;
	else if (!strcmp(name, "--fork"))
		o->fork = value;
	else if (!strcmp(name, "--tokens"))
		o->tokens = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--lookup"))
		o->lookup = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--fork-prefix"))
		o->fork_prefix = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--diverge"))
		o->diverge = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--pinned"))
		o->pinned = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--scores-from"))
		o->scores_from = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--steps"))
		o->steps = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--seed"))
		o->seed = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--hole"))
		sscanf(value, "%" SCNu64 ":%" SCNu64, &o->hole_at,
		       &o->hole_size);
	else if (!strcmp(name, "--prompt"))
		o->prompt = (uint32_t)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--per-step-max"))
		o->per_step = (uint32_t)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--verify-every"))
		o->verify_every = (uint32_t)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--timeout"))
		o->timeout_ms = atoi(value);
	else
		return spec_option(&o->spec, name, value);
	return true;
}

static void parse(struct options *o, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (take_flag(o, argv[i]))
			continue;
		if (i + 1 < argc && take_value(o, argv[i], argv[i + 1])) {
			i++;
			continue;
		}
		fprintf(stderr, "kvwriter: what is %s?\n", argv[i]);
		exit(STATUS_USAGE);
	}
	if (o->lockstep || o->per_step > o->spec.slack)
		o->per_step = o->lockstep ? 1 : o->spec.slack;
}

static int refused(const char *what)
{
	fprintf(stderr, "kvwriter: %s: %s\n", what, treekv_error());
	return STATUS_REFUSED;
}

/* The ids that the first @n tokens have, or others. */
static uint32_t *make_ids(const struct options *o, uint64_t n)
{
	const struct selfcheck s = { .seed = o->seed };
	uint32_t *ids = selfcheck_alloc(n, sizeof(*ids));

	for (uint64_t i = 0; i < n; i++)
		ids[i] = i < o->diverge ? selfcheck_id(&s, i) :
					  ~selfcheck_id(&s, i);
	return ids;
}

static void print_prefix(const struct treekv_prefix *found)
{
	printf("found %s tokens %" PRIu64 " tail %" PRIu64 " compacted %d\n",
	       found->name, found->tokens, found->tail, found->compacted);
}

static int look_up(const struct options *o)
{
	uint32_t *ids = make_ids(o, o->lookup);
	struct treekv_prefix found;
	struct treekv *kv = NULL;
	int r;

	if (treekv_connect(&kv, NULL)) {
		free(ids);
		return refused("connect");
	}
	r = treekv_lookup(kv, &found, &o->spec, ids, o->lookup,
			  o->compacted ? TREEKV_COMPACTED : 0);
	treekv_close(kv);
	free(ids);
	if (!r)
		print_prefix(&found);
	else if (r == -ENOENT)
		puts("found nothing");
	else
		return refused("look up");
	return 0;
}

static int fork_prefix(const struct options *o, struct treekv *kv,
		       struct treekv_cache **cache)
{
	uint32_t *ids = make_ids(o, o->fork_prefix);
	struct treekv_prefix found;
	unsigned int how = 0;
	int r;

	if (o->evict_prefix)
		how |= TREEKV_EVICT_PREFIX;
	if (o->compacted)
		how |= TREEKV_COMPACTED;
	r = treekv_fork_prefix(cache, &found, kv, o->cache, &o->spec, ids,
			       o->fork_prefix, how);
	free(ids);
	if (!r)
		print_prefix(&found);
	return r;
}

static int open_cache(const struct options *o, struct treekv **kv,
		      struct treekv_cache **cache)
{
	unsigned int how = o->attach || o->any ? 0 : TREEKV_CREATE;
	int r;

	if (o->read)
		how = TREEKV_READ;
	if (o->local)
		return local_open(cache, &o->spec);
	if (o->exclusive)
		how |= TREEKV_EXCLUSIVE;
	if (o->ephemeral)
		how |= TREEKV_EPHEMERAL;
	r = treekv_connect(kv, NULL);
	if (!r && o->fork_prefix)
		return fork_prefix(o, *kv, cache);
	if (!r && o->fork)
		return treekv_fork(cache, *kv, o->cache, o->fork, o->tokens,
				   o->any ? NULL : &o->spec,
				   (o->evict_prefix ? TREEKV_EVICT_PREFIX : 0) |
					   (how & TREEKV_EPHEMERAL));
	if (!r)
		r = treekv_open(cache, *kv, o->cache, o->any ? NULL : &o->spec,
				how);
	return r;
}

static void pause_for_input(const struct selfcheck *s)
{
	char byte;

	printf("paused %" PRIu64 "\n", treekv_tail(s->cache));
	if (read(STDIN_FILENO, &byte, 1) < 0)
		perror("kvwriter: stdin");
}

/* A page, a few, or in one of four cases all. */
static void punch(struct selfcheck *s)
{
	struct treekv_counters c;
	uint64_t size = s->cache->rows_size, page, pages, first = 0, n;

	treekv_counters(s->cache, &c);
	page = c.huge ? HUGE_PAGE : 4096;
	n = pages = size / page;
	if (selfcheck_below(s, 4)) {
		first = selfcheck_below(s, (uint32_t)pages);
		n = 1 + selfcheck_below(s, 4);
		n = n < pages - first ? n : pages - first;
	}
	s->hole_at = first * page;
	s->hole_size = n * page;
	printf("hole %" PRIu64 ":%" PRIu64 "\n", s->hole_at, s->hole_size);
	if (madvise((char *)s->cache->rows + s->hole_at, s->hole_size,
		    MADV_REMOVE))
		perror("kvwriter: madvise");
	s->timeout_ms = s->timeout_ms < LIAR_MS ? s->timeout_ms : LIAR_MS;
	selfcheck_verify(s);
}

static int run_steps(struct selfcheck *s, const struct options *o)
{
	uint64_t end = treekv_tail(s->cache) + o->steps;
	uint64_t lie = o->punch ? end - o->steps / 2 : UINT64_MAX;
	bool patient = o->pause;
	int r;

	if (patient)
		pause_for_input(s);
	while (treekv_tail(s->cache) < end && !s->wrong) {
		if (treekv_tail(s->cache) >= lie && !s->hole_size)
			punch(s);
		r = selfcheck_step(s, end);
		if (r == -ETIMEDOUT && patient) {
			refused("step");
			pause_for_input(s);
			patient = false;
			continue;
		}
		if (r)
			return refused("step");
		if (o->progress)
			printf("committed %" PRIu64 "\n",
			       treekv_tail(s->cache));
	}
	return 0;
}

static void hold(const struct selfcheck *s)
{
	char byte;

	printf("holding %" PRIu64 "\n", treekv_tail(s->cache));
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

/* A reader sees what a moment was: ends when that is the end. */
static int run_reads(struct selfcheck *s, const struct options *o)
{
	uint64_t seen = UINT64_MAX, tails = 0, whole = 0, again = 0;
	int r = 0;

	while ((!whole || treekv_tail(s->cache) < o->steps) && !s->wrong) {
		r = selfcheck_read(s);
		if (r == -EAGAIN) {
			again++;
			continue;
		}
		if (r)
			return refused("read");
		whole++;
		tails += seen != treekv_tail(s->cache);
		seen = treekv_tail(s->cache);
		if (o->progress)
			printf("read %" PRIu64 "\n", seen);
	}
	printf("reads %" PRIu64 " again %" PRIu64 " tails %" PRIu64 "\n", whole,
	       again, tails);
	return 0;
}

static int report(const struct selfcheck *s)
{
	struct treekv_counters c;

	treekv_counters(s->cache, &c);
	if (s->wrong) {
		fprintf(stderr, "kvwriter: %" PRIu64 " wrong, the first: %s\n",
			s->wrong, s->text);
		return STATUS_WRONG;
	}
	printf("tail %" PRIu64 " held %" PRIu64 " rows %" PRIu64
	       " stalls %" PRIu64 " compactions %" PRIu64 " reconnects %" PRIu64
	       " huge %d attach_us %" PRIu64 " holed %" PRIu64 "\n",
	       c.tail, c.held, s->rows, c.stalls, c.compactions, c.reconnects,
	       c.huge, c.attach_ns / 1000, s->holed);
	return 0;
}

static int run(struct selfcheck *s, const struct options *o)
{
	int status = 0;

	if (o->read) {
		status = run_reads(s, o);
		if (o->hold && !status && !s->wrong)
			hold(s);
		return status ? status : report(s);
	}
	selfcheck_verify(s);
	if (o->prompt && !treekv_tail(s->cache) && !o->verify_only) {
		if (selfcheck_prompt(s))
			return refused("prompt");
		selfcheck_verify(s);
	}
	if (!o->verify_only && !s->wrong)
		status = run_steps(s, o);
	if (o->hold && !status && !s->wrong)
		hold(s);
	if (!s->wrong)
		selfcheck_verify(s);
	return status ? status : report(s);
}

/* Takes the cache. */
static int freeze(struct selfcheck *s, const struct options *o)
{
	size_t size = s->cache->rows_size;
	void *kept = NULL;
	int r;

	if (o->keep_mapping)
		kept = mremap(s->cache->rows, 0, size, MREMAP_MAYMOVE);
	if (kept == MAP_FAILED) {
		perror("kvwriter: mremap");
		return STATUS_USAGE;
	}
	r = treekv_freeze(s->cache);
	s->cache = NULL;
	if (r)
		return refused("freeze");
	if (kept)
		memset(kept, 0xa5, size);
	puts("frozen");
	return 0;
}

static int write_cache(const struct options *o)
{
	struct selfcheck s = { 0 };
	struct treekv *kv = NULL;
	int status;

	if (open_cache(o, &kv, &s.cache)) {
		treekv_close(kv);
		return refused("open");
	}
	s.seed = o->seed;
	s.random = selfcheck_mix(o->seed ^ treekv_tail(s.cache));
	s.per_step = o->per_step;
	s.verify_every = o->verify_every;
	s.timeout_ms = o->timeout_ms;
	s.lockstep = o->lockstep;
	s.whole = o->whole;
	s.hole_at = o->hole_at;
	s.hole_size = o->hole_size;
	s.pinned = o->pinned;
	s.scores_from = o->scores_from;
	selfcheck_init(&s, &o->spec);
	selfcheck_prompt_set(&s, o->prompt);
	status = run(&s, o);
	if (o->freeze && !status)
		status = freeze(&s, o);
	treekv_detach(s.cache);
	treekv_close(kv);
	selfcheck_exit(&s);
	return status;
}

int main(int argc, char **argv)
{
	struct options o = {
		.spec = spec_default(),
		.steps = 1000,
		.seed = 1,
		.per_step = 4,
		.verify_every = 1,
		.timeout_ms = 20000,
		.diverge = UINT64_MAX,
	};
	int status;

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse(&o, argc, argv);
	if (o.lookup)
		return look_up(&o);
	status = write_cache(&o);
	if (!status && o.again)
		status = write_cache(&o);
	return status;
}
