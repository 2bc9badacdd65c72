// SPDX-License-Identifier: BSD-2-Clause
/*
 * The file and its vocabulary; bpe.c has the merging.
 *
 * The file has no count: as many tokens are read as the model has, and then it
 * must end. Lookups by text go through an open hash table; of tokens with the
 * same text the first one counts.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client/run/bpe.h"
#include "client/run/embedded.h"
#include "client/run/model.h"

#define TOKEN_MAX 4096 /* bytes */

struct file {
	const char *path;
	const uint8_t *bytes;
	size_t size;
	size_t at;
};

static uint32_t hash(const char *text, size_t size)
{
	uint32_t h = 2166136261U;

	for (size_t i = 0; i < size; i++)
		h = (h ^ (uint8_t)text[i]) * 16777619U;
	return h ^ h >> 15;
}

uint32_t vocabulary_find(const struct tokenizer *t, const char *text,
			 size_t size)
{
	uint32_t at = hash(text, size) & t->mask;

	for (; t->table[at] != NO_TOKEN; at = (at + 1) & t->mask) {
		const struct token *token = &t->token[t->table[at]];

		if (token->size == size && !memcmp(token->text, text, size))
			return t->table[at];
	}
	return NO_TOKEN;
}

static void vocabulary_add(struct tokenizer *t, uint32_t id)
{
	const struct token *token = &t->token[id];
	uint32_t at = hash(token->text, token->size) & t->mask;

	if (vocabulary_find(t, token->text, token->size) != NO_TOKEN)
		return;
	while (t->table[at] != NO_TOKEN)
		at = (at + 1) & t->mask;
	t->table[at] = id;
	for (uint32_t i = 1; i < token->size; i++) {
		unsigned int pair = (unsigned int)(uint8_t)token->text[i - 1]
					    << 8 |
				    (uint8_t)token->text[i];

		t->joined[pair / 8] |= (uint8_t)(1U << pair % 8);
	}
}

static int read_token(struct tokenizer *t, struct file *file, uint32_t id)
{
	struct token *token = &t->token[id];
	int32_t size;

	if (file->size - file->at < sizeof(token->score) + sizeof(size))
		goto torn;
	memcpy(&token->score, file->bytes + file->at, sizeof(token->score));
	memcpy(&size, file->bytes + file->at + sizeof(token->score),
	       sizeof(size));
	file->at += sizeof(token->score) + sizeof(size);
	if (size < 0 || size > TOKEN_MAX) {
		fprintf(stderr,
			"treekv-run: tokenizer %s: length of token %u is %d, "
			"but must be 0 to %d\n",
			file->path, id, size, TOKEN_MAX);
		return -EINVAL;
	}
	if (file->size - file->at < (size_t)size)
		goto torn;
	token->text = (const char *)file->bytes + file->at;
	token->size = (uint32_t)size;
	file->at += (size_t)size;
	return 0;
torn:
	fprintf(stderr,
		"treekv-run: tokenizer %s ends within token %u, but the model "
		"has %u: give the model's own tokenizer with -z\n",
		file->path, id, t->vocab);
	return -EINVAL;
}

/* "<0x41>" stands for the byte; so it is written. No sign, no blank. */
static void find_byte(struct tokenizer *t, struct token *token)
{
	const char *text = token->text;
	char digits[3] = "";

	if (token->size != 6 || memcmp(text, "<0x", 3) || text[5] != '>' ||
	    !isxdigit((unsigned char)text[3]) ||
	    !isxdigit((unsigned char)text[4]))
		return;
	memcpy(digits, text + 3, 2);
	token->shown = &t->bytes[strtoul(digits, NULL, 16)];
	token->shown_size = 1;
}

static int read_tokens(struct tokenizer *t, struct file *file)
{
	int r = 0;

	if (file->size < sizeof(int32_t)) {
		fprintf(stderr, "treekv-run: tokenizer %s is %zu bytes long\n",
			file->path, file->size);
		return -EINVAL;
	}
	file->at = sizeof(int32_t); /* the longest, which we count ourselves */
	for (uint32_t id = 0; !r && id < t->vocab; id++) {
		struct token *token = &t->token[id];

		r = read_token(t, file, id);
		if (r < 0)
			return r;
		token->shown = token->text;
		token->shown_size = token->size;
		find_byte(t, token);
		vocabulary_add(t, id);
		t->longest = token->size > t->longest ? token->size :
							t->longest;
	}
	if (!r && file->at != file->size) {
		fprintf(stderr,
			"treekv-run: tokenizer %s has more than the %u tokens "
			"of the model: give the model's own with -z\n",
			file->path, t->vocab);
		r = -EINVAL;
	}
	return r;
}

static int allocate(struct tokenizer *t)
{
	uint32_t size = 1;

	while (size < t->vocab * 2)
		size *= 2;
	t->mask = size - 1;
	t->token = calloc(t->vocab, sizeof(*t->token));
	t->table = malloc(size * sizeof(*t->table));
	if (!t->token || !t->table) {
		fputs("treekv-run: out of memory\n", stderr);
		return -ENOMEM;
	}
	memset(t->table, 0xff, size * sizeof(*t->table));
	for (int i = 0; i < 256; i++)
		t->bytes[i] = (char)i;
	return 0;
}

int tokenizer_open(struct tokenizer **ret, const char *path, uint32_t vocab)
{
	struct file file = {
		.path = path ? path : "(embedded)",
		.bytes = embedded_tokenizer,
		/* cppcheck-suppress comparePointers ; the two ends of one */
		.size = (size_t)(embedded_tokenizer_end - embedded_tokenizer),
	};
	struct tokenizer *t;
	int r;

	if (vocab <= TOKENIZER_EOS) {
		fprintf(stderr,
			"treekv-run: the model's vocabulary is %u, but tokens "
			"%d and %d begin and end a text: take another model\n",
			vocab, TOKENIZER_BOS, TOKENIZER_EOS);
		return -EINVAL;
	}
	t = calloc(1, sizeof(*t));
	if (!t) {
		fputs("treekv-run: out of memory\n", stderr);
		return -ENOMEM;
	}
	t->vocab = vocab;
	r = allocate(t);
	if (!r && path) {
		r = file_map(&t->map, &t->map_size, path);
		file.bytes = t->map;
		file.size = t->map_size;
	}
	if (!r)
		r = read_tokens(t, &file);
	if (r < 0) {
		tokenizer_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

struct tokenizer *tokenizer_free(struct tokenizer *t)
{
	if (!t)
		return NULL;
	if (t->map)
		munmap(t->map, t->map_size);
	free(t->table);
	free(t->token);
	free(t);
	return NULL;
}

const char *tokenizer_decode(const struct tokenizer *t, size_t *size,
			     uint32_t previous, uint32_t id)
{
	const struct token *token = &t->token[id];
	uint32_t skip = previous == TOKENIZER_BOS && token->shown_size &&
			token->shown[0] == ' ';

	*size = token->shown_size - skip;
	return token->shown + skip;
}

size_t tokenizer_longest(const struct tokenizer *t)
{
	return t->longest;
}
