// SPDX-License-Identifier: BSD-2-Clause
/*
 * A prompt goes through the model layer by layer: within a layer in chunks of
 * CHUNK tokens, each of which attends to the keys and values of the chunks
 * before it and to its own. So what has to be there at once is every token's
 * activations, one layer's rows of K and V, and a few chunks' intermediates;
 * when a layer is done, the cache takes what survives and its rows are
 * overwritten by the next one's.
 *
 * A chunk makes one pass over the weights where single steps make CHUNK, which
 * is the point of it. All sums are those of engine_step(), in the same order
 * (kernel-batch.h): with nothing evicted the results agree to the bit. Keys are
 * kept twice: as rows, which survivors are copied from, and rotated, since
 * every later query wants them so.
 *
 * Nothing behind the last layer looks at any token but the last, and at the
 * queries whose attention counts; the tokens before them stop at K and V there.
 *
 * Attention is added up in the cache in the sequence of queries; where it is
 * wanted, a head is therefore one thread's.
 */
#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/run/engine_impl.h"
#include "client/run/half.h"

#define CHUNK 64 /* tokens */
#define TILE  8 /* tokens that attend at a time */

/* What a thread attends in. */
struct room {
	atomic_flag taken;
	float *weights; /* [tile][group][stride] */
	/* Of heads that fit no vector only. */
	float *dense; /* [group][stride] */
	uint32_t *live; /* [stride] */
};

struct prompt {
	struct engine *engine;
	struct treekv_cache *cache;
	const struct model_layer *weights; /* of the layer */
	const struct engine_progress *progress;
	uint32_t layer;
	uint32_t tokens;
	uint32_t queries; /* the last ones, whose attention counts */
	uint32_t first; /* of the chunk */
	uint32_t count; /* tokens of the chunk */
	uint32_t tile; /* tokens that attend at a time: TILE, or fewer */
	size_t stride; /* tokens, padded */
	size_t row; /* bytes of a token's K, or V, in a layer */
	atomic_int error; /* the first one that a thread met */

	struct room *rooms; /* [threads] */
	void *memory; /* all that follow */
	float *x; /* [tokens][dim] */
	float *rope; /* [tokens][head_dim] */
	float *keys; /* [kv_heads][stride][head_dim], rotated, packed */
	uint8_t *k; /* [tokens][row] */
	uint8_t *v;
	float *normed; /* of the chunk, here and below: [dim] a token */
	float *query; /* [dim] */
	float *attended; /* [dim] */
	float *key; /* [kv_dim] */
	float *value; /* [kv_dim] */
	float *gate; /* [hidden], padded */
	float *up;
	uint32_t *rank; /* [stride]: each token's own number */
};

/* ---- matrices ---- */

/* The chunk times up to three matrices. */
struct batches {
	const struct prompt *prompt;
	const float *x;
	size_t x_stride;
	struct {
		float *out;
		size_t stride;
		const struct tensor *matrix;
	} of[3];
	uint32_t count;
};

static void batch_rows(const struct kernel *kernel, struct kernel_batch *batch,
		       const struct tensor *t, uint32_t from, uint32_t rows)
{
	size_t at = (size_t)from * t->cols;

	batch->out += from;
	if (t->f32)
		kernel->batch_f32(batch, t->f32 + at, t->cols, rows);
	else
		kernel->batch_q8(batch, t->q8 + at, t->scale + at / t->group,
				 t->cols, t->group, rows);
}

static void batches_job(void *arg, uint32_t part, uint32_t parts)
{
	const struct batches *job = arg;

	for (uint32_t i = 0; i < job->count; i++) {
		const struct tensor *matrix = job->of[i].matrix;
		uint32_t to, from = engine_share(&to, matrix, part, parts);
		struct kernel_batch batch = {
			.out = job->of[i].out,
			.out_stride = job->of[i].stride,
			.x = job->x,
			.x_stride = job->x_stride,
			.tokens = job->prompt->count,
		};

		if (from < to)
			batch_rows(job->prompt->engine->kernel, &batch, matrix,
				   from, to - from);
	}
}

