// SPDX-License-Identifier: BSD-2-Clause
/*
 * The daemon compares fingerprints whole, defaults with the rest, so that going
 * on with a cache would need every option it was made with. It is attached to
 * without a spec instead, and compared here: the model and its shape always,
 * the options as far as they were given.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/cache.h"
#include "client/run/resume.h"

void resume_options(struct options *options, const struct treekv_cache *cache)
{
	const struct shm_spec *has = &cache->spec;

	if (!options->policy_given)
		options->policy = (enum treekv_policy)has->policy;
	if (!options->dtype_given)
		options->dtype = (enum treekv_dtype)has->dtype;
	if (!options->sinks_given)
		options->sinks = has->sinks;
	if (!options->recent_given)
		options->recent = has->recent;
	if (!options->budget_given && !options->budget_profile)
		options->budget = cache->layer[0].at.budget;
}

/* What differs, as text; what does not fit is left off. */
struct differences {
	char text[512];
	size_t size;
};

static void differ(struct differences *d, const char *field, const char *has,
		   const char *asked)
{
	size_t room = sizeof(d->text) - d->size;
	int n;

	if (!strcmp(has, asked))
		return;
	n = snprintf(d->text + d->size, room, "%s%s %s, asked for %s",
		     d->size ? "; " : "", field, has, asked);
	d->size += (size_t)n < room ? (size_t)n : room - 1;
}

static void differ_count(struct differences *d, const char *field, uint32_t has,
			 uint32_t asked)
{
	char one[16], two[16];

	snprintf(one, sizeof(one), "%" PRIu32, has);
	snprintf(two, sizeof(two), "%" PRIu32, asked);
	differ(d, field, one, two);
}

static void differ_model(struct differences *d, const uint8_t *has,
			 const uint8_t *asked)
{
	char one[2 * TREEKV_MODEL_SIZE + 1], two[2 * TREEKV_MODEL_SIZE + 1];

	for (int i = 0; i < TREEKV_MODEL_SIZE; i++) {
		snprintf(one + 2 * i, 3, "%02x", has[i]);
		snprintf(two + 2 * i, 3, "%02x", asked[i]);
	}
	differ(d, "model", one, two);
}

/* The first layer's that differs. */
static void differ_budgets(struct differences *d,
			   const struct treekv_cache *cache,
			   const struct treekv_spec *spec)
{
	for (uint32_t l = 0; l < spec->layers; l++) {
		uint32_t asked = spec->budgets ? spec->budgets[l] :
						 spec->budget;
		char field[32] = "budget";

		if (spec->budgets)
			snprintf(field, sizeof(field),
				 "budget of layer %" PRIu32, l);
		if (cache->layer[l].at.budget == asked)
			continue;
		differ_count(d, field, cache->layer[l].at.budget, asked);
		return;
	}
}

int resume_check(const struct treekv_cache *cache,
		 const struct treekv_spec *spec, bool budget_given)
{
	const struct shm_spec *has = &cache->spec;
	struct differences d = { .size = 0 };

	differ_model(&d, has->model, spec->model);
	differ_count(&d, "layers", has->layers, spec->layers);
	differ_count(&d, "kv_heads", has->kv_heads, spec->kv_heads);
	differ_count(&d, "k_row", has->k_row, spec->k_row);
	differ_count(&d, "v_row", has->v_row, spec->v_row);
	differ(&d, "dtype", options_dtype_name((enum treekv_dtype)has->dtype),
	       options_dtype_name(spec->dtype));
	differ(&d, "policy",
	       treekv_policy_name((enum treekv_policy)has->policy),
	       treekv_policy_name(spec->policy));
	differ_count(&d, "positions", has->positions, spec->positions);
	differ_count(&d, "sinks", has->sinks, spec->sinks);
	differ_count(&d, "recent", has->recent, spec->recent);
	if (budget_given && has->layers == spec->layers)
		differ_budgets(&d, cache, spec);
	if (!d.size)
		return 0;
	return error_set(-EMEDIUMTYPE, "cache %s: %s", treekv_name(cache),
			 d.text);
}
