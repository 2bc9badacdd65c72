// SPDX-License-Identifier: BSD-2-Clause
/*
 * Compaction writes no keys and no values. It copies the order of the
 * published generation g, less what the policy takes out, to the buffer of
 * g - 1, and one release-store of generation makes that the order. The writer
 * says by seen when it has left g - 1: until then the buffer is his.
 *
 * Every word of rows is loaded once, checked against the bounds that the own
 * index gives, and the copy is used. A writer may go on meanwhile: scores are
 * taken as they stand, with the tail they stand at.
 */
#include <errno.h>
#include <string.h>

#include "daemon/compact_impl.h"
#include "proto/barrier.h"

const char *compact_fault_text(enum compact_fault fault)
{
	switch (fault) {
	case COMPACT_SOUND:
		return "sound";
	case COMPACT_FAULT_COMMIT:
		return "its writer committed a tail outside of its slots";
	case COMPACT_FAULT_HEAD:
		return "its writer's head is outside of what he may write";
	case COMPACT_FAULT_SEEN:
		return "its writer has seen a generation that is not";
	case COMPACT_FAULT_HOLE:
		return "its writer punched holes into its rows";
	case COMPACT_FAULT_ROWS:
		return "its writer overwrote what its rows are known by";
	}
	return "unknown";
}

/* From here on the writer rings: a quarter of the slack beyond the budget. */
static uint64_t ring_at(const struct shm_index *index,
			const struct shm_buffer *buffer)
{
	const struct shm_level *level = levels_of(index, buffer);
	uint64_t room = UINT64_MAX;
	uint32_t mark = index->spec.slack / 4 ? index->spec.slack / 4 : 1;

	if (index->spec.policy == SHM_POLICY_FULL)
		return UINT64_MAX;
	for (uint32_t l = 0; l < index->spec.layers; l++)
		if (level[l].budget - level[l].n_live < room)
			room = level[l].budget - level[l].n_live;
	return buffer->base_tail + room + mark;
}

static void finish_buffer(const struct shm_index *index,
			  struct shm_buffer *buffer, uint64_t generation,
			  uint64_t tail)
{
	const struct shm_level *level = levels_of(index, buffer);
	uint64_t left = UINT64_MAX;

	/* Whoever still looks at the order that was here sees it change. */
	shm_store_relaxed(&buffer->generation, generation);
	shm_store_relaxed(&buffer->base_tail, tail);
	for (uint32_t l = 0; l < index->spec.layers; l++) {
		uint32_t room = shm_room(&index->spec, level[l].budget);

		if (room - level[l].n_live < left)
			left = room - level[l].n_live;
	}
	shm_store_relaxed(&buffer->free, left);
	shm_store_relaxed(&buffer->ring_at, ring_at(index, buffer));
}

static void format_buffer(struct shm_index *index, uint64_t generation,
			  uint64_t rows_inode)
{
	struct shm_buffer *buffer = buffer_of(index, generation);
	struct shm_level *level = levels_of(index, buffer);

	for (uint32_t l = 0; l < index->spec.layers; l++) {
		const struct shm_layer *layer = layer_of(index, l);

		level[l].budget = layer->budget;
		level[l].capacity = layer->capacity;
		level[l].parent_capacity = layer->parent_capacity;
	}
	buffer->rows_inode = rows_inode;
	finish_buffer(index, buffer, generation, 0);
}

void compact_format_orders(struct shm_index *index)
{
	struct shm_buffer *buffer = buffer_of(index, 1);

	for (uint32_t l = 0; l < index->spec.layers; l++) {
		const struct shm_layer *layer = layer_of(index, l);

		for (uint32_t h = 0; h < index->spec.kv_heads; h++) {
			struct order o = order_of(buffer, layer, h);

			order_init(&o, layer->slots, index->spec.entry_size);
			shm_store32_relaxed(&walks_of(index, buffer, l)[h], 1);
		}
	}
}

