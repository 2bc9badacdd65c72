/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A cache in private memory, compacted in place by the daemon's own policy
 * code: what a program without a daemon would do. The baseline of comparisons.
 */
#ifndef TREEKV_LOCAL_H
#define TREEKV_LOCAL_H

#include "client/treekv.h"

/**
 * local_open - as treekv_open() for a fresh anonymous cache, with no daemon
 *
 * Everything of treekv.h works on it. The order is compacted inside
 * treekv_settle(), or when the slack is used up; treekv_detach() frees it.
 *
 * Return: 0, -EINVAL with the spec's fault named, -ENOMEM.
 */
int local_open(struct treekv_cache **ret, const struct treekv_spec *spec);

#endif /* TREEKV_LOCAL_H */
