// SPDX-License-Identifier: BSD-2-Clause
/*
 * Kills writers, for --seconds S:
 *
 *	kvkill --cache NAME --seconds S [--fill TOKENS] [--lockstep] [options]
 *
 * A victim attaches to a self-checking cache (selfcheck.h), checks all of it,
 * and runs steps; after each it notes the tail in a page that it shares with
 * us. At a random moment it gets SIGKILL. Whoever comes next, we or the next
 * victim, must find the tail no lower than noted and everything right. With
 * --lockstep we compare slots, ranks and the bits of the scores with those of
 * an unbroken run of as many tokens on a private cache.
 *
 * The delay before a kill is random, not a wait for something: it is counted
 * from the moment when the victim says that it has attached, or, one time in
 * four, from its fork, so that attaching is cut short as well.
 *
 * Time is a poor way to hit the few instructions that matter. With
 * --single-step the victim stops itself at a random point, before a begin, an
 * append or a commit, and is then single-stepped: killed after that many
 * instructions, each as likely as the next.
 *
 * With --prompt P each cache begins with P tokens that come as a whole. Of
 * those that have got so far, every other one is dropped after the kill and
 * replaced, so that many victims die over a prompt; the tail is 0 or beyond it.
 *
 * Exit status: 0; 1 something was wrong; 3 the library refused.
 */
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/conn.h"
#include "client/local.h"
#include "client/treekv.h"
#include "proto/barrier.h"
#include "tests/helpers/selfcheck_prompt.h"
#include "tests/helpers/spec_options.h"

#define STATUS_WRONG   1
#define STATUS_USAGE   2
#define STATUS_REFUSED 3
#define STEPS_MAX      600
#define PROMPT_STEPS   6000 /* of its commit: a request and its answer */

/* Written by one victim at a time; it survives him. */
struct page {
	uint64_t committed;
	uint64_t steps;
	uint64_t rows;
	uint64_t lost;
	char text[256];
};

struct killer {
	struct treekv_spec spec;
	const char *name;
	double seconds;
	uint64_t fill;
	uint32_t delay_us;
	struct selfcheck s;
	struct selfcheck unbroken; /* lockstep's, on a private cache */
	struct page *page;
	struct treekv *kv;
	uint64_t kills;
	uint64_t in_attach; /* of the kills */
	uint64_t prompts; /* caches that had one and were replaced */
	bool single_step;
	uint32_t until_stop; /* moments */
	uint64_t compared; /* scores */
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void *map_shared(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED) {
		perror("mmap");
		exit(STATUS_USAGE);
	}
	return at;
}

static int refused(const char *what)
{
	fprintf(stderr, "kvkill: %s: %s\n", what, treekv_error());
	return STATUS_REFUSED;
}

/* ---- the victim ---- */

static int victim_fails(struct killer *k, const char *what, const char *why)
{
	snprintf(k->page->text, sizeof(k->page->text), "%s: %.200s", what, why);
	return STATUS_WRONG;
}

/* What any successor must find. */
static bool is_whole(struct killer *k)
{
	struct selfcheck *s = &k->s;
	uint64_t committed = shm_load_acquire(&k->page->committed);

	if (treekv_tail(s->cache) && treekv_tail(s->cache) < s->prompt)
		selfcheck_blame(s, "tail %" PRIu64 " in a prompt of %u",
				treekv_tail(s->cache), s->prompt);
	if (treekv_tail(s->cache) < committed) {
		k->page->lost += committed - treekv_tail(s->cache);
		selfcheck_blame(s,
				"tail %" PRIu64 " after %" PRIu64
				" were committed",
				treekv_tail(s->cache), committed);
	}
	s->rows = 0;
	selfcheck_verify(s);
	k->page->rows += s->rows;
	return !s->wrong;
}

/* Hands over to single_step(). */
static void stop_here(struct selfcheck *s, enum selfcheck_moment moment)
{
	struct killer *k = s->of_before;

	(void)moment;
	if (!k->until_stop--)
		raise(SIGSTOP);
}

