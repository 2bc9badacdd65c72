/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many tokens at once, for prefill: the second half of kernel-body.h, which
 * includes it. Every output has the very bits that the functions for one token
 * give: the same products, added up in the same tree. What is gained is that a
 * vector of weights, or of keys, is loaded (and converted, and rotated) once
 * for several tokens.
 *
 * A dot product of kernel-body.h has a sum per lane, over every LANES-th
 * element, and adds the lanes up at the end, which for short heads is most of
 * its work. Here keys lie transposed, LANES of them side by side, so that a
 * lane is a key: what was a lane there is one of LANES accumulators here, and
 * the last additions are those of vec_sum4(), for LANES keys at a time.
 */

/* Tokens that share a tile of weights; what fits into the registers. */
#if LANES == 16
#define BATCH 4
#else
#define BATCH 2
#endif

#define QUERIES	   4 /* rows of attention at a time */
#define PASS_BYTES (256U << 10) /* of inputs, that should stay in L2 */

/* Inputs that a pass over the rows takes. */
static uint32_t pass_tokens(uint32_t n)
{
	uint32_t tokens = PASS_BYTES / (n * (uint32_t)sizeof(float));

	return tokens < BATCH ? BATCH : tokens / BATCH * BATCH;
}

/* What is multiplied: @tokens inputs of n floats; rows of n weights. */
struct batch {
	float *out;
	size_t out_stride;
	const float *x;
	size_t x_stride;
	uint32_t tokens;
	uint32_t n;
};

/* Not "= { 0 }", which becomes a call of memset through memory. */
SIMD_INLINE void clear(vec sum[][TILE], uint32_t tokens)
{
	for (uint32_t t = 0; t < tokens; t++)
		for (uint32_t r = 0; r < TILE; r++)
			sum[t][r] = (vec){ 0 };
}

/* @rows is TILE, or 1 with @step 0: the same row four times. */
SIMD_INLINE void batch_sums(const struct batch *b, uint32_t first, uint32_t row,
			    vec sum[][TILE], uint32_t rows, uint32_t tokens)
{
	float sums[TILE];

	for (uint32_t t = 0; t < tokens; t++) {
		float *out = b->out + (first + t) * b->out_stride + row;

		vec_sum4(sums, sum[t]);
		for (uint32_t r = 0; r < rows; r++)
			out[r] = sums[r];
	}
}

SIMD_INLINE void batch_tile_f32(const struct batch *b, uint32_t first,
				uint32_t row, const float *w, size_t step,
				uint32_t rows, uint32_t tokens)
{
	const float *x = b->x + first * b->x_stride;
	uint32_t whole = b->n / LANES * LANES;
	vec sum[BATCH][TILE];

	clear(sum, tokens);
	for (uint32_t i = 0; i < whole; i += LANES) {
		vec weights[TILE];

		for (uint32_t r = 0; r < TILE; r++)
			weights[r] = vec_load(w + r * step + i);
		for (uint32_t t = 0; t < tokens; t++) {
			vec at = vec_load(x + t * b->x_stride + i);

			for (uint32_t r = 0; r < TILE; r++)
				sum[t][r] += at * weights[r];
		}
	}
	batch_sums(b, first, row, sum, rows, tokens);
	for (uint32_t t = 0; whole < b->n && t < tokens; t++)
		for (uint32_t r = 0; r < rows; r++)
			b->out[(first + t) * b->out_stride + row + r] +=
				dot_tail(x + t * b->x_stride, w + r * step,
					 whole, b->n);
}

static void batch_rows_f32(const struct batch *b, uint32_t from, uint32_t to,
			   uint32_t row, const float *w, size_t step,
			   uint32_t rows)
{
	for (; from + BATCH <= to; from += BATCH)
		batch_tile_f32(b, from, row, w, step, rows, BATCH);
	for (; from < to; from++)
		batch_tile_f32(b, from, row, w, step, rows, 1);
}

