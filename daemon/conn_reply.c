// SPDX-License-Identifier: BSD-2-Clause
/*
 * Replies leave in the order in which they were queued, one sendmsg(2) at a
 * time, continued where a short one ended. Descriptors go with the first byte;
 * the copies in the queue are closed once it has gone.
 *
 * A peer that does not read blocks its own queue only. Requests are not handled
 * beyond a few unsent replies (conn.c), so the cap here meets who asks for
 * large replies and leaves them lying.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/conn_impl.h"
#include "daemon/log.h"
#include "proto/probe.h"

#define BACKLOG_MAX (2 * (size_t)FRAME_REPLY_MAX)
#define TEXT_MAX    512

static struct reply *reply_free(struct reply *reply)
{
	for (unsigned int i = 0; i < reply->n_fds; i++)
		close(reply->fds[i]);
	free(reply);
	return NULL;
}

void conn_drop_replies(struct conn *conn)
{
	struct reply *reply;

	while ((reply = STAILQ_FIRST(&conn->replies))) {
		STAILQ_REMOVE_HEAD(&conn->replies, link);
		reply_free(reply);
	}
}

static int copy_fds(struct reply *reply, const int *fds, unsigned int n_fds)
{
	int fd;

	for (unsigned int i = 0; i < n_fds; i++) {
		fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			return -errno;
		reply->fds[reply->n_fds++] = fd;
	}
	return 0;
}

/* Return: 0, -ENOMEM, -EMSGSIZE (over the cap) or -EMFILE. */
static int reply_new(struct reply **ret, const Treekv__Reply *message,
		     const int *fds, unsigned int n_fds)
{
	size_t body = treekv__reply__get_packed_size(message);
	struct reply *reply;
	int r;

	if (body > FRAME_REPLY_MAX)
		return -EMSGSIZE;
	reply = calloc(1, sizeof(*reply) + FRAME_HEADER + body);
	if (!reply)
		return -ENOMEM;
	r = copy_fds(reply, fds, n_fds);
	if (r) {
		reply_free(reply);
		return r;
	}
	frame_header(reply->bytes, (uint32_t)body);
	treekv__reply__pack(message, reply->bytes + FRAME_HEADER);
	reply->size = FRAME_HEADER + body;
	*ret = reply;
	return 0;
}

static void attach_fds(struct conn *conn, const struct reply *reply)
{
	const size_t size = reply->n_fds * sizeof(int);
	struct cmsghdr *header;

	conn->message.msg_control = conn->control.bytes;
	conn->message.msg_controllen = CMSG_SPACE(size);
	header = CMSG_FIRSTHDR(&conn->message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(header), reply->fds, size);
}

static void send_first(struct conn *conn)
{
	struct reply *reply = STAILQ_FIRST(&conn->replies);
	struct io_uring_sqe *sqe;

	if (!reply || conn->sending || conn->dead)
		return;
	conn->iov.iov_base = reply->bytes + reply->sent;
	conn->iov.iov_len = reply->size - reply->sent;
	memset(&conn->message, 0, sizeof(conn->message));
	conn->message.msg_iov = &conn->iov;
	conn->message.msg_iovlen = 1;
	if (reply->n_fds)
		attach_fds(conn, reply);
	sqe = loop_sqe(conn->listener->loop, &conn->send);
	io_uring_prep_sendmsg(sqe, conn->fd, &conn->message, MSG_NOSIGNAL);
	conn->sending = true;
	conn->in_flight++;
}

static void sent_some(struct conn *conn, size_t n)
{
	struct reply *reply = STAILQ_FIRST(&conn->replies);

	while (reply->n_fds)
		close(reply->fds[--reply->n_fds]);
	reply->sent += n;
	if (reply->sent < reply->size)
		return;
	STAILQ_REMOVE_HEAD(&conn->replies, link);
	conn->n_replies--;
	conn->backlog -= reply->size;
	reply_free(reply);
}

