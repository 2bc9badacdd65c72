/* SPDX-License-Identifier: BSD-2-Clause */
/* Memfds and their mappings: what a cache's memory is made of. */
#ifndef TREEKVD_SEGMENT_H
#define TREEKVD_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/config.h"

struct segment_request {
	const char *label;
	uint64_t bytes; /* rounded up to pages of the kind it becomes */
	enum config_huge_pages mode;
	unsigned int seals; /* beside those of its size */
};

struct segment {
	int fd;
	void *map; /* writable */
	uint64_t size;
	bool huge;
};

/**
 * segment_new - a memfd of zeroes that only its owner may open, mapped
 *
 * Huge pages are reserved here: a lack of them is an error now, not a SIGBUS
 * later. Return: 0; -ENOMEM, -ENOSPC, -EMFILE, -ENFILE.
 */
int segment_new(struct segment *ret, const struct segment_request *request);

/* A writable mapping of one. Return: 0 or a negative errno. */
int segment_map(void **ret, int fd, uint64_t size);

/* A descriptor that cannot write. Return: it, or a negative errno. */
int segment_reopen(int fd);

/* A mapping made of such a one. Return: 0 or a negative errno. */
int segment_map_read_only(const void **ret, int fd, uint64_t size);

/*
 * Unmaps, piece by piece: while one is unmapped, no other thread can map or
 * unmap. What was mapped last is freed here, which takes as long as it is large.
 */
void segment_unmap(const void *map, uint64_t size);

#endif /* TREEKVD_SEGMENT_H */
