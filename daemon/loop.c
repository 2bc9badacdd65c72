// SPDX-License-Identifier: BSD-2-Clause
/*
 * The ring is set up for one thread that submits and reaps (SINGLE_ISSUER,
 * DEFER_TASKRUN): the kernel then does its share of the work inside our own
 * io_uring_enter() instead of interrupting us, and TASKRUN_FLAG says in shared
 * memory whether there is any, so that a busy loop looks for completions
 * without a system call. Kernels that lack these do the same with more
 * interruptions.
 *
 * A completion is copied and its entry given back before it is delivered:
 * done() may queue, submit and cancel whatever it likes. When the completion
 * queue is full the kernel keeps the rest on a list and hands it over at the
 * next enter; the price is that multishot operations end, which is why polls
 * are armed again here, and accepts and receives by their owners.
 *
 * A ring starts disabled: until somebody takes it over it belongs to nobody, so
 * that the control thread makes all rings while it still may, and each thread
 * then comes into its own.
 *
 * Polls, accepts and receives never block on this thread; an idle loop sits in
 * one io_uring_enter() without timeout.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/log.h"
#include "daemon/loop.h"

/* Linux 6.0 came with it, as with multishot receive: the last thing we need. */
#define NEWEST_OPCODE IORING_OP_SEND_ZC

#define TRIES_MAX 1000

/*
 * All that is ever asked of a ring. What goes through one passes no seccomp
 * filter, so the ring itself refuses the rest, with EACCES.
 */
static const uint8_t operations[] = {
	IORING_OP_NOP,	      IORING_OP_POLL_ADD, IORING_OP_TIMEOUT,
	IORING_OP_ACCEPT,     IORING_OP_RECV,	  IORING_OP_SENDMSG,
	IORING_OP_MSG_RING,   IORING_OP_READ,	  IORING_OP_WRITE,
	IORING_OP_READ_FIXED, IORING_OP_FSYNC,	  IORING_OP_WRITE_FIXED,
	IORING_OP_FALLOCATE,  IORING_OP_OPENAT,	  IORING_OP_MKDIRAT,
	IORING_OP_RENAMEAT,   IORING_OP_UNLINKAT, IORING_OP_ASYNC_CANCEL,
};
static const uint8_t registrations[] = {
	IORING_REGISTER_BUFFERS,	  IORING_UNREGISTER_BUFFERS,
	IORING_REGISTER_PBUF_RING,	  IORING_UNREGISTER_PBUF_RING,
	IORING_REGISTER_IOWQ_MAX_WORKERS,
};

#define OPERATIONS    (sizeof(operations) / sizeof(*operations))
#define REGISTRATIONS (sizeof(registrations) / sizeof(*registrations))
#define SQE_FLAGS     (IOSQE_ASYNC | IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS)

static int io_uring_disabled(void)
{
	FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
	int value = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%d", &value) != 1)
		value = 0;
	fclose(file);
	return value;
}

static const char *why_not_permitted(void)
{
	switch (io_uring_disabled()) {
	case 0:
		return "io_uring is refused (EPERM), though not by sysctl "
		       "kernel.io_uring_disabled: most likely a seccomp "
		       "filter; allow io_uring_setup, io_uring_enter and "
		       "io_uring_register (container: a seccomp profile with "
		       "them; unit: SystemCallFilter=@aio)";
	case 1:
		return "io_uring is refused (EPERM): sysctl "
		       "kernel.io_uring_disabled is 1, so only members of "
		       "kernel.io_uring_group and CAP_SYS_ADMIN may use it; "
		       "set it to 0, or kernel.io_uring_group to the daemon's "
		       "group";
	default:
		return "io_uring is refused (EPERM): sysctl "
		       "kernel.io_uring_disabled is 2; run sysctl -w "
		       "kernel.io_uring_disabled=0";
	}
}

static const char *why_refused(int error)
{
	static char text[160];

	switch (error) {
	case -ENOSYS:
		return "io_uring is missing (ENOSYS): treekvd needs Linux 6.0 "
		       "or newer with CONFIG_IO_URING; in a container also a "
		       "seccomp filter may hide it: allow io_uring_setup, "
		       "io_uring_enter and io_uring_register";
	case -EPERM:
	case -EACCES:
		return why_not_permitted();
	case -ENOMEM:
		return "io_uring got no memory (ENOMEM): raise RLIMIT_MEMLOCK "
		       "(ulimit -l; unit: LimitMEMLOCK=64M), or free some";
	case -EMFILE:
	case -ENFILE:
		return "io_uring got no descriptor (EMFILE): raise "
		       "RLIMIT_NOFILE (ulimit -n; unit: LimitNOFILE=)";
	}
	snprintf(text, sizeof(text), "io_uring cannot be set up: %s",
		 strerror(-error));
	return text;
}

