// SPDX-License-Identifier: BSD-2-Clause
/*
 * A socket with a timeout may return EINTR here without any signal handler: the
 * kernel tears rings of earlier tests down by interrupting their threads.
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
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "conn_fixture.h"

#define LARGE (3U << 20)

static struct server *server_now; /* for the owner's side, one at a time */

static void answer_text(struct conn *conn, uint64_t id, size_t size)
{
	Treekv__Reply reply = TREEKV__REPLY__INIT;
	char *text = malloc(size + 1);

	memset(text, 'x', size);
	text[size] = '\0';
	reply.id = id;
	reply.text = text;
	conn_reply(conn, &reply, NULL, 0);
	free(text);
}

static void answer_attach(struct conn *conn, uint64_t id)
{
	Treekv__Attached attached = TREEKV__ATTACHED__INIT;
	Treekv__Reply reply = TREEKV__REPLY__INIT;
	static char name[] = "a";
	int ends[FRAME_FDS_MAX][2];
	int fds[FRAME_FDS_MAX];

	for (int i = 0; i < FRAME_FDS_MAX; i++) {
		if (pipe(ends[i]) || write(ends[i][1], &"0123"[i], 1) != 1)
			abort();
		close(ends[i][1]);
		fds[i] = ends[i][0];
	}
	attached.name = name;
	reply.id = id;
	reply.body_case = TREEKV__REPLY__BODY_ATTACHED;
	reply.attached = &attached;
	conn_reply(conn, &reply, fds, FRAME_FDS_MAX);
	for (int i = 0; i < FRAME_FDS_MAX; i++)
		close(fds[i]);
}

/* A request that a worker would have: as long as conn lives, it may answer. */
struct later {
	struct loop_op op;
	struct conn *conn; /* NULL: it closed */
	uint64_t id;
	int hops;
};

static void later_done(struct loop_op *op, int res, unsigned int flags)
{
	struct later *later = loop_entry(op, struct later, op);
	struct loop *loop = &server_now->loop;

	(void)flags;
	if (later->conn && res > 0) {
		loop_post(loop, loop, op, res - 1);
		return;
	}
	if (later->conn) {
		*conn_data(later->conn) = NULL;
		conn_refuse(later->conn, later->id, 0, "later");
	}
	free(later);
}

static void answer_later(struct conn *conn, uint64_t id)
{
	struct loop *loop = &server_now->loop;
	struct later *later = calloc(1, sizeof(*later));

	later->op.done = later_done;
	later->conn = conn;
	later->id = id;
	*conn_data(conn) = later;
	loop_post(loop, loop, &later->op, 10);
}

static void owner_request(struct conn *conn, const Treekv__Request *request)
{
	server_now->last_pid = conn_peer(conn)->pid;
	server_now->has_pidfd = conn_pidfd(conn) >= 0;
	server_now->connections = listener_connections(server_now->listener);
	if (request->body_case == TREEKV__REQUEST__BODY_STATS)
		conn_refuse(conn, request->id, 0, "stats");
	else if (request->body_case == TREEKV__REQUEST__BODY_ATTACH)
		answer_attach(conn, request->id);
	else if (request->body_case == TREEKV__REQUEST__BODY_LIST)
		answer_text(conn, request->id, LARGE);
	else if (request->body_case == TREEKV__REQUEST__BODY_INSPECT)
		answer_text(conn, request->id, FRAME_REPLY_MAX);
	else if (request->body_case == TREEKV__REQUEST__BODY_DROP)
		answer_later(conn, request->id);
	sem_post(&server_now->requested);
}

static void owner_closed(struct conn *conn)
{
	struct later *later = *conn_data(conn);

	if (later)
		later->conn = NULL;
	sem_post(&server_now->closed);
}

static const struct conn_ops owner = {
	.request = owner_request,
	.closed = owner_closed,
};

static void stop_done(struct loop_op *op, int res, unsigned int flags)
{
	struct server *server = loop_entry(op, struct server, stop);

	(void)res;
	(void)flags;
	server->loop.stop = true;
}

