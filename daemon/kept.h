/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where along the sequence the tokens lie that one (layer, head) holds: rows
 * counted by their token's number. Pure, as policy.h; token numbers are the
 * writer's words, read once each and believed as far as they can be true.
 */
#ifndef TREEKVD_KEPT_H
#define TREEKVD_KEPT_H

#include <stddef.h>
#include <stdint.h>

#define KEPT_BUCKETS_MAX 512

/* Bucket i has the tokens from edge[i] on and before edge[i + 1]. */
struct kept_axis {
	const uint64_t *edge; /* rising */
	size_t buckets; /* one less than edges; 1 to KEPT_BUCKETS_MAX */
};

/* Return: 0, or -EINVAL: too few edges, too many, or not rising. */
int kept_axis_check(const uint64_t *edge, size_t edges);

/*
 * The bucket of a token, @hint's or one near it for choice: tokens come in
 * rising order. Return: axis->buckets when it is in none.
 */
size_t kept_bucket(const struct kept_axis *axis, uint64_t token, size_t hint);

/* One (layer, head). */
struct kept_head {
	const void *order; /* oldest first */
	uint32_t entry_size;
	uint32_t live;
	const uint32_t *token; /* by slot: hostile */
	uint32_t slots;
	uint64_t tail; /* no token is beyond */
	uint32_t stride; /* every stride-th row, from the first on */
};

/**
 * kept_count - count a head's rows
 * @rows: one a bucket, added to
 *
 * Return: how many rows are in no bucket, or name no token that can be.
 */
uint64_t kept_count(uint64_t *rows, const struct kept_axis *axis,
		    const struct kept_head *head);

/* The bucket of the row at @rank, or axis->buckets. */
size_t kept_at(const struct kept_axis *axis, const struct kept_head *head,
	       uint64_t rank);

#endif /* TREEKVD_KEPT_H */
