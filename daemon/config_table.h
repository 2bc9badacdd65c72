/* SPDX-License-Identifier: BSD-2-Clause */
/* The option table, shared by config.c, which reads by it, and what prints. */
#ifndef TREEKVD_CONFIG_TABLE_H
#define TREEKVD_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_OPTIONS 27

enum option_type {
	OPTION_PATH,
	OPTION_ENDPOINT, /* see endpoint.h; kept as it is written */
	OPTION_SIZE,
	OPTION_WORD, /* one of words, stored as its index */
	OPTION_NUMBER,
	OPTION_QUOTAS, /* each line adds to it: see quota.h */
	OPTION_FLAG, /* stands alone: no metavar, no default */
};

struct option_row {
	const char *name;
	const char *metavar;
	const char *text; /* the default, as one would write it */
	const char *help;
	const char *const *words;
	uint32_t min;
	uint32_t max;
	size_t offset;
	enum option_type type;
	bool live; /* may change without a restart */
	bool flag_only;
};

extern const struct option_row config_options[CONFIG_OPTIONS];

void config_print_help(FILE *to);

#endif /* TREEKVD_CONFIG_TABLE_H */
