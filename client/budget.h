/* SPDX-License-Identifier: BSD-2-Clause */
/* Budgets that differ by layer, as a command line gives them. */
#ifndef TREEKV_BUDGET_H
#define TREEKV_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUDGET_PYRAMID "pyramid"

/**
 * struct budget_shape - what the budgets of all layers have in common
 * @mean: of the budgets; a file says it itself
 * @sinks: in every layer
 * @recent: in every layer; set to half of @mean, or of a file's least budget,
 *	less the sinks, unless @recent_given
 * @selected_min: tokens that the policy must have to select from
 */
struct budget_shape {
	uint32_t mean;
	uint32_t sinks;
	uint32_t recent;
	bool recent_given;
	uint32_t selected_min;
};

/* Is it the name of a profile, and no file's? */
bool budget_is_named(const char *profile);

/* What is recent by default, of a budget. */
uint32_t budget_recent(uint32_t budget, uint32_t sinks);

/**
 * budget_load - one budget a layer
 * @budgets: @layers are filled in
 * @layers: of the model, at least 1
 * @profile: "pyramid", or a file with one budget a line, the first layer's
 *	first; blank lines, and what follows a '#', are passed over
 * @shape: see there
 * @why: @size bytes for what is wrong: of a file the line and its value
 *
 * The pyramid keeps the sum: sinks and recent tokens are the same in every
 * layer, and what is selected falls evenly from nearly twice its mean in the
 * first layer to a twentieth of it in the last (PyramidKV, arXiv 2406.02069).
 *
 * Return: 0; -EINVAL; another negative errno for a file that cannot be read.
 */
int budget_load(uint32_t *budgets, uint32_t layers, const char *profile,
		struct budget_shape *shape, char *why, size_t size);

#endif /* TREEKV_BUDGET_H */