void compact_format_header(struct shm_index *index, struct shm_rows *rows,
			   const struct shm_spec *spec,
			   const struct shm_layer *layers,
			   const struct layout *layout, uint64_t rows_inode)
{
	index->magic = SHM_INDEX_MAGIC;
	index->version = SHM_VERSION;
	index->header_size = sizeof(*index);
	index->spec = *spec;
	index->layers = layout->layers;
	index->buffer[0] = layout->buffer[0];
	index->buffer[1] = layout->buffer[1];
	index->buffer_size = layout->buffer_size;
	index->level = layout->level;
	index->walk = layout->walk;
	index->ids = layout->ids;
	memcpy((char *)index + layout->layers, layers,
	       spec->layers * sizeof(*layers));
	format_buffer(index, 1, rows_inode); /* the other is spare */
	rows->magic = SHM_ROWS_MAGIC;
	rows->version = SHM_VERSION;
	rows->header_size = sizeof(*rows);
	shm_store_release(&index->generation, 1);
}

void compact_format(struct shm_index *index, struct shm_rows *rows,
		    const struct shm_spec *spec, const struct shm_layer *layers,
		    const struct layout *layout, uint64_t rows_inode)
{
	compact_format_header(index, rows, spec, layers, layout, rows_inode);
	compact_format_orders(index);
}

int compact_resume(struct shm_index *index, uint64_t generation,
		   uint64_t base_tail)
{
	const struct shm_buffer *formatted = buffer_of(index, 1);
	struct shm_buffer *buffer = buffer_of(index, generation);
	struct shm_level *level = levels_of(index, buffer);
	int r = 0;

	buffer->rows_inode = formatted->rows_inode;
	buffer->rows_epoch = formatted->rows_epoch;
	for (uint32_t l = 0; l < index->spec.layers; l++) {
		const struct shm_layer *layer = layer_of(index, l);

		if (level[l].n_live > shm_room(&index->spec, layer->budget))
			return -EBADMSG;
		shm_store32_relaxed(&level[l].budget, layer->budget);
		shm_store32_relaxed(&level[l].capacity, layer->capacity);
		level[l].parent_capacity = layer->parent_capacity;
		for (uint32_t h = 0; !r && h < index->spec.kv_heads; h++) {
			struct order o = order_of(buffer, layer, h);

			r = order_rank(&o, layer->slots, level[l].n_live,
				       index->spec.entry_size);
		}
	}
	if (r)
		return r;
	finish_buffer(index, buffer, generation, base_tail);
	shm_store_release(&index->generation, generation);
	return 0;
}

enum compact_fault compact_check_word(const struct shm_buffer *newest,
				      const struct shm_rows *rows,
				      uint64_t word)
{
	uint64_t head = shm_load_relaxed(&rows->head);
	uint64_t limit = newest->base_tail + newest->free;
	uint64_t tail =
		shm_commit_tail(shm_commit_under(word, newest->prefill));

	if (tail < newest->base_tail || tail > limit)
		return COMPACT_FAULT_COMMIT;
	if (head < shm_commit_tail(word) || head > limit)
		return COMPACT_FAULT_HEAD;
	return COMPACT_SOUND;
}

uint64_t compact_load_commit(struct compaction *c)
{
	const struct shm_buffer *buffer = buffer_of(c->index, c->generation);
	/* Pairs with the release in treekv_commit(). */
	uint64_t word = shm_load_acquire(&c->rows->commit);
	enum compact_fault fault = compact_check_word(buffer, c->rows, word);

	if (fault)
		c->fault = fault;
	return shm_commit_under(word, buffer->prefill);
}

/* Each is loaded once: he may be at it this moment. */
static bool are_constant(const struct shm_index *index,
			 const struct shm_rows *rows)
{
	return shm_load_relaxed(&rows->magic) == SHM_ROWS_MAGIC &&
	       shm_load32_relaxed(&rows->version) == SHM_VERSION &&
	       shm_load32_relaxed(&rows->header_size) == sizeof(*rows) &&
	       shm_load_relaxed(&rows->cache_id) == index->cache_id &&
	       shm_load_relaxed(&rows->rows_size) == index->rows_size;
}

