/* SPDX-License-Identifier: BSD-2-Clause */
/* --prefix-cache: a prompt that was read before is not read again. */
#ifndef RUN_PREFIX_H
#define RUN_PREFIX_H

#include <stdbool.h>
#include <stdint.h>

#include "client/run/input.h"
#include "client/treekv.h"

/**
 * struct prefix - how a run's prompt is shared
 * @used: the run's cache is a fork
 * @evict: the budget has no room for the prompt: what its policy keeps is
 *	shared, and evicted like any other row
 * @found: what the fork begins with
 */
struct prefix {
	bool used;
	bool evict;
	struct treekv_prefix found;
};

/**
 * prefix_init - decide how
 * @spec: of the run's cache
 * @input: of which all but the last token are the prompt that is shared
 */
void prefix_init(struct prefix *prefix, const struct treekv_spec *spec,
		 const struct input *input);

/**
 * prefix_fork - a fork of what begins the prompt
 * @ret: the run's cache
 * @name: of it, NULL: anonymous
 *
 * Return: 0; -ENOENT nothing begins it, or with less than half of it; what
 * treekv_fork_prefix() returns.
 */
int prefix_fork(struct treekv_cache **ret, struct prefix *prefix,
		struct treekv *kv, const char *name,
		const struct treekv_spec *spec, const struct input *input);

/**
 * prefix_open - the cache that the prompt is to be read into, and then frozen
 * @ret: it may have read some of it already
 *
 * Return: what treekv_open() does: -EBUSY somebody is reading it this moment,
 * -EROFS it is frozen.
 */
int prefix_open(struct treekv_cache **ret, const struct prefix *prefix,
		struct treekv *kv, const struct treekv_spec *spec,
		const struct input *input);

#endif /* RUN_PREFIX_H */
