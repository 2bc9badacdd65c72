// SPDX-License-Identifier: BSD-2-Clause
/*
 * A connection: bytes come in by one multishot receive into buffers that all
 * connections share, are put together here, checked, unpacked under a cap and
 * handed to the owner. Nothing of it waits: the sockets stay in blocking mode
 * only because io_uring then parks an operation instead of failing it.
 *
 * One request at a time is with the owner; the next is handled when it has been
 * answered, so replies keep the order of requests even where a worker answers.
 * While requests wait, at most one whole frame of input is kept and receiving
 * pauses: a peer that sends faster than it is served waits in its own write().
 * Large requests that are there in part are limited for each user, since whoever
 * never sends the rest would have us keep as many as he has connections.
 * Descriptors that a peer sends along are dropped by the kernel, because nobody
 * asks for them.
 *
 * Ending: conn_cut() cancels what is in flight and queues a no-op, so there is
 * always a completion to come; the one that brings in_flight to zero tells the
 * owner and frees. Hence no function below has a connection vanish under it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/config.h"
#include "daemon/conn_impl.h"
#include "daemon/log.h"
#include "proto/probe.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define INPUT_MIN  4096
#define INPUT_KEEP (64 << 10) /* an empty input larger than this is freed */
#define INPUT_USER (64 << 20) /* what larger ones may take of one user */

/* So much always holds a whole frame, or one that is refused. */
#define INPUT_PAUSE (FRAME_HEADER + FRAME_REQUEST_MAX)

/* Requests wait while so many replies are unsent. */
#define UNSENT_MAX 16

const struct conn_peer *conn_peer(const struct conn *conn)
{
	return &conn->peer;
}

const struct conn_story *conn_story(const struct conn *conn)
{
	return &conn->story;
}

void listener_each(const struct listener *listener,
		   void (*see)(const struct conn *conn, void *data), void *data)
{
	const struct conn *conn;

	LIST_FOREACH(conn, &listener->conns, link)
	if (conn->greeted && !conn->dead)
		see(conn, data);
}

int conn_pidfd(const struct conn *conn)
{
	return conn->pidfd;
}

bool conn_is_open(const struct conn *conn)
{
	struct pollfd fd = { .fd = conn->fd };

	/* POLLHUP is always asked for; a peer that only writes no more stays. */
	return !conn->dead && !(poll(&fd, 1, 0) == 1 && fd.revents & POLLHUP);
}

void **conn_data(struct conn *conn)
{
	return &conn->data;
}

/* May an input of his be so large, beside the other large ones? */
static bool may_grow(const struct conn *conn, size_t capacity)
{
	const struct conn *c;
	size_t sum = capacity;

	if (capacity <= INPUT_KEEP)
		return true;
	LIST_FOREACH(c, &conn->listener->conns, link)
	if (c != conn && c->peer.uid == conn->peer.uid &&
	    c->input.capacity > INPUT_KEEP)
		sum += c->input.capacity;
	return sum <= INPUT_USER;
}

static size_t input_size(const struct conn_input *input)
{
	return input->end - input->start;
}

/* Return: 0; -ENOMEM; -EDQUOT his user has too many large ones. */
static int input_reserve(struct conn *conn, size_t n)
{
	struct conn_input *input = &conn->input;
	const size_t size = input_size(input);
	size_t capacity = input->capacity ? input->capacity : INPUT_MIN;
	uint8_t *bytes;

	if (n <= input->capacity - input->end)
		return 0;
	if (size) /* else bytes may be NULL */
		memmove(input->bytes, input->bytes + input->start, size);
	input->start = 0;
	input->end = size;
	while (capacity - size < n)
		capacity *= 2;
	if (capacity == input->capacity)
		return 0;
	if (!may_grow(conn, capacity))
		return -EDQUOT;
	bytes = realloc(input->bytes, capacity);
	if (!bytes)
		return -ENOMEM;
	input->bytes = bytes;
	input->capacity = capacity;
	return 0;
}

