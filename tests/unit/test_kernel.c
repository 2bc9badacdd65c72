// SPDX-License-Identifier: BSD-2-Clause
/*
 * client/run/kernel-batch.h against kernel-body.h, bit for bit: what a kernel
 * computes for many tokens at once must be what it computes for one after the
 * other, in each build that this machine can run and in shapes that leave
 * remainders everywhere. Before that the functions for one token against sums
 * in double.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/run/half.h"
#include "client/run/kernel.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define COLS_MAX      384
#define ROWS_MAX      9
#define TOKENS_MAX    23
#define PROMPT_MAX    70
#define GROUP_MAX     5
#define GUARD	      12345.0F /* what must not be written */

static const struct kernel *kernels[3];
static size_t kernels_count;

static uint64_t state = 1;

/* -1 to 1 */
static float draw(void)
{
	state = state * UINT64_C(6364136223846793005) +
		UINT64_C(1442695040888963407);
	return (float)(int32_t)(state >> 32) * 0x1p-31F;
}

static void fill(float *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = draw();
}

static int find_kernels(void **unused)
{
	(void)unused;
	kernels[kernels_count++] = &kernel_generic;
#if KERNEL_X86
	if (kernel_pick() == &kernel_v4)
		kernels[kernels_count++] = &kernel_v4;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
	    __builtin_cpu_supports("f16c"))
		kernels[kernels_count++] = &kernel_v3;
#endif
	return 0;
}

struct matrix {
	uint32_t cols;
	uint32_t rows;
	uint32_t group; /* 0: floats */
	float f32[ROWS_MAX * COLS_MAX];
	int8_t q8[ROWS_MAX * COLS_MAX];
	float scale[ROWS_MAX * COLS_MAX];
};

static void one(const struct kernel *k, float *out, const float *x,
		const struct matrix *m)
{
	if (m->group)
		k->matmul_q8(out, x, m->q8, m->scale, m->cols, m->group,
			     m->rows);
	else
		k->matmul_f32(out, x, m->f32, m->cols, m->rows);
}

static double exact(const float *x, const struct matrix *m, uint32_t row)
{
	double sum = 0;

	for (uint32_t i = 0; i < m->cols; i++) {
		size_t at = (size_t)row * m->cols + i;
		double w = m->group ? (double)m->q8[at] *
					      (double)m->scale[at / m->group] :
				      (double)m->f32[at];

		sum += w * (double)x[i];
	}
	return sum;
}

static void compare_matrix(const struct kernel *k, const struct matrix *m,
			   uint32_t tokens)
{
	static float x[TOKENS_MAX * (COLS_MAX + 1)];
	static float out[TOKENS_MAX * (ROWS_MAX + 3)];
	float alone[ROWS_MAX];
	const struct kernel_batch batch = {
		.out = out,
		.out_stride = ROWS_MAX + 3,
		.x = x,
		.x_stride = COLS_MAX + 1,
		.tokens = tokens,
	};

	fill(x, ARRAY_SIZE(x));
	for (size_t i = 0; i < ARRAY_SIZE(out); i++)
		out[i] = GUARD;
	if (m->group)
		k->batch_q8(&batch, m->q8, m->scale, m->cols, m->group,
			    m->rows);
	else
		k->batch_f32(&batch, m->f32, m->cols, m->rows);
	for (uint32_t t = 0; t < tokens; t++) {
		const float *at = x + t * (COLS_MAX + 1);
		const float *got = out + t * (ROWS_MAX + 3);

		one(k, alone, at, m);
		for (uint32_t r = 0; r < m->rows; r++)
			if (fabs(exact(at, m, r) - (double)alone[r]) > 1e-3)
				fail_msg("%s: %g is no sum", k->name,
					 (double)alone[r]);
		if (memcmp(got, alone, m->rows * sizeof(*got)))
			fail_msg("%s: %u x %u in groups of %u, token %u of %u",
				 k->name, m->rows, m->cols, m->group, t,
				 tokens);
		assert_true(got[m->rows] == GUARD);
	}
}