static void *serve(void *data)
{
	struct server *server = data;
	const char *why = "";

	server->result = loop_init(&server->loop, 8, &why);
	if (!server->result) {
		server->result = listener_new(&server->listener, &server->loop,
					      server->address.sun_path, -1,
					      &owner, &why);
		if (server->result)
			loop_exit(&server->loop);
	}
	snprintf(server->why, sizeof(server->why), "%s", why);
	sem_post(&server->ready);
	if (server->result)
		return NULL;
	loop_poll_once(&server->loop, server->stop_fd, &server->stop);
	loop_run(&server->loop);
	listener_free(server->listener);
	loop_exit(&server->loop);
	return NULL;
}

void server_start(struct server *server)
{
	server_now = server;
	server->stop.done = stop_done;
	server->stop_fd = eventfd(0, EFD_CLOEXEC);
	assert_true(server->stop_fd >= 0);
	sem_init(&server->ready, 0, 0);
	sem_init(&server->requested, 0, 0);
	sem_init(&server->closed, 0, 0);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server),
			 0);
	sem_wait(&server->ready);
	if (server->result)
		fail_msg("%s", server->why);
}

void server_stop(struct server *server)
{
	eventfd_write(server->stop_fd, 1);
	pthread_join(server->thread, NULL);
	close(server->stop_fd);
}

int server_setup(void **state)
{
	struct server *server = calloc(1, sizeof(*server));

	strcpy(server->directory, "/tmp/treekv-conn.XXXXXX");
	if (!mkdtemp(server->directory))
		return -1;
	server->address.sun_family = AF_UNIX;
	snprintf(server->address.sun_path, sizeof(server->address.sun_path),
		 "%s/s", server->directory);
	server_start(server);
	*state = server;
	return 0;
}

int server_teardown(void **state)
{
	struct server *server = *state;
	char path[128];

	server_stop(server);
	snprintf(path, sizeof(path), "%s.lock", server->address.sun_path);
	unlink(path);
	if (rmdir(server->directory)) /* so the socket is gone, too */
		return -1;
	free(server);
	return 0;
}

int client_connect(const struct server *server)
{
	const struct timeval patience = { .tv_sec = 20 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	assert_int_equal(connect(fd, (const void *)&server->address,
				 sizeof(server->address)),
			 0);
	return fd;
}

void client_write(int fd, const void *bytes, size_t size)
{
	const char *p = bytes;
	ssize_t n;

	for (size_t done = 0; done < size; done += (size_t)n) {
		do {
			n = send(fd, p + done, size - done, MSG_NOSIGNAL);
		} while (n < 0 && errno == EINTR);
		assert_true(n > 0);
	}
}

size_t client_pack(uint8_t *to, const Treekv__Request *request)
{
	size_t body = treekv__request__pack(request, to + FRAME_HEADER);

	frame_header(to, (uint32_t)body);
	return FRAME_HEADER + body;
}

void client_send(int fd, const Treekv__Request *request)
{
	uint8_t *bytes = malloc(FRAME_HEADER +
				treekv__request__get_packed_size(request));

	client_write(fd, bytes, client_pack(bytes, request));
	free(bytes);
}

static void keep_fds(struct answer *answer, struct msghdr *message)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);

	assert_int_equal(message->msg_flags & MSG_CTRUNC, 0);
	if (!header)
		return;
	assert_int_equal(header->cmsg_type, SCM_RIGHTS);
	answer->n_fds = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	assert_true(answer->n_fds <= FRAME_FDS_MAX);
	memcpy(answer->fds, CMSG_DATA(header), answer->n_fds * sizeof(int));
}

