// SPDX-License-Identifier: BSD-2-Clause
/*
 * What only the daemon calls: rings, and the two functions in which its calls
 * count.
 *
 * What is handed to a ring fails in the kernel: the operation becomes a no-op
 * that completes with the error, in its turn and with all that belongs to it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <liburing.h>
#include <stdint.h>
#include <string.h>

#include "daemon/control.h"
#include "tests/fault/wrap.h"

#define NOP_INJECT_RESULT (1U << 0) /* IORING_NOP_INJECT_RESULT */
#define BLOCK		  4096U

/* clang-format off */
WRAP(FAULT_RING, int, io_uring_queue_init, (unsigned int n, struct io_uring *ring, unsigned int flags), (n, ring, flags), -errno)
WRAP(FAULT_RING, int, io_uring_register_buf_ring, (struct io_uring *ring, struct io_uring_buf_reg *reg, unsigned int flags), (ring, reg, flags), -errno)
WRAP(FAULT_RING, int, io_uring_register_buffers, (struct io_uring *ring, const struct iovec *at, unsigned int n), (ring, at, n), -errno)
/* clang-format on */

/* ---- what is handed over ---- */

static bool is_of_files(const struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_WRITE:
	case IORING_OP_READ_FIXED:
	case IORING_OP_WRITE_FIXED:
	case IORING_OP_FSYNC:
	case IORING_OP_FALLOCATE:
	case IORING_OP_OPENAT:
	case IORING_OP_MKDIRAT:
	case IORING_OP_RENAMEAT:
	case IORING_OP_UNLINKAT:
		return true;
	}
	return false;
}

static bool can_be_short(const struct io_uring_sqe *sqe)
{
	return (sqe->opcode == IORING_OP_READ ||
		sqe->opcode == IORING_OP_WRITE ||
		sqe->opcode == IORING_OP_READ_FIXED ||
		sqe->opcode == IORING_OP_WRITE_FIXED) &&
	       sqe->len > BLOCK;
}

static bool is_of_connections(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_SEND ||
	       sqe->opcode == IORING_OP_SENDMSG ||
	       sqe->opcode == IORING_OP_RECV;
}

static void make_fail(struct io_uring_sqe *sqe, int error)
{
	uint64_t data = sqe->user_data;

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_NOP;
	sqe->user_data = data;
	sqe->rw_flags = NOP_INJECT_RESULT;
	sqe->len = (uint32_t)-error;
}

/* What is about to be handed over. */
static void look_at(struct io_uring *ring)
{
	struct io_uring_sq *sq = &ring->sq;

	for (unsigned int i = sq->sqe_head; i != sq->sqe_tail; i++) {
		struct io_uring_sqe *sqe = &sq->sqes[i & *sq->kring_mask];
		int error = 0;

		if (is_of_files(sqe))
			error = fault_hits(FAULT_DISK);
		if (is_of_connections(sqe))
			error = fault_hits(FAULT_NET);
		if (error)
			make_fail(sqe, error);
		if (can_be_short(sqe) && fault_hits(FAULT_SHORT))
			sqe->len = sqe->len / 2 & ~(BLOCK - 1) ?
					   sqe->len / 2 & ~(BLOCK - 1) :
					   BLOCK;
	}
}

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
	if (fault_fails(FAULT_SUBMIT))
		return -errno;
	look_at(ring);
	return __real_io_uring_submit(ring);
}

int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n)
{
	if (fault_fails(FAULT_SUBMIT))
		return -errno;
	look_at(ring);
	return __real_io_uring_submit_and_wait(ring, n);
}

bool fault_completions(void)
{
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	bool yes = false;

	if (__real_io_uring_queue_init(4, &ring, 0))
		return false;
	make_fail(io_uring_get_sqe(&ring), EIO);
	if (__real_io_uring_submit_and_wait(&ring, 1) == 1 &&
	    !io_uring_peek_cqe(&ring, &cqe))
		yes = cqe->res == -EIO;
	io_uring_queue_exit(&ring);
	return yes;
}

/* ---- whose calls count ---- */

int __real_loop_run(struct loop *loop);
int __wrap_loop_run(struct loop *loop);
int __wrap_loop_run(struct loop *loop)
{
	bool before = fault_count_here(true);
	int r;

	r = __real_loop_run(loop);
	fault_count_here(before);
	return r;
}

int __real_control_start(const struct config *config, const char **why);
int __wrap_control_start(const struct config *config, const char **why);
int __wrap_control_start(const struct config *config, const char **why)
{
	bool before = fault_count_here(true);
	int r;

	r = __real_control_start(config, why);
	fault_count_here(before);
	return r;
}