static void multiply(struct batches *job)
{
	pool_run(job->prompt->engine->pool, batches_job, job);
}

/* ---- token by token ---- */

/* Something done to each token of the chunk. */
struct tokens {
	struct prompt *prompt;
	void (*each)(struct prompt *p, uint32_t t);
};

static void tokens_job(void *arg, uint32_t part, uint32_t parts)
{
	const struct tokens *job = arg;
	uint64_t n = job->prompt->count;
	uint32_t to = (uint32_t)(n * (part + 1) / parts);

	for (uint32_t t = (uint32_t)(n * part / parts); t < to; t++)
		job->each(job->prompt, t);
}

static void each_token(struct prompt *p,
		       void (*each)(struct prompt *p, uint32_t t))
{
	struct tokens job = { p, each };

	pool_run(p->engine->pool, tokens_job, &job);
}

static float *x_of(const struct prompt *p, uint32_t t)
{
	return p->x + (size_t)(p->first + t) * p->engine->model->dim;
}

static float *normed_of(const struct prompt *p, uint32_t t)
{
	return p->normed + (size_t)t * p->engine->model->dim;
}

static void norm_attention(struct prompt *p, uint32_t t)
{
	const struct engine *e = p->engine;

	e->kernel->norm(normed_of(p, t), x_of(p, t), p->weights->attention_norm,
			e->model->dim);
}

/* Adds what attention gave, and readies the feed-forward. */
static void norm_ffn(struct prompt *p, uint32_t t)
{
	const struct engine *e = p->engine;
	float *x = x_of(p, t);

	engine_add(x, p->query + (size_t)t * e->model->dim, e->model->dim);
	e->kernel->norm(normed_of(p, t), x, p->weights->ffn_norm,
			e->model->dim);
}

static void activate(struct prompt *p, uint32_t t)
{
	size_t stride = kernel_pad(p->engine->model->hidden);

	p->engine->kernel->swiglu(p->gate + t * stride, p->up + t * stride,
				  p->engine->model->hidden);
}

static void add_ffn(struct prompt *p, uint32_t t)
{
	engine_add(x_of(p, t), normed_of(p, t), p->engine->model->dim);
}

static void rotate_query(struct prompt *p, uint32_t t)
{
	const struct model *m = p->engine->model;

	engine_rotate(p->engine, p->query + (size_t)t * m->dim,
		      p->rope + (size_t)(p->first + t) * m->head_dim);
}

/* Keys and values as the cache will have them. */
static void store_rows(struct prompt *p, uint32_t t)
{
	const struct engine *e = p->engine;
	uint32_t n = e->model->kv_dim;
	const float *key = p->key + (size_t)t * n;
	const float *value = p->value + (size_t)t * n;
	void *k = p->k + (p->first + t) * p->row;
	void *v = p->v + (p->first + t) * p->row;

	if (e->options.dtype == TREEKV_F32) {
		memcpy(k, key, p->row);
		memcpy(v, value, p->row);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		((uint16_t *)k)[i] = half_from(key[i], e->options.dtype);
		((uint16_t *)v)[i] = half_from(value[i], e->options.dtype);
	}
}

/* ---- attention ---- */

static size_t head_bytes(const struct prompt *p)
{
	return p->row / p->engine->model->kv_heads;
}

static bool is_packed(const struct prompt *p)
{
	return p->engine->model->head_dim % p->engine->kernel->lanes == 0;
}

static void pack_keys(struct prompt *p)
{
	const struct engine *e = p->engine;
	const struct kernel_prompt k = {
		.dtype = e->options.dtype,
		.head_dim = e->model->head_dim,
		.rope = p->rope,
		.stride = p->row,
	};

	for (uint32_t h = 0; is_packed(p) && h < e->model->kv_heads; h++)
		e->kernel->pack_keys(
			&k, p->keys + h * p->stride * e->model->head_dim,
			p->k + p->first * p->row + h * head_bytes(p), p->first,
			p->count);
}

