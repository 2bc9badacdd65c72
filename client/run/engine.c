// SPDX-License-Identifier: BSD-2-Clause
/*
 * One decoding step is a list of jobs for the pool: for each layer the three
 * projections, attention by KV head, the output projection, and the two halves
 * of the feed-forward. Every output row is computed by one thread in an order
 * of its own, so the number of threads changes nothing in the result. What
 * lies between (norms, residuals) is too short to be worth a meeting and is
 * the caller's.
 *
 * All memory is taken in engine_new(): a step neither allocates nor, with one
 * thread, makes a system call. The rotations are a table by position, as long
 * as the largest view.
 */
#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/run/engine_impl.h"
#include "client/run/half.h"
#include "client/run/pool.h"

#define ROPE_THETA  10000.0
#define SMALL_MODEL (8U << 20) /* bytes: one thread is the fastest */
#define THREADS_MAX 256
#define DEFAULT_MAX 8

/* One input times up to three matrices. */
struct products {
	const struct engine *engine;
	const float *x;
	struct product {
		float *out;
		const struct tensor *matrix;
	} product[3];
	uint32_t count;
};

static void product_rows(const struct kernel *kernel, const float *x,
			 const struct product *p, uint32_t from, uint32_t rows)
{
	const struct tensor *t = p->matrix;
	size_t at = (size_t)from * t->cols;

	if (t->f32)
		kernel->matmul_f32(p->out + from, x, t->f32 + at, t->cols,
				   rows);
	else
		kernel->matmul_q8(p->out + from, x, t->q8 + at,
				  t->scale + at / t->group, t->cols, t->group,
				  rows);
}

static void products_job(void *arg, uint32_t part, uint32_t parts)
{
	const struct products *job = arg;

	for (uint32_t i = 0; i < job->count; i++) {
		const struct product *p = &job->product[i];
		uint32_t to, from = engine_share(&to, p->matrix, part, parts);

		if (from < to)
			product_rows(job->engine->kernel, job->x, p, from,
				     to - from);
	}
}

static void multiply(struct engine *e, float *out, const float *x,
		     const struct tensor *matrix)
{
	struct products job = {
		.engine = e,
		.x = x,
		.product = { { out, matrix } },
		.count = 1,
	};

	pool_run(e->pool, products_job, &job);
}

void engine_add(float *to, const float *what, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		to[i] += what[i];
}

void engine_embed(const struct engine *e, float *to, uint32_t id)
{
	const struct tensor *t = &e->model->embedding;
	size_t at = (size_t)id * t->cols;

	if (t->f32) {
		memcpy(to, t->f32 + at, t->cols * sizeof(*to));
		return;
	}
	for (uint32_t i = 0; i < t->cols; i++)
		to[i] = (float)t->q8[at + i] * t->scale[(at + i) / t->group];
}

void engine_rotate(const struct engine *e, float *query, const float *turn)
{
	uint32_t head_dim = e->model->head_dim;
	float scale = 1.0f / sqrtf((float)head_dim);

	for (uint32_t i = 0; i < e->model->dim; i += 2) {
		float even = query[i] * scale, odd = query[i + 1] * scale;
		float c = turn[i % head_dim], s = turn[i % head_dim + 1];

		query[i] = even * c - odd * s;
		query[i + 1] = odd * c + even * s;
	}
}

static int append(struct engine *e, struct treekv_cache *cache, uint32_t layer)
{
	uint32_t n = e->model->kv_dim;
	uint16_t *k = e->half, *v = e->half + n;

	if (e->options.dtype == TREEKV_F32)
		return treekv_append(cache, layer, e->key, e->value);
	for (uint32_t i = 0; i < n; i++) {
		k[i] = half_from(e->key[i], e->options.dtype);
		v[i] = half_from(e->value[i], e->options.dtype);
	}
	return treekv_append(cache, layer, k, v);
}

struct attention {
	struct engine *engine;
	struct treekv_cache *cache;
	uint32_t layer;
	atomic_int error; /* the first one that a thread met */
};

