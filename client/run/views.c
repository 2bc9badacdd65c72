// SPDX-License-Identifier: BSD-2-Clause
/*
 * A file of views: "TKVVEW1" and a NUL; struct views_shape; then for each step
 * that is written, for each layer, for each KV head:
 *
 *	u32 live
 *	u32 token[live]			by rank, as all that follow
 *	float weight[group][live]	of the step's query heads
 *	v_row bytes [live]		the last step only: the values
 *
 * Little-endian, nothing between. The newest token's number is the step's. With
 * the weights that were paid, who reads it can tell what the policy should have
 * taken out; with the values, what the last step added up.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/run/output.h"
#include "client/run/views.h"

struct views {
	struct output *output;
	struct views_shape shape;
	uint32_t *slot; /* by rank */
	uint32_t *token; /* by rank */
	float *weight; /* by rank */
	uint32_t slots;
	uint64_t watched; /* calls */
};

static struct views *views_free(struct views *v)
{
	if (!v)
		return NULL;
	free(v->slot);
	free(v->token);
	free(v->weight);
	free(v);
	return NULL;
}

int views_open(struct views **ret, const char *path,
	       const struct views_shape *shape, uint32_t slots)
{
	struct views *v = calloc(1, sizeof(*v));
	int r = -ENOMEM;

	if (v) {
		v->slot = calloc(slots, sizeof(*v->slot));
		v->token = calloc(slots, sizeof(*v->token));
		v->weight = calloc(slots, sizeof(*v->weight));
	}
	if (!v || !v->slot || !v->token || !v->weight) {
		fputs("treekv-run: out of memory\n", stderr);
		goto out;
	}
	v->shape = *shape;
	v->slots = slots;
	r = output_open(&v->output, "--views", path);
	if (r < 0)
		goto out;
	output_put(v->output, "TKVVEW1", 8);
	output_put(v->output, shape, sizeof(*shape));
	*ret = v;
	return 0;
out:
	views_free(v);
	return r;
}

/* A fork's first slots are its parent's. */
static const void *value_at(const struct treekv_view *view, uint32_t slot)
{
	const struct treekv_span *span = view->span;

	if (slot >= span->slots) {
		slot -= span->slots;
		span++;
	}
	return (const char *)span->v + slot * view->v_stride;
}

static void put_values(struct views *v, const struct treekv_view *view)
{
	for (uint32_t rank = 0; rank < view->live; rank++)
		output_put(v->output, value_at(view, v->slot[rank]),
			   v->shape.v_row);
}

void views_watch(struct views *v, const struct treekv_view *view,
		 const float *weights, size_t stride)
{
	uint32_t heads = v->shape.layers * v->shape.kv_heads;
	uint64_t step = v->watched++ / heads + 1;

	if ((step % v->shape.every && step != v->shape.steps) ||
	    view->slots > v->slots)
		return;
	for (uint32_t s = 0; s < view->slots; s++) {
		if (view->rank[s] == TREEKV_FREE)
			continue;
		v->slot[view->rank[s]] = s;
		v->token[view->rank[s]] = view->token[s];
	}
	output_put(v->output, &view->live, sizeof(view->live));
	output_put(v->output, v->token, view->live * sizeof(*v->token));
	for (uint32_t g = 0; g < v->shape.group; g++) {
		for (uint32_t rank = 0; rank < view->live; rank++)
			v->weight[rank] = weights[g * stride + v->slot[rank]];
		output_put(v->output, v->weight,
			   view->live * sizeof(*v->weight));
	}
	if (step == v->shape.steps)
		put_values(v, view);
}

int views_close(struct views *v)
{
	uint64_t all;
	int r;

	if (!v)
		return 0;
	all = (uint64_t)v->shape.steps * v->shape.layers * v->shape.kv_heads;
	r = output_close(v->output, v->watched == all);
	views_free(v);
	return r;
}
