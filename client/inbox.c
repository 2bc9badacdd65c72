// SPDX-License-Identifier: BSD-2-Clause
/*
 * An answer takes microseconds. To go to sleep for it and be woken again takes
 * as long, and several times as long where the processor that is to wake this
 * one has to send a virtual machine's interrupt. So an answer is waited for
 * awake for a moment; in between others may run, the daemon perhaps, where it
 * shares the processor. Measured, that is quicker beside processes that only
 * compute, too, up to the 99th percentile (see lookup.* of the bench).
 *
 * Bytes and descriptors belong together: whatever becomes of the bytes, what
 * came with them is closed by inbox_clear(), unless somebody has taken it.
 *
 * libprotobuf-c says of a message that it cannot make no more than that; whether
 * it is malformed or there is no memory for it, its allocator knows.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/clock.h"
#include "client/inbox.h"

#define INBOX_ROOM (64U << 10)
#define AWAKE_NS   50000

void inbox_clear(struct inbox *inbox)
{
	for (unsigned int i = 0; i < inbox->n_fds; i++)
		close(inbox->fds[i]);
	free(inbox->bytes);
	*inbox = (struct inbox){ 0 };
}

/* Takes what fits and closes the rest. */
static void take_fds(struct inbox *inbox, struct msghdr *message)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (inbox->n_fds < FRAME_FDS_MAX)
				inbox->fds[inbox->n_fds++] = fd;
			else
				close(fd);
		}
	}
}

/* As recvmsg(); awake for a moment, see the note above. */
static ssize_t receive_soon(int fd, struct msghdr *message)
{
	int64_t asleep_at = now_ns() + AWAKE_NS;
	ssize_t n;

	do {
		n = recvmsg(fd, message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (n >= 0 || errno != EAGAIN)
			return n;
		sched_yield();
	} while (now_ns() < asleep_at);
	return recvmsg(fd, message, MSG_CMSG_CLOEXEC);
}

static int receive_some(struct inbox *inbox, int fd, int64_t deadline)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(inbox->fds))];
	struct iovec bytes = { .iov_base = inbox->bytes + inbox->size,
			       .iov_len = inbox->room - inbox->size };
	struct msghdr message = { .msg_iov = &bytes,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	ssize_t n = receive_soon(fd, &message);

	if (n < 0 && errno == EINTR && now_ms() < deadline)
		return 0;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -ETIMEDOUT : -errno;
	take_fds(inbox, &message);
	if (n == 0)
		return -ECONNRESET;
	inbox->size += (size_t)n;
	return 0;
}

static int reserve(struct inbox *inbox, size_t room)
{
	uint8_t *bytes;

	if (inbox->room >= room)
		return 0;
	bytes = realloc(inbox->bytes, room);
	if (!bytes)
		return -ENOMEM;
	inbox->bytes = bytes;
	inbox->room = room;
	return 0;
}

int inbox_receive(struct inbox *inbox, int fd, bool several, int64_t deadline,
		  uint32_t *body)
{
	int r = reserve(inbox, several ? FRAME_HEADER : INBOX_ROOM);

	while (!r) {
		uint32_t length = 0;

		r = frame_check(inbox->bytes, inbox->size, FRAME_REPLY_MAX,
				body);
		if (r)
			break;
		if (inbox->size >= FRAME_HEADER)
			memcpy(&length, inbox->bytes, FRAME_HEADER);
		r = reserve(inbox, FRAME_HEADER + (size_t)length);
		if (!r && now_ms() >= deadline)
			r = -ETIMEDOUT;
		if (!r)
			r = receive_some(inbox, fd, deadline);
	}
	return r < 0 ? r : 0;
}

static void *take_memory(void *failed, size_t size)
{
	void *at = malloc(size);

	if (!at)
		*(bool *)failed = true;
	return at;
}

static void give_memory(void *failed, void *at)
{
	(void)failed;
	free(at);
}

int inbox_unpack(Treekv__Reply **ret, const struct inbox *inbox, uint32_t body)
{
	bool failed = false;
	ProtobufCAllocator memory = { take_memory, give_memory, &failed };

	*ret = treekv__reply__unpack(&memory, body,
				     inbox->bytes + FRAME_HEADER);
	if (*ret)
		return 0;
	return failed ? -ENOMEM : -EPROTO;
}

void inbox_consume(struct inbox *inbox, uint32_t body)
{
	inbox->size -= FRAME_HEADER + body;
	memmove(inbox->bytes, inbox->bytes + FRAME_HEADER + body, inbox->size);
}
