// SPDX-License-Identifier: BSD-2-Clause
/*
 * Every bound of shm.h is checked in layout_check(), so the arithmetic of
 * layout_init() cannot overflow 64 bits: the largest term is 2^9 layers x 2^9
 * heads x 2^24 rows x 2^16 bytes = 2^58.
 *
 * Strides between heads are an odd number of cache lines: with a power of two
 * the same slot of every head would fall into the same few sets of the cache.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/layout.h"

#define CACHE_LINE UINT64_C(64)

__attribute__((format(printf, 2, 3))) static int
refuse(struct layout_error *error, const char *format, ...)
{
	va_list args;

	if (error) {
		va_start(args, format);
		vsnprintf(error->text, sizeof(error->text), format, args);
		va_end(args);
	}
	return -EINVAL;
}

struct bound {
	const char *name;
	uint32_t value;
	uint32_t min;
	uint32_t max;
};

static int check_bounds(const struct bound *bounds, size_t n,
			struct layout_error *error)
{
	for (size_t i = 0; i < n; i++) {
		const struct bound *b = &bounds[i];

		if (b->value < b->min || b->value > b->max)
			return refuse(error, "%s is %u, but must be %u to %u",
				      b->name, b->value, b->min, b->max);
	}
	return 0;
}

/* The treekv policies need a selected region for their walk. */
static uint32_t selected_min(uint32_t policy)
{
	return policy == SHM_POLICY_TREEKV ||
	       policy == SHM_POLICY_TREEKV_LEFT ||
	       policy == SHM_POLICY_TREEKV_SKIP;
}

static int check_budget(const struct shm_spec *spec, uint32_t layer,
			uint32_t budget, struct layout_error *error)
{
	uint64_t kept = (uint64_t)spec->sinks + spec->recent;
	uint64_t capacity = budget;

	if (budget < 1)
		return refuse(error, "budget of layer %u is 0", layer);
	if (spec->policy != SHM_POLICY_FULL) {
		capacity += spec->slack;
		if (kept + selected_min(spec->policy) > budget)
			return refuse(error,
				      "budget of layer %u is %u, but sinks %u "
				      "+ recent %u%s do not fit into it",
				      layer, budget, spec->sinks, spec->recent,
				      selected_min(spec->policy) ?
					      " + 1 selected" :
					      "");
	}
	if (capacity > SHM_CAPACITY_MAX)
		return refuse(
			error,
			"layer %u would have %llu rows, budget %u + slack "
			"%llu, but at most %u are possible",
			layer, (unsigned long long)capacity, budget,
			(unsigned long long)capacity - budget,
			SHM_CAPACITY_MAX);
	return 0;
}

int layout_check(const struct shm_spec *spec, const uint32_t *budgets,
		 struct layout_error *error)
{
	const struct bound bounds[] = {
		{ "layers", spec->layers, 1, SHM_LAYERS_MAX },
		{ "kv_heads", spec->kv_heads, 1, SHM_KV_HEADS_MAX },
		{ "k_row (bytes)", spec->k_row, 1, SHM_ROW_MAX },
		{ "v_row (bytes)", spec->v_row, 1, SHM_ROW_MAX },
		{ "dtype", spec->dtype, SHM_DTYPE_F32, SHM_DTYPE_BF16 },
		{ "policy", spec->policy, SHM_POLICY_TREEKV, SHM_POLICY_FULL },
		{ "positions", spec->positions, SHM_POSITIONS_RANK,
		  SHM_POSITIONS_ORIGINAL },
		{ "sinks", spec->sinks, 0, SHM_CAPACITY_MAX },
		{ "recent", spec->recent, 0, SHM_CAPACITY_MAX },
		{ "slack", spec->slack, 1, SHM_CAPACITY_MAX },
		{ "ids", spec->ids, 0, SHM_IDS_MAX },
	};
	int r;

	r = check_bounds(bounds, sizeof(bounds) / sizeof(*bounds), error);
	for (uint32_t l = 0; !r && l < spec->layers; l++)
		r = check_budget(spec, l, budgets[l], error);
	return r;
}

static int check_prefix(const struct shm_spec *spec, uint32_t layer,
			uint32_t budget, const struct layout_fork *fork,
			struct layout_error *error)
{
	uint32_t least = selected_min(spec->policy), recent = spec->recent;
	uint64_t slots = (uint64_t)shm_room(spec, budget) + fork->slots;

	if (spec->policy == SHM_POLICY_FULL) {
		least = 1; /* a row of its own */
		recent = 0;
	}
	if (!fork->slots || fork->pinned > fork->slots)
		return refuse(error,
			      "layer %u has %u slots of its parent and pins %u",
			      layer, fork->slots, fork->pinned);
	if (fork->pinned && fork->pinned + (uint64_t)recent + least > budget)
		return refuse(error,
			      "the budget of layer %u is %u, but a prefix of "
			      "%u rows, which stay, + recent %u + %u do not "
			      "fit into it",
			      layer, budget, fork->pinned, recent, least);
	if (slots > SHM_CAPACITY_MAX)
		return refuse(error,
			      "layer %u would have %llu slots, its parent's "
			      "included, but at most %u are possible",
			      layer, (unsigned long long)slots,
			      SHM_CAPACITY_MAX);
	return 0;
}

