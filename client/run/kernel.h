/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The arithmetic of the engine, in three builds of one text (kernel-body.h):
 * for AVX-512, for AVX2 and for anything. kernel_pick() chooses one when the
 * program starts. On one machine every result is a function of the arguments
 * alone: sums go in a fixed order, by column and by slot or rank, whatever the
 * number of threads.
 */
#ifndef RUN_KERNEL_H
#define RUN_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/treekv.h"

/* clang knows no target by pragma; it builds the generic kernels alone. */
#if defined(__x86_64__) && !defined(__clang__)
#define KERNEL_X86 1
#else
#define KERNEL_X86 0
#endif

#define KERNEL_LANES_MAX    16
#define KERNEL_HEAD_DIM_MAX 512

/* @values floats, rounded up to whole vectors of the widest build. */
static inline size_t kernel_pad(size_t values)
{
	return (values + KERNEL_LANES_MAX - 1) / KERNEL_LANES_MAX *
	       KERNEL_LANES_MAX;
}

/**
 * struct kernel_attend - one KV head's attention
 * @view: its rows; keys are not rotated yet
 * @dtype: of the rows
 * @head_dim: even, at most KERNEL_HEAD_DIM_MAX
 * @group: query heads that share the KV head
 * @query: [group][head_dim], rotated and scaled by 1/sqrt(head_dim)
 * @rope: [position][head_dim]: cosine, sine of each pair's angle
 * @weights: [group][stride], set to the softmax weights by slot
 * @dense: [group][stride] to work in: the same by live row
 * @stride: kernel_pad(view->slots) or more
 * @out: [group][head_dim]
 * @by_rank: rows are added up from the oldest to the newest, else by slot
 * @live: [kernel_pad(view->slots)] to work in: the slots that hold a row
 * @n_live: how many those are; the kernel's
 */
struct kernel_attend {
	const struct treekv_view *view;
	enum treekv_dtype dtype;
	uint32_t head_dim;
	uint32_t group;
	const float *query;
	const float *rope;
	float *weights;
	float *dense;
	size_t stride;
	float *out;
	bool by_rank;
	uint32_t *live;
	uint32_t n_live;
};

/**
 * struct kernel_batch - many inputs to one matrix
 * @out: output t is at out + t * out_stride
 * @out_stride: floats
 * @x: input t is at x + t * x_stride
 * @x_stride: floats
 * @tokens: how many
 */
struct kernel_batch {
	float *out;
	size_t out_stride;
	const float *x;
	size_t x_stride;
	uint32_t tokens;
};

/**
 * struct kernel_prompt - one KV head's attention of some tokens of a prompt,
 *	each of which sees all tokens up to itself
 * @dtype: of the rows
 * @head_dim: a multiple of the kernel's lanes
 * @group: query heads that share the KV head
 * @rope: [position][head_dim]: cosine, sine of each pair's angle
 * @stride: bytes from token to token of keys and values, as rows
 * @keys: by pack_keys(): [kernel_pad(tokens so far)][head_dim] floats
 * @values: row of token 0
 * @first: position of the first token that asks
 * @tokens: how many do
 * @query: [tokens][group][head_dim], rotated and scaled, as in kernel_attend
 * @out: likewise
 * @x_stride: floats from token to token of both
 * @weights: [tokens][group][w_stride], set to the softmax weights by token
 * @w_stride: kernel_pad(first + tokens) or more
 */
struct kernel_prompt {
	enum treekv_dtype dtype;
	uint32_t head_dim;
	uint32_t group;
	const float *rope;
	size_t stride;
	const float *keys;
	const void *values;
	uint32_t first;
	uint32_t tokens;
	const float *query;
	float *out;
	size_t x_stride;
	float *weights;
	size_t w_stride;
};

struct kernel {
	const char *name;
	uint32_t lanes; /* floats in a vector */

	/* out[r] = x . w[r], rows of n floats. */
	void (*matmul_f32)(float *out, const float *x, const float *w,
			   uint32_t n, uint32_t rows);

	/*
	 * The same with rows of n bytes; every @group of them, a multiple of
	 * KERNEL_LANES_MAX that divides n, has a scale.
	 */
	void (*matmul_q8)(float *out, const float *x, const int8_t *w,
			  const float *scale, uint32_t n, uint32_t group,
			  uint32_t rows);

	/* out = x / rms(x) * gain */
	void (*norm)(float *out, const float *x, const float *gain, uint32_t n);

	/* gate = silu(gate) * up; both have room for kernel_pad(n). */
	void (*swiglu)(float *gate, const float *up, uint32_t n);

	void (*attend)(struct kernel_attend *attend);

	/*
	 * x = e^((x - the highest x) * factor); x has room for kernel_pad(n).
	 * Returns their sum.
	 */
	float (*exponentials)(float *x, uint32_t n, float factor);

	/* matmul_f32() and matmul_q8() for many inputs, to the bit. */
	void (*batch_f32)(const struct kernel_batch *batch, const float *w,
			  uint32_t n, uint32_t rows);
	void (*batch_q8)(const struct kernel_batch *batch, const int8_t *w,
			 const float *scale, uint32_t n, uint32_t group,
			 uint32_t rows);

	/*
	 * Rotates the keys of tokens first ... first + n - 1, the rows from
	 * @rows on, into @to, which begins with token 0.
	 */
	void (*pack_keys)(const struct kernel_prompt *prompt, float *to,
			  const void *rows, uint32_t first, uint32_t n);

	/* attend() with nothing evicted, for many tokens, to the bit. */
	void (*attend_prompt)(const struct kernel_prompt *prompt);
};

const struct kernel *kernel_pick(void);

extern const struct kernel kernel_generic;
#if KERNEL_X86
extern const struct kernel kernel_v3;
extern const struct kernel kernel_v4;
#endif

#endif /* RUN_KERNEL_H */