static struct room *take_room(struct prompt *p)
{
	uint32_t i = 0;

	while (atomic_flag_test_and_set(&p->rooms[i].taken))
		i = (i + 1) % p->engine->options.threads;
	return &p->rooms[i];
}

/* The kernel for one token, over rows that lie as a cache's would. */
static void attend_one(struct prompt *p, uint32_t head, uint32_t t,
		       struct room *room, float *weights)
{
	const struct engine *e = p->engine;
	size_t at = (size_t)t * e->model->dim +
		    (size_t)head * e->group * e->model->head_dim;
	const struct treekv_view view = {
		.k_stride = p->row,
		.v_stride = p->row,
		.rank = p->rank,
		.slots = p->first + t + 1,
		.live = p->first + t + 1,
		.spans = 1,
		.span = { { .k = p->k + head * head_bytes(p),
			    .v = p->v + head * head_bytes(p),
			    .slots = p->first + t + 1 } },
	};
	struct kernel_attend attend = {
		.view = &view,
		.dtype = e->options.dtype,
		.head_dim = e->model->head_dim,
		.group = e->group,
		.query = p->query + at,
		.rope = p->rope,
		.weights = weights,
		.dense = room->dense,
		.stride = p->stride,
		.live = room->live,
		.out = p->attended + at,
	};

	e->kernel->attend(&attend);
}

static void attend_tile(struct prompt *p, uint32_t head, uint32_t t, uint32_t n,
			struct room *room)
{
	const struct engine *e = p->engine;
	size_t at = (size_t)t * e->model->dim +
		    (size_t)head * e->group * e->model->head_dim;
	const struct kernel_prompt k = {
		.dtype = e->options.dtype,
		.head_dim = e->model->head_dim,
		.group = e->group,
		.stride = p->row,
		.keys = p->keys + head * p->stride * e->model->head_dim,
		.values = p->v + head * head_bytes(p),
		.first = p->first + t,
		.tokens = n,
		.query = p->query + at,
		.out = p->attended + at,
		.x_stride = e->model->dim,
		.weights = room->weights,
		.w_stride = p->stride,
	};

	if (is_packed(p))
		e->kernel->attend_prompt(&k);
	else
		for (uint32_t i = 0; i < n; i++)
			attend_one(p, head, t + i, room,
				   room->weights + i * e->group * p->stride);
}

/* Of the tile that has just attended. */
static int observe_tile(struct prompt *p, uint32_t head, uint32_t t, uint32_t n,
			const struct room *room)
{
	uint32_t group = p->engine->group;
	int r = 0;

	for (uint32_t i = 0; !r && i < n; i++)
		if (p->tokens - (p->first + t + i) <= p->queries)
			r = treekv_prefill_observe(
				p->cache, p->layer, head, p->first + t + i,
				room->weights + i * group * p->stride, group,
				p->stride);
	return r;
}

/* Are queries of this chunk wanted? Then heads are not split. */
static bool is_observed(const struct prompt *p)
{
	return p->tokens - (p->first + p->count - 1) <= p->queries;
}

static void attention_job(void *arg, uint32_t part, uint32_t parts)
{
	struct prompt *p = arg;
	uint64_t tiles = (p->count + p->tile - 1) / p->tile;
	uint64_t heads = p->engine->model->kv_heads;
	uint64_t from = heads * tiles * part / parts;
	uint64_t to = heads * tiles * (part + 1) / parts;
	struct room *room;

	if (is_observed(p)) {
		from = heads * part / parts * tiles;
		to = heads * (part + 1) / parts * tiles;
	}
	if (from == to)
		return;
	room = take_room(p);
	for (uint64_t i = from; i < to; i++) {
		uint32_t head = (uint32_t)(i / tiles);
		uint32_t t = (uint32_t)(i % tiles) * p->tile;
		uint32_t n = p->count - t < p->tile ? p->count - t : p->tile;
		int r;

		attend_tile(p, head, t, n, room);
		r = observe_tile(p, head, t, n, room);
		if (r)
			atomic_store(&p->error, r);
	}
	atomic_flag_clear(&room->taken);
}

