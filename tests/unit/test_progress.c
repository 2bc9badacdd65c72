// SPDX-License-Identifier: BSD-2-Clause
/*
 * The client's side of a request that takes a while: a daemon of a few lines,
 * on a socket of its own, says how far it has got before it answers, or does
 * not. And one whose greeting travels together with the first request.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client/conn.h"

#define TIMEOUT_MS 100

/* What the daemon does about the request after Hello. */
enum plan {
	PLAN_LONG, /* some progress, for longer than the timeout, and an answer */
	PLAN_SILENT, /* some progress, and nothing until the client hangs up */
	PLAN_AT_ONCE, /* progress and answer in one piece */
	PLAN_HELD, /* the answer when it is told so */
	PLAN_AHEAD, /* greets when the request is there, and answers */
	PLAN_OTHER_VERSION, /* the same, but is of another protocol */
	PLAN_DEAD, /* takes both and hangs up */
};

static struct {
	char folder[64];
	char path[96];
	int listener;
	enum plan plan;
	pthread_t thread;
	int go[2]; /* a pipe */
	uint64_t shown;
	uint64_t last;
} bed;

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- the daemon ---- */

static uint64_t read_request(int fd)
{
	uint8_t bytes[4096];
	Treekv__Request *request;
	uint32_t size;
	uint64_t id;

	if (recv(fd, bytes, FRAME_HEADER, MSG_WAITALL) != FRAME_HEADER)
		return 0;
	memcpy(&size, bytes, sizeof(size));
	if (recv(fd, bytes, size, MSG_WAITALL) != (ssize_t)size)
		return 0;
	request = treekv__request__unpack(NULL, size, bytes);
	id = request->id;
	treekv__request__free_unpacked(request, NULL);
	return id;
}

static size_t put(uint8_t *to, const Treekv__Reply *reply)
{
	size_t size = treekv__reply__pack(reply, to + FRAME_HEADER);

	frame_header(to, (uint32_t)size);
	return FRAME_HEADER + size;
}

static size_t put_hello(uint8_t *to, uint64_t id)
{
	static char name[] = "a test";
	Treekv__HelloReply hello = TREEKV__HELLO_REPLY__INIT;
	Treekv__Reply reply = TREEKV__REPLY__INIT;

	hello.version = TREEKV_PROTOCOL + (bed.plan == PLAN_OTHER_VERSION);
	hello.daemon = name;
	reply.id = id;
	reply.body_case = TREEKV__REPLY__BODY_HELLO;
	reply.hello = &hello;
	return put(to, &reply);
}

static size_t put_progress(uint8_t *to, uint64_t id, uint64_t done)
{
	Treekv__Progress progress = TREEKV__PROGRESS__INIT;
	Treekv__Reply reply = TREEKV__REPLY__INIT;

	progress.done = done;
	progress.total = 1000;
	reply.id = id;
	reply.body_case = TREEKV__REPLY__BODY_PROGRESS;
	reply.progress = &progress;
	return put(to, &reply);
}

static size_t put_answer(uint8_t *to, uint64_t id)
{
	Treekv__PersistReply persist = TREEKV__PERSIST_REPLY__INIT;
	Treekv__Reply reply = TREEKV__REPLY__INIT;

	reply.id = id;
	reply.body_case = TREEKV__REPLY__BODY_PERSIST;
	reply.persist = &persist;
	return put(to, &reply);
}

static void hand(int fd, const uint8_t *bytes, size_t size)
{
	(void)!send(fd, bytes, size, MSG_NOSIGNAL);
}

static void answer(int fd, uint64_t id)
{
	const struct timespec pause = { .tv_nsec = TIMEOUT_MS * 100000 };
	int64_t end = now_ms() + 4 * TIMEOUT_MS;
	uint8_t bytes[1024], byte;
	size_t size;

	switch (bed.plan) {
	case PLAN_LONG:
		for (uint64_t done = 1; now_ms() < end; done++) {
			hand(fd, bytes, put_progress(bytes, id, done));
			nanosleep(&pause, NULL);
		}
		hand(fd, bytes, put_answer(bytes, id));
		break;
	case PLAN_SILENT:
		hand(fd, bytes, put_progress(bytes, id, 1));
		break;
	case PLAN_AT_ONCE:
		size = put_progress(bytes, id, 7);
		size += put_answer(bytes + size, id);
		hand(fd, bytes, size);
		break;
	case PLAN_HELD:
		(void)!read(bed.go[0], &byte, 1);
		hand(fd, bytes, put_answer(bytes, id));
		break;
	case PLAN_AHEAD:
	case PLAN_OTHER_VERSION:
		size = put_hello(bytes, id - 1);
		size += put_progress(bytes + size, id, 7);
		size += put_answer(bytes + size, id);
		hand(fd, bytes, size);
		break;
	case PLAN_DEAD:
		return;
	}
	(void)!read(fd, &byte, 1); /* until the client hangs up */
}

static void *daemon_main(void *arg)
{
	int fd = accept(bed.listener, NULL, NULL);
	uint8_t bytes[1024];
	uint64_t id;

	id = read_request(fd);
	if (bed.plan < PLAN_AHEAD)
		hand(fd, bytes, put_hello(bytes, id));
	id = read_request(fd);
	if (id)
		answer(fd, id);
	close(fd);
	return arg;
}

static struct treekv *start(enum plan plan)
{
	struct treekv *kv = NULL;

	bed.plan = plan;
	bed.shown = bed.last = 0;
	assert_int_equal(pipe(bed.go), 0);
	assert_int_equal(pthread_create(&bed.thread, NULL, daemon_main, NULL),
			 0);
	if (plan < PLAN_AHEAD)
		assert_int_equal(treekv_connect(&kv, bed.path), 0);
	else
		assert_int_equal(treekv_connect_ahead(&kv, bed.path), 0);
	return kv;
}