static void test_matrices_times_many_are_as_times_one(void **unused)
{
	static const uint32_t shapes[][2] = {
		{ 1, 0 },   { 37, 0 },	 { 64, 0 },    { 250, 0 }, { 64, 16 },
		{ 96, 32 }, { 128, 64 }, { 384, 128 }, { 48, 48 }
	};
	static struct matrix m;

	(void)unused;
	for (size_t i = 0; i < ROWS_MAX * COLS_MAX; i++) {
		m.f32[i] = draw();
		m.q8[i] = (int8_t)(127 * draw());
		m.scale[i] = 0.01F * draw();
	}
	for (size_t k = 0; k < kernels_count; k++)
		for (size_t s = 0; s < ARRAY_SIZE(shapes); s++)
			for (m.rows = 1; m.rows <= ROWS_MAX; m.rows++)
				for (uint32_t t = 1; t <= TOKENS_MAX; t += 3) {
					m.cols = shapes[s][0];
					m.group = shapes[s][1];
					compare_matrix(kernels[k], &m, t);
				}
}

/* ---- attention ---- */

struct prompt {
	const struct kernel *kernel;
	enum treekv_dtype dtype;
	uint32_t head_dim;
	uint32_t group;
	size_t stride; /* bytes of a row, of two heads */
	uint8_t *k; /* rows; the second head's are asked for */
	uint8_t *v;
	float *rope;
	float *query; /* [PROMPT_MAX][group][head_dim] */
	uint32_t rank[PROMPT_MAX];
};

static void *allocate(size_t n, size_t size)
{
	void *at = calloc(n, size);

	assert_non_null(at);
	return at;
}

static void make_rows(uint8_t *to, const struct prompt *p)
{
	size_t n = PROMPT_MAX * 2 * p->head_dim;

	for (size_t i = 0; i < n; i++) {
		float value = draw();

		if (p->dtype == TREEKV_F32)
			((float *)(void *)to)[i] = value;
		else
			((uint16_t *)(void *)to)[i] =
				half_from(value, p->dtype);
	}
}

static void make_prompt(struct prompt *p)
{
	size_t size = p->dtype == TREEKV_F32 ? 4 : 2;

	p->stride = 2 * p->head_dim * size;
	p->k = allocate(PROMPT_MAX, p->stride);
	p->v = allocate(PROMPT_MAX, p->stride);
	p->rope = allocate(PROMPT_MAX * p->head_dim, sizeof(float));
	p->query = allocate(PROMPT_MAX * p->group * p->head_dim, sizeof(float));
	make_rows(p->k, p);
	make_rows(p->v, p);
	fill(p->query, PROMPT_MAX * p->group * p->head_dim);
	for (uint32_t t = 0; t < PROMPT_MAX; t++) {
		p->rank[t] = t;
		for (uint32_t d = 0; d < p->head_dim; d += 2) {
			float *at = p->rope + (size_t)t * p->head_dim + d;

			at[0] = cosf((float)(t * (d + 1)));
			at[1] = sinf((float)(t * (d + 1)));
		}
	}
}

static void free_prompt(struct prompt *p)
{
	free(p->k);
	free(p->v);
	free(p->rope);
	free(p->query);
}

/* What attend() makes of one token, all of whose predecessors are held. */
static void attend_one(const struct prompt *p, uint32_t t, float *weights,
		       float *out)
{
	uint32_t live[KERNEL_LANES_MAX * (PROMPT_MAX / KERNEL_LANES_MAX + 1)];
	float *dense =
		allocate(p->group * kernel_pad(PROMPT_MAX), sizeof(*dense));
	const struct treekv_view view = {
		.k_stride = p->stride,
		.v_stride = p->stride,
		.rank = p->rank,
		.slots = t + 1,
		.live = t + 1,
		.spans = 1,
		.span[0] = { .k = p->k + p->stride / 2,
			     .v = p->v + p->stride / 2,
			     .slots = t + 1 },
	};
	struct kernel_attend attend = {
		.view = &view,
		.dtype = p->dtype,
		.head_dim = p->head_dim,
		.group = p->group,
		.query = p->query + (size_t)t * p->group * p->head_dim,
		.rope = p->rope,
		.weights = weights,
		.dense = dense,
		.stride = kernel_pad(PROMPT_MAX),
		.out = out,
		.live = live,
	};

	p->kernel->attend(&attend);
	free(dense);
}

