// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "daemon/policy.h"
#include "daemon/spec.h"
#include "proto/layout.h"

static const struct shm_layer *layers_of(const struct shm_index *index)
{
	return (const void *)((const char *)index + index->layers);
}

static int load_budgets(uint32_t *budgets, const Treekv__Spec *from, char *why,
			size_t size)
{
	if (from->layers < 1 || from->layers > SHM_LAYERS_MAX) {
		snprintf(why, size, "layers is %u, but must be 1 to %d",
			 from->layers, SHM_LAYERS_MAX);
		return -EINVAL;
	}
	if (from->n_budget != 1 && from->n_budget != from->layers) {
		snprintf(why, size,
			 "%zu budgets for %u layers: give one, or one a layer",
			 from->n_budget, from->layers);
		return -EINVAL;
	}
	for (uint32_t l = 0; l < from->layers; l++)
		budgets[l] = from->budget[from->n_budget == 1 ? 0 : l];
	return 0;
}

int spec_load(struct shm_spec *ret, uint32_t *budgets, const Treekv__Spec *from,
	      char *why, size_t size)
{
	struct layout_error fault;
	int r;

	if (from->model.len != SHM_MODEL_SIZE) {
		snprintf(why, size, "model is %zu bytes, but must be %d",
			 from->model.len, SHM_MODEL_SIZE);
		return -EINVAL;
	}
	r = load_budgets(budgets, from, why, size);
	if (r)
		return r;
	*ret = (struct shm_spec){
		.layers = from->layers,
		.kv_heads = from->kv_heads,
		.k_row = from->k_row,
		.v_row = from->v_row,
		.dtype = from->dtype,
		.policy = from->policy,
		.positions = from->positions,
		.sinks = from->sinks,
		.recent = from->recent,
		.slack = from->slack,
		.ids = from->ids,
	};
	memcpy(ret->model, from->model.data, SHM_MODEL_SIZE);
	r = layout_check(ret, budgets, &fault);
	if (r)
		snprintf(why, size, "%s", fault.text);
	return r;
}

void spec_store(Treekv__Spec *ret, uint32_t *budgets,
		const struct shm_index *index)
{
	for (uint32_t l = 0; l < index->spec.layers; l++)
		budgets[l] = layers_of(index)[l].budget;
	spec_fill(ret, &index->spec, budgets);
}

void spec_fill(Treekv__Spec *ret, const struct shm_spec *spec,
	       uint32_t *budgets)
{
	bool equal = true;

	treekv__spec__init(ret);
	for (uint32_t l = 0; l < spec->layers; l++)
		equal &= budgets[l] == budgets[0];
	ret->model.data = (uint8_t *)(uintptr_t)spec->model;
	ret->model.len = SHM_MODEL_SIZE;
	ret->layers = spec->layers;
	ret->kv_heads = spec->kv_heads;
	ret->k_row = spec->k_row;
	ret->v_row = spec->v_row;
	ret->dtype = (Treekv__Dtype)spec->dtype;
	ret->policy = (Treekv__Policy)spec->policy;
	ret->positions = (Treekv__Positions)spec->positions;
	ret->budget = budgets;
	ret->n_budget = equal ? 1 : spec->layers;
	ret->sinks = spec->sinks;
	ret->recent = spec->recent;
	ret->slack = spec->slack;
	ret->ids = spec->ids;
}

/* Text that grows; what does not fit is left off. */
struct text {
	char *at;
	size_t size;
	size_t length;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text,
						      const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text->at + text->length, text->size - text->length,
		      format, args);
	va_end(args);
	if (n > 0)
		text->length += (size_t)n;
	if (text->length >= text->size)
		text->length = text->size - 1;
}

static void differ(struct text *text, const char *field, uint32_t has,
		   uint32_t asked)
{
	if (has != asked)
		add(text, "%s%s %u, asked for %u", text->length ? "; " : "",
		    field, has, asked);
}

static void differ_named(struct text *text, const char *field, const char *has,
			 const char *asked)
{
	if (strcmp(has, asked))
		add(text, "%s%s %s, asked for %s", text->length ? "; " : "",
		    field, has, asked);
}

static const char *dtype_name(uint32_t dtype)
{
	static const char *const names[] = { "?", "f32", "f16", "bf16" };

	return names[dtype <= SHM_DTYPE_BF16 ? dtype : 0];
}

static void differ_model(struct text *text, const uint8_t *has,
			 const uint8_t *asked)
{
	uint64_t a, b;

	if (!memcmp(has, asked, SHM_MODEL_SIZE))
		return;
	memcpy(&a, has, sizeof(a));
	memcpy(&b, asked, sizeof(b));
	add(text, "%smodel %016" PRIx64 "…, asked for %016" PRIx64 "…",
	    text->length ? "; " : "", a, b);
}

/* What rows are a function of, beside their tokens. */
static void differ_rows(struct text *text, const struct shm_spec *has,
			const struct shm_spec *asked)
{
	differ_model(text, has->model, asked->model);
	differ(text, "layers", has->layers, asked->layers);
	differ(text, "kv_heads", has->kv_heads, asked->kv_heads);
	differ(text, "k_row", has->k_row, asked->k_row);
	differ(text, "v_row", has->v_row, asked->v_row);
	differ_named(text, "dtype", dtype_name(has->dtype),
		     dtype_name(asked->dtype));
	differ_named(text, "positions",
		     has->positions == SHM_POSITIONS_RANK ? "rank" : "original",
		     asked->positions == SHM_POSITIONS_RANK ? "rank" :
							      "original");
}

int spec_compare_rows(const struct shm_spec *has, const struct shm_spec *asked,
		      char *why, size_t size)
{
	struct text text = { why, size, 0 };

	*why = '\0';
	differ_rows(&text, has, asked);
	return text.length ? -EMEDIUMTYPE : 0;
}

int spec_compare(const struct shm_index *index, const struct shm_spec *asked,
		 const uint32_t *budgets, char *why, size_t size)
{
	const struct shm_spec *has = &index->spec;
	struct text text = { why, size, 0 };

	*why = '\0';
	differ_rows(&text, has, asked);
	differ_named(&text, "policy", policy_by_id(has->policy)->name,
		     policy_by_id(asked->policy)->name);
	differ(&text, "sinks", has->sinks, asked->sinks);
	differ(&text, "recent", has->recent, asked->recent);
	for (uint32_t l = 0; has->layers == asked->layers && l < has->layers;
	     l++)
		if (layers_of(index)[l].budget != budgets[l]) {
			add(&text, "%sbudget %u, asked for %u (layer %u)",
			    text.length ? "; " : "", layers_of(index)[l].budget,
			    budgets[l], l);
			break;
		}
	return text.length ? -EMEDIUMTYPE : 0;
}
