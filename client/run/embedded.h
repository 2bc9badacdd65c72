/* SPDX-License-Identifier: BSD-2-Clause */
/* The default model (MODEL.md) and its tokenizer, as files; see embedded.S. */
#ifndef RUN_EMBEDDED_H
#define RUN_EMBEDDED_H

#include <stdint.h>

extern const uint8_t embedded_model[];
extern const uint8_t embedded_model_end[];
extern const uint8_t embedded_tokenizer[];
extern const uint8_t embedded_tokenizer_end[];

#endif /* RUN_EMBEDDED_H */
