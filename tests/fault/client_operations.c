// SPDX-License-Identifier: BSD-2-Clause
/*
 * An operation that failed may have taken place all the same, when only its
 * answer was lost. So whoever does it again finds what it has made: a cache is
 * attached to where it is there, a frozen one is frozen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/conn.h"
#include "tests/fault/client_operations.h"
#include "tests/fault/fault.h"
#include "tests/fault/served.h"

/* What the test allocates for itself is not what is tested. */
#define calloc fault_spare_calloc
#define free   fault_spare_free
#include "tests/helpers/selfcheck_prompt.h"
#undef calloc
#undef free
#include "tests/helpers/spec_options.h"

#define TOKENS	 40 /* of a cache that is there before */
#define LONG	 150 /* it has been compacted by then */
#define MORE	 40
#define PER_STEP 4
#define WAIT_MS	 20000

static struct treekv_spec spec;

#define can(call)                                                          \
	do {                                                               \
		int _r = (call);                                           \
		if (_r)                                                    \
			fail_msg("%s: %d: %s", #call, _r, treekv_error()); \
	} while (0)

/* ---- a program ---- */

void engine_init(struct engine *e)
{
	spec = spec_default();
	*e = (struct engine){ .s = fault_spare_calloc(1, sizeof(*e->s)) };
	assert_non_null(e->s);
	e->s->seed = 7;
	e->s->random = 11;
	e->s->per_step = PER_STEP;
	e->s->timeout_ms = WAIT_MS;
	/* A fork has its parent's slots as well. */
	spec.slack += spec.budget;
	selfcheck_init(e->s, &spec);
	spec = spec_default();
}

void engine_let_go(struct engine *e)
{
	e->cache = treekv_detach(e->cache);
	e->kv = treekv_close(e->kv);
}

static int list_all(struct treekv *kv, Treekv__Reply **ret)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__List list = TREEKV__LIST__INIT;

	request.body_case = TREEKV__REQUEST__BODY_LIST;
	request.list = &list;
	return conn_call(kv, &request, ret, NULL, NULL);
}

static int drop_all(struct treekv *kv)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Reply *listed, *reply;
	int r = list_all(kv, &listed);

	for (size_t i = 0; !r && i < listed->list->n_cache; i++) {
		Treekv__Drop drop = TREEKV__DROP__INIT;

		if (!strcmp(listed->list->cache[i]->state, "dropped"))
			continue; /* on its way */
		request.body_case = TREEKV__REQUEST__BODY_DROP;
		request.drop = &drop;
		drop.name = listed->list->cache[i]->name;
		r = conn_call(kv, &request, &reply, NULL, NULL);
		if (!r)
			treekv__reply__free_unpacked(reply, NULL);
	}
	if (!r)
		treekv__reply__free_unpacked(listed, NULL);
	return r;
}

bool engine_exit(struct engine *e)
{
	struct treekv *kv;
	bool yes;

	engine_let_go(e);
	selfcheck_exit(e->s);
	fault_spare_free(e->s);
	can(treekv_connect(&kv, served_socket()));
	yes = !drop_all(kv);
	if (!yes)
		print_error("# %s\n", treekv_error());
	treekv_close(kv);
	return yes;
}

static int attach(struct engine *e, unsigned int flags)
{
	int r = 0;

	if (!e->cache)
		r = treekv_open(&e->cache, e->kv, "a", &spec, flags);
	e->s->cache = e->cache;
	return r;
}

/* Steps until there are so many tokens; a step that fails is rewound. */
static int append(struct engine *e, uint64_t tail)
{
	int r = 0;

	while (!r && treekv_tail(e->cache) < tail) {
		r = selfcheck_step(e->s, tail);
		if (r)
			treekv_rewind(e->cache, e->cache->step);
	}
	return r;
}

static bool is_right(const struct engine *e)
{
	if (!e->s->wrong)
		return true;
	print_error("# %s\n", e->s->text);
	return false;
}

static bool reads(struct engine *e)
{
	int r;

	can(attach(e, TREEKV_READ));
	do
		r = selfcheck_read(e->s);
	while (r == -EAGAIN);
	can(r);
	e->cache = treekv_detach(e->cache);
	return is_right(e);
}

bool engine_finds(struct engine *e, uint64_t tail)
{
	int r;

	can(treekv_connect(&e->kv, served_socket()));
	if (!reads(e))
		return false;
	r = attach(e, 0);
	if (r == -EROFS)
		return true; /* it is frozen */
	can(r);
	if (treekv_tail(e->cache) != tail) {
		print_error("# its tail is %" PRIu64 "\n",
			    treekv_tail(e->cache));
		return false;
	}
	selfcheck_verify(e->s);
	e->s->verify_every = 4;
	can(append(e, tail + MORE));
	selfcheck_verify(e->s);
	return is_right(e);
}

