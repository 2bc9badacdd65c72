// SPDX-License-Identifier: BSD-2-Clause
/*
 * The order is the worker's, so it is the worker who makes the prompt's, a few
 * heads at a time between compactions of others. While he is at it the cache
 * stays in the hands it was in: whoever attaches waits (the writer may have
 * died just then, and a step of his successor would run into the publication),
 * and its lease is not broken.
 *
 * A writer who got no answer asks again, over another connection as a rule:
 * then that one is answered. When it is done already, he is told so.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "daemon/control_impl.h"
#include "daemon/crash.h"
#include "daemon/event.h"
#include "daemon/lease.h"
#include "daemon/prefill.h"
#include "daemon/takeover.h"
#include "proto/probe.h"

#define TURN_SLOTS 16384 /* entries made between looks at others */

struct waiter {
	STAILQ_ENTRY(waiter) link;
	struct conn *conn; /* NULL: gone */
	uint64_t id;
	uint64_t nonce;
};

struct prefill {
	struct worker_task task; /* first: slices get it back from this */
	LIST_ENTRY(prefill) link;
	struct conn *conn; /* NULL: gone */
	uint64_t id;
	struct cache *cache;
	pid_t pid; /* who asks */
	struct compact_prompt prompt;
	STAILQ_HEAD(, waiter) waiters;

	/* The worker's. */
	bool begun;
	enum compact_prompt_answer answer;
	enum compact_fault fault;

	uint32_t numbers[]; /* live, then walk */
};

static LIST_HEAD(, prefill) prefills = LIST_HEAD_INITIALIZER(prefills);

static struct prefill *find(const struct cache *cache)
{
	struct prefill *p;

	LIST_FOREACH(p, &prefills, link)
	if (p->cache == cache)
		return p;
	return NULL;
}

bool prefill_holds(const struct cache *cache)
{
	return find(cache);
}

void prefill_closed(struct conn *conn)
{
	struct waiter *waiter;
	struct prefill *p;

	LIST_FOREACH(p, &prefills, link)
	{
		if (p->conn == conn)
			p->conn = NULL;
		STAILQ_FOREACH(waiter, &p->waiters, link)
		if (waiter->conn == conn)
			waiter->conn = NULL;
	}
}

void prefill_wait(struct conn *conn, uint64_t id, struct cache *cache,
		  uint64_t nonce)
{
	struct waiter *waiter = calloc(1, sizeof(*waiter));

	if (!waiter) {
		control_refuse(conn, id, -ENOMEM, "the daemon has no memory");
		return;
	}
	waiter->conn = conn;
	waiter->id = id;
	waiter->nonce = nonce;
	STAILQ_INSERT_TAIL(&find(cache)->waiters, waiter, link);
}

/* ---- on the worker ---- */

static uint32_t heads_a_turn(const struct cache *cache)
{
	uint32_t heads = TURN_SLOTS / cache->slots;

	return heads ? heads : 1;
}

static void publish(struct prefill *p)
{
	struct cache *cache = p->cache;
	struct compaction *c = &cache->compaction;

	crash_at(CRASH_PREFILL_PUBLISH);
	compact_prompt_publish(c, &p->prompt);
	PROBE(treekvd, publication, cache->id, cache->name, c->generation + 1,
	      c->evicted);
	crash_at(CRASH_PREFILL_PUBLISHED);
	worker_wake(cache);
}

static bool prefill_slice(struct worker_task *task, struct staging *staging)
{
	struct prefill *p = (struct prefill *)task;
	struct compaction *c = &p->cache->compaction;
	bool more = true;

	(void)staging;
	if (p->cache->holds) /* his completion brings us on */
		return false;
	if (!p->begun)
		p->answer = compact_prompt_begin(c, &p->prompt);
	else
		p->answer = compact_prompt_heads(c, &p->prompt,
						 heads_a_turn(p->cache), &more);
	p->begun = true;
	crash_at(CRASH_PREFILL_TURN);
	if (p->answer == COMPACT_PROMPT_SOUND && !more)
		publish(p);
	if (p->answer == COMPACT_PROMPT_FAULT)
		worker_quarantine(p->cache);
	p->fault = c->fault;
	task->over = p->answer != COMPACT_PROMPT_SOUND || !more;
	return true;
}

/* ---- the rest: on the control thread ---- */

static int answer_error(enum compact_prompt_answer answer)
{
	switch (answer) {
	case COMPACT_PROMPT_SOUND:
	case COMPACT_PROMPT_DONE:
		return 0;
	case COMPACT_PROMPT_TAIL:
	case COMPACT_PROMPT_LIVE:
	case COMPACT_PROMPT_TOKENS:
		return -EINVAL;
	case COMPACT_PROMPT_USED:
		return -ENOTEMPTY;
	case COMPACT_PROMPT_GRACE:
		return -ESTALE;
	case COMPACT_PROMPT_FAULT:
		return -EUCLEAN;
	}
	return -EINVAL;
}

