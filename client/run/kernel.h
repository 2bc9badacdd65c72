/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The arithmetic of the engine, in three builds of one text (kernel-body.h):
 * for AVX-512, for AVX2 and for anything. kernel_pick() chooses one when the
 * program starts. On one machine every result is a function of the arguments
 * alone: sums go in a fixed order, by column or by slot, whatever the number of
 * threads.
 */
#ifndef RUN_KERNEL_H
#define RUN_KERNEL_H

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
 * @stride: kernel_pad(view->slots) or more
 * @out: [group][head_dim]
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
	size_t stride;
	float *out;
	uint32_t *live;
	uint32_t n_live;
};

struct kernel {
	const char *name;

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
};

const struct kernel *kernel_pick(void);

extern const struct kernel kernel_generic;
#if KERNEL_X86
extern const struct kernel kernel_v3;
extern const struct kernel kernel_v4;
#endif

#endif /* RUN_KERNEL_H */
