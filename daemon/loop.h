/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One io_uring and the operations in flight on it. The control thread and each
 * worker run one; they reach each other by MSG_RING, so that whatever wakes a
 * thread comes out of its one completion queue, and an idle daemon never wakes.
 *
 * A loop belongs to the thread that called loop_init() or loop_own(): all else
 * here is for that thread alone, but for the @to of loop_post().
 */
#ifndef TREEKVD_LOOP_H
#define TREEKVD_LOOP_H

#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * An operation in flight: embedded in whatever it is for, which must stay until
 * the last completion (flags without IORING_CQE_F_MORE) has been delivered.
 * Zero but for @done at first.
 */
struct loop_op {
	void (*done)(struct loop_op *op, int res, unsigned int flags);
	int poll_fd; /* loop.c's: what a multishot poll watches */
	bool polling;
};

/* What @op is embedded in as @member. */
#define loop_entry(op, type, member) \
	((type *)((char *)(op)-offsetof(type, member)))

struct loop {
	struct io_uring ring;
	bool stop;
	/* Called when every completion at hand is done, before sleeping. */
	bool (*idle)(struct loop *loop); /* true: there is more to do */
	bool delivering;
	uint64_t awake_ns; /* after a completion, before sleeping; 0: none */
	atomic_uint posts; /* come in from other threads */
};

/**
 * loop_make - set a ring up that is nobody's yet
 * @why: on failure set to what refused io_uring and what to do about it
 *
 * Return: 0 or a negative errno.
 */
int loop_make(struct loop *loop, unsigned int entries, const char **why);

/* From now on it is the caller's. Return: as loop_make(). */
int loop_own(struct loop *loop, const char **why);

/* Both. */
int loop_init(struct loop *loop, unsigned int entries, const char **why);
void loop_exit(struct loop *loop);

/* Never fails: submits what is queued when the queue is full. */
struct io_uring_sqe *loop_sqe(struct loop *loop, struct loop_op *op);

/* Multishot: @op->done is called each time @fd becomes readable. */
void loop_poll(struct loop *loop, int fd, struct loop_op *op);

/* Once: @op->done is called when @fd becomes readable (a pidfd: has ended). */
void loop_poll_once(struct loop *loop, int fd, struct loop_op *op);

/* @op completes with -ECANCELED, unless it has completed already. */
void loop_cancel(struct loop *loop, struct loop_op *op);

/*
 * Another thread's loop calls @op->done(op, res, 0). @from is the caller's and
 * may be @to. @to must not have been exited. What the kernel does not pass on, for
 * want of memory, ends the process.
 */
void loop_post(struct loop *from, struct loop *to, struct loop_op *op, int res);

/* Runs until loop->stop. Return: 0 or the errno of a broken ring. */
int loop_run(struct loop *loop);

/*
 * Waits for one completion and delivers what is at hand, whatever stop says:
 * for teardown, until the last operation is back. Return: as loop_run().
 */
int loop_turn(struct loop *loop);

#endif /* TREEKVD_LOOP_H */
