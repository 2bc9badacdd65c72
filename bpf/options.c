// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/options.h"
#include "bpf/rows.h"
#include "client/treekv.h"

#define TEXT(member) offsetof(struct options, member), 0
#define FLAG(member) 0, offsetof(struct options, member)

/* In the sequence in which --help and the manual have them. */
static const struct option_row {
	const char *name;
	const char *argument; /* NULL: none */
	const char *help; /* NULL: it is for the build only */
	size_t text; /* where the argument goes, or */
	size_t flag; /* what becomes true */
} rows[] = {
	{ "socket", "PATH",
	  "the daemon's socket, if not $TREEKV_SOCKET or the "
	  "default",
	  TEXT(socket) },
	{ "once", NULL, "print one table of caches, and end", FLAG(once) },
	{ "json", NULL, "print one JSON object with everything, and end",
	  FLAG(json) },
	{ "interval", "SECONDS", "between two looks, 1 if not given", 0, 0 },
	{ "sort", "COLUMN", "sort caches by a column; -COLUMN: the other way",
	  TEXT(sort) },
	{ "filter", "TERMS", "show the caches of which all terms hold",
	  TEXT(filter) },
	{ "record", "FILE", "keep what is seen; without a terminal only that",
	  TEXT(record) },
	{ "play", "FILE", "show a record instead of a daemon", TEXT(play) },
	{ "no-ebpf", NULL, "do not look from the kernel's side",
	  FLAG(no_ebpf) },
	{ "ascii", NULL, "draw with ASCII only", FLAG(ascii) },
	{ "help", NULL, "print a summary of options and columns", 0, 0 },
	{ "version", NULL, "print the version", 0, 0 },
	{ "print-options-man", NULL, NULL, 0, 0 },
	{ "print-columns-man", NULL, NULL, 0, 0 },
};

#define ROWS (sizeof(rows) / sizeof(*rows))

static void print_help(void)
{
	puts("usage: treekv-top [OPTION]...\n\n"
	     "Shows the caches of treekvd, who writes them, and what the "
	     "daemon does, live.\n\noptions:");
	for (size_t i = 0; i < ROWS && rows[i].help; i++) {
		int n = printf("  --%s %s", rows[i].name,
			       rows[i].argument ? rows[i].argument : "");

		printf("%*s%s\n", n < 22 ? 22 - n : 1, "", rows[i].help);
	}
	fputs("\ncolumns:", stdout);
	for (size_t i = 0; i < tables[TABLE_OF_CACHES].n; i++)
		printf("%s%s", i % 9 ? " " : "\n  ",
		       tables[TABLE_OF_CACHES].column[i].key);
	puts("\n\nterms: word, column=text, column~text, column>figure (also "
	     "< >= <= !=), !term\n\nThe page 'help' (key ?) explains keys, "
	     "columns and terms.");
}

/* As items of mdoc(7) lists. */
static void print_options_man(void)
{
	for (size_t i = 0; i < ROWS && rows[i].help; i++) {
		printf(".It Fl -%s", rows[i].name);
		if (rows[i].argument) {
			fputs(" Ar ", stdout);
			for (const char *s = rows[i].argument; *s; s++)
				putchar(*s | ' '); /* in small letters */
		}
		printf("\n%c%s.\n", rows[i].help[0] & ~' ', rows[i].help + 1);
	}
}

static void print_columns_man(void)
{
	for (size_t t = 0; t < TABLES; t++) {
		printf(".Pp\nOf %s:\n.Bl -tag -compact -width compactions/s\n",
		       tables[t].name);
		for (size_t i = 0; i < tables[t].n; i++)
			printf(".It Cm %s\n%s\n", tables[t].column[i].key,
			       tables[t].column[i].help);
		puts(".El");
	}
}

static int usage(const char *what, const char *which)
{
	fprintf(stderr, "treekv-top: %s%s; see treekv-top --help\n", what,
		which);
	return -EINVAL;
}

static int parse_interval(struct options *options, const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= INTERVAL_MIN) ||
	    !(value <= INTERVAL_MAX)) {
		fprintf(stderr,
			"treekv-top: --interval %s: give seconds, %g to %g\n",
			text, INTERVAL_MIN, INTERVAL_MAX);
		return -EINVAL;
	}
	options->interval = value;
	options->interval_given = true;
	return 0;
}

static int take(struct options *options, const struct option_row *row,
		const char *argument)
{
	if (!strcmp(row->name, "help")) {
		print_help();
		return 1;
	}
	if (!strcmp(row->name, "version")) {
		puts("treekv-top " TREEKV_VERSION);
		return 1;
	}
	if (!strcmp(row->name, "print-options-man")) {
		print_options_man();
		return 1;
	}
	if (!strcmp(row->name, "print-columns-man")) {
		print_columns_man();
		return 1;
	}
	if (!strcmp(row->name, "interval"))
		return parse_interval(options, argument);
	if (row->argument)
		memcpy((char *)options + row->text, &argument,
		       sizeof(argument));
	else
		*(bool *)((char *)options + row->flag) = true;
	return 0;
}

static int check(const struct options *options)
{
	if (options->play && options->record)
		return usage("--play and --record exclude each other", "");
	if (options->play && options->socket)
		return usage("a record has no --socket", "");
	return 0;
}

int options_parse(struct options *ret, int argc, char **argv)
{
	struct options options = { .interval = 1 };
	struct option longs[ROWS + 1] = { 0 };
	int c, at = 0, r;

	for (size_t i = 0; i < ROWS; i++) {
		longs[i].name = rows[i].name;
		longs[i].has_arg = rows[i].argument ? required_argument :
						      no_argument;
		longs[i].val = 1;
	}
	opterr = 0;
	while ((c = getopt_long(argc, argv, "", longs, &at)) != -1) {
		if (c != 1)
			return usage("unknown option, or one without its "
				     "argument: ",
				     argv[optind - 1]);
		r = take(&options, &rows[at], optarg);
		if (r)
			return r;
	}
	if (optind < argc)
		return usage("one too many: ", argv[optind]);
	r = check(&options);
	if (!r)
		*ret = options;
	return r;
}
