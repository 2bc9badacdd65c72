// SPDX-License-Identifier: BSD-2-Clause
/*
 * The linker puts __wrap_X() where our objects call X(): for every X that
 * stands in a line "WRAP(...)" below, which is where the Makefile has them from.
 * Libraries call what they always did.
 *
 * What is handed to a ring fails in the kernel: the operation becomes a no-op
 * that completes with the error, in its turn and with all that belongs to it.
 * MSG_RING is left alone: where the kernel cannot even do that, nobody can be
 * told of it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "daemon/control.h"
#include "tests/fault/fault.h"

#define NOP_INJECT_RESULT (1U << 0) /* IORING_NOP_INJECT_RESULT */
#define BLOCK		  4096U

const struct fault faults[] = {
	{ "malloc", FAULT_ALLOC, ENOMEM },
	{ "open", FAULT_OPEN, EMFILE },
	{ "mmap", FAULT_MAP, ENOMEM },
	{ "ftruncate", FAULT_SIZE, ENOSPC },
	{ "fcntl", FAULT_CONTROL, ENOMEM },
	{ "read", FAULT_READ, EIO },
	{ "read", FAULT_READ, EINTR },
	{ "write", FAULT_WRITE, EIO },
	{ "write", FAULT_WRITE, EINTR },
	{ "stat", FAULT_LOOK, EIO },
	{ "unlink", FAULT_NAME, ENOSPC },
	{ "pthread_create", FAULT_THREAD, EAGAIN },
	{ "io_uring_setup", FAULT_RING, ENOMEM },
	{ "io_uring_enter", FAULT_SUBMIT, EINTR },
	{ "io_uring_enter", FAULT_SUBMIT, EAGAIN },
	{ "disk", FAULT_DISK, EIO },
	{ "disk", FAULT_DISK, ENOSPC },
	{ "disk", FAULT_DISK, EINTR },
	{ "disk", FAULT_DISK, ENOMEM },
	{ "disk, short", FAULT_SHORT, 0 },
	{ "connection", FAULT_NET, EINTR },
	{ "connection", FAULT_NET, ENOMEM },
};

const size_t faults_count = sizeof(faults) / sizeof(*faults);

static struct {
	_Atomic(const struct fault *) fault; /* NULL: none */
	atomic_uint left; /* calls until the one that fails */
	atomic_bool hit;
} armed;

static __thread bool counts;

void fault_arm(const struct fault *fault, unsigned int nth)
{
	atomic_store(&armed.left, nth);
	atomic_store(&armed.hit, false);
	atomic_store(&armed.fault, fault);
}

bool fault_disarm(void)
{
	atomic_store(&armed.fault, NULL);
	return atomic_load(&armed.hit);
}

void fault_count_here(bool yes)
{
	counts = yes;
}

/* Return: 0, or the errno that this call is to fail with. */
static int hits(enum fault_group group)
{
	const struct fault *fault = atomic_load(&armed.fault);

	if (!counts || !fault || fault->group != group ||
	    atomic_load(&armed.hit) || atomic_fetch_sub(&armed.left, 1) != 1)
		return 0;
	atomic_store(&armed.hit, true);
	if (getenv("FAULT_TRAP"))
		__builtin_trap(); /* for a debugger */
	return fault->error ? fault->error : -1;
}

static bool fails(enum fault_group group)
{
	int error = hits(group);

	if (error)
		errno = error;
	return error;
}

/* WRAP(GROUP, TYPE, NAME, (PARAMETERS), (ARGUMENTS), FAILED) */
#define WRAP(group, type, name, parameters, arguments, failed)            \
	type __real_##name parameters;                                    \
	type __wrap_##name parameters;                                    \
	type __wrap_##name parameters                                     \
	{                                                                 \
		return fails(group) ? (failed) : __real_##name arguments; \
	}

