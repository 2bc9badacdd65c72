/* SPDX-License-Identifier: BSD-2-Clause */
/* treekv-top's command line: one table in options.c. */
#ifndef TREEKV_TOP_OPTIONS_H
#define TREEKV_TOP_OPTIONS_H

#include <stdbool.h>

struct options {
	const char *socket; /* NULL: the default */
	double interval; /* seconds */
	bool interval_given;
	const char *sort; /* NULL: as it is at first */
	const char *filter;
	const char *record; /* a file to write */
	const char *play; /* a file to read */
	bool once;
	bool json;
	bool no_ebpf;
	bool ascii;
};

#define INTERVAL_MIN 0.1
#define INTERVAL_MAX 3600.0

/*
 * Return: 0 go on; 1 what was asked for has been printed; -EINVAL it makes no
 * sense, which has been said.
 */
int options_parse(struct options *ret, int argc, char **argv);

#endif /* TREEKV_TOP_OPTIONS_H */
