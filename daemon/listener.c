// SPDX-License-Identifier: BSD-2-Clause
/*
 * Who may come in, over the socket that socket.c makes or that we were given.
 *
 * The socket outlives us where a manager holds it, and the ring of a daemon that
 * was killed outlives that, until a thread of the kernel's comes to end it. An
 * accept in a ring waits exclusively: that of the dead daemon would be woken by
 * the next peer instead of ours, and he would wait until another one comes. So
 * we poll, which is never exclusive, and accept4() who is there.
 *
 * Out of descriptors, accept4() fails though a peer waits, and polling would
 * spin. We then give up a reserved descriptor to take him in, and either find
 * that there is room again or tell him so and close. Nothing runs while nobody
 * comes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/conn_impl.h"
#include "daemon/log.h"

#define RING_BYTES (BUFFERS * sizeof(struct io_uring_buf))

static const char full_text[] =
	"treekvd is out of descriptors: raise its LimitNOFILE (ulimit -n), or "
	"detach caches";

__attribute__((format(printf, 3, 4))) static int
refuse(const char **why, int error, const char *format, ...)
{
	static char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	*why = text;
	return error;
}

static int buffers_new(struct listener *listener, const char **why)
{
	struct io_uring_buf_reg reg = { .ring_entries = BUFFERS,
					.bgid = BUFFER_GROUP };
	uint8_t *memory;
	int r;

	memory = mmap(NULL, RING_BYTES + BUFFERS * BUFFER_SIZE,
		      PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	if (memory == MAP_FAILED)
		return refuse(why, -ENOMEM, "no memory for receive buffers");
	listener->ring = (void *)memory;
	listener->buffers = memory + RING_BYTES;
	reg.ring_addr = (uintptr_t)memory;
	r = io_uring_register_buf_ring(&listener->loop->ring, &reg, 0);
	if (r) {
		munmap(memory, RING_BYTES + BUFFERS * BUFFER_SIZE);
		listener->ring = NULL;
		return refuse(why, r,
			      "io_uring takes no receive buffers: %s (treekvd "
			      "needs Linux 6.0 or newer)",
			      strerror(-r));
	}
	io_uring_buf_ring_init(listener->ring);
	for (unsigned short i = 0; i < BUFFERS; i++)
		io_uring_buf_ring_add(
			listener->ring,
			listener->buffers + (size_t)i * BUFFER_SIZE,
			BUFFER_SIZE, i, io_uring_buf_ring_mask(BUFFERS), i);
	io_uring_buf_ring_advance(listener->ring, BUFFERS);
	return 0;
}

static void buffers_free(struct listener *listener)
{
	if (!listener->ring)
		return;
	io_uring_unregister_buf_ring(&listener->loop->ring, BUFFER_GROUP);
	munmap(listener->ring, RING_BYTES + BUFFERS * BUFFER_SIZE);
}

static int reserve_open(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void accept_arm(struct listener *listener)
{
	listener->in_flight++;
	loop_poll_once(listener->loop, listener->socket.fd, &listener->accept);
}

static void wait_full(struct listener *listener)
{
	if (!listener->full)
		log_warning("out of descriptors", "connections=%u hint=\"%s\"",
			    listener->n_conns, full_text);
	listener->full = true;
	listener->in_flight++;
	loop_poll_once(listener->loop, listener->socket.fd,
		       &listener->readable);
}

/* Nothing else helped: look again in a while. */
static void wait_retry(struct listener *listener)
{
	static struct __kernel_timespec pause = { .tv_nsec = 100000000 };
	struct io_uring_sqe *sqe = loop_sqe(listener->loop, &listener->retry);

	io_uring_prep_timeout(sqe, &pause, 0, 0);
	listener->in_flight++;
}

static bool is_exhausted(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS ||
	       error == ENOMEM;
}

/* Return: 0, or why @fd could not be taken in; it is closed then. */
static int admit(struct listener *listener, int fd)
{
	char why[512] = "";
	int r = conn_new(listener, fd, why, sizeof(why));
	const char *text = "treekvd cannot tell who connects; try again";

	if (!r)
		return 0;
	if (*why)
		text = why;
	else if (r == -ENOMEM)
		text = "treekvd is out of memory";
	else if (is_exhausted(-r))
		text = full_text;
	conn_turn_away(fd, r, text);
	close(fd);
	return r;
}

