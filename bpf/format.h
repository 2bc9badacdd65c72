/* SPDX-License-Identifier: BSD-2-Clause */
/* Figures in few characters. What is not known (NAN) is "-". */
#ifndef TREEKV_FORMAT_H
#define TREEKV_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define FORMAT_SIZE 32

/* 9999, 12.3k, 4.56M: five characters at most below a billion of billions. */
void format_count(char *to, size_t size, double value);

/* The same with digits after the point where it is small: 0.25, 7.5. */
void format_rate(char *to, size_t size, double value);

/* 512B, 12.3K, 4.56M: powers of 1024. */
void format_bytes(char *to, size_t size, double bytes);

/* 850ns, 12.3us, 4.56ms, 1.20s, 15min */
void format_time(char *to, size_t size, double ns);

/* 5s, 12min, 3h, 4d */
void format_age(char *to, size_t size, double seconds);

/* 0.25 -> 25%, 0.004 -> 0.4% */
void format_part(char *to, size_t size, double part);

/* Is that a figure and nothing else? 12, 1.5k, 3M, 2ms, 50%. Return: 0, -EINVAL. */
int format_parse(double *ret, const char *text);

#endif /* TREEKV_FORMAT_H */
