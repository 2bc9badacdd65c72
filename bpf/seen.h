/* SPDX-License-Identifier: BSD-2-Clause */
/* What eBPF has seen, put into samples: watch.h's figures as sample.proto's. */
#ifndef TREEKV_SEEN_H
#define TREEKV_SEEN_H

#include <stdbool.h>

#include "sample.pb-c.h"

struct seen;

/* @wanted: false: nothing is attached, and samples say so. NULL: no memory. */
struct seen *seen_new(bool wanted);
struct seen *seen_free(struct seen *seen); /* takes NULL, returns it */

/*
 * Is the daemon that a sample is of still to be attached to? And does so: the
 * kernel may take a second or two. Return: 0 or -ENOMEM.
 */
bool seen_wants(const struct seen *seen, const Treekv__Sample *sample);
int seen_attach(struct seen *seen, const Treekv__Sample *sample);

/*
 * Adds to a sample what has been seen since then. Its histograms come first.
 * Return: 0 or -ENOMEM.
 */
int seen_describe(struct seen *seen, Treekv__Sample *sample);

/* The daemon is gone: whatever is attached to it goes, too. */
void seen_forget(struct seen *seen);

/*
 * Adds a histogram, unless one of that name is there. @n: buckets; @bucket is
 * copied. Return: 0 or -ENOMEM.
 */
int seen_add_histogram(Treekv__Sample *sample, const char *name,
		       const char *source, const uint64_t *bucket, size_t n,
		       uint64_t sum);

#endif /* TREEKV_SEEN_H */