/* ---- what is there before ---- */

static void nothing(struct engine *e)
{
	(void)e;
}

static void connected(struct engine *e)
{
	can(treekv_connect(&e->kv, served_socket()));
}

static void attached(struct engine *e)
{
	connected(e);
	can(attach(e, TREEKV_CREATE));
}

static void written(struct engine *e)
{
	attached(e);
	can(append(e, TOKENS));
}

static void there(struct engine *e)
{
	written(e);
	e->cache = treekv_detach(e->cache);
}

/* "p", to be forked as "a". */
static void frozen(struct engine *e)
{
	connected(e);
	can(treekv_open(&e->cache, e->kv, "p", &spec, TREEKV_CREATE));
	e->s->cache = e->cache;
	can(append(e, TOKENS));
	can(treekv_freeze(e->cache));
	e->cache = NULL;
	e->s->pinned = TOKENS;
}

static int ask(struct engine *e, Treekv__Request *request)
{
	Treekv__Reply *reply;
	int r = conn_call(e->kv, request, &reply, NULL, NULL);

	if (!r)
		treekv__reply__free_unpacked(reply, NULL);
	return r;
}

static char name_a[] = "a";

static int park(struct engine *e)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Park to = TREEKV__PARK__INIT;

	to.name = name_a;
	to.has_progress = to.progress = true;
	request.body_case = TREEKV__REQUEST__BODY_PARK;
	request.park = &to;
	return ask(e, &request);
}

/* A lease that has ended is written off a little later. */
static void parked(struct engine *e)
{
	time_t end = time(NULL) + WAIT_MS / 1000;
	int r;

	there(e);
	do
		r = park(e);
	while (r == -EBUSY && time(NULL) < end);
	can(r);
}

/* In memory, and nobody has had its lease there. */
static void idle(struct engine *e)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Restore restore = TREEKV__RESTORE__INIT;

	parked(e);
	restore.name = name_a;
	request.body_case = TREEKV__REQUEST__BODY_RESTORE;
	request.restore = &restore;
	can(ask(e, &request));
}

static void attached_before(struct engine *e)
{
	attached(e);
	served_replace();
}

static void written_before(struct engine *e)
{
	written(e);
	served_replace();
}

static void gone(struct engine *e)
{
	attached(e);
	engine_let_go(e);
}

static void there_before(struct engine *e)
{
	there(e);
	served_replace();
}

/* ---- what is done ---- */

static int run_connect(struct engine *e)
{
	return e->kv ? 0 : treekv_connect(&e->kv, served_socket());
}

static int run_create(struct engine *e)
{
	return attach(e, TREEKV_CREATE);
}

static int run_connect_ahead(struct engine *e)
{
	int r = 0;

	if (!e->kv)
		r = treekv_connect_ahead(&e->kv, served_socket());
	return r ? r : run_create(e);
}

static int run_create_of_group(struct engine *e)
{
	struct treekv_cache *cache;
	struct group *group = getgrgid(getgid());
	char name[64];
	int r;

	snprintf(name, sizeof(name), "@%s/a", group ? group->gr_name : "0");
	r = treekv_open(&cache, e->kv, name, &spec, TREEKV_CREATE);
	if (r)
		return r;
	treekv_detach(cache);
	return run_create(e);
}

static int run_attach(struct engine *e)
{
	return attach(e, 0);
}

static int run_read(struct engine *e)
{
	int r = attach(e, TREEKV_READ);

	while (!r && (r = selfcheck_read(e->s)) == -EAGAIN)
		r = 0;
	return r;
}

static int run_steps(struct engine *e)
{
	return append(e, LONG);
}

static uint64_t next_tail(const struct engine *e)
{
	uint64_t tail = treekv_tail(e->cache) + 8;

	return tail < LONG ? tail : LONG;
}

/* The daemon is waited for every few steps. */
static int run_settle(struct engine *e)
{
	int r = 0;

	while (!r && treekv_tail(e->cache) < LONG) {
		r = treekv_settle(e->cache, WAIT_MS);
		if (!r)
			r = append(e, next_tail(e));
	}
	return r;
}

