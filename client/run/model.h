/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Llama weights in llama2.c's files: v0 (fp32) and v2 (Q8_0). The file stays
 * mapped; tensors point into it.
 */
#ifndef RUN_MODEL_H
#define RUN_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/treekv.h"

/* A matrix, row by row: floats, or bytes with a scale for every @group. */
struct tensor {
	const float *f32; /* NULL: quantised */
	const int8_t *q8;
	const float *scale;
	uint32_t rows;
	uint32_t cols;
	uint32_t group;
};

struct model_layer {
	const float *attention_norm;
	const float *ffn_norm;
	struct tensor wq, wk, wv, wo;
	struct tensor w1, w2, w3;
};

struct model {
	uint32_t dim;
	uint32_t hidden;
	uint32_t layers;
	uint32_t heads;
	uint32_t kv_heads;
	uint32_t vocab;
	uint32_t seq_len; /* what it was trained on; nothing here is bound by it */
	uint32_t head_dim;
	uint32_t kv_dim;
	uint32_t group; /* 0: fp32 */
	bool shared; /* the classifier is the embedding */
	const float *final_norm;
	struct tensor embedding;
	struct tensor classifier;
	struct model_layer *layer;

	uint8_t id[TREEKV_MODEL_SIZE];
	uint64_t weight_bytes;
	void *map; /* NULL: embedded */
	size_t map_size;
};

/**
 * model_open - load a model
 * @ret: the model
 * @path: a file, or NULL: the embedded one
 *
 * Return: 0, or a negative errno with the fault on stderr: -EINVAL for a file
 * that is none, others from opening and mapping it.
 */
int model_open(struct model **ret, const char *path);
struct model *model_free(struct model *model);

/* Maps a whole file to read; an error is on stderr. */
int file_map(void **ret, size_t *size, const char *path);

#endif /* RUN_MODEL_H */
