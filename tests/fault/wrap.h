/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What stands between our objects' calls and what they call. The linker puts
 * __wrap_X() where they call X(): for each X that the files of this folder
 * define one for, which is where the Makefile has them from.
 */
#ifndef TREEKV_FAULT_WRAP_H
#define TREEKV_FAULT_WRAP_H

#include <stdbool.h>

#include "tests/fault/fault.h"

/* Return: 0, or what this call is to fail with; -1 where that is no errno. */
int fault_hits(enum fault_group group);

/* Is this call to fail? errno is set. */
bool fault_fails(enum fault_group group);

/* WRAP(GROUP, TYPE, NAME, (PARAMETERS), (ARGUMENTS), FAILED) */
#define WRAP(group, type, name, parameters, arguments, failed)       \
	type __real_##name parameters;                               \
	type __wrap_##name parameters;                               \
	type __wrap_##name parameters                                \
	{                                                            \
		return fault_fails(group) ? (failed) :               \
					    __real_##name arguments; \
	}

#endif /* TREEKV_FAULT_WRAP_H */
