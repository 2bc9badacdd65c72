// SPDX-License-Identifier: BSD-2-Clause
/*
 * Between memory and disk the ring's own thread submits and the device works.
 * Between memory and memory there is no device: a write of a memfd goes to a
 * thread of the ring's, since memfds cannot be written without waiting, so that
 * filling rows and making their pages takes another core's time where there is
 * one, and none of the compactions' in any case. Left to itself the kernel has
 * such writes of one file follow each other on one thread. Where it is told to
 * (IOSQE_ASYNC) it does so before it has looked at the file, and then as many
 * threads as there are contend for the file's lock, spinning. Those threads are
 * held to a few: engines want the cores as well.
 *
 * The memory is asked for in huge pages, of the transparent kind: registering
 * and filling 4 KiB pages would cost each job some milliseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/log.h"
#include "daemon/staging.h"

#define MEMORY	  ((size_t)STAGING_SLOTS * STAGING_CHUNK)
#define HUGE_PAGE ((size_t)2 << 20)
#define THREADS	  4

static bool is_own(const struct staging_part *part)
{
	const struct staging *staging = part->slot->staging;

	return staging->registered && part->at >= staging->memory &&
	       part->at < staging->memory + MEMORY;
}

static void submit(struct staging_part *part)
{
	struct staging *staging = part->slot->staging;
	struct io_uring_sqe *sqe = loop_sqe(staging->loop, &part->op);
	int index = (int)(part->slot - staging->slot);
	uint8_t *at = part->at + part->moved;
	uint32_t size = part->size - part->moved;
	uint64_t offset = part->offset + part->moved;

	if (part->write && is_own(part))
		io_uring_prep_write_fixed(sqe, part->fd, at, size, offset,
					  index);
	else if (part->write)
		io_uring_prep_write(sqe, part->fd, at, size, offset);
	else if (is_own(part))
		io_uring_prep_read_fixed(sqe, part->fd, at, size, offset,
					 index);
	else
		io_uring_prep_read(sqe, part->fd, at, size, offset);
}

static void on_moved(struct loop_op *op, int res, unsigned int flags)
{
	struct staging_part *part = loop_entry(op, struct staging_part, op);
	struct staging_slot *slot = part->slot;
	int error = 0;

	(void)flags;
	if (res > 0)
		part->moved += (uint32_t)res;
	else if (!res)
		error = part->write ? -EIO : -ENODATA;
	else if (res != -EINTR && res != -EAGAIN)
		error = res;
	if (!error && part->moved < part->size) {
		submit(part);
		return;
	}
	if (!slot->error)
		slot->error = error;
	slot->staging->moving -= !part->copies;
	if (--slot->busy)
		return;
	slot->parts = 0;
	slot->staging->busy--;
}

static void begin(struct staging_slot *slot, const struct staging_part *from)
{
	struct staging_part *part = &slot->part[slot->parts++];

	*part = *from;
	part->op.done = on_moved;
	part->slot = slot;
	slot->staging->moving += !part->copies;
	slot->staging->busy += !slot->busy++;
	submit(part);
}

void staging_move(struct staging_slot *slot, int fd, bool write,
		  uint64_t offset, uint32_t size)
{
	begin(slot, &(struct staging_part){ .at = slot->at,
					    .offset = offset,
					    .size = size,
					    .fd = fd,
					    .write = write });
}

void staging_read_into(struct staging_slot *slot, int fd, uint8_t *to,
		       uint64_t offset, uint32_t size)
{
	begin(slot,
	      &(struct staging_part){
		      .at = to, .offset = offset, .size = size, .fd = fd });
}

void staging_fill(struct staging_slot *slot, int memfd, uint32_t at,
		  uint64_t offset, uint32_t size)
{
	begin(slot, &(struct staging_part){ .at = slot->at + at,
					    .offset = offset,
					    .size = size,
					    .fd = memfd,
					    .write = true,
					    .copies = true });
}

bool staging_is_busy(const struct staging *staging)
{
	return staging->busy || staging->single.busy || staging->present.busy;
}

void staging_clear(struct staging *staging)
{
	for (int i = 0; i < STAGING_SLOTS; i++)
		staging->slot[i].error = 0;
}

int staging_error(const struct staging *staging)
{
	for (int i = 0; i < STAGING_SLOTS; i++)
		if (staging->slot[i].error)
			return staging->slot[i].error;
	return 0;
}

/* ---- whatever else ---- */

