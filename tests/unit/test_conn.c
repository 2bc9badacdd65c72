// SPDX-License-Identifier: BSD-2-Clause
/*
 * daemon/conn.c and conn_reply.c over a real socket, with a client that is
 * raw, rude or gone. Nothing waits for time: replies are read, and the owner
 * says by semaphores when he was asked and when a connection has closed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "conn_fixture.h"
#include "daemon/config.h"

#define PIPELINED 500
#define DAMAGED	  1000

static void test_hello_is_answered(void **state)
{
	Treekv__Request hello = request_of(7, TREEKV__REQUEST__BODY_HELLO);
	int fd = client_connect(*state);
	struct answer answer;

	client_send(fd, &hello);
	answer = client_read(fd);
	assert_int_equal(answer.reply->id, 7);
	assert_int_equal(answer.reply->error, 0);
	assert_int_equal(answer.reply->body_case, TREEKV__REPLY__BODY_HELLO);
	assert_int_equal(answer.reply->hello->version, TREEKV_PROTOCOL);
	assert_string_equal(answer.reply->hello->daemon,
			    "treekvd " TREEKVD_VERSION);
	assert_int_equal(answer.reply->hello->pid, getpid());
	answer_free(&answer);
	close(fd);
}

static void test_the_owner_is_told_who_asks(void **state)
{
	struct server *server = *state;
	Treekv__Request stats = request_of(5, TREEKV__REQUEST__BODY_STATS);
	int other = client_greeted(server);
	int fd = client_greeted(server);

	client_send(fd, &stats);
	sem_wait(&server->requested);
	assert_int_equal(server->last_pid, getpid());
	assert_true(server->has_pidfd);
	assert_int_equal(server->connections, 2);
	close(fd);
	close(other);
}

static void refuse_versions(struct server *server, uint32_t min, uint32_t max)
{
	Treekv__Hello body = TREEKV__HELLO__INIT;
	Treekv__Request hello = request_of(3, TREEKV__REQUEST__BODY_HELLO);
	int fd = client_connect(server);
	char text[128];

	body.version_min = min;
	body.version_max = max;
	hello.hello = &body;
	client_send(fd, &hello);
	snprintf(text, sizeof(text),
		 "the client speaks protocol %u to %u, this treekvd (%s) %u "
		 "to %u: upgrade the older one",
		 min, max, TREEKVD_VERSION, TREEKV_PROTOCOL, TREEKV_PROTOCOL);
	assert_reply(fd, 3, -EPROTONOSUPPORT, text);
	assert_hung_up(fd);
	close(fd);
}

static void test_other_versions_are_refused_with_both_ranges(void **state)
{
	refuse_versions(*state, TREEKV_PROTOCOL + 1, TREEKV_PROTOCOL + 5);
	refuse_versions(*state, 0, TREEKV_PROTOCOL - 1);
	refuse_versions(*state, UINT32_MAX, 0);
}

static void test_the_first_request_must_be_hello(void **state)
{
	Treekv__Request stats = request_of(4, TREEKV__REQUEST__BODY_STATS);
	int fd = client_connect(*state);

	client_send(fd, &stats);
	assert_reply(fd, 4, -EPROTO,
		     "the first request of a connection must be Hello");
	assert_hung_up(fd);
	close(fd);
}

static void test_an_unknown_request_is_refused_and_forgotten(void **state)
{
	/* id 9, then field 100 of type bytes. */
	static const uint8_t newer[] = { 7, 0, 0, 0, 0x08, 9, 0xa2, 6, 2, 0, 0 };
	Treekv__Request stats = request_of(5, TREEKV__REQUEST__BODY_STATS);
	int fd = client_greeted(*state);

	client_write(fd, newer, sizeof(newer));
	assert_reply(fd, 9, -ENOSYS,
		     "treekvd " TREEKVD_VERSION " does not know this request");
	client_send(fd, &stats);
	assert_reply(fd, 5, 0, "stats");
	close(fd);
}

static void test_an_oversized_length_is_refused(void **state)
{
	const uint32_t lengths[] = { FRAME_REQUEST_MAX + 1, UINT32_MAX };
	char text[128];
	int fd;

	for (size_t i = 0; i < 2; i++) {
		fd = client_greeted(*state);
		client_write(fd, &lengths[i], sizeof(lengths[i]));
		snprintf(text, sizeof(text),
			 "a request of %u bytes is over the cap of 1048576 "
			 "bytes",
			 lengths[i]);
		assert_reply(fd, 0, -EMSGSIZE, text);
		assert_hung_up(fd);
		close(fd);
	}
}

