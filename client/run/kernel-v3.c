// SPDX-License-Identifier: BSD-2-Clause
/* The kernels for AVX2. */
#if defined(__x86_64__) && !defined(__clang__)

#define KERNEL_TABLE kernel_v3
#define KERNEL_NAME  "avx2"

#ifdef __OPTIMIZE__
#pragma GCC optimize("O3")
#endif
#pragma GCC target("avx2,fma,f16c")

#include "client/run/kernel-body.h"

#endif
