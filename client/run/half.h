/* SPDX-License-Identifier: BSD-2-Clause */
/* Floats to 16 bits, rounded to nearest even; the kernels read them back. */
#ifndef RUN_HALF_H
#define RUN_HALF_H

#include <stdint.h>
#include <string.h>

#include "client/treekv.h"

static inline uint16_t half_to_bf16(uint32_t bits)
{
	if ((bits & 0x7fffffff) > 0x7f800000) /* NaN stays one */
		return (uint16_t)(bits >> 16 | 0x40);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/*
 * Beyond the largest f16 it is that one: an infinity in a row would spoil every
 * sum that it is part of.
 */
static inline uint16_t half_to_f16(uint32_t bits)
{
	uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
	float value;

	if (magnitude > 0x7f800000)
		return (uint16_t)(sign | 0x7e00);
	if (magnitude > 0x477fe000) /* 65504 */
		return (uint16_t)(sign | 0x7bff);
	if (magnitude >= 0x38800000) { /* 2^-14: normal */
		magnitude += 0xfff + (magnitude >> 13 & 1);
		return (uint16_t)(sign | (magnitude - 0x38000000) >> 13);
	}
	memcpy(&value, &magnitude, sizeof(value));
	value += 0.5f; /* subnormal: the sum's last bit is 2^-24 */
	memcpy(&magnitude, &value, sizeof(value));
	return (uint16_t)(sign | (magnitude - 0x3f000000));
}

static inline uint16_t half_from(float value, enum treekv_dtype dtype)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return dtype == TREEKV_BF16 ? half_to_bf16(bits) : half_to_f16(bits);
}

#endif /* RUN_HALF_H */