static void test_malformed_bytes_are_refused(void **state)
{
	static const uint8_t frames[][8] = {
		{ 0, 0, 0, 0 }, /* lacks the id */
		{ 3, 0, 0, 0, 0xff, 0xff, 0xff }, /* a tag without end */
		{ 4, 0, 0, 0, 0x08, 1, 0x12, 9 }, /* a body cut short */
		{ 4, 0, 0, 0, 0x08, 1, 0x12, 0 }, /* a Hello of nothing */
	};
	char text[128];
	int fd;

	for (size_t i = 0; i < 4; i++) {
		fd = client_connect(*state);
		client_write(fd, frames[i], FRAME_HEADER + frames[i][0]);
		snprintf(text, sizeof(text),
			 "a request of %u bytes is malformed", frames[i][0]);
		assert_reply(fd, 0, -EBADMSG, text);
		assert_hung_up(fd);
		close(fd);
	}
}

/* 1 MiB of unknown fields of two bytes would unpack to 20 times as much. */
static void test_a_request_cannot_balloon(void **state)
{
	const uint32_t size = FRAME_REQUEST_MAX;
	uint8_t *frame = malloc(FRAME_HEADER + size);
	int fd = client_greeted(*state);

	frame_header(frame, size);
	frame[4] = 0x08;
	frame[5] = 1;
	for (uint32_t i = 2; i < size; i += 2) {
		frame[FRAME_HEADER + i] = 0x78; /* field 15, a varint */
		frame[FRAME_HEADER + i + 1] = 0;
	}
	client_write(fd, frame, FRAME_HEADER + size);
	assert_reply(fd, 0, -EBADMSG,
		     "a request of 1048576 bytes unpacks to more than is "
		     "allowed");
	assert_hung_up(fd);
	close(fd);
	free(frame);
}

static void test_the_longest_request_is_taken(void **state)
{
	Treekv__Hello body = TREEKV__HELLO__INIT;
	Treekv__Request hello = request_of(3, TREEKV__REQUEST__BODY_HELLO);
	char *program = malloc(FRAME_REQUEST_MAX);
	int fd = client_connect(*state);
	struct answer answer;
	size_t rest;

	memset(program, 'p', FRAME_REQUEST_MAX);
	body.version_min = TREEKV_PROTOCOL;
	body.version_max = TREEKV_PROTOCOL;
	body.program = program;
	hello.hello = &body;
	program[FRAME_REQUEST_MAX - 64] = '\0';
	rest = FRAME_REQUEST_MAX - treekv__request__get_packed_size(&hello);
	program[FRAME_REQUEST_MAX - 64] = 'p';
	program[FRAME_REQUEST_MAX - 64 + rest] = '\0';
	assert_int_equal(treekv__request__get_packed_size(&hello),
			 FRAME_REQUEST_MAX);
	client_send(fd, &hello);
	client_send(fd, &hello);
	for (int i = 0; i < 2; i++) {
		answer = client_read(fd);
		assert_int_equal(answer.reply->error, 0);
		answer_free(&answer);
	}
	close(fd);
	free(program);
}

static void test_half_a_frame_then_a_hang_up(void **state)
{
	struct server *server = *state;
	int fd = client_greeted(server);

	client_write(fd, "\x10\0\0\0half", 8);
	close(fd);
	sem_wait(&server->closed);
	fd = client_connect(server);
	close(fd);
	sem_wait(&server->closed);
	assert_int_equal(sem_trywait(&server->requested), -1);
}

static void test_a_frame_may_come_byte_by_byte(void **state)
{
	Treekv__Request stats = request_of(5, TREEKV__REQUEST__BODY_STATS);
	uint8_t frame[64];
	size_t size = client_pack(frame, &stats);
	int fd = client_greeted(*state);

	for (size_t i = 0; i < size; i++)
		client_write(fd, frame + i, 1);
	assert_reply(fd, 5, 0, "stats");
	close(fd);
}

