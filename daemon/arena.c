// SPDX-License-Identifier: BSD-2-Clause
/*
 * One mapping, handed out from its start on. Pages are touched as they are
 * needed, and those that only a large message needed go back after it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/arena.h"

#define ALIGN ((size_t)16)
#define KEEP  ((size_t)64 << 10)

static void *arena_alloc(void *data, size_t size)
{
	struct arena *arena = data;
	void *ret = arena->base + arena->used;

	if (size > ARENA_MAX - arena->used) {
		arena->full = true;
		return NULL;
	}
	/* Both are multiples of ALIGN, so this cannot pass the end. */
	arena->used += (size + ALIGN - 1) & ~(ALIGN - 1);
	return ret;
}

static void arena_ignore(void *data, void *pointer)
{
	(void)data;
	(void)pointer;
}

int arena_init(struct arena *arena)
{
	void *base;

	base = mmap(NULL, ARENA_MAX, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		return -ENOMEM;
	memset(arena, 0, sizeof(*arena));
	arena->base = base;
	arena->allocator.alloc = arena_alloc;
	arena->allocator.free = arena_ignore;
	arena->allocator.allocator_data = arena;
	return 0;
}

void arena_exit(struct arena *arena)
{
	munmap(arena->base, ARENA_MAX);
}

void arena_reset(struct arena *arena)
{
	if (arena->used > KEEP)
		madvise(arena->base + KEEP, ARENA_MAX - KEEP, MADV_DONTNEED);
	arena->used = 0;
	arena->full = false;
}