/* ---- layers ---- */

/* Nobody asks what becomes of these tokens beyond their K and V. */
static bool is_moot(const struct prompt *p)
{
	return p->layer + 1 == p->engine->model->layers &&
	       p->first + p->count < p->tokens && !is_observed(p);
}

static void project(struct prompt *p)
{
	const struct model *m = p->engine->model;
	struct batches job = {
		.prompt = p,
		.x = p->normed,
		.x_stride = m->dim,
		.of = { { p->key, m->kv_dim, &p->weights->wk },
			{ p->value, m->kv_dim, &p->weights->wv },
			{ p->query, m->dim, &p->weights->wq } },
		.count = is_moot(p) ? 2 : 3,
	};

	each_token(p, norm_attention);
	multiply(&job);
	each_token(p, store_rows);
	pack_keys(p);
}

/* The output of attention, then of the feed-forward, onto the residuals. */
static void finish(struct prompt *p)
{
	const struct model *m = p->engine->model;
	size_t stride = kernel_pad(m->hidden);
	struct batches out = {
		.prompt = p,
		.x = p->attended,
		.x_stride = m->dim,
		.of = { { p->query, m->dim, &p->weights->wo } },
		.count = 1,
	};
	struct batches up = {
		.prompt = p,
		.x = p->normed,
		.x_stride = m->dim,
		.of = { { p->gate, stride, &p->weights->w1 },
			{ p->up, stride, &p->weights->w3 } },
		.count = 2,
	};
	struct batches down = {
		.prompt = p,
		.x = p->gate,
		.x_stride = stride,
		.of = { { p->normed, m->dim, &p->weights->w2 } },
		.count = 1,
	};

	multiply(&out);
	each_token(p, norm_ffn);
	multiply(&up);
	each_token(p, activate);
	multiply(&down);
	each_token(p, add_ffn);
}

static int run_chunk(struct prompt *p)
{
	project(p);
	if (is_moot(p))
		return 0;
	each_token(p, rotate_query);
	pool_run(p->engine->pool, attention_job, p);
	finish(p);
	return atomic_load(&p->error);
}

static void hand_over_job(void *arg, uint32_t part, uint32_t parts)
{
	struct prompt *p = arg;
	uint64_t heads = p->engine->model->kv_heads;
	uint32_t to = (uint32_t)(heads * (part + 1) / parts);

	for (uint32_t h = (uint32_t)(heads * part / parts); h < to; h++) {
		int r = treekv_prefill_head(p->cache, p->layer, h,
					    p->k + h * head_bytes(p), p->row,
					    p->v + h * head_bytes(p), p->row);

		if (r)
			atomic_store(&p->error, r);
	}
}

static bool goes_on(const struct prompt *p)
{
	uint64_t done = (uint64_t)p->layer * p->tokens + p->first + p->count;
	uint64_t total = (uint64_t)p->engine->model->layers * p->tokens;

	return !p->progress || p->progress->next(p->progress->arg, done, total);
}

static int run_layer(struct prompt *p, uint32_t layer)
{
	int r = 0;

	p->layer = layer;
	p->weights = &p->engine->model->layer[layer];
	for (uint32_t first = 0; !r && first < p->tokens; first += CHUNK) {
		uint32_t left = p->tokens - first;

		p->first = first;
		p->count = left < CHUNK ? left : CHUNK;
		r = run_chunk(p);
		if (!r && !goes_on(p))
			r = -EINTR;
	}
	if (r)
		return r;
	pool_run(p->engine->pool, hand_over_job, p);
	return atomic_load(&p->error);
}

/* ---- memory ---- */

struct part {
	void *at; /* a pointer to be set */
	size_t bytes;
};

/* Carves what @parts name out of one allocation, or sizes it up. */
static size_t carve(const struct part *parts, size_t n, char *memory)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++) {
		if (memory) {
			void *at = memory + total;

			memcpy(parts[i].at, &at, sizeof(at));
		}
		total += (parts[i].bytes + 63) / 64 * 64;
	}
	return total;
}