static int attend_head(const struct attention *job, uint32_t head)
{
	struct engine *e = job->engine;
	uint32_t first = head * e->group, head_dim = e->model->head_dim;
	struct treekv_view view;
	struct kernel_attend attend = {
		.view = &view,
		.dtype = e->options.dtype,
		.head_dim = head_dim,
		.group = e->group,
		.query = e->query + first * head_dim,
		.rope = e->rope,
		.weights = e->weights + first * e->stride,
		.dense = e->dense + first * e->stride,
		.by_rank = e->options.by_rank,
		.stride = e->stride,
		.live = e->live + head * e->stride,
		.out = e->attended + first * head_dim,
	};
	int r;

	r = treekv_view(job->cache, job->layer, head, &view);
	if (r < 0)
		return r;
	e->kernel->attend(&attend);
	return treekv_observe(job->cache, job->layer, head, 0, attend.weights,
			      e->group, e->stride);
}

static void attention_job(void *arg, uint32_t part, uint32_t parts)
{
	struct attention *job = arg;
	uint64_t heads = job->engine->model->kv_heads;
	uint32_t to = (uint32_t)(heads * (part + 1) / parts);

	for (uint32_t h = (uint32_t)(heads * part / parts); h < to; h++) {
		int r = attend_head(job, h);

		if (r < 0)
			atomic_store(&job->error, r);
	}
}

static int watch(struct engine *e, struct treekv_cache *cache, uint32_t layer)
{
	struct treekv_view view;
	int r = 0;

	for (uint32_t h = 0; !r && h < e->model->kv_heads; h++) {
		r = treekv_view(cache, layer, h, &view);
		if (!r)
			e->options.watch(e->options.watch_arg, layer, h, &view,
					 e->weights + h * e->group * e->stride,
					 e->group, e->stride);
	}
	return r;
}

static int attention(struct engine *e, struct treekv_cache *cache,
		     uint32_t layer)
{
	struct attention job = { .engine = e, .cache = cache, .layer = layer };
	struct treekv_view view;
	int r;

	r = append(e, cache, layer);
	if (!r)
		r = treekv_view(cache, layer, 0, &view);
	if (r)
		return r;
	if (view.slots > e->options.slots || !view.live ||
	    view.live > view.slots)
		return -EPROTO;
	engine_rotate(e, e->query,
		      e->rope + (size_t)(view.live - 1) * e->model->head_dim);
	pool_run(e->pool, attention_job, &job);
	r = atomic_load(&job.error);
	if (!r && e->options.watch)
		r = watch(e, cache, layer);
	return r;
}

static void feed_forward(struct engine *e, const struct model_layer *layer)
{
	const struct model *m = e->model;
	struct products job = {
		.engine = e,
		.x = e->normed,
		.product = { { e->gate, &layer->w1 }, { e->up, &layer->w3 } },
		.count = 2,
	};

	e->kernel->norm(e->normed, e->x, layer->ffn_norm, m->dim);
	pool_run(e->pool, products_job, &job);
	e->kernel->swiglu(e->gate, e->up, m->hidden);
	multiply(e, e->normed, e->gate, &layer->w2);
	engine_add(e->x, e->normed, m->dim);
}

int engine_step(struct engine *e, struct treekv_cache *cache, uint32_t id,
		float **logits)
{
	const struct model *m = e->model;
	int r = 0;

	engine_embed(e, e->x, id);
	for (uint32_t l = 0; !r && l < m->layers; l++) {
		const struct model_layer *layer = &m->layer[l];
		struct products job = {
			.engine = e,
			.x = e->normed,
			.product = { { e->query, &layer->wq },
				     { e->key, &layer->wk },
				     { e->value, &layer->wv } },
			.count = 3,
		};

		e->kernel->norm(e->normed, e->x, layer->attention_norm, m->dim);
		pool_run(e->pool, products_job, &job);
		r = attention(e, cache, l);
		if (r < 0)
			return r;
		multiply(e, e->normed, e->attended, &layer->wo);
		engine_add(e->x, e->normed, m->dim);
		feed_forward(e, layer);
	}
	if (logits)
		*logits = engine_logits(e, e->x);
	return 0;
}