/* clang-format off */
WRAP(FAULT_ALLOC, void *, malloc, (size_t size), (size), NULL)
WRAP(FAULT_ALLOC, void *, calloc, (size_t n, size_t size), (n, size), NULL)
WRAP(FAULT_ALLOC, void *, realloc, (void *old, size_t size), (old, size), NULL)
WRAP(FAULT_ALLOC, char *, strdup, (const char *text), (text), NULL)
WRAP(FAULT_ALLOC, char *, strndup, (const char *text, size_t n), (text, n), NULL)
WRAP(FAULT_ALLOC, FILE *, open_memstream, (char **to, size_t *size), (to, size), NULL)
WRAP(FAULT_OPEN, int, open, (const char *path, int flags, mode_t mode), (path, flags, mode), -1)
WRAP(FAULT_OPEN, FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL)
WRAP(FAULT_OPEN, DIR *, opendir, (const char *path), (path), NULL)
WRAP(FAULT_OPEN, int, memfd_create, (const char *name, unsigned int flags), (name, flags), -1)
WRAP(FAULT_OPEN, int, eventfd, (unsigned int value, int flags), (value, flags), -1)
WRAP(FAULT_OPEN, int, pipe2, (int ends[2], int flags), (ends, flags), -1)
WRAP(FAULT_OPEN, int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1)
WRAP(FAULT_OPEN, int, accept4, (int fd, struct sockaddr *at, socklen_t *size, int flags), (fd, at, size, flags), -1)
WRAP(FAULT_MAP, void *, mmap, (void *at, size_t size, int access, int flags, int fd, off_t offset), (at, size, access, flags, fd, offset), MAP_FAILED)
WRAP(FAULT_SIZE, int, ftruncate, (int fd, off_t size), (fd, size), -1)
WRAP(FAULT_SIZE, int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size), -1)
WRAP(FAULT_CONTROL, int, fcntl, (int fd, int what, long value), (fd, what, value), -1)
WRAP(FAULT_CONTROL, int, dup3, (int fd, int to, int flags), (fd, to, flags), -1)
WRAP(FAULT_READ, ssize_t, read, (int fd, void *to, size_t size), (fd, to, size), -1)
WRAP(FAULT_READ, ssize_t, pread, (int fd, void *to, size_t size, off_t at), (fd, to, size, at), -1)
WRAP(FAULT_READ, ssize_t, recv, (int fd, void *to, size_t size, int flags), (fd, to, size, flags), -1)
WRAP(FAULT_READ, ssize_t, recvmsg, (int fd, struct msghdr *to, int flags), (fd, to, flags), -1)
WRAP(FAULT_WRITE, ssize_t, send, (int fd, const void *from, size_t size, int flags), (fd, from, size, flags), -1)
WRAP(FAULT_WRITE, ssize_t, sendmsg, (int fd, const struct msghdr *from, int flags), (fd, from, flags), -1)
WRAP(FAULT_LOOK, int, fstat, (int fd, struct stat *ret), (fd, ret), -1)
WRAP(FAULT_LOOK, int, fstatfs, (int fd, struct statfs *ret), (fd, ret), -1)
WRAP(FAULT_LOOK, int, getsockopt, (int fd, int level, int name, void *to, socklen_t *size), (fd, level, name, to, size), -1)
WRAP(FAULT_LOOK, int, setsockopt, (int fd, int level, int name, const void *to, socklen_t size), (fd, level, name, to, size), -1)
WRAP(FAULT_NAME, int, mkdir, (const char *path, mode_t mode), (path, mode), -1)
WRAP(FAULT_NAME, int, unlink, (const char *path), (path), -1)
WRAP(FAULT_NAME, int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags), -1)
WRAP(FAULT_NAME, int, chmod, (const char *path, mode_t mode), (path, mode), -1)
WRAP(FAULT_NAME, int, fchmod, (int fd, mode_t mode), (fd, mode), -1)
WRAP(FAULT_NAME, int, bind, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size), -1)
WRAP(FAULT_NAME, int, listen, (int fd, int backlog), (fd, backlog), -1)
WRAP(FAULT_NAME, int, connect, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size), -1)
WRAP(FAULT_NAME, int, flock, (int fd, int what), (fd, what), -1)
WRAP(FAULT_NAME, int, fsync, (int fd), (fd), -1)
WRAP(FAULT_THREAD, int, pthread_create, (pthread_t *ret, const pthread_attr_t *how, void *(*run)(void *), void *arg), (ret, how, run, arg), errno)
WRAP(FAULT_RING, int, io_uring_queue_init, (unsigned int n, struct io_uring *ring, unsigned int flags), (n, ring, flags), -errno)
WRAP(FAULT_RING, int, io_uring_register_buf_ring, (struct io_uring *ring, struct io_uring_buf_reg *reg, unsigned int flags), (ring, reg, flags), -errno)
WRAP(FAULT_RING, int, io_uring_register_buffers, (struct io_uring *ring, const struct iovec *at, unsigned int n), (ring, at, n), -errno)
/* clang-format on */

/* Only what makes a descriptor; futexes do not fail. */
long __real_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_pidfd_open && fails(FAULT_OPEN))
		return -1;
	return __real_syscall(number, a, b, c, d, e, f);
}

/* ---- rings ---- */

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
			error = hits(FAULT_DISK);
		if (is_of_connections(sqe))
			error = hits(FAULT_NET);
		if (error)
			make_fail(sqe, error);
		if (can_be_short(sqe) && hits(FAULT_SHORT))
			sqe->len = sqe->len / 2 & ~(BLOCK - 1) ?
					   sqe->len / 2 & ~(BLOCK - 1) :
					   BLOCK;
	}
}

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
	if (fails(FAULT_SUBMIT))
		return -errno;
	look_at(ring);
	return __real_io_uring_submit(ring);
}

int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n)
{
	if (fails(FAULT_SUBMIT))
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
	bool before = counts;
	int r;

	counts = true;
	r = __real_loop_run(loop);
	counts = before;
	return r;
}

int __real_control_start(const struct config *config, const char **why);
int __wrap_control_start(const struct config *config, const char **why);
int __wrap_control_start(const struct config *config, const char **why)
{
	bool before = counts;
	int r;

	counts = true;
	r = __real_control_start(config, why);
	counts = before;
	return r;
}
