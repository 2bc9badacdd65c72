/* SPDX-License-Identifier: BSD-2-Clause */
/* What tokenizer.c and bpe.c share: the vocabulary. */
#ifndef RUN_BPE_H
#define RUN_BPE_H

#include "client/run/tokenizer.h"

#define NO_TOKEN UINT32_MAX

struct token {
	const char *text; /* as the file has it */
	const char *shown; /* as it is written: "<0x0A>" is a newline */
	uint32_t size;
	uint32_t shown_size;
	float score;
};

struct tokenizer {
	uint32_t vocab;
	struct token *token;
	uint32_t *table; /* ids by hash of the text, NO_TOKEN: empty */
	uint32_t mask;
	size_t longest;
	uint8_t joined[65536 / 8]; /* pairs of bytes that some token contains */
	char bytes[256];
	void *map;
	size_t map_size;
};

/* NO_TOKEN when there is none. */
uint32_t vocabulary_find(const struct tokenizer *tokenizer, const char *text,
			 size_t size);

#endif /* RUN_BPE_H */
