/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PROBE(provider, name, arguments...) tells whoever watches that something has
 * happened: a USDT probe of probe_table.h, for bpftrace, bpf/ and the like. The
 * kernel raises a probe's semaphore while somebody is attached; while nobody
 * is, a probe costs one load and a branch, and its arguments are not evaluated.
 *
 * Each probe is one function of its own (daemon/probe.c, client/probe.c): one
 * place a program to attach to, with every argument in a register.
 *
 * Where <sys/sdt.h> was missing at build time there are no probes, and PROBE()
 * is nothing.
 */
#ifndef TREEKV_PROBE_H
#define TREEKV_PROBE_H

#include <stdint.h>

#include "proto/probe_table.h"

#ifndef PROBE_AVAILABLE
#if __has_include(<sys/sdt.h>)
#define PROBE_AVAILABLE 1
#else
#define PROBE_AVAILABLE 0
#endif
#endif

#define PROBE_PARAMETER(type, name, text) type name
#define PROBE_PARAMETERS_3(a, b, c) \
	PROBE_PARAMETER a, PROBE_PARAMETER b, PROBE_PARAMETER c
#define PROBE_PARAMETERS_4(a, b, c, d) \
	PROBE_PARAMETERS_3(a, b, c), PROBE_PARAMETER d
#define PROBE_PARAMETERS_5(a, b, c, d, e) \
	PROBE_PARAMETERS_4(a, b, c, d), PROBE_PARAMETER e
#define PROBE_PARAMETERS_6(a, b, c, d, e, f) \
	PROBE_PARAMETERS_5(a, b, c, d, e), PROBE_PARAMETER f

/* The kernel's word: above zero while somebody is attached. */
#define PROBE_DECLARE(provider, probe, n, text, ...)         \
	extern unsigned short provider##_##probe##_semaphore \
		__attribute__((visibility("hidden")));       \
	__attribute__((visibility("hidden"), cold)) void     \
		probe_##provider##_##probe(PROBE_PARAMETERS_##n(__VA_ARGS__));

PROBES_TREEKVD(PROBE_DECLARE)
PROBES_LIBTREEKV(PROBE_DECLARE)

#if PROBE_AVAILABLE
#define PROBE_WANTED(provider, probe)                                     \
	__builtin_expect(__atomic_load_n(&provider##_##probe##_semaphore, \
					 __ATOMIC_RELAXED) != 0,          \
			 0)
#else
#define PROBE_WANTED(provider, probe) 0
#endif

#define PROBE(provider, probe, ...)                              \
	do {                                                     \
		if (PROBE_WANTED(provider, probe))               \
			probe_##provider##_##probe(__VA_ARGS__); \
	} while (0)

#endif /* TREEKV_PROBE_H */