float *engine_logits(struct engine *e, const float *x)
{
	const struct model *m = e->model;

	e->kernel->norm(e->normed, x, m->final_norm, m->dim);
	multiply(e, e->logits, e->normed, &m->classifier);
	return e->logits;
}

void engine_fill_rope(float *rope, uint32_t head_dim, uint32_t positions)
{
	for (uint32_t d = 0; d < head_dim; d += 2) {
		double speed = pow(ROPE_THETA, -(double)d / head_dim);

		for (uint32_t p = 0; p < positions; p++) {
			float *at = rope + (size_t)p * head_dim + d;

			at[0] = (float)cos(p * speed);
			at[1] = (float)sin(p * speed);
		}
	}
}

static int allocate(struct engine *e)
{
	const struct model *m = e->model;
	size_t slots = e->options.slots;
	struct {
		float **at;
		size_t values;
	} parts[] = {
		{ &e->x, m->dim },
		{ &e->normed, m->dim },
		{ &e->query, m->dim },
		{ &e->key, m->kv_dim },
		{ &e->value, m->kv_dim },
		{ &e->attended, m->dim },
		{ &e->gate, m->hidden },
		{ &e->up, m->hidden },
		{ &e->logits, m->vocab },
		{ &e->weights, m->heads * e->stride },
		{ &e->dense, m->heads * e->stride },
		{ (float **)&e->live, m->kv_heads * e->stride },
		{ &e->rope, slots * m->head_dim },
		{ (float **)&e->half, m->kv_dim },
	};
	size_t total = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		total += kernel_pad(parts[i].values);
	e->memory = aligned_alloc(64, total * sizeof(float));
	if (!e->memory) {
		fprintf(stderr, "treekv-run: no memory for %zu slots\n", slots);
		return -ENOMEM;
	}
	memset(e->memory, 0, total * sizeof(float));
	total = 0;
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		*parts[i].at = e->memory + total;
		total += kernel_pad(parts[i].values);
	}
	return 0;
}

static uint32_t default_threads(const struct model *model)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	if (model->weight_bytes < SMALL_MODEL || online < 1)
		return 1;
	return online < DEFAULT_MAX ? (uint32_t)online : DEFAULT_MAX;
}

int engine_new(struct engine **ret, const struct model *model,
	       const struct engine_options *options)
{
	struct engine *e;
	int r;

	e = calloc(1, sizeof(*e));
	if (!e) {
		fputs("treekv-run: out of memory\n", stderr);
		return -ENOMEM;
	}
	e->model = model;
	e->kernel = kernel_pick();
	e->options = *options;
	e->group = model->heads / model->kv_heads;
	e->stride = kernel_pad(options->slots);
	if (!e->options.threads)
		e->options.threads = default_threads(model);
	r = allocate(e);
	if (r < 0)
		goto out;
	engine_fill_rope(e->rope, model->head_dim, options->slots);
	r = pool_new(&e->pool, e->options.threads);
	if (r < 0) {
		fprintf(stderr, "treekv-run: cannot start %u threads: %s\n",
			e->options.threads, strerror(-r));
		goto out;
	}
	*ret = e;
	return 0;
out:
	engine_free(e);
	return r;
}

struct engine *engine_free(struct engine *e)
{
	if (!e)
		return NULL;
	pool_free(e->pool);
	free(e->memory);
	free(e);
	return NULL;
}

uint32_t engine_threads(const struct engine *e)
{
	return e->options.threads;
}

const char *engine_kernel(const struct engine *e)
{
	return e->kernel->name;
}

float engine_exponentials(const struct engine *e, float *x, float factor)
{
	return e->kernel->exponentials(x, e->model->vocab, factor);
}