/*
 * 6.1 and 6.2 know DEFER_TASKRUN, but MSG_RING posts into such a ring behind
 * its owner's back, who need not wake; 6.3 made it a task of the owner's.
 */
static bool may_defer(void)
{
	struct utsname name;
	int major = 0, minor = 0;

	if (uname(&name) || sscanf(name.release, "%d.%d", &major, &minor) != 2)
		return false;
	return major > 6 || (major == 6 && minor >= 3);
}

static int ring_init(struct io_uring *ring, unsigned int entries)
{
	static const unsigned int flags[] = {
		IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL |
			IORING_SETUP_SINGLE_ISSUER |
			IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL,
		IORING_SETUP_CLAMP,
	};
	int r = -EINVAL;

	for (size_t i = !may_defer(); i < 3 && r == -EINVAL; i++)
		r = io_uring_queue_init(entries, ring,
					flags[i] | IORING_SETUP_R_DISABLED);
	return r;
}

static bool ring_is_new_enough(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool yes = probe && io_uring_opcode_supported(probe, NEWEST_OPCODE);

	io_uring_free_probe(probe);
	return yes;
}

/* liburing 2.3 declares these two but does not export them. */
static int ring_register(struct io_uring *ring, unsigned int opcode,
			 const void *argument, unsigned int n)
{
	if (syscall(SYS_io_uring_register, ring->ring_fd, opcode, argument, n))
		return -errno;
	return 0;
}

