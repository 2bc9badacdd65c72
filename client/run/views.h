/* SPDX-License-Identifier: BSD-2-Clause */
/* What each step saw of the cache, for those who study a policy. */
#ifndef RUN_VIEWS_H
#define RUN_VIEWS_H

#include "client/treekv.h"

struct views;

/**
 * struct views_shape - what a file of views begins with
 * @layers: of the model
 * @kv_heads: of a layer
 * @group: query heads of a KV head
 * @steps: tokens that will be fed, to an empty cache
 * @every: steps whose number, from 1 on, is a multiple of it are written
 * @dtype: enum treekv_dtype, of the values
 * @v_row: bytes of one V row
 */
struct views_shape {
	uint32_t layers;
	uint32_t kv_heads;
	uint32_t group;
	uint32_t steps;
	uint32_t every;
	uint32_t dtype;
	uint32_t v_row;
};

/**
 * views_open - begin a file of views
 * @ret: the views
 * @path: its name once it is complete; what has it now must be a regular file
 * @shape: copied
 * @slots: the most a view can have
 *
 * Return: 0, or a negative errno with the fault on stderr.
 */
int views_open(struct views **ret, const char *path,
	       const struct views_shape *shape, uint32_t slots);

/* What an engine_watch is told; layers and heads in their order. */
void views_watch(struct views *views, const struct treekv_view *view,
		 const float *weights, size_t stride);

/* Gives the file its name; an incomplete one is removed. Frees the views. */
int views_close(struct views *views);

#endif /* RUN_VIEWS_H */
