/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What kernel-generic.c, kernel-v3.c and kernel-v4.c build, each for its own
 * instruction set: they choose the target, name the table, and include this.
 *
 * Attention scans the slots densely (following the order row by row is several
 * times slower), four at a time, so that four dot products share the work of
 * adding up their lanes. A key is rotated by its rank as it is read, once for
 * up to four query heads. Free slots are left out. Weights stand densely, live row
 * by live row, until they are told by slot: so the sums depend on the sequence
 * of the rows alone, not on the gaps between them.
 *
 * Inner functions are inlined into callers that pass constants for the number
 * of heads and of vectors, which keeps the sums in registers.
 */
#include <math.h>
#include <stdbool.h>

#include "client/run/kernel.h"
#include "client/run/simd.h"

#define TILE  4 /* slots, or rows of a matrix */
#define HEADS 4 /* query heads at a time, at most */
#define AHEAD 16 /* rows from the one that is computed to the one asked for */
#define BLOCK 32 /* rows of values whose parts are added in turn */

/* Rows of a tile, converted. */
typedef float tile_room[KERNEL_HEAD_DIM_MAX];

/* Not inlined, where it is rewritten: all who call it must round alike. */
__attribute__((noinline)) static float dot_tail(const float *a, const float *b,
						uint32_t from, uint32_t n)
{
	float sum = 0;

	for (uint32_t i = from; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* Four rows, @step apart; 0: the same one four times. */
SIMD_INLINE void tile_f32(float *out, const float *x, const float *w,
			  size_t step, uint32_t n)
{
	vec sum[TILE] = { 0 };
	uint32_t whole = n / LANES * LANES;

	for (uint32_t i = 0; i < whole; i += LANES) {
		vec at = vec_load(x + i);

		for (uint32_t r = 0; r < TILE; r++)
			sum[r] += at * vec_load(w + r * step + i);
	}
	vec_sum4(out, sum);
	for (uint32_t r = 0; whole < n && r < TILE; r++)
		out[r] += dot_tail(x, w + r * step, whole, n);
}

static void matmul_f32(float *out, const float *x, const float *w, uint32_t n,
		       uint32_t rows)
{
	float sums[TILE];
	uint32_t r = 0;

	for (; r + TILE <= rows; r += TILE)
		tile_f32(out + r, x, w + (size_t)r * n, n, n);
	for (; r < rows; r++) {
		tile_f32(sums, x, w + (size_t)r * n, 0, n);
		out[r] = sums[0];
	}
}

SIMD_INLINE void tile_q8(float *out, const float *x, const int8_t *w,
			 size_t step, const float *scale, size_t scale_step,
			 uint32_t groups, uint32_t group)
{
	vec sum[TILE] = { 0 };

	for (uint32_t g = 0; g < groups; g++) {
		vec part[TILE] = { 0 };

		for (uint32_t i = 0; i < group; i += LANES) {
			vec at = vec_load(x + i);

			for (uint32_t r = 0; r < TILE; r++)
				part[r] += at * vec_load_i8(w + r * step + i);
		}
		for (uint32_t r = 0; r < TILE; r++)
			sum[r] += part[r] * scale[r * scale_step + g];
		x += group;
		w += group;
	}
	vec_sum4(out, sum);
}

SIMD_INLINE void rows_q8(float *out, const float *x, const int8_t *w,
			 const float *scale, uint32_t n, uint32_t group,
			 uint32_t rows)
{
	uint32_t groups = n / group;
	float sums[TILE];

	for (; rows >= TILE; rows -= TILE) {
		tile_q8(out, x, w, n, scale, groups, groups, group);
		out += TILE;
		w += TILE * (size_t)n;
		scale += TILE * (size_t)groups;
	}
	for (; rows; rows--) {
		tile_q8(sums, x, w, 0, scale, 0, groups, group);
		*out++ = sums[0];
		w += n;
		scale += groups;
	}
}

static void matmul_q8(float *out, const float *x, const int8_t *w,
		      const float *scale, uint32_t n, uint32_t group,
		      uint32_t rows)
{
	if (group == 64)
		rows_q8(out, x, w, scale, n, 64, rows);
	else if (group == 32)
		rows_q8(out, x, w, scale, n, 32, rows);
	else
		rows_q8(out, x, w, scale, n, group, rows);
}

static void norm(float *out, const float *x, const float *gain, uint32_t n)
{
	uint32_t whole = n / LANES * LANES;
	vec sum = { 0 };
	float factor;

	for (uint32_t i = 0; i < whole; i += LANES)
		sum += vec_load(x + i) * vec_load(x + i);
	factor = vec_sum(sum) + dot_tail(x, x, whole, n);
	factor = 1.0f / sqrtf(factor / (float)n + 1e-5f);
	for (uint32_t i = 0; i < whole; i += LANES)
		vec_store(out + i,
			  vec_load(gain + i) * (vec_load(x + i) * factor));
	for (uint32_t i = whole; i < n; i++)
		out[i] = gain[i] * (x[i] * factor);
}

static void swiglu(float *gate, const float *up, uint32_t n)
{
	for (uint32_t i = 0; i < n; i += LANES) {
		vec g = vec_load(gate + i);

		vec_store(gate + i,
			  g / (vec_exp(-g) + 1.0f) * vec_load(up + i));
	}
}

/* Those behind the n-th become 0. */
static float exponentials(float *x, uint32_t n, float factor)
{
	vec high = vec_set(-INFINITY);
	vec sum = { 0 };
	float top;

	for (uint32_t i = n; i < kernel_pad(n); i++)
		x[i] = -INFINITY;
	for (uint32_t i = 0; i < kernel_pad(n); i += LANES)
		high = vec_max(high, vec_load(x + i));
	top = vec_highest(high);
	for (uint32_t i = 0; i < kernel_pad(n); i += LANES) {
		vec e = vec_exp((vec_load(x + i) - top) * factor);

		vec_store(x + i, e);
		sum += e;
	}
	return vec_sum(sum);
}

/*
 * The slots that hold a row, in their own sequence: some 20 % do not, while
 * the slack is being used, and rows are most of the work. Or by rank, where the
 * sums are not to depend on which slots the rows lie in.
 */
static uint32_t find_live(const struct kernel_attend *a)
{
	const struct treekv_view *view = a->view;
	uint32_t whole = view->slots / LANES * LANES, n = 0;

	if (a->by_rank) {
		for (uint32_t s = 0; s < view->slots; s++)
			if (view->rank[s] < view->live)
				a->live[view->rank[s]] = s;
		return view->live;
	}
	for (uint32_t s = 0; s < whole; s += LANES)
		n += slots_live(a->live + n, view->rank + s, s, TREEKV_FREE);
	for (uint32_t s = whole; s < view->slots; s++) {
		a->live[n] = s;
		n += view->rank[s] != TREEKV_FREE;
	}
	return n;
}

/*
 * Where the rows of a kind are. In a fork the first slots are its parent's and
 * lie elsewhere; slots are numbered through, and so each base is where slot 0
 * would be.
 */
struct place {
	const char *base[2];
	size_t stride;
	uint32_t split; /* slots from here on go by base[1] */
};

static struct place place_of(const void *first, const void *second,
			     size_t stride, uint32_t split)
{
	if (second)
		second = (const char *)second - (size_t)split * stride;
	return (struct place){
		.base = { first, second },
		.stride = stride,
		.split = split,
	};
}

static struct place keys_of(const struct treekv_view *view)
{
	return place_of(view->span[0].k, view->span[1].k, view->k_stride,
			view->span[0].slots);
}

static struct place values_of(const struct treekv_view *view)
{
	return place_of(view->span[0].v, view->span[1].v, view->v_stride,
			view->span[0].slots);
}

SIMD_INLINE const void *row_at(const struct place *place, uint32_t slot)
{
	return place->base[slot >= place->split] + slot * place->stride;
}

/*
 * The row that is AHEAD of the i-th is asked for: where rows are missing between
 * others, the processor does not see by itself where the next ones are. Into the
 * second cache: what is asked of the nearest keeps others waiting there.
 */
SIMD_INLINE void row_ask(const struct kernel_attend *a,
			 const struct place *place, uint32_t i)
{
	size_t size = a->head_dim * (a->dtype == TREEKV_F32 ? 4 : 2);
	const char *at;

	if (i + AHEAD >= a->n_live)
		return;
	at = row_at(place, a->live[i + AHEAD]);
	for (size_t line = 0; line < size; line += 64)
		__builtin_prefetch(at + line, 0, 2);
}

/*
 * Four live rows as floats, from element @from on: where they lie, or
 * converted into @room. @first is the first; beyond the last it is repeated.
 */
SIMD_INLINE void rows_load(const float **row, tile_room *room,
			   const struct kernel_attend *a,
			   const struct place *place, uint32_t first,
			   uint32_t from, uint32_t n)
{
	uint32_t last = a->n_live - 1;

	for (uint32_t i = 0; i < TILE; i++) {
		uint32_t s = a->live[first + i < last ? first + i : last];
		const void *at = row_at(place, s);
		const uint16_t *half = (const uint16_t *)at + from;

		row[i] = (const float *)at + from;
		if (a->dtype == TREEKV_F32)
			continue;
		row[i] = room[i];
		for (uint32_t d = 0; d < n; d += LANES)
			vec_store(room[i] + d, a->dtype == TREEKV_F16 ?
						       vec_load_f16(half + d) :
						       vec_load_bf16(half + d));
	}
}

/* (k0 cos - k1 sin, k1 cos + k0 sin) for each pair of elements */
SIMD_INLINE vec rotate(vec key, vec turn)
{
	ivec odd;
	uvec sign;
	vec swapped = vec_swap(turn);

	for (int i = 0; i < LANES; i++) { /* set here, lane by lane */
		/* cppcheck-suppress uninitvar */
		odd[i] = -(i & 1);
		/* cppcheck-suppress uninitvar */
		sign[i] = i & 1 ? 0 : UINT32_C(0x80000000);
	}
	return key * vec_select(odd, swapped, turn) +
	       vec_swap(key) *
		       (vec)((uvec)vec_select(odd, turn, swapped) ^ sign);
}

SIMD_INLINE void scores_tile(const struct kernel_attend *a, tile_room *room,
			     const struct place *place, uint32_t first,
			     const float *query, float *dense, int heads,
			     uint32_t vectors)
{
	const float *row[TILE];
	vec sum[HEADS][TILE] = { 0 };
	float dot[TILE];
	uint32_t last = a->n_live - 1;

	rows_load(row, room, a, place, first, 0, a->head_dim);
	for (uint32_t i = 0; i < TILE; i++) {
		uint32_t at = first + i < last ? first + i : last;
		uint32_t rank = a->view->rank[a->live[at]];
		const float *turn = a->rope + (size_t)rank * a->head_dim;

		row_ask(a, place, first + i);
		for (uint32_t d = 0; d < vectors; d++) {
			vec key = rotate(vec_load(row[i] + d * LANES),
					 vec_load(turn + d * LANES));

			for (int h = 0; h < heads; h++)
				sum[h][i] +=
					key *
					vec_load(query +
						 (uint32_t)h * a->head_dim +
						 d * LANES);
		}
	}
	for (int h = 0; h < heads; h++) {
		vec_sum4(dot, sum[h]);
		for (uint32_t i = 0; i < TILE && first + i <= last; i++)
			dense[(size_t)h * a->stride + first + i] = dot[i];
	}
}

SIMD_INLINE void scores_all(const struct kernel_attend *a, tile_room *room,
			    uint32_t head, int heads, uint32_t vectors)
{
	const float *query = a->query + (size_t)head * a->head_dim;
	const struct place place = keys_of(a->view);
	float *dense = a->dense + head * a->stride;

	for (uint32_t i = 0; i < a->n_live; i += TILE)
		scores_tile(a, room, &place, i, query, dense, heads, vectors);
}

SIMD_INLINE void scores(const struct kernel_attend *a, tile_room *room,
			uint32_t head, int heads)
{
	if (a->head_dim == 32)
		scores_all(a, room, head, heads, 32 / LANES);
	else if (a->head_dim == 64)
		scores_all(a, room, head, heads, 64 / LANES);
	else if (a->head_dim == 128)
		scores_all(a, room, head, heads, 128 / LANES);
	else
		scores_all(a, room, head, heads, a->head_dim / LANES);
}

/* One vector of dense weights, or its first @n, to their slots. */
SIMD_INLINE void spread(float *weights, const float *dense,
			const uint32_t *live, uint32_t n, bool by_rank)
{
	n = n < LANES ? n : LANES;
	if (!by_rank && n == LANES && live[LANES - 1] == live[0] + LANES - 1) {
		vec_store(weights + live[0], vec_load(dense));
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		weights[live[i]] = dense[i];
}

/* Softmax over the live rows; then by slot, where free ones get 0. */
static void weigh(const struct kernel_attend *a, uint32_t head)
{
	float *weights = a->weights + head * a->stride;
	float *dense = a->dense + head * a->stride;
	float factor = 1.0f / exponentials(dense, a->n_live, 1.0f);

	for (uint32_t i = 0; i < a->n_live; i += LANES)
		vec_store(dense + i, vec_load(dense + i) * factor);
	memset(weights, 0, a->view->slots * sizeof(*weights));
	for (uint32_t i = 0; i < a->n_live; i += LANES)
		spread(weights, dense + i, a->live + i, a->n_live - i,
		       a->by_rank);
}

/* Rows of a block, of which the parts of their elements are added in turn. */
struct block {
	uint32_t first;
	uint32_t end;
};

/* Elements @from on, @vectors of them, of @heads outputs. */
SIMD_INLINE void values_part(const struct kernel_attend *a, tile_room *room,
			     struct block block, uint32_t head, int heads,
			     uint32_t from, int vectors)
{
	const struct place place = values_of(a->view);
	const float *dense = a->dense + head * a->stride;
	float *out = a->out + head * a->head_dim + from;
	vec sum[HEADS][4];

	for (int h = 0; h < heads; h++)
		for (int d = 0; d < vectors; d++)
			sum[h][d] = vec_load(out + (uint32_t)h * a->head_dim +
					     (uint32_t)d * LANES);
	for (uint32_t first = block.first; first < block.end; first += TILE) {
		const float *row[TILE];
		uint32_t left = block.end - first;

		rows_load(row, room, a, &place, first, from,
			  (uint32_t)vectors * LANES);
		for (uint32_t i = 0; i < TILE && i < left; i++) {
			const float *of = dense + first + i;

			if (!from)
				row_ask(a, &place, first + i);
			for (int h = 0; h < heads; h++) {
				float w = of[(size_t)h * a->stride];

				for (int d = 0; d < vectors; d++)
					sum[h][d] +=
						vec_load(row[i] + d * LANES) *
						w;
			}
		}
	}
	for (int h = 0; h < heads; h++)
		for (int d = 0; d < vectors; d++)
			vec_store(out + (uint32_t)h * a->head_dim +
					  (uint32_t)d * LANES,
				  sum[h][d]);
}

SIMD_INLINE void values_block(const struct kernel_attend *a, tile_room *room,
			      struct block block, uint32_t head, int heads)
{
	uint32_t from = 0;

	for (; from + 4 * LANES <= a->head_dim; from += 4 * LANES)
		values_part(a, room, block, head, heads, from, 4);
	for (; from + 2 * LANES <= a->head_dim; from += 2 * LANES)
		values_part(a, room, block, head, heads, from, 2);
	for (; from < a->head_dim; from += LANES)
		values_part(a, room, block, head, heads, from, 1);
}

/* A block at a time, so that a row is in the nearest cache for all its parts. */
SIMD_INLINE void values(const struct kernel_attend *a, tile_room *room,
			uint32_t head, int heads)
{
	struct block block = { 0 };

	memset(a->out + head * a->head_dim, 0,
	       (uint32_t)heads * a->head_dim * sizeof(*a->out));
	for (; block.first < a->n_live; block.first = block.end) {
		block.end = block.first + BLOCK;
		block.end = block.end < a->n_live ? block.end : a->n_live;
		values_block(a, room, block, head, heads);
	}
}

static float element(const struct kernel_attend *a, const void *row, uint32_t d)
{
	uint16_t half[LANES] = { ((const uint16_t *)row)[d] };

	if (a->dtype == TREEKV_F32)
		return ((const float *)row)[d];
	return a->dtype == TREEKV_F16 ? vec_load_f16(half)[0] :
					vec_load_bf16(half)[0];
}

/* A head_dim that is no multiple of the vector: rare, so plain. */
static void attend_odd(const struct kernel_attend *a, uint32_t head)
{
	const struct place keys = keys_of(a->view), values = values_of(a->view);
	const float *query = a->query + (size_t)head * a->head_dim;
	float *dense = a->dense + head * a->stride;
	float *out = a->out + (size_t)head * a->head_dim;

	for (uint32_t i = 0; i < a->n_live; i++) {
		const void *key = row_at(&keys, a->live[i]);
		uint32_t rank = a->view->rank[a->live[i]];
		const float *turn = a->rope + (size_t)rank * a->head_dim;

		dense[i] = 0;
		for (uint32_t d = 0; d < a->head_dim; d += 2) {
			float even = element(a, key, d);
			float odd = element(a, key, d + 1);

			dense[i] += query[d] * (even * turn[d] -
						odd * turn[d + 1]) +
				    query[d + 1] * (odd * turn[d] +
						    even * turn[d + 1]);
		}
	}
	weigh(a, head);
	memset(out, 0, a->head_dim * sizeof(*out));
	for (uint32_t i = 0; i < a->n_live; i++) {
		const void *value = row_at(&values, a->live[i]);

		for (uint32_t d = 0; d < a->head_dim; d++)
			out[d] += dense[i] * element(a, value, d);
	}
}

SIMD_INLINE void attend_heads(const struct kernel_attend *a, tile_room *room,
			      uint32_t head, int heads)
{
	scores(a, room, head, heads);
	for (int h = 0; h < heads; h++)
		weigh(a, head + (uint32_t)h);
	values(a, room, head, heads);
}

static void attend(struct kernel_attend *a)
{
	float room[TILE][KERNEL_HEAD_DIM_MAX];
	uint32_t head = 0;

	a->n_live = find_live(a);
	if (a->head_dim % LANES) {
		for (; head < a->group; head++)
			attend_odd(a, head);
		return;
	}
	for (; head + 4 <= a->group; head += 4)
		attend_heads(a, room, head, 4);
	for (; head + 2 <= a->group; head += 2)
		attend_heads(a, room, head, 2);
	for (; head < a->group; head++)
		attend_heads(a, room, head, 1);
}

#include "client/run/kernel-batch.h"

const struct kernel KERNEL_TABLE = {
	.name = KERNEL_NAME,
	.lanes = LANES,
	.matmul_f32 = matmul_f32,
	.matmul_q8 = matmul_q8,
	.norm = norm,
	.swiglu = swiglu,
	.attend = attend,
	.exponentials = exponentials,
	.batch_f32 = batch_f32,
	.batch_q8 = batch_q8,
	.pack_keys = pack_keys,
	.attend_prompt = attend_prompt,
};
