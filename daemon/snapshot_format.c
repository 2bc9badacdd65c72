// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/hash.h"
#include "daemon/snapshot_format.h"
#include "proto/layout.h"

static const char *const section_names[] = {
	[SNAPSHOT_LAYERS] = "layers", [SNAPSHOT_WALKS] = "walks",
	[SNAPSHOT_ORDERS] = "orders", [SNAPSHOT_SCORES] = "scores",
	[SNAPSHOT_ROWS] = "rows",
};

static_assert(sizeof(section_names) / sizeof(*section_names) ==
		      SNAPSHOT_SECTIONS,
	      "every section has a name");
static_assert(sizeof(struct snapshot_header) <= SNAPSHOT_PAGE, "one page");

__attribute__((format(printf, 2, 3))) static int
refuse(struct snapshot_error *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	return -EBADMSG;
}

const char *snapshot_section_name(unsigned int section)
{
	return section < SNAPSHOT_SECTIONS ? section_names[section] : "?";
}

struct snapshot_info *snapshot_info_new(uint32_t layers)
{
	return calloc(1, sizeof(struct snapshot_info) +
				 layers * sizeof(struct snapshot_layer));
}

uint64_t snapshot_hash(const void *bytes, uint64_t size)
{
	return XXH3_64bits(bytes, size);
}

/* ---- sizes ---- */

static uint64_t pages(uint64_t size)
{
	return (size + SNAPSHOT_PAGE - 1) / SNAPSHOT_PAGE * SNAPSHOT_PAGE;
}

uint64_t snapshot_payload(const struct snapshot_info *info,
			  unsigned int section)
{
	const struct shm_spec *spec = &info->header.spec;
	uint64_t slots = 0;

	switch ((enum snapshot_section)section) {
	case SNAPSHOT_LAYERS:
		return spec->layers * sizeof(struct snapshot_layer);
	case SNAPSHOT_WALKS:
		return (uint64_t)spec->layers * spec->kv_heads *
		       sizeof(uint32_t);
	case SNAPSHOT_ORDERS:
		for (uint32_t l = 0; l < spec->layers; l++)
			slots += info->layers[l].capacity;
		return slots * spec->kv_heads * spec->entry_size;
	case SNAPSHOT_SCORES:
		for (uint32_t l = 0; l < spec->layers; l++)
			slots += info->layers[l].used;
		return slots * spec->kv_heads * sizeof(float);
	case SNAPSHOT_ROWS:
	case SNAPSHOT_SECTIONS:
		break;
	}
	return 0;
}

/* ---- pages of rows ---- */

enum {
	PIECE_K,
	PIECE_V,
	PIECE_SINCE,
	PIECE_TOKEN,
	PIECES
};

/*
 * The n-th stretch of rows that is kept, in their sequence: the ids, then of
 * each layer K, V, since and token of every head. Return: false at the end.
 */
static bool piece_at(const struct snapshot_shape *shape, uint64_t n,
		     uint64_t *at, uint64_t *size)
{
	const struct snapshot_info *info = shape->info;
	const struct shm_spec *spec = &info->header.spec;
	const struct shm_layer *layer = shape->layers;
	uint64_t used, head, array;

	if (!n) {
		used = info->header.tail < spec->ids ? info->header.tail :
						       spec->ids;
		*at = shape->ids;
		*size = used * sizeof(uint32_t);
		return true;
	}
	head = (n - 1) % spec->kv_heads;
	array = (n - 1) / spec->kv_heads;
	if (array / PIECES == spec->layers)
		return false;
	layer += array / PIECES;
	used = info->layers[array / PIECES].used;
	*size = used * sizeof(uint32_t);
	switch (array % PIECES) {
	case PIECE_K:
		*at = layer->k + head * layer->k_stride;
		*size = used * spec->k_row;
		break;
	case PIECE_V:
		*at = layer->v + head * layer->v_stride;
		*size = used * spec->v_row;
		break;
	case PIECE_SINCE:
		*at = layer->since + head * layer->since_stride;
		break;
	case PIECE_TOKEN:
		*at = layer->token + head * layer->token_stride;
		break;
	}
	return true;
}

