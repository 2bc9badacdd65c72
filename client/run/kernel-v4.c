// SPDX-License-Identifier: BSD-2-Clause
/* The kernels for AVX-512. */
#if defined(__x86_64__) && !defined(__clang__)

#define KERNEL_TABLE kernel_v4
#define KERNEL_NAME  "avx-512"

#ifdef __OPTIMIZE__
#pragma GCC optimize("O3")
#endif
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")

#include "client/run/kernel-body.h"

#endif
