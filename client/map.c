// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <math.h>

#include "client/map.h"

const char *const map_blocks[MAP_LEVELS] = {
	" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█",
};
const char *const map_ascii[MAP_LEVELS] = {
	" ", ".", ":", "-", "=", "+", "*", "%", "#",
};

/* Age, at the older end, of the @i-th of @n buckets, counted from the newest. */
static uint64_t age_of(size_t i, size_t n, uint64_t tail)
{
	double age = pow((double)tail + 1, (double)i / (double)n) - 1;
	uint64_t most = tail - (n - i);

	if (age < (double)i)
		return i; /* a token each */
	return age < (double)most ? (uint64_t)age : most;
}

size_t map_edges(uint64_t *edge, size_t buckets, uint64_t tail,
		 enum map_scale scale)
{
	size_t n = buckets < tail ? buckets : (size_t)tail;

	for (size_t i = 0; n && i <= n; i++)
		switch (scale) {
		case MAP_EVEN:
			edge[i] = tail / n * i + tail % n * i / n;
			break;
		case MAP_BY_AGE:
			edge[i] = tail - age_of(n - i, n, tail);
			break;
		}
	return n;
}

int map_check(const Treekv__KeptReply *kept)
{
	if (kept->n_edge < 2 || kept->n_edge > MAP_BUCKETS_MAX + 1)
		return -EBADMSG;
	for (size_t i = 1; i < kept->n_edge; i++)
		if (kept->edge[i] <= kept->edge[i - 1])
			return -EBADMSG;
	for (size_t g = 0; g < kept->n_group; g++) {
		const Treekv__KeptGroup *group = kept->group[g];

		if (group->n_rows + 1 != kept->n_edge ||
		    (group->n_scope && group->n_scope != group->n_rows) ||
		    !group->heads || !group->stride)
			return -EBADMSG;
	}
	return 0;
}

double map_density(const Treekv__KeptReply *kept, size_t group, size_t bucket)
{
	const Treekv__KeptGroup *from = kept->group[group];
	uint64_t tokens = kept->edge[bucket + 1] - kept->edge[bucket];

	return (double)from->rows[bucket] * from->stride /
	       ((double)from->heads * (double)tokens);
}

unsigned int map_level(double density)
{
	double halvings;

	if (!(density > 0))
		return 0;
	halvings = density < 1 ? floor(-log2(density) + 0.5) : 0;
	return halvings < MAP_LEVELS - 2 ?
		       MAP_LEVELS - 1 - (unsigned int)halvings :
		       1;
}
