/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * XXH3 as fast as this processor can: called as it is, the library uses SSE2
 * everywhere on x86-64, a quarter of what AVX2 or AVX-512 do.
 */
#ifndef TREEKVD_HASH_H
#define TREEKVD_HASH_H

#include <xxhash.h>

#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#endif

#endif /* TREEKVD_HASH_H */
