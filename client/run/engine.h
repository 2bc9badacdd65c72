/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A Llama decoder whose keys and values live in a treekv cache. One token a
 * step; positions by rank.
 */
#ifndef RUN_ENGINE_H
#define RUN_ENGINE_H

#include "client/run/kernel.h"
#include "client/run/model.h"
#include "client/treekv.h"

struct engine;

/**
 * typedef engine_watch - sees the attention of a (layer, head) as it is paid
 * @arg: as it was given
 * @layer: 0-based
 * @head: KV head
 * @view: of the step
 * @weights: [group][stride], by slot
 *
 * Called in the order of layers, then heads, from the caller's thread.
 */
typedef void (*engine_watch)(void *arg, uint32_t layer, uint32_t head,
			     const struct treekv_view *view,
			     const float *weights, uint32_t group,
			     size_t stride);

struct engine_options {
	enum treekv_dtype dtype; /* of the cache's rows */
	uint32_t threads; /* 0: by the size of the model */
	uint32_t slots; /* the most a view can have */
	engine_watch watch; /* NULL: nobody */
	void *watch_arg;
};

/* Return: 0, or a negative errno with the fault on stderr. */
int engine_new(struct engine **ret, const struct model *model,
	       const struct engine_options *options);
struct engine *engine_free(struct engine *engine);

/**
 * engine_step - run one token through the model
 * @engine: the engine
 * @cache: in a step of one token, which the caller began and will commit
 * @id: the token, below the vocabulary's size
 * @logits: set to vocab logits, valid until the next step; NULL: not wanted
 *
 * Return: 0, or what the cache refused (treekv_error() has the text).
 */
int engine_step(struct engine *engine, struct treekv_cache *cache, uint32_t id,
		float **logits);

uint32_t engine_threads(const struct engine *engine);
const char *engine_kernel(const struct engine *engine);

/* Sums of exponentials and the like, with the engine's kernels. */
float engine_exponentials(const struct engine *engine, float *x, float factor);

#endif /* RUN_ENGINE_H */