static void batch_f32(const struct kernel_batch *from, const float *w,
		      uint32_t n, uint32_t rows)
{
	const struct batch b = { from->out,	 from->out_stride, from->x,
				 from->x_stride, from->tokens,	   n };
	uint32_t pass = pass_tokens(n), r;

	for (uint32_t t = 0; t < b.tokens; t += pass) {
		uint32_t to = t + pass < b.tokens ? t + pass : b.tokens;

		for (r = 0; r + TILE <= rows; r += TILE)
			batch_rows_f32(&b, t, to, r, w + (size_t)r * n, n,
				       TILE);
		for (; r < rows; r++)
			batch_rows_f32(&b, t, to, r, w + (size_t)r * n, 0, 1);
	}
}

/* A tile of quantised rows. */
struct tile {
	const int8_t *w;
	const float *scale;
	size_t step; /* 0: one row, four times */
	size_t scale_step;
	uint32_t row;
	uint32_t rows;
};

SIMD_INLINE void batch_tile_q8(const struct batch *b, const struct tile *tile,
			       uint32_t first, uint32_t group, uint32_t tokens)
{
	const float *x = b->x + first * b->x_stride;
	const int8_t *w = tile->w;
	vec sum[BATCH][TILE], part[BATCH][TILE];

	clear(sum, tokens);
	for (uint32_t g = 0; g < b->n / group; g++) {
		clear(part, tokens);
		for (uint32_t i = 0; i < group; i += LANES) {
			vec weights[TILE];

			for (uint32_t r = 0; r < TILE; r++)
				weights[r] =
					vec_load_i8(w + r * tile->step + i);
			for (uint32_t t = 0; t < tokens; t++) {
				vec at = vec_load(x + t * b->x_stride + i);

				for (uint32_t r = 0; r < TILE; r++)
					part[t][r] += at * weights[r];
			}
		}
		for (uint32_t t = 0; t < tokens; t++)
			for (uint32_t r = 0; r < TILE; r++)
				sum[t][r] +=
					part[t][r] *
					tile->scale[r * tile->scale_step + g];
		x += group;
		w += group;
	}
	batch_sums(b, first, tile->row, sum, tile->rows, tokens);
}

SIMD_INLINE void batch_tokens_q8(const struct batch *b, const struct tile *tile,
				 uint32_t from, uint32_t to, uint32_t group)
{
	for (; from + BATCH <= to; from += BATCH)
		batch_tile_q8(b, tile, from, group, BATCH);
	for (; from < to; from++)
		batch_tile_q8(b, tile, from, group, 1);
}

static void batch_rows_q8(const struct batch *b, const struct tile *tile,
			  uint32_t from, uint32_t to, uint32_t group)
{
	if (group == 64)
		batch_tokens_q8(b, tile, from, to, 64);
	else if (group == 32)
		batch_tokens_q8(b, tile, from, to, 32);
	else
		batch_tokens_q8(b, tile, from, to, group);
}

static void batch_q8(const struct kernel_batch *from, const int8_t *w,
		     const float *scale, uint32_t n, uint32_t group,
		     uint32_t rows)
{
	const struct batch b = { from->out,	 from->out_stride, from->x,
				 from->x_stride, from->tokens,	   n };
	uint32_t pass = pass_tokens(n), groups = n / group;

	for (uint32_t t = 0; t < b.tokens; t += pass) {
		uint32_t to = t + pass < b.tokens ? t + pass : b.tokens;

		for (uint32_t r = 0; r < rows;) {
			bool whole = r + TILE <= rows;
			const struct tile tile = {
				.w = w + (size_t)r * n,
				.scale = scale + (size_t)r * groups,
				.step = whole ? n : 0,
				.scale_step = whole ? groups : 0,
				.row = r,
				.rows = whole ? TILE : 1,
			};

			batch_rows_q8(&b, &tile, t, to, group);
			r += tile.rows;
		}
	}
}