int layout_check_fork(const struct shm_spec *spec, const uint32_t *budgets,
		      const struct layout_fork *fork,
		      struct layout_error *error)
{
	int r = 0;

	for (uint32_t l = 0; !r && l < spec->layers; l++)
		r = check_prefix(spec, l, budgets[l], &fork[l], error);
	return r;
}

static uint64_t align_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) / unit * unit;
}

/* Takes @heads strides of @bytes each from *@at; returns where they begin. */
static uint64_t take(uint64_t *at, uint64_t *stride, uint32_t heads,
		     uint64_t bytes)
{
	uint64_t begin = *at;
	uint64_t lines = align_up(bytes, CACHE_LINE) / CACHE_LINE;

	*stride = (lines | 1) * CACHE_LINE;
	*at += *stride * heads;
	return begin;
}

static uint32_t entry_size(const struct shm_spec *spec,
			   const struct shm_layer *layers)
{
	for (uint32_t l = 0; l < spec->layers; l++)
		if (layers[l].slots > SHM_ENTRY16_MAX)
			return 4;
	return 2;
}

/* The slots of every layer, from which all else follows. */
static void count_slots(struct shm_layer *layers, const struct shm_spec *spec,
			const uint32_t *budgets, const struct layout_fork *fork)
{
	for (uint32_t l = 0; l < spec->layers; l++) {
		struct shm_layer *layer = &layers[l];

		layer->budget = budgets[l];
		layer->capacity = shm_room(spec, budgets[l]);
		if (fork) {
			layer->pinned = fork[l].pinned;
			layer->capacity -= fork[l].pinned;
			layer->parent_capacity = fork[l].slots;
		}
		layer->slots = layer->capacity + layer->parent_capacity;
	}
}

static void layer_init(struct shm_layer *layer, const struct shm_spec *spec,
		       uint64_t *rows, uint64_t *buffer)
{
	uint32_t heads = spec->kv_heads;
	uint64_t entries = (uint64_t)layer->slots * spec->entry_size;

	layer->score_pad = align_up(layer->slots * sizeof(float), CACHE_LINE);

	layer->k = take(rows, &layer->k_stride, heads,
			(uint64_t)layer->capacity * spec->k_row);
	layer->v = take(rows, &layer->v_stride, heads,
			(uint64_t)layer->capacity * spec->v_row);
	layer->score =
		take(rows, &layer->score_stride, heads, 2 * layer->score_pad);
	layer->since = take(rows, &layer->since_stride, heads,
			    layer->slots * sizeof(uint32_t));
	layer->token = take(rows, &layer->token_stride, heads,
			    layer->slots * sizeof(uint32_t));
	layer->order = take(buffer, &layer->order_stride, heads, entries);
	layer->rank = take(buffer, &layer->rank_stride, heads, entries);
}

void layout_init(struct layout *ret, struct shm_layer *layers,
		 struct shm_spec *spec, const uint32_t *budgets,
		 const struct layout_fork *fork)
{
	uint64_t rows = align_up(sizeof(struct shm_rows), CACHE_LINE);
	uint64_t buffer = sizeof(struct shm_buffer);

	memset(layers, 0, spec->layers * sizeof(*layers));
	count_slots(layers, spec, budgets, fork);
	spec->entry_size = entry_size(spec, layers);
	ret->layers = sizeof(struct shm_index);
	ret->level = buffer;
	buffer += spec->layers * sizeof(struct shm_level);
	ret->walk = buffer;
	buffer += (uint64_t)spec->layers * spec->kv_heads * sizeof(uint32_t);
	buffer = align_up(buffer, CACHE_LINE);
	ret->ids = rows;
	rows = align_up(rows + spec->ids * sizeof(uint32_t), CACHE_LINE);

	for (uint32_t l = 0; l < spec->layers; l++)
		layer_init(&layers[l], spec, &rows, &buffer);

	ret->rows_size = rows;
	ret->buffer_size = align_up(buffer, LAYOUT_PAGE);
	ret->buffer[0] = align_up(ret->layers + spec->layers * sizeof(*layers),
				  LAYOUT_PAGE);
	ret->buffer[1] = ret->buffer[0] + ret->buffer_size;
	ret->index_size = ret->buffer[1] + ret->buffer_size;
}

/*
 * Rows are laid out by slots and ids alone, however a layer's slots came to be
 * so many; and a parent is no fork. So a full cache of as many rows has them in
 * the same places.
 */