/* Pages side by side, as many as there are. Return: false at the end. */
static bool next_pages(const struct snapshot_shape *shape,
		       struct snapshot_cursor *cursor)
{
	uint64_t at = 0, size = 0;

	cursor->at = cursor->end = 0;
	for (; piece_at(shape, cursor->piece, &at, &size); cursor->piece++) {
		if (!size)
			continue;
		size = pages(at % SNAPSHOT_PAGE + size);
		at -= at % SNAPSHOT_PAGE;
		if (cursor->end && at > cursor->end)
			break;
		if (!cursor->end)
			cursor->at = at;
		if (at + size > cursor->end)
			cursor->end = at + size;
	}
	return cursor->end;
}

static uint64_t size_of_rows(const struct snapshot_shape *shape)
{
	struct snapshot_cursor cursor = { .section = SNAPSHOT_ROWS };
	uint64_t size = 0;

	while (next_pages(shape, &cursor))
		size += cursor.end - cursor.at;
	return size;
}

void snapshot_plan(struct snapshot_info *info, const struct shm_layer *layers,
		   uint64_t ids)
{
	const struct snapshot_shape shape = { info, layers, ids, { NULL } };
	struct snapshot_part *part = info->header.part;
	uint64_t at = SNAPSHOT_PAGE;

	for (unsigned int s = 0; s < SNAPSHOT_SECTIONS; s++) {
		part[s].at = at;
		part[s].size = s == SNAPSHOT_ROWS ?
				       size_of_rows(&shape) :
				       pages(snapshot_payload(info, s));
		at += part[s].size;
	}
	info->header.file_size = at;
	info->header.layout = snapshot_hash(layers, info->header.spec.layers *
							    sizeof(*layers)) ^
			      ids;
}

/* ---- the header ---- */

static uint64_t page_hash(const void *page)
{
	uint8_t copy[SNAPSHOT_PAGE];

	memcpy(copy, page, sizeof(copy));
	memset(copy + offsetof(struct snapshot_header, hash), 0,
	       sizeof(uint64_t));
	return snapshot_hash(copy, sizeof(copy));
}

void snapshot_seal(void *page, const struct snapshot_header *header)
{
	struct snapshot_header *to = page;

	memset(page, 0, SNAPSHOT_PAGE);
	memcpy(page, header, sizeof(*header));
	to->magic = SNAPSHOT_MAGIC;
	to->version = SNAPSHOT_VERSION;
	to->header_size = sizeof(*header);
	to->hash = page_hash(page);
}

int snapshot_header_check(struct snapshot_header *ret, const void *page,
			  uint64_t file_size, struct snapshot_error *why)
{
	struct snapshot_header header;

	memcpy(&header, page, sizeof(header));
	if (header.magic != SNAPSHOT_MAGIC)
		return refuse(why, "it is not a snapshot of a cache");
	if (header.version != SNAPSHOT_VERSION ||
	    header.header_size != sizeof(header)) {
		refuse(why,
		       "it is of version %u of the format, this daemon reads "
		       "%d; use the daemon that wrote it",
		       header.version, SNAPSHOT_VERSION);
		return -EPROTO;
	}
	if (header.hash != page_hash(page))
		return refuse(why, "its header is damaged: the hash differs");
	if (header.file_size != file_size)
		return refuse(why,
			      "it has %llu bytes and its header says %llu: it "
			      "was cut short or written to",
			      (unsigned long long)file_size,
			      (unsigned long long)header.file_size);
	if (!memchr(header.name, '\0', sizeof(header.name)))
		return refuse(why, "its name has no end");
	if (header.spec.layers < 1 || header.spec.layers > SHM_LAYERS_MAX)
		return refuse(why, "it has %u layers, but 1 to %d are possible",
			      header.spec.layers, SHM_LAYERS_MAX);
	*ret = header;
	return 0;
}