static void on_single(struct loop_op *op, int res, unsigned int flags)
{
	struct staging_single *single =
		loop_entry(op, struct staging_single, op);

	(void)flags;
	single->result = res;
	single->busy = false;
}

static struct io_uring_sqe *begin_single(struct staging *staging,
					 struct staging_single *single)
{
	single->op.done = on_single;
	single->busy = true;
	return loop_sqe(staging->loop, &single->op);
}

void staging_fsync(struct staging *staging, int fd)
{
	io_uring_prep_fsync(begin_single(staging, &staging->single), fd, 0);
}

void staging_allocate(struct staging *staging, int fd, uint64_t size)
{
	io_uring_prep_fallocate(begin_single(staging, &staging->single), fd, 0,
				0, (off_t)size);
}

void staging_sleep(struct staging *staging, uint64_t ns)
{
	staging->time.tv_sec = (long long)(ns / 1000000000);
	staging->time.tv_nsec = (long long)(ns % 1000000000);
	io_uring_prep_timeout(begin_single(staging, &staging->single),
			      &staging->time, 0, 0);
}

void staging_open(struct staging *staging, const char *path, int flags)
{
	struct io_uring_sqe *sqe = begin_single(staging, &staging->single);

	io_uring_prep_openat(sqe, AT_FDCWD, path,
			     flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	sqe->flags |= IOSQE_ASYNC;
}

void staging_mkdir(struct staging *staging, const char *path)
{
	io_uring_prep_mkdirat(begin_single(staging, &staging->single), AT_FDCWD,
			      path, 0700);
}

void staging_rename(struct staging *staging, const char *from, const char *to)
{
	io_uring_prep_renameat(begin_single(staging, &staging->single),
			       AT_FDCWD, from, AT_FDCWD, to, 0);
}

void staging_unlink(struct staging *staging, const char *path)
{
	io_uring_prep_unlinkat(begin_single(staging, &staging->single),
			       AT_FDCWD, path, 0);
}

void staging_populate(struct staging *staging, int memfd, uint64_t at,
		      uint64_t size)
{
	io_uring_prep_fallocate(begin_single(staging, &staging->present), memfd,
				0, (off_t)at, (off_t)size);
}

/* ---- the memory ---- */

static void register_memory(struct staging *staging)
{
	struct iovec iov[STAGING_SLOTS];
	int r;

	for (int i = 0; i < STAGING_SLOTS; i++)
		iov[i] = (struct iovec){ staging->slot[i].at, STAGING_CHUNK };
	r = io_uring_register_buffers(&staging->loop->ring, iov, STAGING_SLOTS);
	staging->registered = !r;
	if (r)
		log_debug("staging not registered",
			  "error=\"%s\" way_out=\"raise LimitMEMLOCK\"",
			  strerror(-r));
}

/* Aligned to huge pages; what is mapped beside it is given back. */
static void *map_memory(void)
{
	size_t size = MEMORY + HUGE_PAGE;
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before, after;

	if (map == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)map % HUGE_PAGE;
	after = HUGE_PAGE - before;
	if (before)
		munmap(map, before);
	if (after)
		munmap(map + before + MEMORY, after);
	madvise(map + before, MEMORY, MADV_HUGEPAGE);
	madvise(map + before, MEMORY, MADV_DONTDUMP);
	return map + before;
}

int staging_new(struct staging **ret, struct loop *loop, bool registered)
{
	struct staging *staging = calloc(1, sizeof(*staging));
	unsigned int threads[2] = { THREADS,
				    0 }; /* bounded, unbounded: as is */

	if (!staging)
		return -ENOMEM;
	staging->memory = map_memory();
	if (!staging->memory) {
		free(staging);
		return -ENOMEM;
	}
	staging->loop = loop;
	for (size_t i = 0; i < STAGING_SLOTS; i++) {
		staging->slot[i].staging = staging;
		staging->slot[i].at = staging->memory + i * STAGING_CHUNK;
	}
	if (registered)
		register_memory(staging);
	io_uring_register_iowq_max_workers(&loop->ring, threads);
	*ret = staging;
	return 0;
}

struct staging *staging_free(struct staging *staging)
{
	if (!staging)
		return NULL;
	if (staging->registered)
		io_uring_unregister_buffers(&staging->loop->ring);
	munmap(staging->memory, MEMORY);
	free(staging);
	return NULL;
}
