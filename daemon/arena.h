/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory for one unpacked message at a time, with a cap: a message of a peer
 * who is not trusted can be unpacked to at most ARENA_MAX bytes.
 */
#ifndef TREEKVD_ARENA_H
#define TREEKVD_ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "proto/frame.h"

/* A packed budget of one byte an entry takes four; the rest is to spare. */
#define ARENA_MAX (8 * (size_t)FRAME_REQUEST_MAX)

struct arena {
	ProtobufCAllocator allocator; /* free: only arena_reset() frees */
	unsigned char *base;
	size_t used;
	bool full; /* something was refused since the last reset */
};

/* Return: 0 or -ENOMEM. */
int arena_init(struct arena *arena);
void arena_exit(struct arena *arena);
void arena_reset(struct arena *arena);

#endif /* TREEKVD_ARENA_H */
