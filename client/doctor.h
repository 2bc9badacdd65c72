/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TREEKV_DOCTOR_H
#define TREEKV_DOCTOR_H

#include <stdbool.h>

/**
 * doctor_main - say what this machine can and cannot do, and what to do
 * @socket: where a daemon may be, NULL: as treekv_connect()
 *
 * Return: the exit status: 1 when something is missing that treekvd needs.
 */
int doctor_main(const char *socket, bool json);

#endif /* TREEKV_DOCTOR_H */