static int run_prefill(struct engine *e)
{
	int r = 0;

	if (treekv_tail(e->cache) == LONG)
		return 0;
	if (!e->s->prompt)
		selfcheck_prompt_set(e->s, LONG);
	if (e->cache->prefill)
		r = treekv_prefill_commit(e->cache, WAIT_MS);
	else
		r = selfcheck_prompt(e->s);
	if (r)
		treekv_prefill_abort(e->cache);
	return r;
}

static int run_freeze(struct engine *e)
{
	int r = e->cache ? 0 : attach(e, 0);

	if (r)
		return r == -EROFS ? 0 : r;
	r = treekv_freeze(e->cache);
	e->cache = NULL;
	return r;
}

static int run_fork(struct engine *e)
{
	int r = 0;

	if (!e->cache)
		r = treekv_fork(&e->cache, e->kv, "a", "p", 0, NULL, 0);
	return r == -EEXIST ? attach(e, 0) : r;
}

static void take_ids(const struct engine *e, uint32_t ids[TOKENS])
{
	for (uint32_t i = 0; i < TOKENS; i++)
		ids[i] = selfcheck_id(e->s, i);
}

static int run_fork_prefix(struct engine *e)
{
	struct treekv_prefix prefix;
	uint32_t ids[TOKENS];
	int r = 0;

	take_ids(e, ids);
	if (!e->cache)
		r = treekv_fork_prefix(&e->cache, &prefix, e->kv, "a", &spec,
				       ids, TOKENS, 0);
	return r == -EEXIST ? attach(e, 0) : r;
}

/* And then one of it all. */
static int run_lookup(struct engine *e)
{
	struct treekv_prefix prefix;
	uint32_t ids[TOKENS];
	int r;

	take_ids(e, ids);
	r = treekv_lookup(e->kv, &prefix, &spec, ids, TOKENS, 0);
	if (!r)
		assert_int_equal(prefix.tokens, TOKENS);
	return r ? r : run_fork(e);
}

static int run_pin(struct engine *e)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Keep keep = TREEKV__KEEP__INIT;

	keep.name = name_a;
	keep.has_pinned = keep.pinned = true;
	keep.has_ttl = true;
	keep.ttl = 3600;
	request.body_case = TREEKV__REQUEST__BODY_KEEP;
	request.keep = &keep;
	return ask(e, &request);
}

static int run_snapshot(struct engine *e)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Snapshot snapshot = TREEKV__SNAPSHOT__INIT;

	snapshot.name = name_a;
	snapshot.has_progress = snapshot.progress = true;
	request.body_case = TREEKV__REQUEST__BODY_SNAPSHOT;
	request.snapshot = &snapshot;
	return ask(e, &request);
}

static int run_detach(struct engine *e)
{
	e->cache = treekv_detach(e->cache);
	return 0;
}

/* Without the daemon nothing settles: it is found, then. */
static int run_find_daemon(struct engine *e)
{
	int r = append(e, TOKENS + MORE);

	return r ? r : treekv_settle(e->cache, WAIT_MS);
}

const struct client_operation client_operations[] = {
	{ "connect", gone, run_connect, 0, false },
	{ "connect ahead and create", nothing, run_connect_ahead, 0, false },
	{ "create", connected, run_create, 0, false },
	{ "create a group's", connected, run_create_of_group, 0, false },
	{ "attach", there, run_attach, TOKENS, false },
	{ "read", there, run_read, TOKENS, false },
	{ "step", written, run_steps, LONG, false },
	{ "settle", written, run_settle, LONG, false },
	{ "prefill", attached, run_prefill, LONG, false },
	{ "freeze", written, run_freeze, TOKENS, false },
	{ "fork", frozen, run_fork, TOKENS, false },
	{ "fork of a prompt", frozen, run_fork_prefix, TOKENS, false },
	{ "lookup", frozen, run_lookup, TOKENS, false },
	{ "pin", there, run_pin, TOKENS, false },
	{ "snapshot", there, run_snapshot, TOKENS, false },
	{ "park", idle, park, TOKENS, false },
	{ "attach to a parked one", parked, run_attach, TOKENS, false },
	{ "detach", written, run_detach, TOKENS, false },
	{ "attach by the next daemon", there_before, run_attach, TOKENS, true },
	{ "step with the next daemon", written_before, run_find_daemon,
	  TOKENS + MORE, true },
	{ "prefill with the next daemon", attached_before, run_prefill, LONG,
	  true },
	{ "detach from the next daemon", written_before, run_detach, TOKENS,
	  true },
};

const size_t client_operations_count =
	sizeof(client_operations) / sizeof(*client_operations);
