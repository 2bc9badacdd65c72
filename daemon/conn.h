/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The listener and its connections: bytes in, checked requests out, replies
 * with descriptors back. Knows framing and credentials, not caches.
 */
#ifndef TREEKVD_CONN_H
#define TREEKVD_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/loop.h"
#include "treekv.pb-c.h"

struct listener;
struct conn;

/* Who is at the other end, as the kernel had it when it connected. */
struct conn_peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary ones */
	uint32_t n_groups;
};

/*
 * What a listener's owner does with connections; all on the control thread,
 * from the loop, never from inside a conn_ function. Hello, requests that are
 * malformed, too long or unknown, and those before Hello are answered without
 * him.
 */
struct conn_ops {
	/*
	 * A whole, unpacked request, gone when this returns. Answer it now or
	 * later by conn_reply(), once: the connection's next request comes
	 * after that.
	 */
	void (*request)(struct conn *conn, const Treekv__Request *request);
	/*
	 * The peer is gone: *conn_data() is the owner's to free, and @conn
	 * ends when this returns, also if a request has not been answered.
	 */
	void (*closed)(struct conn *conn);
	/*
	 * May one more of this peer's connect? Return: 0, and closed() will be
	 * called for him; or a negative errno with @why. NULL: anybody may.
	 */
	int (*admit)(const struct conn_peer *peer, char *why, size_t size);
	/* All replies to @conn have been sent. May be NULL. */
	void (*drained)(struct conn *conn);
	/*
	 * A request has been answered, @ns after it came in; from inside of
	 * conn_reply(). May be NULL.
	 */
	void (*answered)(struct conn *conn, Treekv__Request__BodyCase request,
			 uint64_t ns);
};

/**
 * listener_new - listen on a Unix socket
 * @path: a stale socket file is replaced; one that a living daemon listens on
 *	is not. Its directory is made (0755) when missing
 * @inherited: a socket that listens already, handed over by the service
 *	manager and now the listener's; -1: none
 * @why: on failure set to what went wrong and what to do; static or kept by
 *	the module
 *
 * Return: 0; -EADDRINUSE another daemon is there; or a negative errno.
 */
int listener_new(struct listener **ret, struct loop *loop, const char *path,
		 int inherited, const struct conn_ops *ops, const char **why);

/*
 * Closes every connection (closed is called for each) and unlinks the socket.
 * Runs the loop until the last operation is back.
 */
struct listener *listener_free(struct listener *listener);

/* The listening socket; listener_keep(): it is kept, so its file stays. */
int listener_fd(const struct listener *listener);
void listener_keep(struct listener *listener);

/* How many are open. */
uint32_t listener_connections(const struct listener *listener);

/* Calls @each for all that have been admitted and not been closed. */
void listener_recount(struct listener *listener,
		      void (*each)(struct conn *conn, void *arg), void *arg);

const struct conn_peer *conn_peer(const struct conn *conn);

/* A flag of the owner's; false at first. */
bool *conn_counted(struct conn *conn);

/* A pidfd of the peer, made when it connected; -1 where that failed. */
int conn_pidfd(const struct conn *conn);

/* What a connection has been so far. */
struct conn_story {
	char program[32]; /* as it calls itself, printable; or "" */
	uint64_t since; /* seconds since 1970 */
	uint64_t requests; /* but for Hello */
};

const struct conn_story *conn_story(const struct conn *conn);

/* Calls @see for each connection that has said Hello and is not ending. */
void listener_each(const struct listener *listener,
		   void (*see)(const struct conn *conn, void *data),
		   void *data);

/*
 * Is there somebody left to read a reply? What came in last may be from a peer
 * who has hung up since, which has not been reported yet.
 */
bool conn_is_open(const struct conn *conn);

/* The owner's word, NULL at first. */
void **conn_data(struct conn *conn);

/**
 * conn_reply - queue a reply
 * @reply: packed before this returns
 * @fds: duplicated before this returns; up to FRAME_FDS_MAX
 *
 * A peer that does not read its replies is cut off at a bounded backlog. What
 * cannot be sent (over the cap, no descriptors left) is refused in its place.
 * A reply with id 0 is about the connection itself, which ends after it.
 *
 * Return: 0; a negative errno when the peer will not have it.
 */
int conn_reply(struct conn *conn, const Treekv__Reply *reply, const int *fds,
	       unsigned int n_fds);

/* conn_reply() of what answers nothing: the request that is pending, still is. */
int conn_push(struct conn *conn, const Treekv__Reply *reply);

/* Replies that wait for the peer to read. */
unsigned int conn_unsent(const struct conn *conn);

/* conn_reply() with an error and its text. */
__attribute__((format(printf, 4, 5))) void
conn_refuse(struct conn *conn, uint64_t id, int error, const char *format, ...);

#endif /* TREEKVD_CONN_H */
