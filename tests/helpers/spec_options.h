/* SPDX-License-Identifier: BSD-2-Clause */
/* The options of helpers that say what a cache is: one table for all. */
#ifndef TREEKV_TESTS_SPEC_OPTIONS_H
#define TREEKV_TESTS_SPEC_OPTIONS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/treekv.h"

static const struct {
	const char *name;
	size_t offset;
} spec_numbers[] = {
	{ "--layers", offsetof(struct treekv_spec, layers) },
	{ "--heads", offsetof(struct treekv_spec, kv_heads) },
	{ "--k-row", offsetof(struct treekv_spec, k_row) },
	{ "--v-row", offsetof(struct treekv_spec, v_row) },
	{ "--dtype", offsetof(struct treekv_spec, dtype) },
	{ "--positions", offsetof(struct treekv_spec, positions) },
	{ "--budget", offsetof(struct treekv_spec, budget) },
	{ "--sinks", offsetof(struct treekv_spec, sinks) },
	{ "--recent", offsetof(struct treekv_spec, recent) },
	{ "--slack", offsetof(struct treekv_spec, slack) },
	{ "--ids", offsetof(struct treekv_spec, ids) },
	{ "--mode", offsetof(struct treekv_spec, mode) },
};

static inline struct treekv_spec spec_default(void)
{
	return (struct treekv_spec){
		.model = "self-checking",
		.layers = 2,
		.kv_heads = 2,
		.k_row = 32,
		.v_row = 24,
		.dtype = TREEKV_F32,
		.policy = TREEKV_POLICY_TREEKV,
		.positions = TREEKV_POSITIONS_RANK,
		.budget = 64,
		.sinks = 4,
		.recent = 16,
		.slack = 16,
		.ids = 100,
	};
}

/* Takes "--name value" when it is one of ours. Return: 1 it was, 0 it was not. */
static inline int spec_option(struct treekv_spec *spec, const char *name,
			      const char *value)
{
	uint32_t number = (uint32_t)strtoul(value, NULL, 0);

	if (!strcmp(name, "--policy")) {
		if (treekv_policy_parse(&spec->policy, value)) {
			fprintf(stderr, "%s\n", treekv_error());
			exit(2);
		}
		return 1;
	}
	if (!strcmp(name, "--model")) {
		memset(spec->model, 0, sizeof(spec->model));
		memcpy(spec->model, value, strnlen(value, sizeof(spec->model)));
		return 1;
	}
	if (!strcmp(name, "--ttl")) {
		spec->ttl = number;
		return 1;
	}
	for (size_t i = 0; i < sizeof(spec_numbers) / sizeof(*spec_numbers);
	     i++)
		if (!strcmp(name, spec_numbers[i].name)) {
			memcpy((char *)spec + spec_numbers[i].offset, &number,
			       sizeof(number));
			return 1;
		}
	return 0;
}

#endif /* TREEKV_TESTS_SPEC_OPTIONS_H */
