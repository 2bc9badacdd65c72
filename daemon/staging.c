// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/log.h"
#include "daemon/staging.h"

static void transfer(struct staging_slot *slot)
{
	struct staging *staging = slot->staging;
	struct io_uring_sqe *sqe = loop_sqe(staging->loop, &slot->op);
	uint8_t *at = slot->at + slot->moved;
	uint32_t size = slot->size - slot->moved;
	uint64_t offset = slot->offset + slot->moved;
	int index = (int)(slot - staging->slot);

	if (slot->write && staging->registered)
		io_uring_prep_write_fixed(sqe, slot->fd, at, size, offset,
					  index);
	else if (slot->write)
		io_uring_prep_write(sqe, slot->fd, at, size, offset);
	else if (staging->registered)
		io_uring_prep_read_fixed(sqe, slot->fd, at, size, offset,
					 index);
	else
		io_uring_prep_read(sqe, slot->fd, at, size, offset);
}

static void on_moved(struct loop_op *op, int res, unsigned int flags)
{
	struct staging_slot *slot = loop_entry(op, struct staging_slot, op);

	(void)flags;
	if (res > 0)
		slot->moved += (uint32_t)res;
	else if (!res)
		slot->error = slot->write ? -EIO : -ENODATA;
	else if (res != -EINTR && res != -EAGAIN)
		slot->error = res;
	if (!slot->error && slot->moved < slot->size) {
		transfer(slot);
		return;
	}
	slot->busy = false;
	slot->staging->busy--;
}

static void on_single(struct loop_op *op, int res, unsigned int flags)
{
	struct staging *staging = loop_entry(op, struct staging, single);

	(void)flags;
	staging->single_result = res;
	staging->single_busy = false;
}

static void register_memory(struct staging *staging)
{
	struct iovec iov[STAGING_DEPTH];
	int r;

	for (int i = 0; i < STAGING_DEPTH; i++)
		iov[i] = (struct iovec){ staging->slot[i].at, STAGING_CHUNK };
	r = io_uring_register_buffers(&staging->loop->ring, iov, STAGING_DEPTH);
	staging->registered = !r;
	if (r)
		log_debug("staging not registered",
			  "error=\"%s\" way_out=\"raise LimitMEMLOCK\"",
			  strerror(-r));
}

int staging_new(struct staging **ret, struct loop *loop)
{
	struct staging *staging = calloc(1, sizeof(*staging));
	void *memory;

	if (!staging)
		return -ENOMEM;
	memory = mmap(NULL, (size_t)STAGING_DEPTH * STAGING_CHUNK,
		      PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	if (memory == MAP_FAILED) {
		free(staging);
		return -ENOMEM;
	}
	madvise(memory, (size_t)STAGING_DEPTH * STAGING_CHUNK, MADV_DONTDUMP);
	staging->loop = loop;
	staging->memory = memory;
	staging->single.done = on_single;
	for (size_t i = 0; i < STAGING_DEPTH; i++) {
		staging->slot[i].staging = staging;
		staging->slot[i].op.done = on_moved;
		staging->slot[i].at = staging->memory + i * STAGING_CHUNK;
	}
	register_memory(staging);
	*ret = staging;
	return 0;
}

struct staging *staging_free(struct staging *staging)
{
	if (!staging)
		return NULL;
	if (staging->registered)
		io_uring_unregister_buffers(&staging->loop->ring);
	munmap(staging->memory, (size_t)STAGING_DEPTH * STAGING_CHUNK);
	free(staging);
	return NULL;
}

struct staging_slot *staging_slot(struct staging *staging)
{
	for (int i = 0; i < STAGING_DEPTH; i++)
		if (!staging->slot[i].busy)
			return &staging->slot[i];
	return NULL;
}

void staging_move(struct staging_slot *slot, int fd, bool write,
		  uint64_t offset, uint32_t size)
{
	slot->fd = fd;
	slot->write = write;
	slot->offset = offset;
	slot->size = size;
	slot->moved = 0;
	slot->error = 0;
	slot->busy = true;
	slot->staging->busy++;
	transfer(slot);
}

static struct io_uring_sqe *single(struct staging *staging)
{
	staging->single_busy = true;
	return loop_sqe(staging->loop, &staging->single);
}

void staging_fsync(struct staging *staging, int fd)
{
	io_uring_prep_fsync(single(staging), fd, 0);
}

void staging_allocate(struct staging *staging, int fd, uint64_t size)
{
	io_uring_prep_fallocate(single(staging), fd, 0, 0, (off_t)size);
}

void staging_sleep(struct staging *staging, uint64_t ns)
{
	staging->time.tv_sec = (long long)(ns / 1000000000);
	staging->time.tv_nsec = (long long)(ns % 1000000000);
	io_uring_prep_timeout(single(staging), &staging->time, 0, 0);
}
