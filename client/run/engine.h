/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A Llama decoder whose keys and values live in a treekv cache. One token a
 * step; positions by rank.
 */
#ifndef RUN_ENGINE_H
#define RUN_ENGINE_H

#include <stdbool.h>

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
	bool by_rank; /* results do not depend on where rows lie */
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

/**
 * struct engine_progress - who watches a prompt being read
 * @next: called after every few tokens, with how many of layers x tokens are
 *	done; false: give up
 * @arg: its argument
 */
struct engine_progress {
	bool (*next)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

/**
 * engine_prompt - run a whole prompt through the model, layer by layer
 * @engine: the engine
 * @cache: in a prefill of @n tokens, which the caller began and will commit
 * @ids: [n], each below the vocabulary's size
 * @n: at least 1
 * @progress: may be NULL
 * @logits: set to the last token's, valid until the next step; NULL: not wanted
 *
 * Computes what engine_step() does token by token while nothing is evicted, to
 * the bit. Memory goes by the tokens' activations and one layer's keys and
 * values, never by all layers'.
 *
 * Return: 0; -EINTR given up; -ENOMEM with the fault on stderr; or what the
 * cache refused (treekv_error() has the text).
 */
int engine_prompt(struct engine *engine, struct treekv_cache *cache,
		  const uint32_t *ids, uint32_t n,
		  const struct engine_progress *progress, float **logits);

uint32_t engine_threads(const struct engine *engine);
const char *engine_kernel(const struct engine *engine);

/* Sums of exponentials and the like, with the engine's kernels. */
float engine_exponentials(const struct engine *engine, float *x, float factor);

#endif /* RUN_ENGINE_H */