/* Until the one in which to die; of a prompt's every other is its commit. */
static uint32_t moments(struct killer *k)
{
	uint32_t commit = 1 + k->spec.layers * k->spec.kv_heads;

	if (!k->s.prompt)
		return selfcheck_below(&k->s, 30);
	return selfcheck_below(&k->s, 2) ? commit :
					   selfcheck_below(&k->s, commit + 3);
}

static int victim(struct killer *k, int ready_fd)
{
	struct selfcheck *s = &k->s;
	struct treekv *kv;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (k->single_step) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		k->until_stop = moments(k);
		s->of_before = k;
		s->before = stop_here;
	}
	if (treekv_connect(&kv, NULL) ||
	    treekv_open(&s->cache, kv, k->name, &k->spec, 0))
		return victim_fails(k, "attach", treekv_error());
	if (!is_whole(k))
		return victim_fails(k, "a victim found", s->text);
	if (s->lockstep && treekv_settle(s->cache, s->timeout_ms))
		return victim_fails(k, "settle", treekv_error());
	if (write(ready_fd, "", 1) < 0)
		return victim_fails(k, "ready", "pipe");
	if (s->prompt && !treekv_tail(s->cache)) {
		if (selfcheck_prompt(s))
			return victim_fails(k, "prompt", treekv_error());
		shm_store_release(&k->page->committed, s->prompt);
		selfcheck_verify(s);
	}
	for (;;) {
		s->rows = 0;
		if (selfcheck_step(s, UINT64_MAX))
			return victim_fails(k, "step", treekv_error());
		if (s->wrong)
			return victim_fails(k, "in a step", s->text);
		shm_store_release(&k->page->committed, treekv_tail(s->cache));
		k->page->rows += s->rows;
		k->page->steps++;
	}
}

/* ---- the killer ---- */

static void delay(struct killer *k)
{
	uint32_t us = selfcheck_below(&k->s, k->delay_us + 1);
	struct timespec ts = { .tv_sec = us / 1000000,
			       .tv_nsec = us % 1000000 * 1000 };

	nanosleep(&ts, NULL);
}

/* We and our victims on one processor: a step costs a third of the time. */
static void stay_together(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Waits for the victim's stop and takes it some instructions further. */
static void single_step(struct killer *k, pid_t pid)
{
	uint32_t most = k->s.prompt ? PROMPT_STEPS : STEPS_MAX;
	uint32_t n = selfcheck_below(&k->s, selfcheck_below(&k->s, most) + 1);
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return;
	while (n--)
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) ||
		    waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			return;
}

/* Return: 0, or a status when the victim ended by itself. */
static int kill_one(struct killer *k)
{
	bool in_attach = !k->single_step && selfcheck_below(&k->s, 4) == 0;
	int fds[2], status;
	char byte;
	pid_t pid;

	if (pipe(fds)) {
		perror("pipe");
		return STATUS_USAGE;
	}
	k->s.random = selfcheck_random(&k->s);
	pid = fork();
	if (!pid)
		_exit(victim(k, fds[1]));
	close(fds[1]);
	if (!in_attach && read(fds[0], &byte, 1) < 0)
		perror("read");
	if (k->single_step)
		single_step(k, pid);
	else
		delay(k);
	kill(pid, SIGKILL);
	do
		waitpid(pid, &status, 0);
	while (WIFSTOPPED(status));
	close(fds[0]);
	if (WIFEXITED(status)) {
		fprintf(stderr, "kvkill: %s\n", k->page->text);
		return STATUS_WRONG;
	}
	k->kills++;
	k->in_attach += in_attach;
	return 0;
}