static int input_append(struct conn *conn, const uint8_t *bytes, size_t n)
{
	struct conn_input *input = &conn->input;
	int r = input_reserve(conn, n);

	if (r)
		return r;
	memcpy(input->bytes + input->end, bytes, n);
	input->end += n;
	return 0;
}

static void input_consume(struct conn_input *input, size_t n)
{
	input->start += n;
	if (input->start < input->end)
		return;
	input->start = 0;
	input->end = 0;
	if (input->capacity > INPUT_KEEP) {
		free(input->bytes);
		input->bytes = NULL;
		input->capacity = 0;
	}
}

/* What a program calls itself is shown on terminals. */
static void note_program(struct conn_story *story, const char *program)
{
	size_t i = 0;

	for (; program && program[i] && i + 1 < sizeof(story->program); i++)
		story->program[i] = program[i] >= ' ' && program[i] < 0x7f ?
					    program[i] :
					    '?';
	story->program[i] = '\0';
}

static void answer_hello(struct conn *conn, const Treekv__Request *request)
{
	static char daemon_name[] = "treekvd " TREEKVD_VERSION;
	const Treekv__Hello *hello = request->hello;
	Treekv__HelloReply body = TREEKV__HELLO_REPLY__INIT;
	Treekv__Reply reply = TREEKV__REPLY__INIT;

	if (hello->version_min > TREEKV_PROTOCOL ||
	    hello->version_max < TREEKV_PROTOCOL) {
		conn_refuse(conn, request->id, -EPROTONOSUPPORT,
			    "the client speaks protocol %u to %u, this treekvd "
			    "(%s) %u to %u: upgrade the older one",
			    hello->version_min, hello->version_max,
			    TREEKVD_VERSION, TREEKV_PROTOCOL, TREEKV_PROTOCOL);
		conn_finish(conn);
		return;
	}
	note_program(&conn->story, hello->program);
	log_debug("client", "pid=%d uid=%u program=\"%s\"", (int)conn->peer.pid,
		  conn->peer.uid, conn->story.program);
	conn->greeted = true;
	body.version = TREEKV_PROTOCOL;
	body.daemon = daemon_name;
	body.pid = (uint32_t)getpid();
	reply.id = request->id;
	reply.body_case = TREEKV__REPLY__BODY_HELLO;
	reply.hello = &body;
	conn_reply(conn, &reply, NULL, 0);
}

static void dispatch(struct conn *conn, const Treekv__Request *request)
{
	conn->asked = request->body_case; /* until it is answered */
	PROBE(treekvd, request_start, (uintptr_t)conn, conn->asked,
	      conn->peer.pid);
	if (request->body_case == TREEKV__REQUEST__BODY_HELLO) {
		answer_hello(conn, request);
	} else if (!conn->greeted) {
		conn_refuse(conn, request->id, -EPROTO,
			    "the first request of a connection must be Hello");
		conn_finish(conn);
	} else if (request->body_case == TREEKV__REQUEST__BODY__NOT_SET) {
		conn_refuse(conn, request->id, -ENOSYS,
			    "treekvd %s does not know this request: it comes "
			    "from a newer client; upgrade treekvd",
			    TREEKVD_VERSION);
	} else {
		conn->pending = true;
		conn->story.requests++;
		conn->asked_at = clock_ns();
		conn->listener->ops->request(conn, request);
	}
}

static void unpack(struct conn *conn, const uint8_t *body, uint32_t size)
{
	struct arena *arena = &conn->listener->arena;
	Treekv__Request *request;

	request = treekv__request__unpack(&arena->allocator, size, body);
	if (request) {
		dispatch(conn, request);
	} else {
		conn_refuse(conn, 0, -EBADMSG,
			    arena->full ?
				    "a request of %u bytes unpacks to more "
				    "than is allowed" :
				    "a request of %u bytes is malformed: it "
				    "is not a treekv.Request",
			    size);
		conn_finish(conn);
	}
	arena_reset(arena);
}

