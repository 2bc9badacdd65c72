/* SPDX-License-Identifier: BSD-2-Clause */
/* What libtreekv refused, as text on stderr. */
#ifndef RUN_FAULT_H
#define RUN_FAULT_H

#include <stdbool.h>

/**
 * fault_print - say what went wrong
 * @error: what a function of treekv.h returned
 * @what: was attempted, or NULL
 * @named: the user has given the cache a name: only then it is mentioned
 * @advice: appended, "" for none
 *
 * Return: @error.
 */
int fault_print(int error, const char *what, bool named, const char *advice);

#endif /* RUN_FAULT_H */
