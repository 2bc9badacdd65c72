/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which rows are shown: terms, all of which must hold.
 *
 *	word		some text of the row contains it, in whatever case
 *	column=text	that column is this text, or this figure
 *	column~text	that column contains it
 *	column>figure	and <, >=, <=, !=
 *	!term		does not hold
 */
#ifndef TREEKV_FILTER_H
#define TREEKV_FILTER_H

#include <stdbool.h>
#include <stddef.h>

struct columns;

#define FILTER_SIZE  128
#define FILTER_TERMS 16

enum filter_sign {
	FILTER_WORD,
	FILTER_HAS, /* ~ */
	FILTER_IS, /* = */
	FILTER_IS_NOT,
	FILTER_ABOVE,
	FILTER_BELOW,
	FILTER_AT_LEAST,
	FILTER_AT_MOST,
};

struct filter_term {
	enum filter_sign sign;
	bool not ;
	size_t column;
	size_t text; /* where it begins in the filter's */
	double figure; /* NAN: it is none */
};

struct filter {
	char text[FILTER_SIZE]; /* cut into words */
	struct filter_term term[FILTER_TERMS];
	size_t n;
};

/**
 * filter_parse - make a filter of a text
 * @why: what is wrong with it
 *
 * Return: 0, or -EINVAL: there is no such column, a figure is none, there are
 * too many terms; *@ret is as it was.
 */
int filter_parse(struct filter *ret, const struct columns *columns,
		 const char *text, char *why, size_t size);

/* Is this row to be shown? */
bool filter_match(const struct filter *filter, const struct columns *columns,
		  const void *row);

#endif /* TREEKV_FILTER_H */