static int ring_restrict(struct io_uring *ring)
{
	struct io_uring_restriction list[OPERATIONS + REGISTRATIONS + 1];
	unsigned int n = 0;

	memset(list, 0, sizeof(list));
	for (size_t i = 0; i < OPERATIONS; i++) {
		list[n].opcode = IORING_RESTRICTION_SQE_OP;
		list[n++].sqe_op = operations[i];
	}
	for (size_t i = 0; i < REGISTRATIONS; i++) {
		list[n].opcode = IORING_RESTRICTION_REGISTER_OP;
		list[n++].register_op = registrations[i];
	}
	list[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	list[n++].sqe_flags = SQE_FLAGS;
	return ring_register(ring, IORING_REGISTER_RESTRICTIONS, list, n);
}

int loop_make(struct loop *loop, unsigned int entries, const char **why)
{
	int r;

	memset(loop, 0, sizeof(*loop));
	r = ring_init(&loop->ring, entries);
	if (r >= 0) {
		r = ring_is_new_enough(&loop->ring) ?
			    ring_restrict(&loop->ring) :
			    -ENOSYS;
		if (r)
			io_uring_queue_exit(&loop->ring);
	}
	if (r < 0) {
		*why = why_refused(r);
		return r;
	}
	return 0;
}

int loop_own(struct loop *loop, const char **why)
{
	int r = ring_register(&loop->ring, IORING_REGISTER_ENABLE_RINGS, NULL,
			      0);

	if (r)
		*why = why_refused(r);
	return r;
}

int loop_init(struct loop *loop, unsigned int entries, const char **why)
{
	int r = loop_make(loop, entries, why);

	if (r)
		return r;
	r = loop_own(loop, why);
	if (r)
		loop_exit(loop);
	return r;
}

void loop_exit(struct loop *loop)
{
	io_uring_queue_exit(&loop->ring);
}

/* Errors that pass: a signal, a full completion queue, no memory just now. */
static bool is_passing(int error)
{
	return error == -EINTR || error == -EAGAIN || error == -EBUSY;
}

/* The ring is unusable and nothing can be told to anybody by it. */
__attribute__((noreturn)) static void broken(int error)
{
	log_error("io_uring broke", "error=\"%s\"", strerror(-error));
	abort();
}

struct io_uring_sqe *loop_sqe(struct loop *loop, struct loop_op *op)
{
	struct io_uring_sqe *sqe;
	int r = 0;

	for (int i = 0; i < TRIES_MAX; i++) {
		sqe = io_uring_get_sqe(&loop->ring);
		if (sqe) {
			io_uring_sqe_set_data(sqe, op);
			return sqe;
		}
		r = io_uring_submit(&loop->ring);
		if (r < 0 && !is_passing(r))
			broken(r);
		if (r < 0)
			sched_yield();
	}
	broken(r < 0 ? r : -EBUSY);
}

/* Inside of loop_deliver() the next enter does it, together with the rest. */
static void submit_soon(struct loop *loop)
{
	int r = 0;

	if (loop->delivering)
		return;
	for (int i = 0; i < TRIES_MAX; i++) {
		r = io_uring_submit(&loop->ring);
		if (r >= 0)
			return;
		if (!is_passing(r))
			broken(r);
		sched_yield();
	}
	broken(r);
}

static void poll_arm(struct loop *loop, struct loop_op *op)
{
	struct io_uring_sqe *sqe = loop_sqe(loop, op);

	io_uring_prep_poll_multishot(sqe, op->poll_fd, POLLIN);
}

void loop_poll(struct loop *loop, int fd, struct loop_op *op)
{
	op->poll_fd = fd;
	op->polling = true;
	poll_arm(loop, op);
}

void loop_poll_once(struct loop *loop, int fd, struct loop_op *op)
{
	struct io_uring_sqe *sqe = loop_sqe(loop, op);

	op->polling = false;
	io_uring_prep_poll_add(sqe, fd, POLLIN);
}

void loop_cancel(struct loop *loop, struct loop_op *op)
{
	/* -ENOENT, -EALREADY: it is completing by itself. Nobody is told. */
	struct io_uring_sqe *sqe = loop_sqe(loop, NULL);

	op->polling = false;
	io_uring_prep_cancel(sqe, op, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

/*
 * A job that is lost is waited for without end, by clients and by an orderly
 * stop, and later ones have overtaken it by now, so that it cannot come after
 * them. The next daemon finds everything whole.
 */
static void post_lost(struct loop_op *op, int res, unsigned int flags)
{
	(void)op;
	(void)flags;
	log_error("message to another thread lost", "error=\"%s\"",
		  strerror(-res));
	abort();
}

void loop_post(struct loop *from, struct loop *to, struct loop_op *op, int res)
{
	/* Hears of failures only: the target is gone, or memory. */
	static struct loop_op lost = { .done = post_lost };
	struct io_uring_sqe *sqe = loop_sqe(from, &lost);

	io_uring_prep_msg_ring(sqe, to->ring.ring_fd, (unsigned int)res,
			       (uintptr_t)op, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	/*
	 * Pairs with the acquire in deliver_one(). The kernel orders the two
	 * anyhow, but neither the language nor ThreadSanitizer knows.
	 */
	atomic_fetch_add_explicit(&to->posts, 1, memory_order_release);
	submit_soon(from);
}

static bool next_completion(struct loop *loop, struct io_uring_cqe *ret)
{
	struct io_uring_cqe *cqe;
	unsigned int head;

	io_uring_for_each_cqe(&loop->ring, head, cqe) {
		ret->user_data = cqe->user_data;
		ret->res = cqe->res;
		ret->flags = cqe->flags;
		io_uring_cq_advance(&loop->ring, 1);
		return true;
	}
	return false;
}

static void deliver_one(struct loop *loop, const struct io_uring_cqe *cqe)
{
	struct loop_op *op = io_uring_cqe_get_data(cqe);
	unsigned int flags = cqe->flags;

	if (!op)
		return;
	atomic_load_explicit(&loop->posts, memory_order_acquire);
	if (op->polling && !(flags & IORING_CQE_F_MORE)) {
		op->polling = cqe->res >= 0;
		if (op->polling) {
			poll_arm(loop, op);
			flags |= IORING_CQE_F_MORE;
		}
	}
	op->done(op, cqe->res, flags);
}

static void loop_deliver(struct loop *loop)
{
	struct io_uring_cqe cqe;

	loop->delivering = true;
	while (next_completion(loop, &cqe))
		deliver_one(loop, &cqe);
	loop->delivering = false;
}

/* Hands what is queued to the kernel and waits for @wait completions. */
static int loop_enter(struct loop *loop, unsigned int wait)
{
	int r;

	if (wait)
		r = io_uring_submit_and_wait(&loop->ring, wait);
	else
		r = io_uring_submit(&loop->ring);
	return r < 0 && !is_passing(r) ? r : 0;
}

/*
 * Waits awake, for a while: for who asks again at once, and others' processors
 * sleep deeply. Who shares this one may run in between. Return: is there more?
 */
static bool stay_awake(struct loop *loop)
{
	uint64_t asleep_at = clock_ns() + loop->awake_ns;
	int r;

	if (!loop->awake_ns)
		return false;
	do {
		r = io_uring_submit_and_get_events(&loop->ring);
		if (r < 0 || io_uring_cq_ready(&loop->ring))
			return true;
		sched_yield();
	} while (clock_ns() < asleep_at);
	return false;
}

int loop_turn(struct loop *loop)
{
	int r = loop_enter(loop, 1);

	loop_deliver(loop);
	return r;
}

int loop_run(struct loop *loop)
{
	bool more;
	int r = 0;

	while (!loop->stop && !r) {
		more = false;
		loop_deliver(loop);
		if (!loop->stop && loop->idle) {
			loop->delivering = true;
			more = loop->idle(loop);
			loop->delivering = false;
		}
		if (!more && !loop->stop)
			more = stay_awake(loop);
		r = loop_enter(loop, more || loop->stop ? 0 : 1);
	}
	return r;
}
