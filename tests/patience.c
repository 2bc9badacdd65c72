// SPDX-License-Identifier: BSD-2-Clause
/*
 * What a program with rings needs under valgrind, which runs one thread at a time
 * and (3.19) takes io_uring_enter() for a call that does not wait: a loop that
 * sleeps in it lets no other thread run. So it sleeps in poll() instead, and to be
 * woken there by what completes it has a ring of the kind that kernels before 6.3
 * have; loop.c asks for such a one when the first is refused.
 *
 * Preloaded, by tests/valgrind.sh; it stands before liburing's.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>

int io_uring_queue_init(unsigned int entries, struct io_uring *ring,
			unsigned int flags)
{
	int (*next)(unsigned int, struct io_uring *, unsigned int);
	void *at = dlsym(RTLD_NEXT, "io_uring_queue_init");

	if (!at)
		return -ENOSYS;
	if (flags & IORING_SETUP_DEFER_TASKRUN)
		return -EINVAL;
	memcpy(&next, &at, sizeof(next));
	return next(entries, ring, flags);
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned int wait)
{
	struct pollfd completions = { .fd = ring->ring_fd, .events = POLLIN };
	int submitted = io_uring_submit(ring);
	int r = 0;

	while (submitted >= 0 && r >= 0 && io_uring_cq_ready(ring) < wait)
		r = poll(&completions, 1, -1) < 0 ? -errno :
						    io_uring_get_events(ring);
	return r < 0 ? r : submitted;
}