/* Tokens from @first on, in one call, against one by one. */
static void compare_prompt(const struct prompt *p, const float *keys,
			   uint32_t first, uint32_t n)
{
	size_t stride = kernel_pad(PROMPT_MAX), dim = p->group * p->head_dim;
	float *weights = allocate((n + 1) * p->group * stride, sizeof(float));
	float *out = allocate((n + 1) * dim, sizeof(float));
	float *one_weights = weights + n * p->group * stride;
	float *one_out = out + n * dim;
	const struct kernel_prompt k = {
		.dtype = p->dtype,
		.head_dim = p->head_dim,
		.group = p->group,
		.stride = p->stride,
		.keys = keys,
		.values = p->v + p->stride / 2,
		.first = first,
		.tokens = n,
		.query = p->query + first * dim,
		.out = out,
		.x_stride = dim,
		.weights = weights,
		.w_stride = stride,
	};

	p->kernel->attend_prompt(&k);
	for (uint32_t t = 0; t < n; t++) {
		attend_one(p, first + t, one_weights, one_out);
		if (memcmp(out + t * dim, one_out, dim * sizeof(float)))
			fail_msg("%s: dtype %d, head_dim %u, group %u: token "
				 "%u of %u from %u",
				 p->kernel->name, p->dtype, p->head_dim,
				 p->group, t, n, first);
		for (uint32_t g = 0; g < p->group; g++)
			assert_memory_equal(weights +
						    (t * p->group + g) * stride,
					    one_weights + g * stride,
					    (first + t + 1) * sizeof(float));
	}
	free(weights);
	free(out);
}

static void compare_prompts(struct prompt *p)
{
	static const uint32_t chunks[] = { 1, 2, 7, 16, 20, 24 };
	float *keys =
		allocate(kernel_pad(PROMPT_MAX) * p->head_dim, sizeof(float));
	const struct kernel_prompt k = {
		.dtype = p->dtype,
		.head_dim = p->head_dim,
		.rope = p->rope,
		.stride = p->stride,
	};
	uint32_t first = 0;

	/* Lanes of keys to come hold anything: here it would show. */
	for (size_t i = 0; i < kernel_pad(PROMPT_MAX) * p->head_dim; i++)
		keys[i] = NAN;
	for (size_t i = 0; i < ARRAY_SIZE(chunks); first += chunks[i++]) {
		p->kernel->pack_keys(&k, keys,
				     p->k + p->stride / 2 + first * p->stride,
				     first, chunks[i]);
		compare_prompt(p, keys, first, chunks[i]);
	}
	assert_int_equal(first, PROMPT_MAX);
	free(keys);
}

static void test_a_prompt_attends_as_its_tokens_do(void **unused)
{
	static const uint32_t dims[] = { 16, 32, 48, 64, 80, 128, 256 };
	struct prompt p;

	(void)unused;
	for (size_t k = 0; k < kernels_count; k++)
		for (size_t d = 0; d < ARRAY_SIZE(dims); d++)
			for (p.group = 1; p.group <= GROUP_MAX; p.group++)
				for (unsigned int t = TREEKV_F32;
				     t <= TREEKV_BF16; t++) {
					p.kernel = kernels[k];
					p.head_dim = dims[d];
					p.dtype = (enum treekv_dtype)t;
					make_prompt(&p);
					compare_prompts(&p);
					free_prompt(&p);
				}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matrices_times_many_are_as_times_one),
		cmocka_unit_test(test_a_prompt_attends_as_its_tokens_do),
	};

	return cmocka_run_group_tests_name("kernel", tests, find_kernels, NULL);
}