/* ---- attention of a prompt ---- */

SIMD_INLINE vec row_load(const void *row, uint32_t from,
			 enum treekv_dtype dtype)
{
	if (dtype == TREEKV_F16)
		return vec_load_f16((const uint16_t *)row + from);
	if (dtype == TREEKV_BF16)
		return vec_load_bf16((const uint16_t *)row + from);
	return vec_load((const float *)row + from);
}

static void pack_keys(const struct kernel_prompt *p, float *to,
		      const void *rows, uint32_t first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const void *row = (const char *)rows + i * p->stride;
		const float *turn = p->rope + (size_t)(first + i) * p->head_dim;
		uint32_t lane = (first + i) % LANES;
		float *block = to + (size_t)(first + i - lane) * p->head_dim;

		for (uint32_t d = 0; d < p->head_dim; d += LANES) {
			vec key = rotate(row_load(row, d, p->dtype),
					 vec_load(turn + d));

			for (uint32_t j = 0; j < LANES; j++)
				block[(d + j) * LANES + lane] = key[j];
		}
	}
}

/* A row of attention: one query. */
struct row {
	const float *query;
	float *weights;
	float *out;
	uint32_t n; /* keys that it sees */
};

/* What the other layout has in lane @l. */
SIMD_INLINE void lane_sums(vec *sum, const float *keys, const struct row *row,
			   uint32_t l, uint32_t head_dim, int rows)
{
	for (int r = 0; r < rows; r++)
		sum[r] = (vec){ 0 };
	for (uint32_t d = l; d < head_dim; d += LANES) {
		vec key = vec_load(keys + (size_t)d * LANES);

		for (int r = 0; r < rows; r++)
			sum[r] += key * row[r].query[d];
	}
}

/* The same, folded as simd_fold() does. */
SIMD_INLINE void folded_sums(vec *sum, const float *keys, const struct row *row,
			     uint32_t l, uint32_t head_dim, int rows)
{
	vec high[QUERIES];

	lane_sums(sum, keys, row, l, head_dim, rows);
	if (LANES < 16)
		return;
	lane_sums(high, keys, row, l + 8, head_dim, rows);
	for (int r = 0; r < rows; r++)
		sum[r] += high[r];
}

/* ((0 + 1) + (2 + 3)) of four folded lanes from @l on. */
SIMD_INLINE void quarter_sums(vec *sum, const float *keys,
			      const struct row *row, uint32_t l,
			      uint32_t head_dim, int rows)
{
	vec one[QUERIES], two[QUERIES];

	folded_sums(sum, keys, row, l, head_dim, rows);
	folded_sums(one, keys, row, l + 1, head_dim, rows);
	for (int r = 0; r < rows; r++)
		sum[r] += one[r];
	folded_sums(one, keys, row, l + 2, head_dim, rows);
	folded_sums(two, keys, row, l + 3, head_dim, rows);
	for (int r = 0; r < rows; r++)
		sum[r] += one[r] + two[r];
}

SIMD_INLINE void block_scores(const float *keys, const struct row *row,
			      uint32_t at, uint32_t head_dim, int rows)
{
	vec sum[QUERIES], more[QUERIES];

	quarter_sums(sum, keys, row, 0, head_dim, rows);
	if (LANES > 4) {
		quarter_sums(more, keys, row, 4, head_dim, rows);
		for (int r = 0; r < rows; r++)
			sum[r] += more[r];
	}
	for (int r = 0; r < rows; r++)
		vec_store(row[r].weights + at, sum[r]);
}

SIMD_INLINE void prompt_scores_all(const struct kernel_prompt *p,
				   const struct row *row, uint32_t head_dim,
				   int rows)
{
	for (uint32_t at = 0; at < row[rows - 1].n; at += LANES)
		block_scores(p->keys + (size_t)at * head_dim, row, at, head_dim,
			     rows);
}

