/* SPDX-License-Identifier: BSD-2-Clause */
/* What listener.c, conn.c and conn_reply.c share; for nobody else. */
#ifndef TREEKVD_CONN_IMPL_H
#define TREEKVD_CONN_IMPL_H

#include <sys/queue.h>
#include <sys/socket.h>

#include "daemon/arena.h"
#include "daemon/conn.h"
#include "daemon/socket.h"
#include "proto/frame.h"

/* Receive buffers that all connections share, provided to the kernel. */
#define BUFFER_GROUP 1
#define BUFFERS	     64 /* a power of two */
#define BUFFER_SIZE  8192

struct listener {
	struct loop *loop;
	const struct conn_ops *ops;
	char *path;
	struct socket socket;
	bool kept; /* the socket outlives us: its file stays */
	int reserve_fd; /* given up to turn a peer away when none is left */
	bool closing;
	bool full; /* out of descriptors: said once */
	unsigned int in_flight; /* of the operations below */
	struct loop_op accept;
	struct loop_op readable;
	struct loop_op retry;
	struct io_uring_buf_ring *ring;
	uint8_t *buffers;
	struct arena arena;
	LIST_HEAD(, conn) conns;
	uint32_t n_conns;
};

/* A packed reply, on its way. */
struct reply {
	STAILQ_ENTRY(reply) link;
	size_t size;
	size_t sent;
	unsigned int n_fds; /* ours, until the first byte has gone */
	int fds[FRAME_FDS_MAX];
	uint8_t bytes[];
};

struct conn_input {
	uint8_t *bytes;
	size_t start; /* of what has not been handled */
	size_t end;
	size_t capacity;
};

/*
 * @greeted: its Hello was accepted
 * @pending: a request is with the owner; the next waits for its reply
 * @asked: which one, and @asked_at: since when
 * @finishing: closes when the queue is empty, reads no further requests
 * @dead: being torn down; freed when the last operation is back
 */
struct conn {
	LIST_ENTRY(conn) link;
	struct listener *listener;
	struct conn_peer peer;
	struct conn_story story;
	int pidfd;
	int fd;
	void *data;
	bool counted; /* the owner's */
	bool greeted;
	bool pending;
	Treekv__Request__BodyCase asked;
	uint64_t asked_at;
	bool finishing;
	bool dead;

	unsigned int in_flight;
	struct loop_op receive;
	struct loop_op send;
	struct loop_op end;
	bool receiving;
	bool pausing; /* receive is being cancelled */
	bool sending;

	struct conn_input input;
	STAILQ_HEAD(, reply) replies;
	unsigned int n_replies;
	size_t backlog; /* bytes of them */
	struct msghdr message; /* of the reply being sent */
	struct iovec iov;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FRAME_FDS_MAX * sizeof(int))];
	} control;
};

/* conn.c */

/*
 * Takes @fd over. Return: 0; -EMFILE, -ENFILE, -ENOMEM, or what the owner's
 * admit() returned with @why: nothing done.
 */
int conn_new(struct listener *listener, int fd, char *why, size_t size);

/* Tears @conn down, from the loop: never before the caller has returned. */
void conn_cut(struct conn *conn);

/* Closes @conn when what is queued has been sent. */
void conn_finish(struct conn *conn);

/* Handles what has come in, receives more: something may go on now. */
void conn_advance(struct conn *conn);

/* Ends every completion: frees @conn after the last one when it is dead. */
void conn_settle(struct conn *conn);

/* conn_reply.c */
void conn_send_done(struct loop_op *op, int res, unsigned int flags);
void conn_drop_replies(struct conn *conn);

/* Tells by a probe how the request ends that is not answered, if any. */
void conn_request_over(struct conn *conn, int error);

/* One frame that says @text, sent without waiting: for who is turned away. */
void conn_turn_away(int fd, int error, const char *text);

#endif /* TREEKVD_CONN_IMPL_H */