enum compact_fault compact_check(const struct shm_index *index,
				 const struct shm_rows *rows)
{
	struct compaction c = {
		.index = (struct shm_index *)(uintptr_t)index,
		.rows = rows,
		.generation = shm_load_acquire(&index->generation),
	};

	if (!are_constant(index, rows))
		return COMPACT_FAULT_ROWS;
	if (shm_load_acquire(&rows->seen) > c.generation)
		c.fault = COMPACT_FAULT_SEEN;
	compact_load_commit(&c);
	return c.fault;
}

static uint32_t excess(const struct compaction *c,
		       const struct shm_level *level)
{
	const struct shm_buffer *buffer = buffer_of(c->index, c->generation);
	uint32_t live = level->n_live + (uint32_t)(c->tail - buffer->base_tail);

	return live > level->budget ? live - level->budget : 0;
}

bool compact_in_grace(const struct compaction *c)
{
	/* Pairs with the release in the writer's adopt(). */
	return shm_load_acquire(&c->rows->seen) !=
	       shm_load_relaxed(&c->index->generation);
}

bool compact_begin(struct compaction *c)
{
	const struct shm_level *level;
	uint64_t seen;
	bool due = false;

	c->generation = shm_load_relaxed(&c->index->generation);
	level = levels_of(c->index, buffer_of(c->index, c->generation));
	/* Pairs with the release in the writer's adopt(). */
	seen = shm_load_acquire(&c->rows->seen);
	if (seen > c->generation)
		c->fault = COMPACT_FAULT_SEEN;
	c->tail = shm_commit_tail(compact_load_commit(c));
	if (c->fault || seen != c->generation || !c->policy->evict)
		return false;
	for (uint32_t l = 0; l < c->index->spec.layers; l++)
		due |= excess(c, &level[l]) > 0;
	c->layer = 0;
	c->head = 0;
	c->evicted = 0;
	return due;
}

static struct policy_scope scope_of(const struct compaction *c, uint32_t l,
				    uint32_t head, uint64_t commit)
{
	struct shm_buffer *from = buffer_of(c->index, c->generation);
	const struct shm_level *level = &levels_of(c->index, from)[l];
	const struct shm_layer *layer = layer_of(c->index, l);
	const struct shm_spec *spec = &c->index->spec;
	uint32_t kept = shm_kept(spec, layer);
	const char *rows = (const char *)c->rows;
	const char *score = rows + layer->score + head * layer->score_stride +
			    shm_commit_parity(commit) * layer->score_pad;

	return (struct policy_scope){
		.order = order_of(from, layer, head).order,
		.entry_size = spec->entry_size,
		.live = level->n_live + (uint32_t)(c->tail - from->base_tail),
		.score = (const float *)(const void *)score,
		.since = (const void *)(rows + layer->since +
					head * layer->since_stride),
		.tail = (uint32_t)shm_commit_tail(commit),
		.sinks = kept,
		.selected = level->budget - kept - spec->recent,
		.walk = walks_of(c->index, from, l)[head],
	};
}

/* What the head after (c->layer, head) will read, the next layer's included. */
static void prefetch_next(const struct compaction *c, uint32_t head, uint32_t k,
			  uint64_t commit)
{
	const struct shm_spec *spec = &c->index->spec;
	uint32_t l = c->layer + (head + 1 == spec->kv_heads);
	const struct shm_layer *layer;
	struct policy_scope scope;
	struct order next;

	if (l == spec->layers)
		return;
	head = (head + 1) % spec->kv_heads;
	layer = layer_of(c->index, l);
	next = order_of(buffer_of(c->index, c->generation), layer, head);
	order_prefetch(&next, layer->slots, spec->entry_size);
	if (c->policy->scores == POLICY_SCORES_NONE)
		return;
	scope = scope_of(c, l, head, commit);
	policy_prefetch(&scope, k);
}

static void compact_head(struct compaction *c, const struct shm_layer *layer,
			 const struct shm_level *level, uint32_t head,
			 uint64_t commit)
{
	struct shm_buffer *from = buffer_of(c->index, c->generation);
	struct shm_buffer *to = buffer_of(c->index, c->generation + 1);
	struct order old = order_of(from, layer, head);
	struct order new = order_of(to, layer, head);
	struct policy_scope scope = scope_of(c, c->layer, head, commit);

	shm_store32_relaxed(&walks_of(c->index, to, c->layer)[head],
			    order_compact(&new, &old, c->policy, &scope,
					  layer->slots, level->n_live,
					  excess(c, level), c->scratch));
}