/* Every third is answered late; replies come in the order of requests. */
static void test_pipelined_requests_are_answered_in_order(void **state)
{
	static uint8_t frames[PIPELINED * 64];
	int fd = client_greeted(*state);
	Treekv__Request request;
	size_t size = 0;

	for (uint64_t i = 0; i < PIPELINED; i++) {
		request = request_of(i, i % 3 ? TREEKV__REQUEST__BODY_STATS :
						TREEKV__REQUEST__BODY_DROP);
		size += client_pack(frames + size, &request);
	}
	client_write(fd, frames, size);
	for (uint64_t i = 0; i < PIPELINED; i++)
		assert_reply(fd, i, 0, i % 3 ? "stats" : "later");
	close(fd);
}

/* More input than is kept: receiving has to pause and to go on. */
static void test_pipelined_long_requests_are_answered(void **state)
{
	Treekv__Drop body = TREEKV__DROP__INIT;
	Treekv__Request drop = request_of(0, TREEKV__REQUEST__BODY_DROP);
	char *name = calloc(1, FRAME_REQUEST_MAX / 2);
	int fd = client_greeted(*state);

	memset(name, 'n', FRAME_REQUEST_MAX / 2 - 1);
	body.name = name;
	drop.drop = &body;
	for (drop.id = 0; drop.id < 20; drop.id++)
		client_send(fd, &drop);
	for (uint64_t i = 0; i < 20; i++)
		assert_reply(fd, i, 0, "later");
	close(fd);
	free(name);
}

static void test_a_reply_brings_its_descriptors(void **state)
{
	Treekv__Request attach = request_of(5, TREEKV__REQUEST__BODY_ATTACH);
	int fd = client_greeted(*state);
	struct answer answer;
	char c;

	for (int round = 0; round < 3; round++) {
		client_send(fd, &attach);
		answer = client_read(fd);
		assert_int_equal(answer.reply->body_case,
				 TREEKV__REPLY__BODY_ATTACHED);
		assert_int_equal(answer.n_fds, FRAME_FDS_MAX);
		for (int i = 0; i < FRAME_FDS_MAX; i++) {
			assert_int_equal(read(answer.fds[i], &c, 1), 1);
			assert_int_equal(c, '0' + i);
		}
		answer_free(&answer);
	}
	close(fd);
}

static void test_large_replies_arrive_whole(void **state)
{
	Treekv__Request list = request_of(5, TREEKV__REQUEST__BODY_LIST);
	Treekv__Request attach = request_of(6, TREEKV__REQUEST__BODY_ATTACH);
	int fd = client_greeted(*state);
	struct answer answer;

	client_send(fd, &list);
	client_send(fd, &attach);
	answer = client_read(fd);
	assert_int_equal(answer.reply->id, 5);
	assert_int_equal(strlen(answer.reply->text), 3U << 20);
	answer_free(&answer);
	answer = client_read(fd);
	assert_int_equal(answer.reply->id, 6);
	assert_int_equal(answer.n_fds, FRAME_FDS_MAX);
	answer_free(&answer);
	close(fd);
}

static void test_a_reply_over_the_cap_is_refused(void **state)
{
	Treekv__Request inspect = request_of(5, TREEKV__REQUEST__BODY_INSPECT);
	Treekv__Request stats = request_of(6, TREEKV__REQUEST__BODY_STATS);
	int fd = client_greeted(*state);

	client_send(fd, &inspect);
	client_send(fd, &stats);
	assert_reply(fd, 5, -EMSGSIZE,
		     "the reply is over the cap of 16777216 bytes");
	assert_reply(fd, 6, 0, "stats");
	close(fd);
}

static void test_who_never_reads_is_cut_off(void **state)
{
	struct server *server = *state;
	Treekv__Request list = request_of(5, TREEKV__REQUEST__BODY_LIST);
	int fd = client_greeted(server);
	int other;

	for (int i = 0; i < 15; i++)
		client_send(fd, &list);
	sem_wait(&server->closed);
	other = client_greeted(server);
	close(other);
	close(fd);
}

/* Small ones only wait: his writes block before memory is taken. */
static void test_who_reads_late_gets_all(void **state)
{
	Treekv__Request stats = request_of(0, TREEKV__REQUEST__BODY_STATS);
	int fd = client_greeted(*state);
	int sent = 0;
	uint8_t frame[64];
	size_t size;

	for (;; sent++) {
		stats.id = (uint64_t)sent % 64; /* so a frame's size is one */
		size = client_pack(frame, &stats);
		if (send(fd, frame, size, MSG_NOSIGNAL | MSG_DONTWAIT) !=
		    (ssize_t)size)
			break;
		if (sent > 4000)
			break;
	}
	for (int i = 0; i < sent; i++)
		assert_reply(fd, (uint64_t)i % 64, 0, "stats");
	close(fd);
}

