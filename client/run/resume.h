/* SPDX-License-Identifier: BSD-2-Clause */
/* A cache that exists and the command line: who decides on what. */
#ifndef RUN_RESUME_H
#define RUN_RESUME_H

#include "client/run/options.h"
#include "client/treekv.h"

/* What the command line leaves open is what the cache has. */
void resume_options(struct options *options, const struct treekv_cache *cache);

/**
 * resume_check - is this the cache that is meant?
 * @cache: attached with no spec
 * @spec: of the model, and of the options after resume_options()
 * @budget_given: every layer must have the spec's budget
 *
 * Return: 0; -EMEDIUMTYPE with both sides named in treekv_error().
 */
int resume_check(const struct treekv_cache *cache,
		 const struct treekv_spec *spec, bool budget_given);

#endif /* RUN_RESUME_H */
