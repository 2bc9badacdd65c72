// SPDX-License-Identifier: BSD-2-Clause
/* The option table for people: --help, man pages, the config file as shipped. */
#include <stdio.h>
#include <string.h>

#include "daemon/config.h"
#include "daemon/config_table.h"

#define HELP_COLUMN 24
#define HELP_WIDTH  78
#define FILE_WIDTH  80

/* One line of --help: the flag, then the help folded at 78 columns. */
static void print_row(FILE *to, const char *flag, const char *help)
{
	int column = fprintf(to, "  %s", flag);
	const char *word = help;

	if (column >= HELP_COLUMN - 1)
		column = HELP_WIDTH;
	while (*word) {
		int n = (int)strcspn(word, " ");

		if (column + n > HELP_WIDTH) {
			fprintf(to, "\n%*s", HELP_COLUMN, "");
			column = HELP_COLUMN;
		} else if (column < HELP_COLUMN) {
			fprintf(to, "%*s", HELP_COLUMN - column, "");
			column = HELP_COLUMN;
		} else {
			fputc(' ', to);
			column++;
		}
		column += fprintf(to, "%.*s", n, word);
		word += n + (word[n] == ' ');
	}
	fputc('\n', to);
}

static bool has_default(const struct option_row *row)
{
	return row->text && *row->text;
}

void config_print_help(FILE *to)
{
	char flag[128];
	char help[384];

	fputs("Usage: treekvd [OPTION]...\n"
	      "Keeps the key/value caches of inference processes.\n\n",
	      to);
	for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
		const struct option_row *row = &config_options[i];

		snprintf(flag, sizeof(flag), "--%s %s", row->name,
			 row->metavar ? row->metavar : "");
		snprintf(help, sizeof(help), "%s%s%s%s", row->help,
			 has_default(row) ? " (default: " : "",
			 has_default(row) ? row->text : "",
			 has_default(row) ? ")" : "");
		print_row(to, flag, help);
	}
	print_row(to, "--help", "print this");
	print_row(to, "--version", "print the program's version");
}

static void put_troff(FILE *to, const char *text)
{
	for (; *text; text++) {
		if (*text == '-')
			fputc('\\', to);
		fputc(*text, to);
	}
}

void config_print_man(FILE *to)
{
	for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
		const struct option_row *row = &config_options[i];

		fputs(".TP\n\\fB\\-\\-", to);
		put_troff(to, row->name);
		fputs("\\fR", to);
		if (row->metavar) {
			fputs(" \\fI", to);
			put_troff(to, row->metavar);
			fputs("\\fR", to);
		}
		fputc('\n', to);
		put_troff(to, row->help);
		fputs(".\n", to);
		if (!has_default(row))
			continue;
		fputs("Default: \\fB", to);
		put_troff(to, row->text);
		fputs("\\fR.\n", to);
	}
}

/* Comment lines of at most FILE_WIDTH columns. */
static void print_comment(FILE *to, const char *text)
{
	int column = fprintf(to, "#");

	while (*text) {
		int n = (int)strcspn(text, " ");

		if (column + 1 + n > FILE_WIDTH)
			column = fprintf(to, "\n#") - 1;
		column += fprintf(to, " %.*s", n, text);
		text += n + (text[n] == ' ');
	}
	fputc('\n', to);
}

static const char *when(const struct option_row *row)
{
	return row->live ? "Changes with 'systemctl reload treekvd'." :
			   "Changes with a restart.";
}

void config_print_file(FILE *to)
{
	fputs("# Options of treekvd; see treekvd.conf(5). What is commented "
	      "out shows the\n# default. The command line has the last word.\n",
	      to);
	for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
		const struct option_row *row = &config_options[i];
		char text[640];

		if (row->flag_only)
			continue;
		snprintf(text, sizeof(text), "%s: %s. %s", row->metavar,
			 row->help, when(row));
		fputc('\n', to);
		print_comment(to, text);
		fprintf(to, "#%s = %s\n", row->name, row->text);
	}
}

void config_print_file_man(FILE *to)
{
	for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
		const struct option_row *row = &config_options[i];

		if (row->flag_only)
			continue;
		fputs(".TP\n\\fB", to);
		put_troff(to, row->name);
		fputs("\\fR = \\fI", to);
		put_troff(to, row->metavar);
		fputs("\\fR\n", to);
		put_troff(to, row->help);
		fputs(".\n", to);
		if (has_default(row)) {
			fputs("Default: \\fB", to);
			put_troff(to, row->text);
			fputs("\\fR.\n", to);
		}
		fprintf(to, "%s\n", when(row));
	}
}