static int check_words(const struct snapshot_header *header,
		       struct snapshot_error *why)
{
	if (header->tail > SHM_TAIL_MAX || header->base_tail > header->tail ||
	    header->parity > 1 || !header->generation)
		return refuse(why,
			      "tail %llu, generation %llu or what belongs "
			      "to them cannot be",
			      (unsigned long long)header->tail,
			      (unsigned long long)header->generation);
	return 0;
}

static int check_layer(const struct snapshot_info *info, uint32_t l,
		       const struct shm_layer *layer,
		       struct snapshot_error *why)
{
	const struct snapshot_layer *at = &info->layers[l];
	uint64_t live = at->n_live + info->header.tail - info->header.base_tail;

	if (at->capacity != layer->capacity || at->used > at->capacity ||
	    live > at->used)
		return refuse(
			why, "layer %u cannot have %llu rows in %u of %u slots",
			l, (unsigned long long)live, at->used, at->capacity);
	return 0;
}

static int check_parts(const struct snapshot_info *info,
		       struct snapshot_info *planned,
		       const struct shm_layer *layers, uint64_t ids,
		       struct snapshot_error *why)
{
	const struct snapshot_part *has = info->header.part;
	const struct snapshot_part *wanted = planned->header.part;

	memcpy(planned, info,
	       sizeof(*info) +
		       info->header.spec.layers * sizeof(*info->layers));
	snapshot_plan(planned, layers, ids);
	if (planned->header.layout != info->header.layout) {
		refuse(why, "it was written by a daemon that lays memory out "
			    "in another way; use that one");
		return -EPROTO;
	}
	for (unsigned int s = 0; s < SNAPSHOT_SECTIONS; s++)
		if (has[s].at != wanted[s].at || has[s].size != wanted[s].size)
			return refuse(why, "section %s is out of place",
				      snapshot_section_name(s));
	if (planned->header.file_size != info->header.file_size)
		return refuse(why, "its size does not fit its spec");
	return 0;
}

static int check_spec(const struct snapshot_info *info, struct shm_spec *spec,
		      uint32_t *budgets, struct snapshot_error *why)
{
	struct layout_error error;

	for (uint32_t l = 0; l < spec->layers; l++)
		budgets[l] = info->layers[l].budget;
	if (layout_check(spec, budgets, &error))
		return refuse(why, "%s", error.text);
	return 0;
}

int snapshot_info_check(const struct snapshot_info *info,
			struct snapshot_error *why)
{
	struct shm_spec spec = info->header.spec;
	struct snapshot_info *planned = snapshot_info_new(spec.layers);
	struct shm_layer *layers = calloc(spec.layers, sizeof(*layers));
	uint32_t *budgets = calloc(spec.layers, sizeof(*budgets));
	struct layout layout;
	int r = -ENOMEM;

	refuse(why, "out of memory");
	if (!planned || !layers || !budgets)
		goto out;
	r = check_words(&info->header, why);
	if (!r)
		r = check_spec(info, &spec, budgets, why);
	if (r)
		goto out;
	layout_init(&layout, layers, &spec, budgets, NULL);
	if (spec.entry_size != info->header.spec.entry_size) {
		r = refuse(why, "its entries have the wrong size");
		goto out;
	}
	for (uint32_t l = 0; !r && l < spec.layers; l++)
		r = check_layer(info, l, &layers[l], why);
	if (!r)
		r = check_parts(info, planned, layers, layout.ids, why);
out:
	free(budgets);
	free(layers);
	free(planned);
	return r;
}

/* ---- a look at a file ---- */