static void finish_layer(struct compaction *c)
{
	const struct shm_buffer *from = buffer_of(c->index, c->generation);
	const struct shm_buffer *to = buffer_of(c->index, c->generation + 1);
	struct shm_level *level = &levels_of(c->index, from)[c->layer];
	struct shm_level *next = &levels_of(c->index, to)[c->layer];
	uint32_t k = excess(c, level);

	shm_store32_relaxed(&next->n_live,
			    level->n_live +
				    (uint32_t)(c->tail - from->base_tail) - k);
	shm_store32_relaxed(&next->budget, level->budget);
	shm_store32_relaxed(&next->capacity, level->capacity);
	shm_store32_relaxed(&next->parent_capacity, level->parent_capacity);
	if (k > c->evicted)
		c->evicted = k;
	c->layer++;
	c->head = 0;
}

bool compact_heads(struct compaction *c, uint32_t heads)
{
	const struct shm_buffer *from = buffer_of(c->index, c->generation);
	const struct shm_layer *layer = layer_of(c->index, c->layer);
	const struct shm_level *level = &levels_of(c->index, from)[c->layer];
	uint64_t commit = compact_load_commit(c);
	uint32_t k = excess(c, level);

	if (c->fault)
		return false;
	for (; heads && c->head < c->index->spec.kv_heads; heads--) {
		prefetch_next(c, c->head, k, commit);
		compact_head(c, layer, level, c->head++, commit);
	}
	if (c->head == c->index->spec.kv_heads)
		finish_layer(c);
	return c->layer < c->index->spec.layers;
}

void compact_finish(struct compaction *c, uint64_t rows_inode, uint64_t prefill)
{
	struct shm_buffer *from = buffer_of(c->index, c->generation);
	struct shm_buffer *to = buffer_of(c->index, c->generation + 1);

	to->rows_inode = rows_inode;
	to->rows_epoch = from->rows_epoch;
	shm_store_relaxed(&to->prefill, prefill);
	finish_buffer(c->index, to, c->generation + 1, c->tail);
	/* Pairs with the acquire in the writer's adopt(), and in readers. */
	shm_store_release(&c->index->generation, c->generation + 1);
}

static void publish(struct compaction *c, uint64_t rows_inode)
{
	shm_store_relaxed(&c->index->compactions, c->index->compactions + 1);
	shm_store_relaxed(&c->index->evictions,
			  c->index->evictions + c->evicted);
	compact_finish(c, rows_inode,
		       buffer_of(c->index, c->generation)->prefill);
}

void compact_publish(struct compaction *c)
{
	publish(c, buffer_of(c->index, c->generation)->rows_inode);
}

void compact_move(struct compaction *c, const struct shm_rows *rows,
		  uint64_t inode)
{
	c->rows = rows;
	c->generation = shm_load_relaxed(&c->index->generation);
	c->tail = shm_commit_tail(compact_load_commit(c));
	c->layer = 0;
	c->head = 0;
	c->evicted = 0;
	while (compact_heads(c, UINT32_MAX))
		;
	if (!c->fault)
		publish(c, inode);
}

uint64_t compact_slack_left(const struct compaction *c)
{
	uint64_t generation = shm_load_relaxed(&c->index->generation);
	const struct shm_buffer *buffer = buffer_of(c->index, generation);
	uint64_t commit = shm_load_relaxed(&c->rows->commit);
	uint64_t tail =
		shm_commit_tail(shm_commit_under(commit, buffer->prefill));

	if (tail > buffer->base_tail + buffer->free)
		return 0;
	return buffer->base_tail + buffer->free - tail;
}

bool compact_due(const struct compaction *c)
{
	uint64_t generation = shm_load_relaxed(&c->index->generation);
	const struct shm_buffer *buffer = buffer_of(c->index, generation);
	/* Pairs with the release in treekv_commit(). */
	uint64_t commit = shm_load_acquire(&c->rows->commit);

	commit = shm_commit_under(commit, buffer->prefill);
	return shm_commit_tail(commit) >= buffer->ring_at;
}
