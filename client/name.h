/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What caches are called: NAME, @GROUP/NAME or ~USER/NAME. The daemon knows
 * numbers only; here is where users' and groups' names become numbers.
 */
#ifndef TREEKV_CLIENT_NAME_H
#define TREEKV_CLIENT_NAME_H

#include <stdint.h>

#include "proto/shm.h"

/**
 * name_resolve - a name as the daemon takes it
 * @name: users and groups by name or number
 *
 * Return: 0; -EINVAL no name of a cache; -ENOENT no such user or group. The text
 * is set.
 */
int name_resolve(char ret[SHM_NAME_FULL + 1], const char *name);

/* The number of a user or of a group, given by name or number. As above. */
int name_user(uint32_t *ret, const char *user);
int name_group(uint32_t *ret, const char *group);

#endif /* TREEKV_CLIENT_NAME_H */
