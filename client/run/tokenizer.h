/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Byte-pair encoding as in llama2.c, from its tokenizer.bin: the pair whose
 * union has the highest score is merged first, the leftmost of equals; what is
 * not in the vocabulary becomes bytes. The same ids, in n log n.
 */
#ifndef RUN_TOKENIZER_H
#define RUN_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKENIZER_BOS 1
#define TOKENIZER_EOS 2

struct tokenizer;

/**
 * tokenizer_open - load a tokenizer
 * @ret: the tokenizer
 * @path: a file, or NULL: the embedded one
 * @vocab: tokens it must have, the model's; BOS and EOS are among them
 *
 * Return: 0, or a negative errno with the fault on stderr.
 */
int tokenizer_open(struct tokenizer **ret, const char *path, uint32_t vocab);
struct tokenizer *tokenizer_free(struct tokenizer *tokenizer);

/**
 * tokenizer_encode - turn text into ids
 * @ret: set to an array, the caller's to free
 * @count: set to how many
 * @text: any bytes
 * @size: how many
 * @begin: a text's beginning: BOS and llama2.c's blank go before it
 * @limit: no more than this many ids are wanted
 *
 * Return: 0, -ENOMEM; -EINVAL a byte has no token (on stderr).
 */
int tokenizer_encode(const struct tokenizer *tokenizer, uint32_t **ret,
		     size_t *count, const char *text, size_t size, bool begin,
		     size_t limit);

/* The bytes of a token after token @previous; they need not be whole UTF-8. */
const char *tokenizer_decode(const struct tokenizer *tokenizer, size_t *size,
			     uint32_t previous, uint32_t id);

/* The bytes of the longest token. */
size_t tokenizer_longest(const struct tokenizer *tokenizer);

#endif /* RUN_TOKENIZER_H */