static void stop(struct treekv *kv)
{
	treekv_close(kv);
	pthread_join(bed.thread, NULL);
	close(bed.go[0]);
	close(bed.go[1]);
}

/* ---- the client ---- */

static void show(void *arg, uint64_t done, uint64_t total)
{
	assert_ptr_equal(arg, &bed);
	assert_int_equal(total, 1000);
	bed.shown++;
	bed.last = done;
}

static int ask(struct treekv *kv, bool list)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Snapshot snapshot = TREEKV__SNAPSHOT__INIT;
	Treekv__List all = TREEKV__LIST__INIT;
	Treekv__Reply *reply;
	int r;

	kv->progress = show;
	kv->progress_arg = &bed;
	if (list) {
		request.body_case = TREEKV__REQUEST__BODY_LIST;
		request.list = &all;
	} else {
		request.body_case = TREEKV__REQUEST__BODY_SNAPSHOT;
		request.snapshot = &snapshot;
	}
	r = conn_call_within(kv, TIMEOUT_MS, &request, &reply, NULL, NULL);
	if (!r)
		treekv__reply__free_unpacked(reply, NULL);
	return r;
}

static void test_progress_is_a_sign_of_life(void **state)
{
	struct treekv *kv = start(PLAN_LONG);

	(void)state;
	assert_int_equal(ask(kv, false), 0);
	assert_true(bed.shown > 2);
	assert_int_equal(bed.last, bed.shown);
	stop(kv);
}

static void test_silence_is_not(void **state)
{
	struct treekv *kv = start(PLAN_SILENT);

	(void)state;
	assert_int_equal(ask(kv, false), -ETIMEDOUT);
	assert_int_equal(bed.shown, 1);
	stop(kv);
}

static void test_progress_and_answer_may_come_together(void **state)
{
	struct treekv *kv = start(PLAN_AT_ONCE);

	(void)state;
	assert_int_equal(ask(kv, false), 0);
	assert_int_equal(bed.shown, 1);
	assert_int_equal(bed.last, 7);
	stop(kv);
}

static void test_progress_of_what_takes_no_time_is_refused(void **state)
{
	struct treekv *kv = start(PLAN_SILENT);

	(void)state;
	assert_int_equal(ask(kv, true), -EPROTO);
	assert_int_equal(bed.shown, 0);
	stop(kv);
}

static void *ask_main(void *arg)
{
	return (void *)(intptr_t)ask(arg, false);
}

/* A step of another thread's must not wait for a call that takes long. */
static void test_a_look_at_a_busy_connection_does_not_wait(void **state)
{
	struct treekv *kv = start(PLAN_HELD);
	pthread_t thread;
	void *r = &bed;

	(void)state;
	assert_int_equal(conn_alive(kv, kv->session), 1);
	assert_int_equal(conn_alive(kv, kv->session + 1), 0);
	pthread_create(&thread, NULL, ask_main, kv);
	while (conn_alive(kv, kv->session) != -EBUSY)
		sched_yield();
	assert_int_equal(write(bed.go[1], "", 1), 1);
	pthread_join(thread, &r);
	assert_null(r);
	assert_int_equal(conn_alive(kv, kv->session), 1);
	stop(kv);
}

/* The daemon greets nobody who has not asked for something as well. */
static void test_a_request_may_go_with_the_greeting(void **state)
{
	struct treekv *kv = start(PLAN_AHEAD);

	(void)state;
	assert_int_equal(ask(kv, false), 0);
	assert_int_equal(bed.last, 7);
	assert_string_equal(kv->daemon, "a test");
	assert_int_equal(conn_alive(kv, kv->session), 1);
	stop(kv);
}

static void test_a_refused_greeting_refuses_the_request(void **state)
{
	struct treekv *kv = start(PLAN_OTHER_VERSION);

	(void)state;
	assert_int_equal(ask(kv, false), -EPROTO);
	assert_non_null(strstr(treekv_error(), "speaks protocol"));
	assert_false(conn_in_doubt());
	assert_int_equal(bed.shown, 0);
	stop(kv);
}

/* It may be done twice, so that is tried; and nobody listens any more. */
static void test_a_request_lost_with_the_greeting_is_in_doubt(void **state)
{
	struct treekv *kv = start(PLAN_DEAD);

	(void)state;
	assert_true(ask(kv, false) < 0);
	assert_true(conn_in_doubt());
	stop(kv);
}

static int set_up(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)state;
	snprintf(bed.folder, sizeof(bed.folder), "/tmp/treekv-progress.XXXXXX");
	if (!mkdtemp(bed.folder))
		return -1;
	snprintf(bed.path, sizeof(bed.path), "%s/sock", bed.folder);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", bed.path);
	bed.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return bind(bed.listener, (struct sockaddr *)&address,
		    sizeof(address)) ||
	       listen(bed.listener, 4);
}

static int tear_down(void **state)
{
	(void)state;
	close(bed.listener);
	unlink(bed.path);
	return rmdir(bed.folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_progress_is_a_sign_of_life),
		cmocka_unit_test(test_silence_is_not),
		cmocka_unit_test(test_progress_and_answer_may_come_together),
		cmocka_unit_test(
			test_progress_of_what_takes_no_time_is_refused),
		cmocka_unit_test(
			test_a_look_at_a_busy_connection_does_not_wait),
		cmocka_unit_test(test_a_request_may_go_with_the_greeting),
		cmocka_unit_test(test_a_refused_greeting_refuses_the_request),
		cmocka_unit_test(
			test_a_request_lost_with_the_greeting_is_in_doubt),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
