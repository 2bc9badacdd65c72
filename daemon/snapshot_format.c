// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "daemon/snapshot_format.h"
#include "proto/layout.h"

static const char *const section_names[] = {
	[SNAPSHOT_LAYERS] = "layers", [SNAPSHOT_WALKS] = "walks",
	[SNAPSHOT_ORDERS] = "orders", [SNAPSHOT_SCORES] = "scores",
	[SNAPSHOT_IDS] = "ids",	      [SNAPSHOT_SINCE] = "since",
	[SNAPSHOT_TOKENS] = "tokens", [SNAPSHOT_K] = "k",
	[SNAPSHOT_V] = "v",
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

/* Bytes of one head; of the whole section where it is of one piece. */
static uint64_t piece_size(const struct snapshot_info *info,
			   unsigned int section, uint32_t layer)
{
	const struct shm_spec *spec = &info->header.spec;
	uint64_t used = info->layers[layer].used;

	switch ((enum snapshot_section)section) {
	case SNAPSHOT_LAYERS:
		return spec->layers * sizeof(struct snapshot_layer);
	case SNAPSHOT_WALKS:
		return (uint64_t)spec->layers * spec->kv_heads *
		       sizeof(uint32_t);
	case SNAPSHOT_ORDERS:
		return (uint64_t)info->layers[layer].capacity *
		       spec->entry_size;
	case SNAPSHOT_IDS:
		return (info->header.tail < spec->ids ? info->header.tail :
							spec->ids) *
		       sizeof(uint32_t);
	case SNAPSHOT_SCORES:
	case SNAPSHOT_SINCE:
	case SNAPSHOT_TOKENS:
		return used * sizeof(uint32_t);
	case SNAPSHOT_K:
		return used * spec->k_row;
	case SNAPSHOT_V:
		return used * spec->v_row;
	case SNAPSHOT_SECTIONS:
		break;
	}
	return 0;
}

static bool is_one_piece(unsigned int section)
{
	return section == SNAPSHOT_LAYERS || section == SNAPSHOT_WALKS ||
	       section == SNAPSHOT_IDS;
}

uint64_t snapshot_payload(const struct snapshot_info *info,
			  unsigned int section)
{
	const struct shm_spec *spec = &info->header.spec;
	uint64_t size = 0;

	if (is_one_piece(section))
		return piece_size(info, section, 0);
	for (uint32_t l = 0; l < spec->layers; l++)
		size += piece_size(info, section, l) * spec->kv_heads;
	return size;
}

void snapshot_plan(struct snapshot_info *info)
{
	struct snapshot_part *part = info->header.part;
	uint64_t at = SNAPSHOT_PAGE;

	for (unsigned int s = 0; s < SNAPSHOT_SECTIONS; s++) {
		part[s].at = at;
		part[s].size = (snapshot_payload(info, s) + SNAPSHOT_PAGE - 1) /
			       SNAPSHOT_PAGE * SNAPSHOT_PAGE;
		at += part[s].size;
	}
	info->header.file_size = at;
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
		       struct snapshot_error *why)
{
	const struct snapshot_part *has = info->header.part;
	const struct snapshot_part *wanted = planned->header.part;

	memcpy(planned, info,
	       sizeof(*info) +
		       info->header.spec.layers * sizeof(*info->layers));
	snapshot_plan(planned);
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
		r = check_parts(info, planned, why);
out:
	free(budgets);
	free(layers);
	free(planned);
	return r;
}

/* ---- runs ---- */

static uint64_t piece_count(const struct snapshot_info *info,
			    unsigned int section)
{
	const struct shm_spec *spec = &info->header.spec;

	/* What lies packed in memory is of one piece as well. */
	if (section < SNAPSHOT_IDS || is_one_piece(section))
		return 1;
	return (uint64_t)spec->layers * spec->kv_heads;
}

static uint64_t place_in_rows(const struct snapshot_shape *shape,
			      unsigned int section, uint64_t piece)
{
	uint32_t heads = shape->info->header.spec.kv_heads;
	const struct shm_layer *layer = &shape->layers[piece / heads];
	uint64_t head = piece % heads;

	switch ((enum snapshot_section)section) {
	case SNAPSHOT_IDS:
		return shape->ids;
	case SNAPSHOT_SINCE:
		return layer->since + head * layer->since_stride;
	case SNAPSHOT_TOKENS:
		return layer->token + head * layer->token_stride;
	case SNAPSHOT_K:
		return layer->k + head * layer->k_stride;
	case SNAPSHOT_V:
		return layer->v + head * layer->v_stride;
	case SNAPSHOT_LAYERS:
	case SNAPSHOT_WALKS:
	case SNAPSHOT_ORDERS:
	case SNAPSHOT_SCORES:
	case SNAPSHOT_SECTIONS:
		break;
	}
	return 0;
}

/* Bytes of the cursor's piece; after the last one, of the padding. */
static uint64_t size_here(const struct snapshot_info *info,
			  const struct snapshot_cursor *cursor, uint64_t pieces)
{
	unsigned int s = cursor->section;

	if (cursor->piece == pieces)
		return info->header.part[s].size - snapshot_payload(info, s);
	if (pieces == 1)
		return snapshot_payload(info, s);
	return piece_size(info, s, cursor->piece / info->header.spec.kv_heads);
}

static void run_init(const struct snapshot_shape *shape,
		     const struct snapshot_cursor *cursor, uint64_t size,
		     bool padding, struct snapshot_run *ret)
{
	unsigned int s = cursor->section;

	*ret = (struct snapshot_run){ .section = s, .size = size };
	if (padding)
		return;
	ret->in_rows = s >= SNAPSHOT_IDS;
	if (ret->in_rows)
		ret->rows_at =
			place_in_rows(shape, s, cursor->piece) + cursor->done;
	else
		ret->memory = (uint8_t *)shape->memory[s] + cursor->done;
}

/*
 * Sections without a byte are passed over by the caller's ends: he finishes all
 * sections up to the run's own.
 */
bool snapshot_next(const struct snapshot_shape *shape,
		   struct snapshot_cursor *cursor, uint64_t max,
		   struct snapshot_run *ret)
{
	const struct snapshot_info *info = shape->info;
	uint64_t pieces, left;

	while (cursor->section < SNAPSHOT_SECTIONS) {
		pieces = piece_count(info, cursor->section);
		left = size_here(info, cursor, pieces) - cursor->done;
		if (left) {
			left = left < max ? left : max;
			run_init(shape, cursor, left, cursor->piece == pieces,
				 ret);
			cursor->done += left;
			return true;
		}
		cursor->done = 0;
		if (cursor->piece++ == pieces) {
			cursor->section++;
			cursor->piece = 0;
		}
	}
	return false;
}
