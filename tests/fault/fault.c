// SPDX-License-Identifier: BSD-2-Clause
/*
 * The calls of libc. Libraries call what they always did: but messages, which
 * libprotobuf-c makes of our allocator, or of none, in which case they are
 * taken as one allocation.
 *
 * What a thread that counts has allocated and not freed is known, so that a
 * thread which uses a library can tell whether it leaves something behind.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <protobuf-c/protobuf-c.h>

#include "tests/fault/wrap.h"

void *__real_calloc(size_t n, size_t size);
void __real_free(void *at);

static struct {
	_Atomic(const struct fault *) fault; /* NULL: none */
	atomic_uint left; /* calls until the one that fails */
	atomic_bool hit;
} armed;

static __thread bool counts;
static __thread long allocated; /* and not freed */
static __thread bool in_message; /* whose parts are counted as one */
static __thread unsigned int calls[FAULT_GROUPS];

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

bool fault_count_here(bool yes)
{
	bool before = counts;

	counts = yes;
	return before;
}

unsigned int fault_calls(enum fault_group group)
{
	return calls[group];
}

long fault_allocated(void)
{
	return allocated;
}

void *fault_spare_calloc(size_t n, size_t size)
{
	return __real_calloc(n, size);
}

void fault_spare_free(void *at)
{
	__real_free(at);
}

int fault_hits(enum fault_group group)
{
	const struct fault *fault = atomic_load(&armed.fault);

	if (!counts)
		return 0;
	calls[group]++;
	if (!fault || fault->group != group || atomic_load(&armed.hit) ||
	    atomic_fetch_sub(&armed.left, 1) != 1)
		return 0;
	atomic_store(&armed.hit, true);
	if (getenv("FAULT_TRAP"))
		__builtin_trap(); /* for a debugger */
	return fault->error ? fault->error : -1;
}

bool fault_fails(enum fault_group group)
{
	int error = fault_hits(group);

	if (error)
		errno = error;
	return error;
}

/* ---- what is allocated ---- */

static void *count(void *new)
{
	allocated += new &&counts && !in_message;
	return new;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return fault_fails(FAULT_ALLOC) ? NULL : count(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return fault_fails(FAULT_ALLOC) ? NULL : count(__real_calloc(n, size));
}

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
	bool is_new = !old;
	void *at;

	if (fault_fails(FAULT_ALLOC))
		return NULL;
	at = __real_realloc(old, size);
	return is_new ? count(at) : at;
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
	return fault_fails(FAULT_ALLOC) ? NULL : count(__real_strdup(text));
}

char *__real_strndup(const char *text, size_t n);
char *__wrap_strndup(const char *text, size_t n);
char *__wrap_strndup(const char *text, size_t n)
{
	return fault_fails(FAULT_ALLOC) ? NULL : count(__real_strndup(text, n));
}

void __wrap_free(void *at);
void __wrap_free(void *at)
{
	allocated -= at && counts && !in_message;
	__real_free(at);
}

ProtobufCMessage *
__real_protobuf_c_message_unpack(const ProtobufCMessageDescriptor *of,
				 ProtobufCAllocator *by, size_t size,
				 const uint8_t *bytes);
ProtobufCMessage *
__wrap_protobuf_c_message_unpack(const ProtobufCMessageDescriptor *of,
				 ProtobufCAllocator *by, size_t size,
				 const uint8_t *bytes);
ProtobufCMessage *
__wrap_protobuf_c_message_unpack(const ProtobufCMessageDescriptor *of,
				 ProtobufCAllocator *by, size_t size,
				 const uint8_t *bytes)
{
	ProtobufCMessage *message;

	if (!by && fault_fails(FAULT_ALLOC))
		return NULL;
	in_message = true;
	message = __real_protobuf_c_message_unpack(of, by, size, bytes);
	in_message = false;
	return count(message);
}

void __real_protobuf_c_message_free_unpacked(ProtobufCMessage *message,
					     ProtobufCAllocator *by);
