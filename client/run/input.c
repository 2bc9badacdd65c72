// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client/run/input.h"
#include "client/run/model.h"

static int ids_check(const char *path, const uint32_t *ids, size_t count,
		     uint32_t vocab)
{
	for (size_t i = 0; i < count; i++) {
		if (ids[i] < vocab)
			continue;
		fprintf(stderr,
			"treekv-run: %s: id %u at position %zu, but the model "
			"has %u tokens\n",
			path, ids[i], i, vocab);
		return -EINVAL;
	}
	return 0;
}

static int read_ids(struct input *input, const char *path, size_t limit,
		    uint32_t vocab)
{
	void *map;
	size_t size;
	int r;

	r = file_map(&map, &size, path);
	if (r < 0)
		return r;
	if (size % sizeof(uint32_t)) {
		fprintf(stderr,
			"treekv-run: %s is %zu bytes long, no multiple of 4: "
			"it must hold little-endian u32 ids\n",
			path, size);
		r = -EINVAL;
		goto out;
	}
	input->count = size / sizeof(uint32_t);
	if (input->count > limit)
		input->count = limit;
	input->ids = malloc(input->count * sizeof(*input->ids));
	if (!input->ids) {
		fputs("treekv-run: out of memory\n", stderr);
		r = -ENOMEM;
		goto out;
	}
	memcpy(input->ids, map, input->count * sizeof(*input->ids));
	r = ids_check(path, input->ids, input->count, vocab);
out:
	munmap(map, size);
	return r;
}

static int read_text(struct input *input, const struct options *o,
		     const struct tokenizer *tokenizer)
{
	void *map;
	size_t size;
	int r;

	r = file_map(&map, &size, o->text);
	if (r < 0)
		return r;
	r = tokenizer_encode(tokenizer, &input->ids, &input->count, map, size,
			     !o->append, o->tokens);
	munmap(map, size);
	return r;
}

int input_read(struct input *ret, const struct options *o,
	       const struct tokenizer *tokenizer, uint32_t vocab)
{
	struct input input = { 0 };
	const char *prompt = o->prompt ? o->prompt : "";
	int r;

	if (o->ids)
		r = read_ids(&input, o->ids, o->tokens, vocab);
	else if (o->text)
		r = read_text(&input, o, tokenizer);
	else
		r = tokenizer_encode(tokenizer, &input.ids, &input.count,
				     prompt, strlen(prompt), !o->append,
				     o->tokens);
	if (r < 0)
		goto out;
	if (o->tokens != OPTIONS_ALL && input.count < o->tokens) {
		fprintf(stderr,
			"treekv-run: --tokens %llu: the input has only %zu\n",
			(unsigned long long)o->tokens, input.count);
		r = -EINVAL;
		goto out;
	}
	if (!input.count) {
		fputs("treekv-run: --append: the input is empty\n", stderr);
		r = -EINVAL;
		goto out;
	}
	*ret = input;
	return 0;
out:
	input_free(&input);
	return r;
}

void input_free(struct input *input)
{
	free(input->ids);
	*input = (struct input){ 0 };
}
