/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Metrics as Prometheus reads them: the tables of metrics.c and histogram.c, as
 * OpenMetrics or in the text format that came before it.
 */
#ifndef TREEKVD_EXPOSITION_H
#define TREEKVD_EXPOSITION_H

#include <stddef.h>
#include <stdint.h>

struct control;

enum exposition_format {
	EXPOSITION_TEXT, /* 0.0.4 */
	EXPOSITION_OPENMETRICS, /* 1.0.0 */
};

/**
 * exposition_choose - the format that a client wants
 * @accept: its Accept header, NULL: none
 *
 * The older one, unless the other is asked for by name and no less wanted.
 */
enum exposition_format exposition_choose(const char *accept);

/* What goes into Content-Type. */
const char *exposition_type(enum exposition_format format);

/**
 * exposition_new - all metrics as they are now
 * @ret: to be freed by free()
 * @tenants: how many users are named, those who take the most; the others are
 *	summed up
 *
 * Return: 0 or -ENOMEM.
 */
int exposition_new(char **ret, size_t *size, const struct control *control,
		   enum exposition_format format, uint32_t tenants);

#endif /* TREEKVD_EXPOSITION_H */