static void accept_done(struct loop_op *op, int res, unsigned int flags)
{
	struct listener *listener = loop_entry(op, struct listener, accept);
	int fd;

	(void)flags;
	listener->in_flight--;
	if (listener->closing)
		return;
	if (res < 0) {
		wait_retry(listener);
		return;
	}
	fd = accept4(listener->socket.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		admit(listener, fd);
	if (fd >= 0 || errno == EAGAIN || errno == ECONNABORTED ||
	    errno == EINTR)
		accept_arm(listener);
	else if (is_exhausted(errno))
		wait_full(listener);
	else
		wait_retry(listener);
}

static void readable_done(struct loop_op *op, int res, unsigned int flags)
{
	struct listener *listener = loop_entry(op, struct listener, readable);
	int fd;

	(void)flags;
	listener->in_flight--;
	if (listener->closing)
		return;
	if (res < 0) {
		wait_retry(listener);
		return;
	}
	if (listener->reserve_fd >= 0)
		close(listener->reserve_fd);
	fd = accept4(listener->socket.fd, NULL, NULL, SOCK_CLOEXEC);
	listener->reserve_fd = reserve_open();
	if (fd < 0) {
		wait_retry(listener);
	} else if (listener->reserve_fd >= 0 &&
		   !is_exhausted(-admit(listener, fd))) {
		log_info("descriptors again", "connections=%u",
			 listener->n_conns);
		listener->full = false;
		accept_arm(listener);
	} else if (listener->reserve_fd >= 0) {
		wait_full(listener);
	} else {
		conn_turn_away(fd, -EMFILE, full_text);
		/* Closes it, and no other thread can take its number. */
		listener->reserve_fd = dup3(listener->socket.fd, fd, O_CLOEXEC);
		wait_full(listener);
	}
}

static void retry_done(struct loop_op *op, int res, unsigned int flags)
{
	struct listener *listener = loop_entry(op, struct listener, retry);

	(void)res;
	(void)flags;
	listener->in_flight--;
	if (!listener->closing)
		accept_arm(listener);
}

/* What listener_new() made so far, in reverse. No operation is in flight. */
static struct listener *release(struct listener *listener)
{
	if (listener->reserve_fd >= 0)
		close(listener->reserve_fd);
	if (listener->socket.fd >= 0) {
		if (!listener->kept)
			unlink(listener->path);
		close(listener->socket.fd);
	}
	if (listener->socket.lock_fd >= 0)
		close(listener->socket.lock_fd);
	buffers_free(listener);
	if (listener->arena.base)
		arena_exit(&listener->arena);
	free(listener->path);
	free(listener);
	return NULL;
}

/* The manager's folder, where only the manager listens. */
static bool is_elsewhere(int error)
{
	return error == -EACCES || error == -EPERM || error == -EROFS ||
	       error == -ENOENT;
}

static int listener_init(struct listener *listener, const char *path,
			 int inherited, const char **why)
{
	int r;

	r = arena_init(&listener->arena);
	if (r)
		return refuse(why, r, "no memory to unpack requests in");
	listener->path = strdup(path);
	if (!listener->path)
		return refuse(why, -ENOMEM, "out of memory");
	r = buffers_new(listener, why);
	if (r)
		return r;
	listener->reserve_fd = reserve_open();
	if (listener->reserve_fd < 0)
		return refuse(why, -errno, "cannot open /dev/null: %s",
			      strerror(errno));
	if (inherited < 0) {
		r = socket_listen(&listener->socket, path, "socket", why);
		if (r)
			return r;
	} else {
		listener->socket.fd = inherited;
		listener->kept = true;
		r = socket_lock(&listener->socket.lock_fd, path, "socket", why);
		if (r && !is_elsewhere(r))
			return r;
	}
	/* Whoever came may be gone again. */
	if (fcntl(listener->socket.fd, F_SETFL, O_NONBLOCK))
		return refuse(why, -errno, "cannot listen on %s: %s", path,
			      strerror(errno));
	return 0;
}

int listener_new(struct listener **ret, struct loop *loop, const char *path,
		 int inherited, const struct conn_ops *ops, const char **why)
{
	struct listener *listener = calloc(1, sizeof(*listener));
	int r;

	if (!listener)
		return refuse(why, -ENOMEM, "out of memory");
	listener->loop = loop;
	listener->ops = ops;
	listener->socket.fd = -1;
	listener->socket.lock_fd = -1;
	listener->reserve_fd = -1;
	listener->accept.done = accept_done;
	listener->readable.done = readable_done;
	listener->retry.done = retry_done;
	LIST_INIT(&listener->conns);
	r = listener_init(listener, path, inherited, why);
	if (r) {
		release(listener);
		return r;
	}
	accept_arm(listener);
	*ret = listener;
	return 0;
}

int listener_fd(const struct listener *listener)
{
	return listener->socket.fd;
}

void listener_keep(struct listener *listener)
{
	listener->kept = true;
}

struct listener *listener_free(struct listener *listener)
{
	struct conn *conn;

	if (!listener)
		return NULL;
	listener->closing = true;
	loop_cancel(listener->loop, &listener->accept);
	loop_cancel(listener->loop, &listener->readable);
	loop_cancel(listener->loop, &listener->retry);
	LIST_FOREACH(conn, &listener->conns, link)
	conn_cut(conn);
	while (listener->in_flight || listener->n_conns) {
		/* A broken ring may still write to what it was given: leak. */
		if (loop_turn(listener->loop))
			return NULL;
	}
	return release(listener);
}

void listener_recount(struct listener *listener,
		      void (*each)(struct conn *conn, void *arg), void *arg)
{
	struct conn *conn;

	LIST_FOREACH(conn, &listener->conns, link)
	each(conn, arg);
}

uint32_t listener_connections(const struct listener *listener)
{
	return listener->n_conns;
}