void conn_send_done(struct loop_op *op, int res, unsigned int flags)
{
	struct conn *conn = loop_entry(op, struct conn, send);

	(void)flags;
	conn->sending = false;
	conn->in_flight--;
	if (res > 0)
		sent_some(conn, (size_t)res);
	else if (res != -EINTR && res != -EAGAIN)
		conn_cut(conn);
	send_first(conn);
	if (conn->finishing && !conn->n_replies)
		conn_cut(conn);
	if (!conn->dead && !conn->n_replies && conn->listener->ops->drained)
		conn->listener->ops->drained(conn);
	conn_advance(conn);
	conn_settle(conn);
}

void conn_request_over(struct conn *conn, int error)
{
	if (conn->asked)
		PROBE(treekvd, request_done, (uintptr_t)conn, conn->asked,
		      conn->peer.pid, error);
	conn->asked = TREEKV__REQUEST__BODY__NOT_SET;
}

static void answered(struct conn *conn, int error)
{
	const struct conn_ops *ops = conn->listener->ops;

	if (conn->pending && ops->answered)
		ops->answered(conn, conn->asked, clock_ns() - conn->asked_at);
	conn->pending = false;
	conn_request_over(conn, error);
}

static void queue(struct conn *conn, struct reply *reply)
{
	STAILQ_INSERT_TAIL(&conn->replies, reply, link);
	conn->n_replies++;
	conn->backlog += reply->size;
	if (conn->backlog > BACKLOG_MAX) {
		log_warning("client cut off",
			    "pid=%d uid=%u cause=\"does not read its replies\" "
			    "backlog=%zu",
			    (int)conn->peer.pid, conn->peer.uid, conn->backlog);
		conn_cut(conn);
	}
	send_first(conn);
}

/*
 * What cannot be answered as it should be is answered with what is wrong. Not
 * so when memory is gone; and where descriptors are, the owner believes that
 * the peer has got them, so the connection ends.
 */
static void reply_failed(struct conn *conn, uint64_t id, int error)
{
	switch (error) {
	case -EMSGSIZE:
		conn_refuse(conn, id, error,
			    "the reply is over the cap of %u bytes",
			    FRAME_REPLY_MAX);
		return;
	case -EMFILE:
		conn_refuse(conn, id, error,
			    "treekvd is out of descriptors: raise its "
			    "LimitNOFILE (ulimit -n)");
		conn_finish(conn);
		return;
	}
	log_error("cannot reply", "pid=%d error=\"%s\"", (int)conn->peer.pid,
		  strerror(-error));
	conn_cut(conn);
}

int conn_reply(struct conn *conn, const Treekv__Reply *message, const int *fds,
	       unsigned int n_fds)
{
	struct reply *reply;
	int r;

	if (conn->dead || conn->finishing)
		return -EPIPE;
	r = reply_new(&reply, message, fds, n_fds);
	if (r) {
		reply_failed(conn, message->id, r);
		return r;
	}
	answered(conn, message->error);
	queue(conn, reply);
	return 0;
}

int conn_push(struct conn *conn, const Treekv__Reply *message)
{
	struct reply *reply;
	int r;

	if (conn->dead || conn->finishing)
		return -EPIPE;
	r = reply_new(&reply, message, NULL, 0);
	if (!r)
		queue(conn, reply);
	return r;
}

unsigned int conn_unsent(const struct conn *conn)
{
	return conn->n_replies;
}

void conn_refuse(struct conn *conn, uint64_t id, int error, const char *format,
		 ...)
{
	Treekv__Reply reply = TREEKV__REPLY__INIT;
	char text[TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	reply.id = id;
	reply.error = error;
	reply.text = text;
	conn_reply(conn, &reply, NULL, 0);
}

void conn_turn_away(int fd, int error, const char *text)
{
	Treekv__Reply message = TREEKV__REPLY__INIT;
	uint8_t bytes[TEXT_MAX];
	char copy[TEXT_MAX / 2];
	size_t body;

	snprintf(copy, sizeof(copy), "%s", text);
	message.error = error;
	message.text = copy;
	body = treekv__reply__pack(&message, bytes + FRAME_HEADER);
	frame_header(bytes, (uint32_t)body);
	/* An empty socket buffer takes it; a peer that left needs none. */
	(void)!send(fd, bytes, FRAME_HEADER + body,
		    MSG_DONTWAIT | MSG_NOSIGNAL);
}
