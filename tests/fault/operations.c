// SPDX-License-Identifier: BSD-2-Clause
/*
 * A writer who steps by hand, and the requests one by one: what has to be there
 * before, how it is asked for, and what must be so afterwards, whether or not it
 * was carried out. What takes time is waited for with a deadline.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/adopt.h"
#include "daemon/control.h"
#include "daemon/lease.h"
#include "proto/barrier.h"
#include "tests/fault/operations.h"
#include "tests/unit/plane.h"
#include "tests/unit/plane_clear.h"

#define TOKENS	30
#define WAIT_MS 10000
#define NONCE	7 /* who has not had his answer asks again with it */

static uint8_t model[SHM_MODEL_SIZE];

/* ---- a client ---- */

void client_let_go(struct client *c)
{
	if (!c->rows)
		return;
	munmap(c->rows, c->rows_size);
	munmap((void *)(uintptr_t)c->index, c->index_size);
	if (c->bell >= 0)
		close(c->bell);
	c->rows = NULL;
	c->lease = 0;
}

static void take_hold(struct client *c, struct plane_reply *got)
{
	const Treekv__Attached *a = got->reply->attached;

	client_let_go(c);
	c->lease = a->lease;
	c->rows_size = a->rows_size;
	c->index_size = a->index_size;
	c->rows = mmap(NULL, a->rows_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       got->fds[0], 0);
	c->index = mmap(NULL, a->index_size, PROT_READ, MAP_SHARED, got->fds[1],
			0);
	assert_ptr_not_equal(c->rows, MAP_FAILED);
	assert_ptr_not_equal(c->index, MAP_FAILED);
	c->bell = got->fds[got->n_fds - 1];
	got->fds[got->n_fds - 1] = -1;
}

/* Asks and waits for the answer. */
static void ask(struct client *c, Treekv__Request *request, struct outcome *ret)
{
	struct plane_reply got;

	*ret = (struct outcome){ .error = -EPIPE, .hung_up = true };
	request->id = c->next++;
	plane_send(c->fd, request);
	for (;;) {
		if (!plane_read(c->fd, &got))
			return;
		if (got.reply->body_case != TREEKV__REPLY__BODY_PROGRESS)
			break;
		plane_reply_free(&got);
	}
	ret->hung_up = false;
	ret->error = got.reply->error;
	snprintf(ret->text, sizeof(ret->text), "%s",
		 got.reply->text ? got.reply->text : "");
	if (got.reply->body_case == TREEKV__REPLY__BODY_PERSIST &&
	    got.reply->persist->n_cache) {
		ret->error = got.reply->persist->cache[0]->error;
		if (got.reply->persist->cache[0]->text)
			snprintf(ret->text, sizeof(ret->text), "%s",
				 got.reply->persist->cache[0]->text);
	}
	if (got.reply->body_case == TREEKV__REPLY__BODY_ATTACHED)
		take_hold(c, &got);
	plane_reply_free(&got);
}

static void ask_well(struct client *c, Treekv__Request *request)
{
	struct outcome outcome;

	ask(c, request, &outcome);
	if (outcome.error)
		fail_msg("%d: %s", outcome.error, outcome.text);
}

static void say_hello(struct client *c, struct outcome *ret)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Hello hello = TREEKV__HELLO__INIT;

	hello.version_min = hello.version_max = TREEKV_PROTOCOL;
	request.body_case = TREEKV__REQUEST__BODY_HELLO;
	request.hello = &hello;
	ask(c, &request, ret);
}

void client_greet(struct client *c, struct outcome *ret)
{
	c->fd = plane_connect();
	say_hello(c, ret);
}

static Treekv__Spec *spec(void)
{
	static uint32_t budget = 16;
	static Treekv__Spec s = TREEKV__SPEC__INIT;

	s.model.data = model;
	s.model.len = sizeof(model);
	s.layers = 2;
	s.kv_heads = 2;
	s.k_row = s.v_row = 16;
	s.dtype = TREEKV__DTYPE__F32;
	s.policy = TREEKV__POLICY__TREEKV;
	s.positions = TREEKV__POSITIONS__RANK;
	s.budget = &budget;
	s.n_budget = 1;
	s.sinks = 1;
	s.recent = 2;
	s.slack = 8;
	s.ids = 64;
	return &s;
}

static char name_a[] = "a", name_b[] = "b";

static Treekv__Request *create_of(char *name, bool existing)
{
	static Treekv__Request request = TREEKV__REQUEST__INIT;
	static Treekv__Create create = TREEKV__CREATE__INIT;

	create.name = name;
	create.spec = spec();
	create.has_attach_existing = true;
	create.attach_existing = existing;
	create.has_nonce = true;
	create.nonce = NONCE;
	request.body_case = TREEKV__REQUEST__BODY_CREATE;
	request.create = &create;
	return &request;
}