static void test_who_vanishes_gets_no_reply(void **state)
{
	struct server *server = *state;
	Treekv__Request drop = request_of(5, TREEKV__REQUEST__BODY_DROP);
	Treekv__Request detach = request_of(6, TREEKV__REQUEST__BODY_DETACH);
	int fd;

	for (int i = 0; i < 50; i++) {
		fd = client_greeted(server);
		client_send(fd, i % 2 ? &drop : &detach);
		if (i % 4 < 2)
			sem_wait(&server->requested);
		close(fd);
		sem_wait(&server->closed);
	}
}

/* The write end goes along with a request; the daemon must not keep it. */
static void test_descriptors_of_clients_are_dropped(void **state)
{
	Treekv__Request stats = request_of(5, TREEKV__REQUEST__BODY_STATS);
	uint8_t frame[64];
	struct iovec iov = { frame, client_pack(frame, &stats) };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control.bytes,
				  .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int fd = client_greeted(*state);
	int ends[2];
	char c;

	assert_int_equal(pipe(ends), 0);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &ends[1], sizeof(int));
	assert_true(sendmsg(fd, &message, 0) == (ssize_t)iov.iov_len);
	assert_reply(fd, 5, 0, "stats");
	close(ends[1]);
	assert_int_equal(read(ends[0], &c, 1), 0);
	close(ends[0]);
	close(fd);
}

/* splitmix64 */
static uint64_t draw(uint64_t *seed)
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Frames of most kinds, a few bytes changed; he leaves without a word. */
static void send_damaged(int fd, uint64_t *seed)
{
	static const Treekv__Request__BodyCase kinds[] = {
		TREEKV__REQUEST__BODY_HELLO,  TREEKV__REQUEST__BODY_STATS,
		TREEKV__REQUEST__BODY_ATTACH, TREEKV__REQUEST__BODY_DROP,
		TREEKV__REQUEST__BODY_DETACH,
	};
	uint8_t frames[16 * 64];
	Treekv__Request request;
	size_t size = 0;

	for (int i = 0; i < 16; i++) {
		request = request_of(draw(seed), kinds[draw(seed) % 5]);
		size += client_pack(frames + size, &request);
	}
	for (uint64_t n = draw(seed) % 4; n; n--)
		frames[draw(seed) % size] = (uint8_t)draw(seed);
	/* He may be cut off in the middle. */
	(void)!send(fd, frames, draw(seed) % size, MSG_NOSIGNAL);
}

static void test_damaged_frames_harm_nobody(void **state)
{
	const char *text = getenv("TREEKV_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : 1;
	struct server *server = *state;
	int fd;

	for (int i = 0; i < DAMAGED; i++) {
		fd = draw(&seed) % 8 ? client_greeted(server) :
				       client_connect(server);
		send_damaged(fd, &seed);
		close(fd);
		sem_wait(&server->closed);
	}
	close(client_greeted(server));
}

int main(void)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, server_setup, server_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_hello_is_answered),
		TEST(test_the_owner_is_told_who_asks),
		TEST(test_other_versions_are_refused_with_both_ranges),
		TEST(test_the_first_request_must_be_hello),
		TEST(test_an_unknown_request_is_refused_and_forgotten),
		TEST(test_an_oversized_length_is_refused),
		TEST(test_malformed_bytes_are_refused),
		TEST(test_a_request_cannot_balloon),
		TEST(test_the_longest_request_is_taken),
		TEST(test_half_a_frame_then_a_hang_up),
		TEST(test_a_frame_may_come_byte_by_byte),
		TEST(test_pipelined_requests_are_answered_in_order),
		TEST(test_pipelined_long_requests_are_answered),
		TEST(test_a_reply_brings_its_descriptors),
		TEST(test_large_replies_arrive_whole),
		TEST(test_a_reply_over_the_cap_is_refused),
		TEST(test_who_never_reads_is_cut_off),
		TEST(test_who_reads_late_gets_all),
		TEST(test_who_vanishes_gets_no_reply),
		TEST(test_descriptors_of_clients_are_dropped),
		TEST(test_damaged_frames_harm_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