/* Return: whether a frame was handled. */
static bool handle_frame(struct conn *conn)
{
	struct conn_input *input = &conn->input;
	const uint8_t *bytes = input->bytes + input->start;
	uint32_t body = 0;
	int r;

	r = frame_check(bytes, input_size(input), FRAME_REQUEST_MAX, &body);
	if (r == -EMSGSIZE) {
		memcpy(&body, bytes, FRAME_HEADER);
		conn_refuse(conn, 0, r,
			    "a request of %u bytes is over the cap of %u bytes",
			    body, FRAME_REQUEST_MAX);
		conn_finish(conn);
	}
	if (r <= 0)
		return false;
	unpack(conn, bytes + FRAME_HEADER, body);
	input_consume(input, FRAME_HEADER + body);
	return true;
}

static bool may_handle(const struct conn *conn)
{
	return !conn->dead && !conn->finishing && !conn->pending &&
	       conn->n_replies < UNSENT_MAX && input_size(&conn->input);
}

static void receive(struct conn *conn)
{
	struct io_uring_sqe *sqe;

	sqe = loop_sqe(conn->listener->loop, &conn->receive);
	io_uring_prep_recv_multishot(sqe, conn->fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = BUFFER_GROUP;
	conn->receiving = true;
	conn->pausing = false;
	conn->in_flight++;
}

void conn_advance(struct conn *conn)
{
	bool room;

	while (may_handle(conn) && handle_frame(conn))
		;
	if (conn->dead)
		return;
	/* While finishing, input is dropped as it comes. */
	room = conn->finishing || input_size(&conn->input) < INPUT_PAUSE;
	if (room && !conn->receiving)
		receive(conn);
	if (!room && conn->receiving && !conn->pausing) {
		conn->pausing = true;
		loop_cancel(conn->listener->loop, &conn->receive);
	}
}

/* Before an answer that is still to come nothing else can be said. */
static void give_up(struct conn *conn, int error)
{
	log_error("client cut off", "pid=%d uid=%u cause=\"%s\"",
		  (int)conn->peer.pid, conn->peer.uid,
		  error == -EDQUOT ? "its user sends too many large requests" :
				     "no memory for its request");
	if (error != -EDQUOT || conn->pending) {
		conn_cut(conn);
		return;
	}
	conn_refuse(conn, 0, error,
		    "user %u is sending more than %u MiB of requests at once; "
		    "send them one after the other",
		    conn->peer.uid, INPUT_USER >> 20);
	conn_finish(conn);
}

static void take_buffer(struct conn *conn, unsigned int id, size_t n)
{
	struct listener *listener = conn->listener;
	uint8_t *buffer = listener->buffers + (size_t)id * BUFFER_SIZE;
	int r = 0;

	if (!conn->dead && !conn->finishing)
		r = input_append(conn, buffer, n);
	if (r)
		give_up(conn, r);
	io_uring_buf_ring_add(listener->ring, buffer, BUFFER_SIZE,
			      (unsigned short)id,
			      io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(listener->ring, 1);
}

/* Receiving ended, but not because the peer did. */
static bool receives_again(int error)
{
	return error == -ENOBUFS || error == -ECANCELED || error == -EINTR ||
	       error == -EAGAIN;
}

static void receive_done(struct loop_op *op, int res, unsigned int flags)
{
	struct conn *conn = loop_entry(op, struct conn, receive);

	if (flags & IORING_CQE_F_BUFFER)
		take_buffer(conn, flags >> IORING_CQE_BUFFER_SHIFT,
			    res > 0 ? (size_t)res : 0);
	if (!(flags & IORING_CQE_F_MORE)) {
		conn->receiving = false;
		conn->in_flight--;
	}
	if (res <= 0 && !receives_again(res))
		conn_cut(conn);
	conn_advance(conn);
	conn_settle(conn);
}

static void end_done(struct loop_op *op, int res, unsigned int flags)
{
	struct conn *conn = loop_entry(op, struct conn, end);

	(void)res;
	(void)flags;
	conn->in_flight--;
	conn_settle(conn);
}

void conn_cut(struct conn *conn)
{
	struct loop *loop = conn->listener->loop;

	if (conn->dead)
		return;
	conn->dead = true;
	shutdown(conn->fd, SHUT_RDWR);
	if (conn->receiving)
		loop_cancel(loop, &conn->receive);
	if (conn->sending)
		loop_cancel(loop, &conn->send);
	io_uring_prep_nop(loop_sqe(loop, &conn->end));
	conn->in_flight++;
}

void conn_finish(struct conn *conn)
{
	conn->finishing = true;
	if (!conn->n_replies)
		conn_cut(conn);
}

void conn_settle(struct conn *conn)
{
	struct listener *listener = conn->listener;

	if (!conn->dead || conn->in_flight)
		return;
	LIST_REMOVE(conn, link);
	listener->n_conns--;
	conn_request_over(conn, -EPIPE);
	listener->ops->closed(conn);
	conn_drop_replies(conn);
	free(conn->input.bytes);
	if (conn->pidfd >= 0)
		close(conn->pidfd);
	close(conn->fd);
	free(conn->peer.groups);
	free(conn);
}

/*
 * Before Linux 6.5 the pidfd is made from the number, which another process may
 * have by now when the peer is already gone.
 */
static int peer_pidfd(int fd, pid_t pid)
{
	socklen_t size = sizeof(int);
	int pidfd;

	if (!getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size))
		return pidfd;
	if (errno != ENOPROTOOPT)
		return -errno;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return pidfd < 0 ? -errno : pidfd;
}

/* They are asked for once: what becomes of his groups later is not seen. */
static int peer_groups(struct conn *conn)
{
	gid_t *groups = NULL, *more;
	socklen_t size = 0;

	while (getsockopt(conn->fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size)) {
		more = errno == ERANGE ? realloc(groups, size) : NULL;
		if (!more) {
			int r = errno == ERANGE ? -ENOMEM : -errno;

			free(groups);
			return r;
		}
		groups = more;
	}
	conn->peer.groups = groups;
	conn->peer.n_groups = size / sizeof(*groups);
	return 0;
}

static int peer_init(struct conn *conn)
{
	struct ucred credentials = { .pid = 0 };
	socklen_t size = sizeof(credentials);
	int r;

	if (getsockopt(conn->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size))
		return -errno;
	conn->peer.pid = credentials.pid;
	conn->peer.uid = credentials.uid;
	conn->peer.gid = credentials.gid;
	r = peer_groups(conn);
	if (r)
		return r;
	r = peer_pidfd(conn->fd, credentials.pid);
	if (r == -EMFILE || r == -ENFILE)
		return r;
	conn->pidfd = r < 0 ? -1 : r;
	return 0;
}

bool *conn_counted(struct conn *conn)
{
	return &conn->counted;
}

int conn_new(struct listener *listener, int fd, char *why, size_t size)
{
	struct conn *conn = calloc(1, sizeof(*conn));
	int r;

	if (!conn)
		return -ENOMEM;
	conn->listener = listener;
	conn->pidfd = -1;
	conn->fd = fd;
	conn->story.since = (uint64_t)time(NULL);
	conn->receive.done = receive_done;
	conn->send.done = conn_send_done;
	conn->end.done = end_done;
	STAILQ_INIT(&conn->replies);
	r = peer_init(conn);
	if (!r && listener->ops->admit)
		r = listener->ops->admit(&conn->peer, why, size);
	if (r) {
		if (conn->pidfd >= 0)
			close(conn->pidfd);
		free(conn->peer.groups);
		free(conn);
		return r;
	}
	LIST_INSERT_HEAD(&listener->conns, conn, link);
	listener->n_conns++;
	receive(conn);
	return 0;
}
