/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of a child that is not to do what the end of a test does. In a build
 * that counts lines, what it has run is counted.
 */
#ifndef TESTS_UNIT_COUNTED_H
#define TESTS_UNIT_COUNTED_H

#include <unistd.h>

#ifdef TREEKV_COVERAGE
#include <gcov.h>
#endif

__attribute__((noreturn)) static inline void leave(int status)
{
#ifdef TREEKV_COVERAGE
	__gcov_dump();
#endif
	_exit(status);
}

#endif /* TESTS_UNIT_COUNTED_H */
