// SPDX-License-Identifier: BSD-2-Clause
/*
 * What treekv-run is given: a model, of whose tensors every byte is looked at;
 * or a tokenizer, which a text is taken apart with and put together again. The
 * first byte says which; a tokenizer has its number of tokens and the text
 * before it.
 */
#include <stdint.h>

#include "client/run/model.h"
#include "client/run/tokenizer.h"
#include "tests/fuzz/input.h"

#define VOCAB_MAX 4096
#define TEXT_MAX  64

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static volatile uint8_t sum;

static void look_at(const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < size; i++)
		sum += at[i];
}

static void look_at_tensor(const struct tensor *t)
{
	size_t n = (size_t)t->rows * t->cols;

	if (t->f32) {
		look_at(t->f32, n * sizeof(float));
	} else {
		look_at(t->q8, n);
		look_at(t->scale, n / t->group * sizeof(float));
	}
}

static void try_model(const char *path)
{
	struct model *m;

	if (model_open(&m, path))
		return;
	look_at_tensor(&m->embedding);
	look_at_tensor(&m->classifier);
	look_at(m->final_norm, m->dim * sizeof(float));
	for (uint32_t l = 0; l < m->layers; l++) {
		const struct model_layer *at = &m->layer[l];
		const struct tensor *const tensors[] = {
			&at->wq, &at->wk, &at->wv, &at->wo,
			&at->w1, &at->w2, &at->w3,
		};

		look_at(at->attention_norm, m->dim * sizeof(float));
		look_at(at->ffn_norm, m->dim * sizeof(float));
		for (size_t i = 0; i < 7; i++)
			look_at_tensor(tensors[i]);
	}
	model_free(m);
}

static void try_text(const struct tokenizer *tokenizer, uint32_t vocab,
		     const char *text, size_t size)
{
	uint32_t *ids, previous = TOKENIZER_BOS;
	const char *shown;
	size_t count, n;

	if (tokenizer_encode(tokenizer, &ids, &count, text, size, size % 2,
			     TEXT_MAX))
		return;
	for (size_t i = 0; i < count; i++) {
		if (ids[i] >= vocab)
			abort();
		shown = tokenizer_decode(tokenizer, &n, previous, ids[i]);
		if (n > tokenizer_longest(tokenizer))
			abort();
		look_at(shown, n);
		previous = ids[i];
	}
	free(ids);
}

static void try_tokenizer(const char *path, uint32_t vocab, const char *text,
			  size_t size)
{
	struct tokenizer *tokenizer;

	if (tokenizer_open(&tokenizer, path, vocab))
		return;
	try_text(tokenizer, vocab, text, size);
	for (uint32_t id = 0; id < vocab; id++) {
		size_t n;
		const char *shown = tokenizer_decode(tokenizer, &n, id % 2, id);

		look_at(shown, n);
	}
	tokenizer_free(tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct input input = { bytes, size };
	char path[INPUT_PATH_SIZE], text[TEXT_MAX];
	uint8_t what = input_8(&input);
	uint32_t vocab = 0;
	uint8_t length = 0;
	int fd;

	if (what % 2) {
		vocab = input_16(&input) % VOCAB_MAX + 1;
		length = input_8(&input) % TEXT_MAX;
		input_bytes(&input, text, length);
	}
	fd = input_file(path, input.at, input.left);
	if (what % 2)
		try_tokenizer(path, vocab, text, length);
	else
		try_model(path);
	close(fd);
	return 0;
}
