/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Semaphores and functions of a provider's probes, for the one file of a
 * program that has them: PROBES_TREEKVD(PROBE_DEFINE).
 */
#ifndef TREEKV_PROBE_DEFINE_H
#define TREEKV_PROBE_DEFINE_H

#include "proto/probe.h"

#if PROBE_AVAILABLE

/* Registers and constants: what every reader of the notes understands. */
#define STAP_SDT_ARG_CONSTRAINT nr
#define _SDT_HAS_SEMAPHORES	1
#include <sys/sdt.h>

#define PROBE_NAME(type, name, text) name
#define PROBE_FIRE_3(provider, probe, a, b, c) \
	STAP_PROBE3(provider, probe, PROBE_NAME a, PROBE_NAME b, PROBE_NAME c)
#define PROBE_FIRE_4(provider, probe, a, b, c, d)                              \
	STAP_PROBE4(provider, probe, PROBE_NAME a, PROBE_NAME b, PROBE_NAME c, \
		    PROBE_NAME d)
#define PROBE_FIRE_5(provider, probe, a, b, c, d, e)                           \
	STAP_PROBE5(provider, probe, PROBE_NAME a, PROBE_NAME b, PROBE_NAME c, \
		    PROBE_NAME d, PROBE_NAME e)
#define PROBE_FIRE_6(provider, probe, a, b, c, d, e, f)                        \
	STAP_PROBE6(provider, probe, PROBE_NAME a, PROBE_NAME b, PROBE_NAME c, \
		    PROBE_NAME d, PROBE_NAME e, PROBE_NAME f)

#define PROBE_DEFINE(provider, probe, n, text, ...)                \
	unsigned short provider##_##probe##_semaphore              \
		__attribute__((section(".probes")));               \
	__attribute__((noinline)) void probe_##provider##_##probe( \
		PROBE_PARAMETERS_##n(__VA_ARGS__))                 \
	{                                                          \
		PROBE_FIRE_##n(provider, probe, __VA_ARGS__);      \
	}

#else
#define PROBE_DEFINE(provider, probe, n, text, ...)
#endif

#endif /* TREEKV_PROBE_DEFINE_H */
