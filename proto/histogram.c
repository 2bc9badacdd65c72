// SPDX-License-Identifier: BSD-2-Clause
#include "proto/histogram.h"

/* 2^i, also for i = 64. */
static double power(size_t i)
{
	return i < 64 ? (double)(UINT64_C(1) << i) : 0x1p64;
}

double histogram_quantile(const uint64_t *bucket, size_t n, double share)
{
	double total = 0, wanted, before = 0, low;
	size_t last = 0;

	for (size_t i = 0; i < n; i++) {
		total += (double)bucket[i];
		if (bucket[i])
			last = i;
	}
	if (total == 0)
		return 0;
	wanted = share * total;
	for (size_t i = 0; i < last; i++) {
		double in = (double)bucket[i];

		low = i ? power(i) : 0;
		if (in > 0 && before + in >= wanted)
			return low +
			       (power(i + 1) - low) * (wanted - before) / in;
		before += in;
	}
	low = last ? power(last) : 0;
	return low + (power(last + 1) - low) * (wanted - before) /
			     (double)bucket[last];
}
