/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Log2 histograms of durations, as daemon, kernel programs and clients share
 * them: bucket i counts 2^i <= ns < 2^(i + 1), the first one 0 as well.
 */
#ifndef TREEKV_HISTOGRAM_H
#define TREEKV_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS 64

static inline unsigned int histogram_bucket(uint64_t ns)
{
	return ns < 2 ? 0 : 63 - (unsigned int)__builtin_clzll(ns);
}

/**
 * histogram_quantile - the value that a share of all values does not exceed
 * @bucket: n of them, HISTOGRAM_BUCKETS at most; further ones are zero
 * @share: 0 to 1: 0.99 for p99
 *
 * Within a bucket values are taken to lie evenly. Return: ns, 0 for no values.
 */
double histogram_quantile(const uint64_t *bucket, size_t n, double share);

#endif /* TREEKV_HISTOGRAM_H */