static int look_at_layers(struct snapshot_info **ret, const uint8_t *bytes,
			  uint64_t size, const struct snapshot_header *header,
			  struct snapshot_error *why)
{
	const struct snapshot_part *part = &header->part[SNAPSHOT_LAYERS];
	uint64_t own = header->spec.layers * sizeof(struct snapshot_layer);
	uint64_t padded = pages(own);
	struct snapshot_info *info;
	int r;

	if (SNAPSHOT_PAGE + padded > size ||
	    snapshot_hash(bytes, padded) != part->hash)
		return refuse(why,
			      "section layers is damaged: the hash differs");
	info = snapshot_info_new(header->spec.layers);
	if (!info)
		return -ENOMEM;
	info->header = *header;
	memcpy(info->layers, bytes, own);
	r = snapshot_info_check(info, why);
	if (r)
		free(info);
	else
		*ret = info;
	return r;
}

static int check_name(const struct snapshot_header *header, uint64_t space,
		      const char *name, struct snapshot_error *why)
{
	uint64_t is = snapshot_space(header);

	if (is == space && !strcmp(header->name, name))
		return 0;
	return refuse(why, "it is of cache %s of %s %u; give it that name back",
		      header->name, name_is_shared(is) ? "gid" : "uid",
		      (uint32_t)is);
}

int snapshot_look(struct snapshot_info **ret, const void *bytes, uint64_t size,
		  uint64_t file_size, uint64_t space, const char *name,
		  struct snapshot_error *why)
{
	struct snapshot_header header;
	int r;

	if (size < SNAPSHOT_PAGE)
		return refuse(why,
			      "it has %llu bytes, no snapshot is that short",
			      (unsigned long long)file_size);
	r = snapshot_header_check(&header, bytes, file_size, why);
	if (!r)
		r = check_name(&header, space, name, why);
	if (r)
		return r;
	return look_at_layers(ret, (const uint8_t *)bytes + SNAPSHOT_PAGE, size,
			      &header, why);
}

/* ---- runs ---- */

/* The rest of the section's bytes, or of its padding. */
static void run_of_memory(const struct snapshot_shape *shape,
			  struct snapshot_cursor *cursor, uint64_t max,
			  struct snapshot_run *ret)
{
	uint64_t payload = snapshot_payload(shape->info, cursor->section);
	uint64_t end = shape->info->header.part[cursor->section].size;

	if (cursor->done < payload) {
		ret->memory = (uint8_t *)shape->memory[cursor->section] +
			      cursor->done;
		end = payload;
	}
	ret->size = end - cursor->done;
	ret->size = ret->size < max ? ret->size : max;
	cursor->done += ret->size;
}

static void run_of_rows(struct snapshot_cursor *cursor, uint64_t max,
			struct snapshot_run *ret)
{
	ret->in_rows = true;
	ret->rows_at = cursor->at;
	ret->size = cursor->end - cursor->at;
	if (!cursor->at && ret->size > SNAPSHOT_PAGE)
		ret->size = SNAPSHOT_PAGE;
	ret->size = ret->size < max ? ret->size : max;
	cursor->at += ret->size;
}

/*
 * Sections without a byte are passed over by the caller's ends: he finishes all
 * sections up to the run's own.
 */
bool snapshot_next(const struct snapshot_shape *shape,
		   struct snapshot_cursor *cursor, uint64_t max,
		   struct snapshot_run *ret)
{
	const struct snapshot_part *part = shape->info->header.part;

	while (cursor->section < SNAPSHOT_ROWS &&
	       cursor->done == part[cursor->section].size) {
		cursor->section++;
		cursor->done = 0;
	}
	*ret = (struct snapshot_run){ .section = cursor->section };
	if (cursor->section < SNAPSHOT_ROWS) {
		run_of_memory(shape, cursor, max, ret);
		return true;
	}
	if (cursor->at == cursor->end && !next_pages(shape, cursor))
		return false;
	run_of_rows(cursor, max, ret);
	return true;
}
