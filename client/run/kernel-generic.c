// SPDX-License-Identifier: BSD-2-Clause
/*
 * The kernels for any machine, and the choice among the builds. The choice is
 * an ordinary table of functions, no ifunc: it works under the sanitizers,
 * with every libc, and each build has the vector width that suits it.
 */
#define KERNEL_TABLE kernel_generic
#define KERNEL_NAME  "generic"

#if defined(__OPTIMIZE__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

#include "client/run/kernel-body.h"

const struct kernel *kernel_pick(void)
{
#if KERNEL_X86
	if (__builtin_cpu_supports("avx512f") &&
	    __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512vl") &&
	    __builtin_cpu_supports("avx512dq"))
		return &kernel_v4;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
	    __builtin_cpu_supports("f16c"))
		return &kernel_v3;
#endif
	return &kernel_generic;
}
