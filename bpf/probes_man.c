// SPDX-License-Identifier: BSD-2-Clause
/* The lists of treekv-probes(7), from the one there is: probe_table.h. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "proto/probe_table.h"

#define ARGUMENTS_MAX 6

struct argument {
	const char *type;
	const char *name;
	const char *text;
};

#define ARGUMENT(type, name, text) \
	{                          \
#type, #name, text \
	}
#define ARGUMENTS_3(a, b, c)	      ARGUMENT a, ARGUMENT b, ARGUMENT c
#define ARGUMENTS_4(a, b, c, d)	      ARGUMENTS_3(a, b, c), ARGUMENT d
#define ARGUMENTS_5(a, b, c, d, e)    ARGUMENTS_4(a, b, c, d), ARGUMENT e
#define ARGUMENTS_6(a, b, c, d, e, f) ARGUMENTS_5(a, b, c, d, e), ARGUMENT f

static const struct probe {
	const char *provider;
	const char *name;
	const char *text;
	struct argument argument[ARGUMENTS_MAX];
} probes[] = {
#define PROBE_ROW(provider, name, n, text, ...) \
	{ #provider, #name, text, { ARGUMENTS_##n(__VA_ARGS__) } },
	PROBES_TREEKVD(PROBE_ROW) PROBES_LIBTREEKV(PROBE_ROW)
};

static const char *type_name(const char *type)
{
	static const struct {
		const char *type;
		const char *name;
	} names[] = {
		{ "uint64_t", "u64" },
		{ "uint32_t", "u32" },
		{ "int32_t", "s32" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(type, names[i].type))
			return names[i].name;
	return "string";
}

static void print_probe(const struct probe *p)
{
	printf(".It Sy %s\n%s\n", p->name, p->text);
	puts(".Bl -column \"arg0\" \"generation\" \"string\" -compact");
	for (int i = 0; i < ARGUMENTS_MAX && p->argument[i].name; i++)
		printf(".It arg%d Ta %s Ta %s Ta %s\n", i, p->argument[i].name,
		       type_name(p->argument[i].type), p->argument[i].text);
	puts(".El");
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fputs("usage: probes-man PROVIDER\n", stderr);
		return 2;
	}
	puts(".Bl -tag -width 4n");
	for (size_t i = 0; i < sizeof(probes) / sizeof(*probes); i++)
		if (!strcmp(probes[i].provider, argv[1]))
			print_probe(&probes[i]);
	puts(".El");
	return 0;
}