static void refuse(struct conn *conn, uint64_t id, int error,
		   const struct cache *cache, const char *why)
{
	control_refuse(conn, id, error,
		       "the prompt of cache %s is not committed: %s",
		       cache->name, why);
}

static void answer(const struct prefill *p)
{
	int r = answer_error(p->answer);

	if (!r)
		event_prefilled(p->cache, p->pid);
	if (p->conn && !r)
		control_done(p->conn, p->id);
	else if (p->conn)
		refuse(p->conn, p->id, r, p->cache,
		       p->fault ? compact_fault_text(p->fault) :
				  compact_prompt_text(p->answer));
	crash_at(CRASH_PREFILL_ANSWERED);
}

/* As if it were asked for now. */
static void let_in(const struct waiter *waiter, struct cache *cache)
{
	const struct control_wish wish = { .nonce = waiter->nonce };

	if (waiter->conn)
		control_attach_late(waiter->conn, waiter->id, cache, &wish);
}

static void prefill_free(struct prefill *p)
{
	struct waiter *waiter;

	while ((waiter = STAILQ_FIRST(&p->waiters))) {
		STAILQ_REMOVE_HEAD(&p->waiters, link);
		free(waiter);
	}
	LIST_REMOVE(p, link);
	free(p);
}

static void on_over(struct worker_job *job)
{
	struct prefill *p = loop_entry(job, struct prefill, task.job);
	STAILQ_HEAD(, waiter) waiters = STAILQ_HEAD_INITIALIZER(waiters);
	struct cache *cache = p->cache;
	struct waiter *waiter, *next;

	answer(p);
	STAILQ_CONCAT(&waiters, &p->waiters);
	prefill_free(p);
	STAILQ_FOREACH(waiter, &waiters, link)
	let_in(waiter, cache);
	for (waiter = STAILQ_FIRST(&waiters); waiter; waiter = next) {
		next = STAILQ_NEXT(waiter, link);
		free(waiter);
	}
	control_leave(cache);
}

static void start(struct conn *conn, uint64_t id, struct cache *cache,
		  const Treekv__Prefill *request)
{
	uint32_t layers = cache->index->spec.layers;
	struct prefill *p;

	p = calloc(1, sizeof(*p) + 2 * layers * sizeof(*p->numbers));
	if (!p) {
		refuse(conn, id, -ENOMEM, cache, "out of memory");
		return;
	}
	memcpy(p->numbers, request->live, layers * sizeof(*p->numbers));
	memcpy(p->numbers + layers, request->walk,
	       layers * sizeof(*p->numbers));
	p->conn = conn;
	p->id = id;
	p->cache = cache;
	p->pid = cache->lease->pid;
	p->prompt = (struct compact_prompt){
		.tail = request->tail,
		.live = p->numbers,
		.walk = p->numbers + layers,
	};
	STAILQ_INIT(&p->waiters);
	LIST_INSERT_HEAD(&prefills, p, link);
	crash_at(CRASH_PREFILL_ASKED);
	p->task.lane = WORKER_SHORT;
	p->task.slice = prefill_slice;
	p->task.job.done = on_over;
	worker_run(cache, &p->task);
}

/* The same process, which has given up on the first answer. */
static void ask_again(struct prefill *p, struct conn *conn, uint64_t id)
{
	if (p->conn)
		refuse(p->conn, p->id, -EBUSY, p->cache,
		       "it has been asked for again");
	p->conn = conn;
	p->id = id;
}

void prefill_on_request(struct conn *conn, uint64_t id,
			const Treekv__Prefill *request)
{
	struct lease *lease = control_own_lease(conn, id, request->lease);
	struct cache *cache;
	uint32_t layers;

	if (!lease)
		return;
	cache = lease->cache;
	layers = cache->index->spec.layers;
	if (request->n_live != layers || request->n_walk != layers)
		refuse(conn, id, -EINVAL, cache,
		       "it needs a count and a walk for each layer");
	else if (cache_fault(cache))
		refuse(conn, id, -EUCLEAN, cache,
		       compact_fault_text(cache_fault(cache)));
	else if (takeover_holds(cache))
		refuse(conn, id, -EBUSY, cache, "its lease is being broken");
	else if (!find(cache))
		start(conn, id, cache, request);
	else if (find(cache)->prompt.tail == request->tail)
		ask_again(find(cache), conn, id);
	else
		refuse(conn, id, -EBUSY, cache, "another one is");
}

void prefill_exit(void)
{
	while (LIST_FIRST(&prefills)) /* which that takes off */
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		prefill_free(LIST_FIRST(&prefills));
}