static int allocate_rooms(struct prompt *p)
{
	const struct engine *e = p->engine;
	uint32_t threads = e->options.threads;
	size_t dense = e->group * p->stride * sizeof(float);

	p->rooms = calloc(threads, sizeof(*p->rooms));
	if (!p->rooms)
		return -ENOMEM;
	for (uint32_t i = 0; i < threads; i++) {
		struct room *room = &p->rooms[i];

		room->weights = aligned_alloc(64, p->tile * dense);
		if (!room->weights)
			return -ENOMEM;
		if (is_packed(p))
			continue;
		room->dense = aligned_alloc(64, dense);
		room->live = malloc(p->stride * sizeof(uint32_t));
		if (!room->dense || !room->live)
			return -ENOMEM;
	}
	return 0;
}

static int allocate(struct prompt *p)
{
	const struct model *m = p->engine->model;
	size_t n = p->tokens, chunk = n < CHUNK ? n : CHUNK;
	size_t hidden = kernel_pad(m->hidden), f = sizeof(float);
	const struct part parts[] = {
		{ &p->x, n * m->dim * f },
		{ &p->rope, n * m->head_dim * f },
		{ &p->keys, is_packed(p) ? p->stride * m->kv_dim * f : 0 },
		{ &p->k, n * p->row },
		{ &p->v, n * p->row },
		{ &p->normed, chunk * m->dim * f },
		{ &p->query, chunk * m->dim * f },
		{ &p->attended, chunk * m->dim * f },
		{ &p->key, chunk * m->kv_dim * f },
		{ &p->value, chunk * m->kv_dim * f },
		{ &p->gate, chunk * hidden * f },
		{ &p->up, chunk * hidden * f },
		{ &p->rank, is_packed(p) ? 0 : p->stride * f },
	};
	size_t count = sizeof(parts) / sizeof(*parts);

	p->memory = aligned_alloc(64, carve(parts, count, NULL));
	if (!p->memory || allocate_rooms(p)) {
		fprintf(stderr,
			"treekv-run: no memory for a prompt of %u "
			"tokens\n",
			p->tokens);
		return -ENOMEM;
	}
	carve(parts, count, p->memory);
	memset(p->keys, 0, parts[2].bytes);
	return 0;
}

static void release(struct prompt *p)
{
	for (uint32_t i = 0; p->rooms && i < p->engine->options.threads; i++) {
		free(p->rooms[i].weights);
		free(p->rooms[i].dense);
		free(p->rooms[i].live);
	}
	free(p->rooms);
	free(p->memory);
}

static void begin(struct prompt *p, const uint32_t *ids)
{
	const struct engine *e = p->engine;

	engine_fill_rope(p->rope, e->model->head_dim, p->tokens);
	for (uint32_t t = 0; t < p->tokens; t++)
		engine_embed(e, p->x + (size_t)t * e->model->dim, ids[t]);
	for (uint32_t t = 0; !is_packed(p) && t < p->stride; t++)
		p->rank[t] = t;
}

int engine_prompt(struct engine *e, struct treekv_cache *cache,
		  const uint32_t *ids, uint32_t n,
		  const struct engine_progress *progress, float **logits)
{
	const struct model *m = e->model;
	struct prompt p = {
		.engine = e,
		.cache = cache,
		.progress = progress,
		.tokens = n,
		.queries = treekv_prefill_queries(cache),
		.tile = TILE / e->group ? TILE / e->group : 1,
		.stride = kernel_pad(n),
		.row = m->kv_dim * (e->options.dtype == TREEKV_F32 ?
					    sizeof(float) :
					    sizeof(uint16_t)),
	};
	int r = allocate(&p);

	if (!r) {
		begin(&p, ids);
		for (uint32_t l = 0; !r && l < m->layers; l++)
			r = run_layer(&p, l);
	}
	if (!r && logits)
		*logits = engine_logits(e, p.x + (size_t)(n - 1) * m->dim);
	release(&p);
	return r;
}