/* Slots, ranks and scores against the run that nobody killed. */
static void compare_head(struct killer *k, uint32_t layer, uint32_t head)
{
	struct treekv_cache *a = k->s.cache, *b = k->unbroken.cache;
	const float *x = cache_head_at(a, layer, head)->score[a->parity];
	const float *y = cache_head_at(b, layer, head)->score[b->parity];
	struct treekv_view is, ought;

	treekv_view(a, layer, head, &is);
	treekv_view(b, layer, head, &ought);
	for (uint32_t slot = 0; slot < is.slots; slot++) {
		if (is.rank[slot] != ought.rank[slot])
			selfcheck_blame(&k->s,
					"layer %u head %u slot %u: rank "
					"%u, unbroken %u",
					layer, head, slot, is.rank[slot],
					ought.rank[slot]);
		if (is.rank[slot] == TREEKV_FREE)
			continue;
		k->compared++;
		if (is.token[slot] != ought.token[slot] ||
		    memcmp(&x[slot], &y[slot], sizeof(float)))
			selfcheck_blame(&k->s,
					"layer %u head %u slot %u: "
					"token %u score %a, unbroken %u %a",
					layer, head, slot, is.token[slot],
					(double)x[slot], ought.token[slot],
					(double)y[slot]);
	}
}

static int compare(struct killer *k)
{
	uint64_t tail = treekv_tail(k->s.cache);

	if (treekv_settle(k->s.cache, k->s.timeout_ms))
		return refused("settle");
	if (k->s.prompt && tail && !treekv_tail(k->unbroken.cache) &&
	    selfcheck_prompt(&k->unbroken))
		return refused("unbroken prompt");
	while (treekv_tail(k->unbroken.cache) < tail)
		if (selfcheck_step(&k->unbroken, tail))
			return refused("unbroken");
	for (uint32_t l = 0; l < k->spec.layers; l++)
		for (uint32_t h = 0; h < k->spec.kv_heads; h++)
			compare_head(k, l, h);
	return 0;
}

static int drop(struct killer *k)
{
	Treekv__Drop body = TREEKV__DROP__INIT;
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Reply *reply;

	body.name = (char *)(uintptr_t)k->name;
	request.body_case = TREEKV__REQUEST__BODY_DROP;
	request.drop = &body;
	if (conn_call(k->kv, &request, &reply, NULL, NULL))
		return refused("drop");
	treekv__reply__free_unpacked(reply, NULL);
	return 0;
}

/* A new cache in place of one whose prompt is committed. */
static int renew(struct killer *k)
{
	struct treekv_cache *cache;

	if (drop(k))
		return STATUS_REFUSED;
	if (treekv_open(&cache, k->kv, k->name, &k->spec,
			TREEKV_CREATE | TREEKV_EXCLUSIVE))
		return refused("create");
	treekv_detach(cache);
	k->page->committed = 0;
	k->prompts++;
	if (!k->s.lockstep)
		return 0;
	k->unbroken.cache = treekv_detach(k->unbroken.cache);
	return local_open(&k->unbroken.cache, &k->spec) ? refused("unbroken") :
							  0;
}

/* We as the successor. */
static int look(struct killer *k)
{
	bool over;
	int r = 0;

	if (treekv_open(&k->s.cache, k->kv, k->name, &k->spec, 0))
		return refused("attach");
	is_whole(k);
	if (k->s.lockstep)
		r = compare(k);
	if (k->s.wrong) {
		fprintf(stderr,
			"kvkill: after %" PRIu64 " kills, %" PRIu64
			" wrong, the first: %s\n",
			k->kills, k->s.wrong, k->s.text);
		r = STATUS_WRONG;
	}
	over = k->s.prompt && treekv_tail(k->s.cache) &&
	       selfcheck_below(&k->s, 2);
	treekv_detach(k->s.cache);
	return r || !over ? r : renew(k);
}

/* Makes the cache, and fills it so that evictions begin at once. */
static int begin(struct killer *k)
{
	uint32_t verify_every = k->s.verify_every;
	int r = 0;

	if (treekv_connect(&k->kv, NULL) ||
	    treekv_open(&k->s.cache, k->kv, k->name, &k->spec,
			TREEKV_CREATE | TREEKV_EXCLUSIVE))
		return refused("create");
	k->s.verify_every = 0;
	while (!r && treekv_tail(k->s.cache) < k->fill)
		r = selfcheck_step(&k->s, k->fill);
	k->s.verify_every = verify_every;
	k->page->committed = treekv_tail(k->s.cache);
	treekv_detach(k->s.cache);
	return r ? refused("fill") : 0;
}

