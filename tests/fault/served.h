/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A daemon of the test's own, under a keeper, which the test's process is a
 * client of. It ends with the test, however that ends.
 */
#ifndef TREEKV_FAULT_SERVED_H
#define TREEKV_FAULT_SERVED_H

/* Return: 0, or -1 and it is said why. */
int served_start(void);
void served_stop(void);

const char *served_socket(void);

/* Kills it, and waits until the next one serves what it has served. */
void served_replace(void);

/* How many descriptors it has. */
unsigned int served_fds(void);

#endif /* TREEKV_FAULT_SERVED_H */
