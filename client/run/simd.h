/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vector of floats as wide as the instruction set that the including file
 * is compiled for: 16 with AVX-512, 8 with AVX2, else 4 in GCC's portable
 * vectors. Arithmetic is C's operators (a product and a sum contract to one
 * fused operation where there is one); what C has no operator for is here.
 *
 * Loads and stores need no alignment. Included after the target is chosen.
 */
#ifndef RUN_SIMD_H
#define RUN_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#define SIMD_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__) && defined(__AVX512BW__)
#define LANES 16
typedef __m512 vec;
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define LANES 8
typedef __m256 vec;
#else
#define LANES 4
typedef float vec __attribute__((vector_size(16)));
#endif
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));
typedef uint32_t uvec __attribute__((vector_size(LANES * 4)));

SIMD_INLINE vec vec_load(const float *from)
{
	vec v;

	memcpy(&v, from, sizeof(v));
	return v;
}

SIMD_INLINE uvec uvec_load(const uint32_t *from)
{
	uvec v;

	memcpy(&v, from, sizeof(v));
	return v;
}

SIMD_INLINE void vec_store(float *to, vec v)
{
	memcpy(to, &v, sizeof(v));
}

/* Writes which of LANES slots from @slot on hold a row; how many they are. */
SIMD_INLINE uint32_t slots_live(uint32_t *to, const uint32_t *rank,
				uint32_t slot, uint32_t free_rank)
{
#if LANES == 16
	const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
					       11, 12, 13, 14, 15);
	__mmask16 live = _mm512_cmpneq_epu32_mask(
		_mm512_loadu_si512(rank), _mm512_set1_epi32((int)free_rank));
	__m512i slots = _mm512_add_epi32(lane, _mm512_set1_epi32((int)slot));

	_mm512_storeu_si512(to, _mm512_maskz_compress_epi32(live, slots));
	return (uint32_t)__builtin_popcount(live);
#else
	uint32_t n = 0;

	for (uint32_t i = 0; i < LANES; i++) {
		to[n] = slot + i;
		n += rank[i] != free_rank;
	}
	return n;
#endif
}

SIMD_INLINE vec vec_set(float value)
{
	return (vec){ 0 } + value;
}

/* @where's lanes are all ones or all zeroes. */
SIMD_INLINE vec vec_select(ivec where, vec yes, vec no)
{
	return (vec)((where & (ivec)yes) | (~where & (ivec)no));
}

#if LANES == 16

SIMD_INLINE vec vec_load_i8(const int8_t *from)
{
	return _mm512_cvtepi32_ps(
		_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)from)));
}

SIMD_INLINE vec vec_load_f16(const uint16_t *from)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)from));
}

SIMD_INLINE vec vec_load_bf16(const uint16_t *from)
{
	return _mm512_castsi512_ps(_mm512_slli_epi32(
		_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)from)),
		16));
}

SIMD_INLINE vec vec_swap(vec v)
{
	return _mm512_permute_ps(v, 0xb1);
}

SIMD_INLINE vec vec_max(vec a, vec b)
{
	return _mm512_max_ps(a, b);
}

SIMD_INLINE __m256 simd_fold(vec v)
{
	return _mm512_castps512_ps256(v) +
	       _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
}

#elif LANES == 8

SIMD_INLINE vec vec_load_i8(const int8_t *from)
{
	return _mm256_cvtepi32_ps(
		_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)from)));
}

SIMD_INLINE vec vec_load_f16(const uint16_t *from)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const void *)from));
}

SIMD_INLINE vec vec_load_bf16(const uint16_t *from)
{
	return _mm256_castsi256_ps(_mm256_slli_epi32(
		_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)from)),
		16));
}

SIMD_INLINE vec vec_swap(vec v)
{
	return _mm256_permute_ps(v, 0xb1);
}

SIMD_INLINE vec vec_max(vec a, vec b)
{
	return _mm256_max_ps(a, b);
}

SIMD_INLINE __m256 simd_fold(vec v)
{
	return v;
}

#else

SIMD_INLINE vec vec_load_i8(const int8_t *from)
{
	return (vec){ from[0], from[1], from[2], from[3] };
}

/* Exponent and mantissa move into place, 2^112 makes up for the bias. */
SIMD_INLINE vec vec_load_f16(const uint16_t *from)
{
	uvec half = { from[0], from[1], from[2], from[3] };
	vec magnitude = (vec)((half & 0x7fff) << 13) * 0x1p112f;

	return (vec)((uvec)magnitude | (half & 0x8000) << 16);
}

SIMD_INLINE vec vec_load_bf16(const uint16_t *from)
{
	uvec half = { from[0], from[1], from[2], from[3] };

	return (vec)(half << 16);
}

SIMD_INLINE vec vec_swap(vec v)
{
	return (vec){ v[1], v[0], v[3], v[2] };
}

SIMD_INLINE vec vec_max(vec a, vec b)
{
	return vec_select(a > b, a, b);
}

#endif

#if LANES > 4

/* The sums of four vectors; every one is added up in the same order. */
SIMD_INLINE void vec_sum4(float *to, const vec *v)
{
	__m256 a = _mm256_hadd_ps(simd_fold(v[0]), simd_fold(v[1]));
	__m256 b = _mm256_hadd_ps(simd_fold(v[2]), simd_fold(v[3]));
	__m256 c = _mm256_hadd_ps(a, b);

	_mm_storeu_ps(to,
		      _mm256_castps256_ps128(c) + _mm256_extractf128_ps(c, 1));
}

#else

SIMD_INLINE void vec_sum4(float *to, const vec *v)
{
	for (int i = 0; i < 4; i++)
		to[i] = (v[i][0] + v[i][1]) + (v[i][2] + v[i][3]);
}

#endif

SIMD_INLINE float vec_sum(vec v)
{
	const vec four[4] = { v };
	float sums[4];

	vec_sum4(sums, four);
	return sums[0];
}

SIMD_INLINE float vec_highest(vec v)
{
	float high = v[0];

	for (int i = 1; i < LANES; i++)
		high = v[i] > high ? v[i] : high;
	return high;
}

/*
 * e^x to about 2 ulp: x = n ln 2 + r, a polynomial in r, n into the exponent.
 * Below -87 it is 0, above 88 it stops growing; NaN comes out as a number.
 */
SIMD_INLINE vec vec_exp(vec x)
{
	ivec dead = x < -87.0f;
	vec high = vec_set(88.0f);
	vec low = vec_set(-87.0f);
	vec magic = vec_set(0x1.8p23f);
	vec n, r, p;

	x = vec_select(x < high, x, high);
	x = vec_select(x > low, x, low);
	n = (x * 0x1.715476p0f + magic) - magic;
	r = x - n * 0x1.62e4p-1f;
	r = r + n * -0x1.7f7d1cp-20f;
	p = r * 1.9875691500e-4f + 1.3981999507e-3f;
	p = p * r + 8.3334519073e-3f;
	p = p * r + 4.1665795894e-2f;
	p = p * r + 1.6666665459e-1f;
	p = p * r + 5.0000001201e-1f;
	p = p * (r * r) + r + 1.0f;
	n = (vec)((ivec)(n + magic) << 23);
	p = (vec)((ivec)p + (ivec)n);
	return (vec)((ivec)p & ~dead);
}

#endif /* RUN_SIMD_H */
