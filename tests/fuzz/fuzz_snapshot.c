// SPDX-License-Identifier: BSD-2-Clause
/*
 * The beginning of a snapshot's file. The input is laid over a sound one, four
 * bytes of offset, then what stands there; unless its size says otherwise the
 * hashes are made right again, for a hash keeps nobody out who can compute one.
 * What is accepted must have all its bytes within the rows of such a cache, one
 * after the other.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/snapshot_format.h"
#include "proto/layout.h"

#define LAYERS 3
#define PATCH  12 /* 4 of offset, 8 to lay there */

#define WALK_MAX (UINT64_C(1) << 30)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static uint8_t *sound;

static void make_sound(void)
{
	static const uint32_t budgets[LAYERS] = { 8, 60, 5 };
	struct snapshot_info *info = snapshot_info_new(LAYERS);
	struct snapshot_header *header = &info->header;
	struct shm_layer layers[LAYERS];
	struct layout layout;

	header->spec = (struct shm_spec){
		.layers = LAYERS,
		.kv_heads = 2,
		.k_row = 400,
		.v_row = 300,
		.dtype = SHM_DTYPE_F32,
		.policy = SHM_POLICY_TREEKV,
		.positions = SHM_POSITIONS_RANK,
		.sinks = 1,
		.recent = 2,
		.slack = 4,
		.ids = 100,
	};
	layout_init(&layout, layers, &header->spec, budgets, NULL);
	strcpy(header->name, "fuzz");
	header->tail = 20;
	header->base_tail = 18;
	header->generation = 3;
	for (uint32_t l = 0; l < LAYERS; l++)
		info->layers[l] = (struct snapshot_layer){
			.budget = budgets[l],
			.capacity = layers[l].capacity,
			.n_live = 5,
			.used = 8,
		};
	snapshot_plan(info, layers, layout.ids);
	sound = calloc(1, SNAPSHOT_LOOK);
	if (!sound)
		abort();
	memcpy(sound, header, sizeof(*header));
	memcpy(sound + SNAPSHOT_PAGE, info->layers,
	       LAYERS * sizeof(*info->layers));
	free(info);
}

static void seal(uint8_t *image)
{
	struct snapshot_header header;
	struct snapshot_part *part = &header.part[SNAPSHOT_LAYERS];

	memcpy(&header, image, sizeof(header));
	part->hash = snapshot_hash(image + SNAPSHOT_PAGE, SNAPSHOT_PAGE);
	header.magic = SNAPSHOT_MAGIC;
	snapshot_seal(image, &header);
}

/* Every run is where the header says, and in memory that is there. */
static void walk(const struct snapshot_info *info)
{
	struct shm_spec spec = info->header.spec;
	struct shm_layer *layers = calloc(spec.layers, sizeof(*layers));
	uint32_t *budgets = calloc(spec.layers, sizeof(*budgets));
	struct snapshot_cursor cursor = { 0 };
	struct snapshot_shape shape = { .info = info, .layers = layers };
	uint64_t at = SNAPSHOT_PAGE, behind = 0;
	struct snapshot_run run;
	struct layout layout;

	if (!layers || !budgets)
		abort();
	for (uint32_t l = 0; l < spec.layers; l++)
		budgets[l] = info->layers[l].budget;
	layout_init(&layout, layers, &spec, budgets, NULL);
	shape.ids = layout.ids;
	for (unsigned int section = 0; section < SNAPSHOT_ROWS; section++)
		shape.memory[section] = sound; /* which nobody reads */
	while (snapshot_next(&shape, &cursor, 1 << 20, &run)) {
		const struct snapshot_part *part =
			&info->header.part[run.section];

		if (!run.size || at < part->at ||
		    at + run.size > part->at + part->size)
			abort();
		if (run.in_rows && (run.rows_at < behind ||
				    run.rows_at + run.size >
					    layout_round(layout.rows_size, 0)))
			abort();
		behind = run.in_rows ? run.rows_at + run.size : behind;
		at += run.size;
	}
	if (at != info->header.file_size)
		abort();
	free(budgets);
	free(layers);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct snapshot_info *info;
	struct snapshot_error why;
	bool sealed = size % PATCH != 1;
	uint64_t file_size;
	uint8_t *image;
	uint32_t at;

	if (!sound)
		make_sound();
	image = malloc(SNAPSHOT_LOOK);
	if (!image)
		abort();
	memcpy(image, sound, SNAPSHOT_LOOK);
	for (; size >= PATCH; bytes += PATCH, size -= PATCH) {
		memcpy(&at, bytes, sizeof(at));
		at %= sizeof(struct snapshot_header) + 256;
		if (at < sizeof(struct snapshot_header))
			memcpy(image + at, bytes + 4, 8);
		else
			memcpy(image + SNAPSHOT_PAGE + at -
				       sizeof(struct snapshot_header),
			       bytes + 4, 8);
	}
	if (sealed)
		seal(image);
	memcpy(&file_size, image + offsetof(struct snapshot_header, file_size),
	       sizeof(file_size));
	if (!snapshot_look(&info, image, SNAPSHOT_LOOK, file_size, 0, "fuzz",
			   &why)) {
		if (file_size < WALK_MAX) /* else it takes too long */
			walk(info);
		free(info);
	}
	free(image);
	return 0;
}
