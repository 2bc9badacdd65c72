/* SPDX-License-Identifier: BSD-2-Clause */
/* How people write sizes, the same on every command line and in every file. */
#ifndef TREEKV_SIZE_H
#define TREEKV_SIZE_H

#include <stdint.h>

/**
 * size_parse - "512M", "8G", "50%", plain bytes; K, M, G, T are powers of 1024
 * @whole: what 100% is, in bytes; 0: percentages are refused
 *
 * Return: 0 or -EINVAL.
 */
int size_parse(uint64_t *ret, const char *text, uint64_t whole);

/* Digits from @text on, no sign, no blanks; *end after the last. -EINVAL. */
int size_parse_digits(uint64_t *ret, const char *text, char **end);

#endif /* TREEKV_SIZE_H */