void __wrap_protobuf_c_message_free_unpacked(ProtobufCMessage *message,
					     ProtobufCAllocator *by);
void __wrap_protobuf_c_message_free_unpacked(ProtobufCMessage *message,
					     ProtobufCAllocator *by)
{
	allocated -= message && counts;
	in_message = true;
	__real_protobuf_c_message_free_unpacked(message, by);
	in_message = false;
}

/* ---- streams ---- */

/* A connection that is said to be lost is lost. */
static bool fails_on(int fd, enum fault_group group)
{
	if (!fault_fails(group))
		return false;
	if (errno == EPIPE || errno == ECONNRESET) {
		int error = errno;

		shutdown(fd, SHUT_RDWR);
		errno = error;
	}
	return true;
}

/* How often one looks in vain is a matter of luck, and no call that counts. */
static bool looks_in_vain(int fd, int flags)
{
	struct pollfd look = { .fd = fd, .events = POLLIN };

	return flags & MSG_DONTWAIT && !poll(&look, 1, 0);
}

ssize_t __real_recvmsg(int fd, struct msghdr *to, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *to, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *to, int flags)
{
	struct msghdr less = *to;
	struct iovec part;
	ssize_t n;

	if (looks_in_vain(fd, flags)) {
		errno = EAGAIN;
		return -1;
	}
	if (fails_on(fd, FAULT_READ))
		return -1;
	if (to->msg_iovlen == 1 && fault_hits(FAULT_PART)) {
		part = (struct iovec){ to->msg_iov->iov_base, 1 };
		less.msg_iov = &part;
	}
	if (to->msg_controllen && fault_hits(FAULT_PASSED))
		less.msg_controllen = CMSG_LEN(sizeof(int));
	n = __real_recvmsg(fd, &less, flags);
	to->msg_controllen = less.msg_controllen;
	to->msg_flags = less.msg_flags;
	to->msg_namelen = less.msg_namelen;
	return n;
}

ssize_t __real_send(int fd, const void *from, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *from, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *from, size_t size, int flags)
{
	if (fails_on(fd, FAULT_WRITE))
		return -1;
	if (size > 1 && fault_hits(FAULT_PART))
		size /= 2;
	return __real_send(fd, from, size, flags);
}

/* ---- what fails, and is otherwise as it was ---- */

/* clang-format off */
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
WRAP(FAULT_ADVISE, int, madvise, (void *at, size_t size, int advice), (at, size, advice), -1)
WRAP(FAULT_SIZE, int, ftruncate, (int fd, off_t size), (fd, size), -1)
WRAP(FAULT_SIZE, int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size), -1)
WRAP(FAULT_CONTROL, int, fcntl, (int fd, int what, long value), (fd, what, value), -1)
WRAP(FAULT_CONTROL, int, dup3, (int fd, int to, int flags), (fd, to, flags), -1)
WRAP(FAULT_READ, ssize_t, read, (int fd, void *to, size_t size), (fd, to, size), -1)
WRAP(FAULT_READ, ssize_t, pread, (int fd, void *to, size_t size, off_t at), (fd, to, size, at), -1)
WRAP(FAULT_READ, ssize_t, recv, (int fd, void *to, size_t size, int flags), (fd, to, size, flags), -1)
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
WRAP(FAULT_READ, ssize_t, getrandom, (void *to, size_t size, unsigned int flags), (to, size, flags), -1)
WRAP(FAULT_WRITE, ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size), -1)
WRAP(FAULT_OPEN, int, getgrnam_r, (const char *name, struct group *to, char *room, size_t size, struct group **ret), (name, to, room, size, ret), (*ret = NULL, errno))
/* clang-format on */

/* Only what makes a descriptor, or waits. */
long __real_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_pidfd_open && fault_fails(FAULT_OPEN))
		return -1;
	if (number == SYS_futex && fault_fails(FAULT_SLEEP))
		return -1;
	return __real_syscall(number, a, b, c, d, e, f);
}