/* Return: false when the connection ended before the first byte. */
static bool read_all(int fd, uint8_t *to, size_t size, struct answer *answer)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FRAME_FDS_MAX * sizeof(int))];
	} control;
	size_t done = 0;
	ssize_t n;

	while (done < size) {
		struct iovec iov = { to + done, size - done };
		struct msghdr message = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes),
		};

		do {
			n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
		} while (n < 0 && errno == EINTR);
		if (!done && (!n || (n < 0 && errno == ECONNRESET)))
			return false;
		if (n <= 0)
			fail_msg("recvmsg: %s", n ? strerror(errno) : "end");
		keep_fds(answer, &message);
		done += (size_t)n;
	}
	return true;
}

struct answer client_read(int fd)
{
	struct answer answer = { .reply = NULL };
	uint8_t header[FRAME_HEADER];
	uint8_t *body;
	uint32_t size;

	if (!read_all(fd, header, sizeof(header), &answer))
		return answer;
	memcpy(&size, header, sizeof(size));
	assert_true(size <= FRAME_REPLY_MAX);
	body = malloc(size);
	assert_true(read_all(fd, body, size, &answer));
	answer.reply = treekv__reply__unpack(NULL, size, body);
	assert_non_null(answer.reply);
	free(body);
	return answer;
}

void answer_free(struct answer *answer)
{
	for (unsigned int i = 0; i < answer->n_fds; i++)
		close(answer->fds[i]);
	if (answer->reply)
		treekv__reply__free_unpacked(answer->reply, NULL);
}

Treekv__Request request_of(uint64_t id, Treekv__Request__BodyCase body)
{
	static Treekv__Hello hello = TREEKV__HELLO__INIT;
	static Treekv__Stats stats = TREEKV__STATS__INIT;
	static Treekv__List list = TREEKV__LIST__INIT;
	static Treekv__Attach attach = TREEKV__ATTACH__INIT;
	static Treekv__Inspect inspect = TREEKV__INSPECT__INIT;
	static Treekv__Drop drop = TREEKV__DROP__INIT;
	static Treekv__Detach detach = TREEKV__DETACH__INIT;
	static char name[] = "a";
	Treekv__Request request = TREEKV__REQUEST__INIT;

	hello.version_min = TREEKV_PROTOCOL;
	hello.version_max = TREEKV_PROTOCOL;
	attach.name = name;
	inspect.name = name;
	drop.name = name;
	request.id = id;
	request.body_case = body;
	if (body == TREEKV__REQUEST__BODY_HELLO)
		request.hello = &hello;
	else if (body == TREEKV__REQUEST__BODY_STATS)
		request.stats = &stats;
	else if (body == TREEKV__REQUEST__BODY_LIST)
		request.list = &list;
	else if (body == TREEKV__REQUEST__BODY_ATTACH)
		request.attach = &attach;
	else if (body == TREEKV__REQUEST__BODY_INSPECT)
		request.inspect = &inspect;
	else if (body == TREEKV__REQUEST__BODY_DROP)
		request.drop = &drop;
	else if (body == TREEKV__REQUEST__BODY_DETACH)
		request.detach = &detach;
	return request;
}

int client_greeted(const struct server *server)
{
	Treekv__Request hello = request_of(1, TREEKV__REQUEST__BODY_HELLO);
	int fd = client_connect(server);
	struct answer answer;

	client_send(fd, &hello);
	answer = client_read(fd);
	assert_non_null(answer.reply);
	assert_int_equal(answer.reply->error, 0);
	answer_free(&answer);
	return fd;
}

void assert_reply(int fd, uint64_t id, int error, const char *text)
{
	struct answer answer = client_read(fd);

	assert_non_null(answer.reply);
	assert_int_equal(answer.reply->id, id);
	assert_int_equal(answer.reply->error, error);
	assert_non_null(answer.reply->text);
	if (strncmp(answer.reply->text, text, strlen(text)) != 0)
		fail_msg("'%s' does not begin with '%s'", answer.reply->text,
			 text);
	answer_free(&answer);
}

void assert_hung_up(int fd)
{
	struct answer answer = client_read(fd);

	assert_null(answer.reply);
}
