/* SPDX-License-Identifier: BSD-2-Clause */
/* treekvctl hugepages: what a pool needs, what is there, how to get the rest. */
#ifndef TREEKV_HUGEPAGES_H
#define TREEKV_HUGEPAGES_H

#include <stdbool.h>

/**
 * hugepages_main - print it
 * @socket: the daemon's, may be NULL; none has to answer
 * @pool: as the daemon's option; NULL: the daemon's own, else its default
 *
 * Return: the exit status.
 */
int hugepages_main(const char *socket, const char *pool, bool json);

#endif /* TREEKV_HUGEPAGES_H */