SIMD_INLINE void prompt_scores(const struct kernel_prompt *p,
			       const struct row *row, int rows)
{
	if (p->head_dim == 32)
		prompt_scores_all(p, row, 32, rows);
	else if (p->head_dim == 64)
		prompt_scores_all(p, row, 64, rows);
	else if (p->head_dim == 128)
		prompt_scores_all(p, row, 128, rows);
	else
		prompt_scores_all(p, row, p->head_dim, rows);
}

static void prompt_weigh(const struct row *row)
{
	float factor = 1.0f / exponentials(row->weights, row->n, 1.0f);

	for (uint32_t s = 0; s < row->n; s += LANES)
		vec_store(row->weights + s,
			  vec_load(row->weights + s) * factor);
}

/* Elements @from on of each row's output: the keys that all rows see. */
SIMD_INLINE void prompt_values_part(const struct kernel_prompt *p,
				    const struct row *row, int rows,
				    uint32_t from, int vectors)
{
	const char *value = p->values;
	vec sum[QUERIES][4] = { 0 };

	for (uint32_t t = 0; t < row[0].n; t++, value += p->stride)
		for (int d = 0; d < vectors; d++) {
			vec v = row_load(value, from + (uint32_t)d * LANES,
					 p->dtype);

			for (int r = 0; r < rows; r++)
				sum[r][d] += v * row[r].weights[t];
		}
	for (int r = 0; r < rows; r++)
		for (int d = 0; d < vectors; d++)
			vec_store(row[r].out + from + (uint32_t)d * LANES,
				  sum[r][d]);
}

/* Those that only the later rows see: a few. */
static void prompt_values_rest(const struct kernel_prompt *p,
			       const struct row *row, uint32_t seen)
{
	const char *value = (const char *)p->values + seen * p->stride;

	for (uint32_t t = seen; t < row->n; t++, value += p->stride)
		for (uint32_t d = 0; d < p->head_dim; d += LANES) {
			vec sum = vec_load(row->out + d);

			sum += row_load(value, d, p->dtype) * row->weights[t];
			vec_store(row->out + d, sum);
		}
}

SIMD_INLINE void prompt_values(const struct kernel_prompt *p,
			       const struct row *row, int rows)
{
	uint32_t from = 0;

	for (; LANES == 16 && from + 4 * LANES <= p->head_dim;
	     from += 4 * LANES)
		prompt_values_part(p, row, rows, from, 4);
	for (; from + 2 * LANES <= p->head_dim; from += 2 * LANES)
		prompt_values_part(p, row, rows, from, 2);
	for (; from < p->head_dim; from += LANES)
		prompt_values_part(p, row, rows, from, 1);
	for (int r = 1; r < rows; r++)
		prompt_values_rest(p, &row[r], row[0].n);
}

SIMD_INLINE void prompt_rows(const struct kernel_prompt *p,
			     const struct row *row, int rows)
{
	prompt_scores(p, row, rows);
	for (int r = 0; r < rows; r++)
		prompt_weigh(&row[r]);
	prompt_values(p, row, rows);
}

static void attend_prompt(const struct kernel_prompt *p)
{
	uint32_t rows = p->tokens * p->group;
	struct row row[QUERIES];

	for (uint32_t at = 0; at < rows;) {
		uint32_t n = rows - at < QUERIES ? 1 : QUERIES;

		for (uint32_t r = 0; r < n; r++) {
			uint32_t token = (at + r) / p->group;
			size_t head = (at + r) % p->group * p->head_dim;

			row[r] = (struct row){
				.query = p->query + token * p->x_stride + head,
				.out = p->out + token * p->x_stride + head,
				.weights = p->weights + (at + r) * p->w_stride,
				.n = p->first + token + 1,
			};
		}
		if (n == QUERIES)
			prompt_rows(p, row, QUERIES);
		else
			prompt_rows(p, row, 1);
		at += n;
	}
}