static int run(struct killer *k)
{
	double end;
	int r = begin(k);

	end = now() + k->seconds;
	while (!r && now() < end) {
		r = kill_one(k);
		if (!r && (k->s.prompt || selfcheck_below(&k->s, 2)))
			r = look(k);
	}
	if (!r)
		r = look(k);
	printf("kills %" PRIu64 " (attaching %" PRIu64 ") tokens %" PRIu64
	       " steps %" PRIu64 " rows checked %" PRIu64 " wrong rows %" PRIu64
	       " lost commits %" PRIu64 " scores compared %" PRIu64,
	       k->kills, k->in_attach, k->page->committed, k->page->steps,
	       k->page->rows, k->s.wrong, k->page->lost, k->compared);
	if (k->s.prompt)
		printf(" prompts %" PRIu64, k->prompts);
	putchar('\n');
	return r;
}

static bool take_value(struct killer *k, const char *name, const char *value)
{
	if (!strcmp(name, "--cache"))
		k->name = value;
	else if (!strcmp(name, "--seconds"))
		k->seconds = strtod(value, NULL);
	else if (!strcmp(name, "--fill"))
		k->fill = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--seed"))
		k->s.seed = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--delay"))
		k->delay_us = (uint32_t)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--prompt"))
		k->s.prompt = (uint32_t)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--per-step-max"))
		k->s.per_step = (uint32_t)strtoul(value, NULL, 0);
	else if (!strcmp(name, "--verify-every"))
		k->s.verify_every = (uint32_t)strtoul(value, NULL, 0);
	else
		return spec_option(&k->spec, name, value);
	return true;
}

static void parse(struct killer *k, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--lockstep")) {
			k->s.lockstep = true;
		} else if (!strcmp(argv[i], "--single-step")) {
			k->single_step = true;
		} else if (i + 1 < argc &&
			   take_value(k, argv[i], argv[i + 1])) {
			i++;
		} else {
			fprintf(stderr, "kvkill: what is %s?\n", argv[i]);
			exit(STATUS_USAGE);
		}
	}
	if (k->s.lockstep)
		k->s.per_step = 1;
	else if (k->s.per_step > k->spec.slack)
		k->s.per_step = k->spec.slack;
}

static int unbroken_init(struct killer *k)
{
	struct selfcheck *u = &k->unbroken;

	*u = (struct selfcheck){
		.seed = k->s.seed,
		.per_step = 1,
		.timeout_ms = -1,
		.lockstep = true,
		.whole = true,
	};
	selfcheck_init(u, &k->spec);
	selfcheck_prompt_set(u, k->s.prompt);
	return local_open(&u->cache, &k->spec);
}

int main(int argc, char **argv)
{
	static struct killer k;
	int r = 0;

	k.spec = spec_default();
	k.name = "kill";
	k.seconds = 5;
	k.delay_us = 2000;
	k.s.seed = 1;
	k.s.per_step = 4;
	k.s.verify_every = 1;
	k.s.timeout_ms = 20000;
	parse(&k, argc, argv);
	if (k.single_step)
		stay_together();
	k.s.random = selfcheck_mix(k.s.seed);
	k.page = map_shared(sizeof(*k.page));
	selfcheck_init(&k.s, &k.spec);
	selfcheck_prompt_set(&k.s, k.s.prompt);
	if (k.s.lockstep && unbroken_init(&k))
		return refused("unbroken");
	r = run(&k);
	treekv_detach(k.unbroken.cache);
	treekv_close(k.kv);
	if (k.s.lockstep)
		selfcheck_exit(&k.unbroken);
	selfcheck_exit(&k.s);
	return r;
}
