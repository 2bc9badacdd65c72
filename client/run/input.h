/* SPDX-License-Identifier: BSD-2-Clause */
/* The ids that are to be read. */
#ifndef RUN_INPUT_H
#define RUN_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "client/run/options.h"
#include "client/run/tokenizer.h"

struct input {
	uint32_t *ids;
	size_t count;
};

/**
 * input_read - get the ids of --prompt, --text or --ids
 * @ret: the input; without any of the three a BOS, for --generate alone
 * @options: the command line
 * @tokenizer: may be NULL with --ids
 * @vocab: ids must be below it
 *
 * Return: 0, or a negative errno with the fault on stderr.
 */
int input_read(struct input *ret, const struct options *options,
	       const struct tokenizer *tokenizer, uint32_t vocab);
void input_free(struct input *input);

#endif /* RUN_INPUT_H */