static const struct shm_buffer *newest(const struct client *c)
{
	uint64_t generation = shm_load_acquire(&c->index->generation);

	return (const void *)((const char *)c->index +
			      c->index->buffer[generation & 1]);
}

static uint64_t tail_of(const struct client *c)
{
	return shm_commit_tail(
		shm_commit_under(c->rows->commit, newest(c)->prefill));
}

static bool has_room(void *arg)
{
	const struct client *c = arg;

	return tail_of(c) < newest(c)->base_tail + newest(c)->free;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* The worker runs by itself; a bell that is lost is rung again. */
static bool await_room(struct client *c)
{
	uint64_t end = now_ms() + WAIT_MS;

	while (!has_room(c)) {
		if (now_ms() > end)
			return false;
		plane_settle();
		eventfd_write(c->bell, 1);
		poll(NULL, 0, 1);
	}
	return true;
}

/* A token at a time. Return: false when no room is made any more. */
static bool append(struct client *c, uint32_t n)
{
	uint32_t *ids = (void *)((char *)c->rows + c->index->ids);

	while (n--) {
		uint64_t generation = shm_load_acquire(&c->index->generation);
		uint64_t tail = tail_of(c);

		shm_store_release(&c->rows->seen, generation);
		if (!has_room(c) && !await_room(c))
			return false;
		shm_store_release(&c->rows->seen,
				  shm_load_acquire(&c->index->generation));
		if (tail < c->index->spec.ids)
			ids[tail] = (uint32_t)tail;
		if (c->rows->head < tail + 1)
			shm_store_release(&c->rows->head, tail + 1);
		shm_store_release(&c->rows->commit,
				  shm_commit_pack(tail + 1,
						  !(c->rows->commit & 1)));
		eventfd_write(c->bell, 1);
	}
	return true;
}

/* ---- requests ---- */

#define REQUEST(body, field, value)                       \
	Treekv__Request request = TREEKV__REQUEST__INIT;  \
	request.body_case = TREEKV__REQUEST__BODY_##body; \
	request.field = (value)

static void ask_create(struct client *c, struct outcome *ret)
{
	ask(c, create_of(name_a, false), ret);
}

static void ask_connect(struct client *c, struct outcome *ret)
{
	close(c->fd);
	client_greet(c, ret);
}

static void ask_attach(struct client *c, struct outcome *ret)
{
	Treekv__Attach attach = TREEKV__ATTACH__INIT;
	REQUEST(ATTACH, attach, &attach);

	attach.name = name_a;
	attach.has_nonce = true;
	attach.nonce = NONCE;
	ask(c, &request, ret);
}

static void ask_read(struct client *c, struct outcome *ret)
{
	Treekv__Attach attach = TREEKV__ATTACH__INIT;
	REQUEST(ATTACH, attach, &attach);
	struct plane_reply got;

	attach.name = name_a;
	attach.has_read = attach.read = true;
	*ret = (struct outcome){ .error = -EPIPE, .hung_up = true };
	request.id = c->next++;
	plane_send(c->fd, &request);
	if (!plane_read(c->fd, &got))
		return;
	*ret = (struct outcome){ .error = got.reply->error };
	snprintf(ret->text, sizeof(ret->text), "%s",
		 got.reply->text ? got.reply->text : "");
	plane_reply_free(&got);
}

static void ask_append(struct client *c, struct outcome *ret)
{
	*ret = (struct outcome){ .error = 0 };
	if (!append(c, TOKENS))
		*ret = (struct outcome){ -ETIME, false, "" };
}

static void ask_freeze(struct client *c, struct outcome *ret)
{
	Treekv__Freeze freeze = TREEKV__FREEZE__INIT;
	REQUEST(FREEZE, freeze, &freeze);

	freeze.name = name_a;
	ask(c, &request, ret);
}

static void ask_fork(struct client *c, struct outcome *ret)
{
	static uint32_t budget = 40;
	Treekv__Spec wanted = *spec();
	Treekv__Fork fork = TREEKV__FORK__INIT;
	REQUEST(FORK, fork, &fork);

	wanted.budget = &budget;
	fork.name = name_b;
	fork.parent = name_a;
	fork.spec = &wanted;
	ask(c, &request, ret);
}

static void ask_lookup(struct client *c, struct outcome *ret)
{
	static uint32_t ids[TOKENS];
	Treekv__Lookup lookup = TREEKV__LOOKUP__INIT;
	REQUEST(LOOKUP, lookup, &lookup);

	for (uint32_t i = 0; i < TOKENS; i++)
		ids[i] = i;
	lookup.spec = spec();
	lookup.ids.data = (void *)ids;
	lookup.ids.len = sizeof(ids);
	lookup.has_compacted = lookup.compacted = true;
	ask(c, &request, ret);
}

static void ask_snapshot(struct client *c, struct outcome *ret)
{
	Treekv__Snapshot snapshot = TREEKV__SNAPSHOT__INIT;
	REQUEST(SNAPSHOT, snapshot, &snapshot);

	snapshot.name = name_a;
	ask(c, &request, ret);
}

static void ask_restore(struct client *c, struct outcome *ret)
{
	Treekv__Restore restore = TREEKV__RESTORE__INIT;
	REQUEST(RESTORE, restore, &restore);

	restore.name = name_a;
	ask(c, &request, ret);
}

static void ask_park(struct client *c, struct outcome *ret)
{
	Treekv__Park park = TREEKV__PARK__INIT;
	REQUEST(PARK, park, &park);

	park.name = name_a;
	ask(c, &request, ret);
}

static void ask_drop(struct client *c, struct outcome *ret)
{
	Treekv__Drop drop = TREEKV__DROP__INIT;
	REQUEST(DROP, drop, &drop);

	drop.name = name_a;
	ask(c, &request, ret);
}

static void ask_break(struct client *c, struct outcome *ret)
{
	Treekv__Break lease = TREEKV__BREAK__INIT;
	REQUEST(BREAK_LEASE, break_lease, &lease);

	lease.name = name_a;
	ask(c, &request, ret);
}

static void ask_list(struct client *c, struct outcome *ret)
{
	Treekv__List list = TREEKV__LIST__INIT;
	REQUEST(LIST, list, &list);

	ask(c, &request, ret);
}

/* ---- what is there before ---- */

static void nothing(struct client *c)
{
	(void)c;
}

static void a_written(struct client *c)
{
	ask_well(c, create_of(name_a, false));
	assert_true(append(c, TOKENS));
}

static bool is_idle(void *arg)
{
	(void)arg;
	return !treekvd.leases && treekvd.store.first &&
	       !treekvd.store.first->ending;
}

static void a_idle(struct client *c)
{
	Treekv__Detach detach = TREEKV__DETACH__INIT;
	REQUEST(DETACH, detach, &detach);

	a_written(c);
	detach.lease = c->lease;
	ask_well(c, &request);
	client_let_go(c);
	plane_until(is_idle, NULL);
}

static void a_frozen(struct client *c)
{
	struct outcome outcome;

	a_idle(c);
	ask_freeze(c, &outcome);
	assert_int_equal(outcome.error, 0);
}

static void a_parked(struct client *c)
{
	struct outcome outcome;

	a_idle(c);
	ask_park(c, &outcome);
	assert_int_equal(outcome.error, 0);
}

/* By another process, which lives. */
static void a_held(struct client *c)
{
	struct outcome outcome;

	close(c->fd);
	c->fd = plane_connect_from(&c->process, 0);
	assert_true(c->fd >= 0);
	say_hello(c, &outcome);
	a_written(c);
	close(c->fd);
	client_greet(c, &outcome);
	assert_int_equal(outcome.error, 0);
}

/* ---- what must be so afterwards ---- */

/* There is "a" with all its tokens, and it can be written. */
static bool is_whole(struct client *c)
{
	struct outcome outcome;
	const char *why;

	ask_attach(c, &outcome);
	if (outcome.error) {
		printf("# %d: %s\n", outcome.error, outcome.text);
		return false;
	}
	return tail_of(c) == TOKENS &&
	       !adopt_check(c->index, newest(c)->rows_inode, &why) &&
	       append(c, 9);
}

static bool a_is_whole(struct client *c, const struct outcome *outcome)
{
	(void)outcome;
	if (c->lease && treekvd.leases) /* his answer, or that of before */
		return tail_of(c) >= TOKENS && append(c, 9);
	return is_whole(c);
}

/* The name is free, or the cache is sound. */
static bool a_can_be_made(struct client *c, const struct outcome *outcome)
{
	struct outcome again;

	if (outcome->error || outcome->hung_up) {
		plane_clear(0);
		ask(c, create_of(name_a, true), &again);
		if (again.error)
			print_message("# %s\n", again.text);
		if (again.error)
			return false;
	}
	return append(c, TOKENS);
}

/* The tokens are there, to be read and forked, whenever it was frozen. */
static bool a_freezes(struct client *c, const struct outcome *outcome)
{
	struct outcome again;

	(void)outcome;
	ask_freeze(c, &again); /* once more is no error */
	if (!again.error)
		ask_read(c, &again);
	return !again.error &&
	       treekvd.store.first->index->frozen_tail == TOKENS;
}

static bool b_is_forked(struct client *c, const struct outcome *outcome)
{
	struct outcome again = *outcome;

	if (outcome->error && !outcome->hung_up)
		ask_fork(c, &again);
	if (outcome->hung_up)
		return true; /* the fork has a nonce no more than a name */
	return !again.error && tail_of(c) == TOKENS && append(c, 9);
}

static bool a_is_found(struct client *c, const struct outcome *outcome)
{
	struct outcome again;

	(void)outcome;
	ask_lookup(c, &again);
	return !again.error;
}

static bool a_is_dropped(struct client *c, const struct outcome *outcome)
{
	struct outcome again;

	if (outcome->error)
		ask_drop(c, &again);
	ask(c, create_of(name_a, false), &again);
	return !again.error && tail_of(c) == 0 && append(c, TOKENS);
}

static bool a_is_taken(struct client *c, const struct outcome *outcome)
{
	struct outcome again;

	client_let_go(c);
	if (outcome->error)
		ask_break(c, &again);
	return is_whole(c);
}

/* ---- the next daemon ---- */

static void ask_restart(struct client *c, struct outcome *ret)
{
	const char *why = "";

	close(c->fd);
	*ret = (struct outcome){ .error = plane_resume(&why) };
	if (ret->error)
		snprintf(ret->text, sizeof(ret->text), "%s", why);
	c->fd = -1;
}

static void a_stopped(struct client *c)
{
	a_written(c);
	plane_pause();
}

static void ask_renew(struct client *c, uint64_t lease, struct outcome *ret)
{
	Treekv__Attach attach = TREEKV__ATTACH__INIT;
	REQUEST(ATTACH, attach, &attach);

	attach.name = name_a;
	attach.has_renew = true;
	attach.renew = lease;
	ask(c, &request, ret);
}

/* Whoever holds the lease is the only one to write, whatever went wrong. */
static bool nobody_else_gets_it(void)
{
	struct client other = { .next = 1, .bell = -1 };
	struct outcome outcome;

	other.fd = plane_connect_from(&other.process, 0);
	say_hello(&other, &outcome);
	ask_attach(&other, &outcome);
	client_let_go(&other);
	close(other.fd);
	plane_kill(other.process);
	return outcome.error;
}

/* It is served, by this daemon or, if it is short of something, the next. */
static bool a_is_adopted(struct client *c, const struct outcome *outcome)
{
	uint64_t lease = c->lease;
	struct outcome again;
	const char *why = "";

	if (outcome->error && plane_resume(&why))
		return false;
	client_greet(c, &again);
	if (!nobody_else_gets_it())
		return false;
	ask_renew(c, lease, &again);
	if (again.error) {
		close(c->fd);
		plane_pause();
		plane_sweep();
		if (plane_resume(&why))
			return false;
		client_greet(c, &again);
		ask_renew(c, lease, &again);
	}
	if (again.error)
		print_message("# %d: %s\n", again.error, again.text);
	return !again.error && tail_of(c) == TOKENS && append(c, 9);
}

static bool always(struct client *c, const struct outcome *outcome)
{
	(void)c;
	(void)outcome;
	return true;
}

const struct operation operations[] = {
	{ "connect", nothing, ask_connect, always },
	{ "create", nothing, ask_create, a_can_be_made },
	{ "attach", a_idle, ask_attach, a_is_whole },
	{ "read", a_idle, ask_read, a_is_whole },
	{ "append", a_written, ask_append, always },
	{ "freeze", a_idle, ask_freeze, a_freezes },
	{ "fork", a_frozen, ask_fork, b_is_forked },
	{ "lookup", a_frozen, ask_lookup, a_is_found },
	{ "snapshot", a_idle, ask_snapshot, a_is_whole },
	{ "park", a_idle, ask_park, a_is_whole },
	{ "restore", a_parked, ask_restore, a_is_whole },
	{ "attach to a parked one", a_parked, ask_attach, a_is_whole },
	{ "drop", a_idle, ask_drop, a_is_dropped },
	{ "break", a_held, ask_break, a_is_taken },
	{ "list", a_idle, ask_list, a_is_whole },
	{ "restart", a_stopped, ask_restart, a_is_adopted },
};

const size_t operations_count = sizeof(operations) / sizeof(*operations);