int layout_parent(struct layout *ret, struct shm_layer *layers,
		  const struct shm_index *index)
{
	const struct shm_layer *table =
		(const void *)((const char *)index + index->layers);
	uint32_t *slots = calloc(index->spec.layers, sizeof(*slots));
	struct shm_spec spec = index->spec;

	if (!slots)
		return -ENOMEM;
	for (uint32_t l = 0; l < spec.layers; l++)
		slots[l] = table[l].parent_capacity;
	spec.policy = SHM_POLICY_FULL;
	spec.ids = index->parent_ids;
	layout_init(ret, layers, &spec, slots, NULL);
	free(slots);
	return 0;
}

uint64_t layout_round(uint64_t size, int huge)
{
	return align_up(size, huge ? LAYOUT_HUGE_PAGE : LAYOUT_PAGE);
}

static int check_sizes(const struct shm_index *index, uint64_t size,
		       const struct layout *layout, struct layout_error *error)
{
	uint32_t flags = index->flags;

	if (size != layout_round(layout->index_size,
				 flags & SHM_CACHE_INDEX_HUGE) ||
	    index->index_size != size ||
	    index->rows_size !=
		    layout_round(layout->rows_size, flags & SHM_CACHE_HUGE)) {
		refuse(error, "its sizes do not fit its spec");
		return -EBADMSG;
	}
	if (index->layers != layout->layers ||
	    index->buffer[0] != layout->buffer[0] ||
	    index->buffer[1] != layout->buffer[1] ||
	    index->buffer_size != layout->buffer_size ||
	    index->level != layout->level || index->walk != layout->walk ||
	    index->ids != layout->ids) {
		refuse(error, "its offsets do not fit its spec");
		return -EBADMSG;
	}
	return 0;
}

static int check_identity(const struct shm_index *index, uint64_t size,
			  struct layout_error *error)
{
	if (size < sizeof(*index) || index->magic != SHM_INDEX_MAGIC) {
		refuse(error, "it is not the index of a cache");
		return -EBADMSG;
	}
	if (index->version != SHM_VERSION ||
	    index->header_size != sizeof(*index)) {
		refuse(error, "its ABI is version %u, this program speaks %u",
		       index->version, SHM_VERSION);
		return -EPROTO;
	}
	if (!memchr(index->name, '\0', sizeof(index->name))) {
		refuse(error, "its name has no end");
		return -EBADMSG;
	}
	return 0;
}

/* Every layer of a fork has slots of its parent, or none does. */
static int copy_budgets(const struct shm_index *index, uint32_t *budgets,
			struct layout_fork *fork)
{
	const struct shm_layer *table =
		(const void *)((const char *)index + sizeof(*index));
	const struct shm_spec *spec = &index->spec;

	for (uint32_t l = 0; l < spec->layers; l++) {
		budgets[l] = table[l].budget;
		fork[l].slots = table[l].parent_capacity;
		fork[l].pinned = table[l].pinned;
		if (fork[l].slots > SHM_CAPACITY_MAX ||
		    !fork[l].slots != !index->parent_id)
			return -EBADMSG;
	}
	return 0;
}

int layout_check_index(const struct shm_index *index, uint64_t size,
		       struct layout_error *error)
{
	struct layout_fork *fork = NULL;
	struct shm_layer *layers;
	struct shm_spec spec;
	struct layout layout;
	uint32_t *budgets;
	int r;

	r = check_identity(index, size, error);
	if (r)
		return r;
	spec = index->spec;
	/* The table must lie within the memfd before it is read. */
	if (spec.layers < 1 || spec.layers > SHM_LAYERS_MAX ||
	    size - sizeof(*index) < spec.layers * sizeof(*layers)) {
		refuse(error, "its table of layers is damaged");
		return -EBADMSG;
	}
	layers = calloc(spec.layers, sizeof(*layers));
	budgets = calloc(spec.layers, sizeof(*budgets));
	fork = calloc(spec.layers, sizeof(*fork));
	if (!layers || !budgets || !fork) {
		refuse(error, "there is no memory to check it in");
		r = -ENOMEM;
		goto out;
	}
	r = copy_budgets(index, budgets, fork);
	if (r) {
		refuse(error, "its table of layers is damaged");
		goto out;
	}
	r = layout_check(&spec, budgets, error);
	if (!r && index->parent_id)
		r = layout_check_fork(&spec, budgets, fork, error);
	if (r) {
		r = -EBADMSG;
		goto out;
	}
	layout_init(&layout, layers, &spec, budgets,
		    index->parent_id ? fork : NULL);
	r = check_sizes(index, size, &layout, error);
	if (r)
		goto out;
	if (spec.entry_size != index->spec.entry_size ||
	    memcmp(layers, (const char *)index + index->layers,
		   spec.layers * sizeof(*layers))) {
		refuse(error, "its table of layers does not fit its spec");
		r = -EBADMSG;
	}
out:
	free(fork);
	free(budgets);
	free(layers);
	return r;
}
