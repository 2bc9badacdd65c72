/* SPDX-License-Identifier: BSD-2-Clause */
/* What engine.c and prompt.c share, for nobody else. */
#ifndef RUN_ENGINE_IMPL_H
#define RUN_ENGINE_IMPL_H

#include "client/run/engine.h"
#include "client/run/pool.h"

#define ENGINE_ROWS 4 /* that a kernel takes at once */

struct engine {
	const struct model *model;
	const struct kernel *kernel;
	struct pool *pool;
	struct engine_options options;
	uint32_t group; /* query heads of a KV head */
	size_t stride; /* of weights */

	float *memory; /* all that follow */
	float *x; /* [dim] the residual stream */
	float *normed; /* [dim] */
	float *query; /* [dim] */
	float *key; /* [kv_dim] */
	float *value; /* [kv_dim] */
	float *attended; /* [dim] */
	float *gate; /* [hidden] */
	float *up; /* [hidden] */
	float *logits; /* [vocab] */
	float *weights; /* [heads][stride] */
	float *dense; /* [heads][stride] weights of live rows */
	uint32_t *live; /* [kv_heads][stride] slots */
	float *rope; /* [slots][head_dim] */
	uint16_t *half; /* [2][kv_dim] K and V as narrow rows */
};

/* The rows of a matrix that one part of a job does: from here to *to. */
static inline uint32_t engine_share(uint32_t *to, const struct tensor *matrix,
				    uint32_t part, uint32_t parts)
{
	uint64_t tiles = (matrix->rows + ENGINE_ROWS - 1) / ENGINE_ROWS;
	uint32_t end = (uint32_t)(tiles * (part + 1) / parts) * ENGINE_ROWS;

	*to = end < matrix->rows ? end : matrix->rows;
	return (uint32_t)(tiles * part / parts) * ENGINE_ROWS;
}

/* A token's first activations, [dim]. */
void engine_embed(const struct engine *e, float *to, uint32_t id);

/*
 * Queries of all heads, [dim], rotated by @turn, [head_dim] of the rope table,
 * and scaled as the softmax wants them.
 */
void engine_rotate(const struct engine *e, float *query, const float *turn);

void engine_add(float *to, const float *what, uint32_t n);

/* Cosine and sine of each pair's angle: [positions][head_dim]. */
void engine_fill_rope(float *rope, uint32_t head_dim, uint32_t positions);

/* Of the last layer's activations; valid until the next step. */
float *engine_logits(struct engine *e, const float *x);

#endif /* RUN_ENGINE_IMPL_H */
