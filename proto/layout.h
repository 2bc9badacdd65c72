/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where everything lies in the two memfds of a cache, worked out from its spec
 * alone. The daemon writes the result into index; a client works it out again
 * and refuses a cache whose index says otherwise.
 */
#ifndef TREEKV_LAYOUT_H
#define TREEKV_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "proto/shm.h"

#define LAYOUT_PAGE	 UINT64_C(4096)
#define LAYOUT_HUGE_PAGE (UINT64_C(2) << 20)

struct layout {
	uint64_t rows_size; /* bytes, before rounding to a page */
	uint64_t index_size;
	uint64_t layers; /* offset of the table of layers in index */
	uint64_t buffer[2];
	uint64_t buffer_size;
	uint64_t level;
	uint64_t walk;
	uint64_t ids;
};

/* What a layer of a fork has of its parent. */
struct layout_fork {
	uint32_t slots; /* that the parent's rows have; at least 1 */
	uint32_t pinned; /* live rows in them that are never evicted */
};

/* Why a spec is refused: the field, what it is, what it may be. */
struct layout_error {
	char text[256];
};

/**
 * layout_check - is this spec one that a cache can have?
 * @spec: entry_size is not looked at
 * @budgets: spec->layers budgets
 * @error: filled in when the spec is refused, may be NULL
 *
 * Return: 0, or -EINVAL with @error naming the field and its bounds.
 */
int layout_check(const struct shm_spec *spec, const uint32_t *budgets,
		 struct layout_error *error);

/**
 * layout_check_fork - and with this prefix?
 * @spec: passed layout_check() with @budgets
 * @fork: spec->layers of them
 *
 * Return: 0, or -EINVAL with @error naming the layer and what does not fit.
 */
int layout_check_fork(const struct shm_spec *spec, const uint32_t *budgets,
		      const struct layout_fork *fork,
		      struct layout_error *error);

/**
 * layout_init - work out every offset and size
 * @ret: the sizes
 * @layers: spec->layers of them, filled in
 * @spec: passed layout_check(); its entry_size is set
 * @budgets: spec->layers budgets
 * @fork: spec->layers of them, passed layout_check_fork(); NULL: no fork
 */
void layout_init(struct layout *ret, struct shm_layer *layers,
		 struct shm_spec *spec, const uint32_t *budgets,
		 const struct layout_fork *fork);

/**
 * layout_parent - where K and V lie in the rows of a fork's parent
 * @ret: its size
 * @layers: spec.layers of them, filled in: k, v and their strides count
 * @index: the fork's, passed layout_check_index()
 *
 * Return: 0 or -ENOMEM.
 */
int layout_parent(struct layout *ret, struct shm_layer *layers,
		  const struct shm_index *index);

/**
 * layout_check_index - does an index say what its own spec implies?
 * @index: the mapping, the table of layers included
 * @size: of the memfd and of the mapping
 * @error: filled in when it does not
 *
 * Return: 0, -EPROTO for another ABI, -EBADMSG for an inconsistent one.
 */
int layout_check_index(const struct shm_index *index, uint64_t size,
		       struct layout_error *error);

/* Bytes of a memfd that holds @size bytes in pages of the given kind. */
uint64_t layout_round(uint64_t size, int huge);

#endif /* TREEKV_LAYOUT_H */
