// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bpf/filter.h"
#include "bpf/format.h"
#include "bpf/rows.h"

/* The longest first: ">=" is not ">". */
static const struct {
	const char *text;
	enum filter_sign sign;
} signs[] = {
	{ "!=", FILTER_IS_NOT },  { ">=", FILTER_AT_LEAST },
	{ "<=", FILTER_AT_MOST }, { "=", FILTER_IS },
	{ "~", FILTER_HAS },	  { ">", FILTER_ABOVE },
	{ "<", FILTER_BELOW },
};

#define SIGNS (sizeof(signs) / sizeof(*signs))

/* Cuts "column>5" at its sign. Return: what stands behind it, or NULL. */
static char *cut_at_sign(char *word, enum filter_sign *sign)
{
	char *at = strpbrk(word, "!=<>~");

	for (size_t i = 0; at && at > word && i < SIGNS; i++) {
		size_t n = strlen(signs[i].text);

		if (strncmp(at, signs[i].text, n))
			continue;
		*at = '\0';
		*sign = signs[i].sign;
		return at + n;
	}
	return NULL;
}

static int refuse_column(const struct columns *columns, const char *key,
			 char *why, size_t size)
{
	size_t used = (size_t)snprintf(why, size,
				       "%s has no column '%.40s'; there are",
				       columns->name, key);

	for (size_t i = 0; i < columns->n && used < size; i++)
		used += (size_t)snprintf(why + used, size - used, " %s",
					 columns->column[i].key);
	return -EINVAL;
}

static bool is_comparison(enum filter_sign sign)
{
	return sign == FILTER_ABOVE || sign == FILTER_BELOW ||
	       sign == FILTER_AT_LEAST || sign == FILTER_AT_MOST;
}

static int parse_term(struct filter *filter, const struct columns *columns,
		      char *word, char *why, size_t size)
{
	struct filter_term *term = &filter->term[filter->n++];
	char *value;

	*term = (struct filter_term){ .figure = NAN };
	if (*word == '!') {
		term->not = true;
		word++;
	}
	term->text = (size_t)(word - filter->text);
	value = cut_at_sign(word, &term->sign);
	if (!value)
		return 0;
	term->text = (size_t)(value - filter->text);
	term->column = columns_find(columns, word);
	if (term->column == columns->n)
		return refuse_column(columns, word, why, size);
	if (format_parse(&term->figure, value))
		term->figure = NAN;
	if (is_comparison(term->sign) && isnan(term->figure)) {
		snprintf(why, size,
			 "'%.40s' is no figure; it can be such as 10, 1.5k, "
			 "3M, 2ms, 50%%",
			 value);
		return -EINVAL;
	}
	if (is_comparison(term->sign) &&
	    !columns->column[term->column].number) {
		snprintf(why, size, "%s is a text: compare it by = or ~", word);
		return -EINVAL;
	}
	return 0;
}

int filter_parse(struct filter *ret, const struct columns *columns,
		 const char *text, char *why, size_t size)
{
	struct filter filter = { 0 };
	char *save, *word;
	int r;

	if (strlen(text) >= sizeof(filter.text)) {
		snprintf(why, size, "a filter has %zu bytes at most",
			 sizeof(filter.text) - 1);
		return -EINVAL;
	}
	strcpy(filter.text, text);
	for (word = strtok_r(filter.text, " \t", &save); word;
	     word = strtok_r(NULL, " \t", &save)) {
		if (filter.n == FILTER_TERMS) {
			snprintf(why, size, "a filter has %d terms at most",
				 FILTER_TERMS);
			return -EINVAL;
		}
		r = parse_term(&filter, columns, word, why, size);
		if (r)
			return r;
	}
	*ret = filter;
	return 0;
}

/* ---- matching ---- */

static bool contains(const struct column *column, const void *row,
		     const char *text)
{
	char cell[CELL_SIZE];

	column->text(cell, sizeof(cell), row);
	return strcasestr(cell, text);
}

static bool any_contains(const struct columns *columns, const void *row,
			 const char *text)
{
	for (size_t i = 0; i < columns->n; i++)
		if (!columns->column[i].number &&
		    contains(&columns->column[i], row, text))
			return true;
	return false;
}

/* A figure is compared as one, anything else as it is shown. */
static bool is_equal(const struct column *column, const void *row,
		     const struct filter_term *term, const char *text)
{
	char cell[CELL_SIZE];

	if (column->number && !isnan(term->figure))
		return column->number(row) == term->figure;
	column->text(cell, sizeof(cell), row);
	return !strcasecmp(cell, text);
}

static bool holds(const struct filter_term *term, const char *text,
		  const struct columns *columns, const void *row)
{
	const struct column *column = &columns->column[term->column];

	switch (term->sign) {
	case FILTER_WORD:
		return any_contains(columns, row, text);
	case FILTER_HAS:
		return contains(column, row, text);
	case FILTER_IS:
		return is_equal(column, row, term, text);
	case FILTER_IS_NOT:
		return !is_equal(column, row, term, text);
	case FILTER_ABOVE:
		return column->number(row) > term->figure;
	case FILTER_BELOW:
		return column->number(row) < term->figure;
	case FILTER_AT_LEAST:
		return column->number(row) >= term->figure;
	case FILTER_AT_MOST:
		return column->number(row) <= term->figure;
	}
	return true;
}

bool filter_match(const struct filter *filter, const struct columns *columns,
		  const void *row)
{
	for (size_t i = 0; i < filter->n; i++)
		if (holds(&filter->term[i], filter->text + filter->term[i].text,
			  columns, row) == filter->term[i].not )
			return false;
	return true;
}
