// SPDX-License-Identifier: BSD-2-Clause
/*
 * A trace: "TKVTRC1" and a NUL; u32 layers, kv_heads, steps; then for each
 * step t = 0 .. steps - 1, for each layer, for each head, t + 1 floats: what
 * the query token t paid to the original positions 0 .. t, as the mean over the
 * group. Little-endian, nothing between. All of the attention is there, so the
 * cache must not evict.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/run/output.h"
#include "client/run/record.h"

struct record {
	struct output *output;
	float *row; /* by original position */
	uint32_t steps;
	uint64_t left; /* rows still to come */
};

int record_open(struct record **ret, const char *path, uint32_t layers,
		uint32_t kv_heads, uint32_t steps)
{
	const uint32_t header[] = { layers, kv_heads, steps };
	struct record *r;
	int error;

	r = calloc(1, sizeof(*r));
	if (r)
		r->row = calloc(steps, sizeof(*r->row));
	if (!r || !r->row) {
		fputs("treekv-run: out of memory\n", stderr);
		free(r);
		return -ENOMEM;
	}
	r->steps = steps;
	r->left = (uint64_t)layers * kv_heads * steps;
	error = output_open(&r->output, "--record", path);
	if (error < 0) {
		free(r->row);
		free(r);
		return error;
	}
	output_put(r->output, "TKVTRC1", 8);
	output_put(r->output, header, sizeof(header));
	*ret = r;
	return 0;
}

void record_watch(struct record *r, const struct treekv_view *view,
		  const float *weights, uint32_t group, size_t stride)
{
	if (view->live > r->steps)
		return;
	for (uint32_t s = 0; s < view->slots; s++) {
		float sum = 0;

		if (view->rank[s] == TREEKV_FREE || view->token[s] >= r->steps)
			continue;
		for (uint32_t g = 0; g < group; g++)
			sum += weights[g * stride + s];
		r->row[view->token[s]] = sum / (float)group;
	}
	output_put(r->output, r->row, view->live * sizeof(*r->row));
	r->left--;
}

int record_close(struct record *r)
{
	int error;

	if (!r)
		return 0;
	error = output_close(r->output, !r->left);
	free(r->row);
	free(r);
	return error;
}
