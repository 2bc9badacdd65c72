/* SPDX-License-Identifier: BSD-2-Clause */
/* A message's Spec and the one of shared memory; and whether two agree. */
#ifndef TREEKVD_SPEC_H
#define TREEKVD_SPEC_H

#include <stddef.h>
#include <stdint.h>

#include "proto/shm.h"
#include "treekv.pb-c.h"

/**
 * spec_load - check a message's Spec
 * @ret: filled in, entry_size but for
 * @budgets: room for SHM_LAYERS_MAX; one a layer is filled in
 * @why: @size bytes for the reason
 *
 * Return: 0 or -EINVAL.
 */
int spec_load(struct shm_spec *ret, uint32_t *budgets, const Treekv__Spec *from,
	      char *why, size_t size);

/* As a message; @budgets needs room for SHM_LAYERS_MAX and is pointed to. */
void spec_store(Treekv__Spec *ret, uint32_t *budgets,
		const struct shm_index *index);

/* The same from its parts; both are pointed to. */
void spec_fill(Treekv__Spec *ret, const struct shm_spec *spec,
	       uint32_t *budgets);

/**
 * spec_compare - has a cache the fingerprint that is asked for?
 * @why: @size bytes: every difference with both sides
 *
 * Return: 0 or -EMEDIUMTYPE.
 */
int spec_compare(const struct shm_index *index, const struct shm_spec *asked,
		 const uint32_t *budgets, char *why, size_t size);

/**
 * spec_compare_rows - are rows of the one rows of the other?
 *
 * Model, shape, dtype and positions: not what a cache keeps of them. As
 * spec_compare().
 */
int spec_compare_rows(const struct shm_spec *has, const struct shm_spec *asked,
		      char *why, size_t size);

#endif /* TREEKVD_SPEC_H */
