// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>

#include "daemon/kept.h"
#include "daemon/order.h"
#include "proto/barrier.h"

int kept_axis_check(const uint64_t *edge, size_t edges)
{
	if (edges < 2 || edges > KEPT_BUCKETS_MAX + 1)
		return -EINVAL;
	for (size_t i = 1; i < edges; i++)
		if (edge[i] <= edge[i - 1])
			return -EINVAL;
	return 0;
}

size_t kept_bucket(const struct kept_axis *axis, uint64_t token, size_t hint)
{
	size_t low = 0, high = axis->buckets, middle;

	if (token < axis->edge[0] || token >= axis->edge[axis->buckets])
		return axis->buckets;
	for (size_t i = hint; i < hint + 2 && i < axis->buckets; i++)
		if (token >= axis->edge[i] && token < axis->edge[i + 1])
			return i;
	while (high - low > 1) {
		middle = low + (high - low) / 2;
		if (token < axis->edge[middle])
			high = middle;
		else
			low = middle;
	}
	return low;
}

/* UINT64_MAX: no token that can be. */
static uint64_t token_at(const struct kept_head *head, uint32_t rank)
{
	uint32_t slot = order_entry(head->order, head->entry_size, rank);
	uint32_t token;

	if (slot >= head->slots)
		return UINT64_MAX;
	token = shm_load32_relaxed(&head->token[slot]);
	return token < head->tail ? token : UINT64_MAX;
}

uint64_t kept_count(uint64_t *rows, const struct kept_axis *axis,
		    const struct kept_head *head)
{
	uint64_t outside = 0;
	size_t at = 0, found;

	for (uint64_t i = 0; i < head->live; i += head->stride) {
		found = kept_bucket(axis, token_at(head, (uint32_t)i), at);
		if (found == axis->buckets) {
			outside++;
			continue;
		}
		rows[found]++;
		at = found;
	}
	return outside;
}

size_t kept_at(const struct kept_axis *axis, const struct kept_head *head,
	       uint64_t rank)
{
	if (rank >= head->live)
		return axis->buckets;
	return kept_bucket(axis, token_at(head, (uint32_t)rank), 0);
}
