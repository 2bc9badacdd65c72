// SPDX-License-Identifier: BSD-2-Clause
#include <stdbool.h>
#include <stdio.h>

#include "client/json.h"
#include "client/show.h"
#include "proto/histogram.h"

static bool same_budgets(const Treekv__Spec *spec)
{
	for (size_t i = 1; i < spec->n_budget; i++) {
		if (spec->budget[i] != spec->budget[0])
			return false;
	}
	return spec->n_budget > 0;
}

static void json_end(struct json *json)
{
	fputc('\n', json->to);
}

static void json_optional(struct json *json, const char *key, const char *text)
{
	if (text && text[0])
		json_string(json, key, text);
	else
		json_null(json, key);
}

static void json_numbers(struct json *json, const char *key,
			 const uint32_t *values, size_t n)
{
	json_open(json, key, '[');
	for (size_t i = 0; i < n; i++)
		json_number(json, NULL, values[i]);
	json_close(json, ']');
}

static void json_budget(struct json *json, const Treekv__Spec *spec)
{
	if (spec->n_budget == 0)
		json_null(json, "budget");
	else if (same_budgets(spec))
		json_number(json, "budget", spec->budget[0]);
	else
		json_numbers(json, "budget", spec->budget, spec->n_budget);
}

static void json_counts(struct json *json, const Treekv__CacheInfo *info)
{
	json_number(json, "stalls", info->stalls);
	json_number(json, "stall_ns", info->stall_ns);
	json_number(json, "compactions", info->compactions);
	json_number(json, "evictions", info->evictions);
	json_number(json, "generation", info->generation);
	json_number(json, "created", info->created);
	json_number(json, "last_used", info->last_used);
	json_optional(json, "fault", info->fault);
	if (info->has_snapshot_time)
		json_number(json, "snapshot_time", info->snapshot_time);
	else
		json_null(json, "snapshot_time");
	if (info->has_snapshot_done) {
		json_number(json, "snapshot_done", info->snapshot_done);
		json_number(json, "snapshot_total", info->snapshot_total);
	}
	json_optional(json, "snapshot_fault", info->snapshot_fault);
}

void show_info_members(struct json *json, const Treekv__CacheInfo *info,
		       const char *owner)
{
	char mode[8];

	snprintf(mode, sizeof(mode), "%04o", info->mode & 07777);
	json_number(json, "cache", info->cache);
	json_string(json, "name", info->name);
	json_bool(json, "shared", info->shared);
	json_string(json, "owner", owner);
	json_number(json, "uid", info->uid);
	json_number(json, "gid", info->gid);
	json_string(json, "mode", mode);
	json_string(json, "state", info->state);
	json_string(json, "policy", show_policy(info->spec));
	json_budget(json, info->spec);
	json_number(json, "tail", info->tail);
	json_number(json, "held", info->held);
	json_number(json, "capacity", info->capacity);
	json_number(json, "bytes", info->bytes);
	json_bool(json, "huge", info->huge);
	if (info->has_writer_pid)
		json_number(json, "writer_pid", info->writer_pid);
	else
		json_null(json, "writer_pid");
	json_optional(json, "parent", info->parent);
	json_number(json, "children", info->children);
	json_bool(json, "pinned", info->pinned);
	if (info->has_ttl)
		json_number(json, "ttl", info->ttl);
	else
		json_null(json, "ttl");
	json_counts(json, info);
}

static void json_info(struct json *json, const Treekv__CacheInfo *info)
{
	char full[512], group[256], owner[256];

	show_owner(owner, sizeof(owner), info->uid);
	show_info_members(json, info, owner);
	show_name(full, sizeof(full), info);
	show_group(group, sizeof(group), info->gid);
	json_string(json, "full_name", full);
	json_string(json, "group", group);
}

void show_list_json(const Treekv__ListReply *list)
{
	struct json json = { .to = stdout };

	json_open(&json, NULL, '[');
	for (size_t i = 0; i < list->n_cache; i++) {
		json_open(&json, NULL, '{');
		json_info(&json, list->cache[i]);
		json_close(&json, '}');
	}
	json_close(&json, ']');
	json_end(&json);
}

static void json_spec(struct json *json, const Treekv__Spec *spec)
{
	char model[2 * TREEKV_MODEL_SIZE + 1] = "";

	for (size_t i = 0; i < spec->model.len && i < TREEKV_MODEL_SIZE; i++)
		snprintf(model + 2 * i, 3, "%02x", spec->model.data[i]);
	json_open(json, "spec", '{');
	json_string(json, "model", model);
	json_number(json, "layers", spec->layers);
	json_number(json, "kv_heads", spec->kv_heads);
	json_number(json, "k_row", spec->k_row);
	json_number(json, "v_row", spec->v_row);
	json_string(json, "dtype", show_dtype(spec));
	json_string(json, "positions", show_positions(spec));
	json_number(json, "sinks", spec->sinks);
	json_number(json, "recent", spec->recent);
	json_number(json, "slack", spec->slack);
	json_number(json, "ids", spec->ids);
	json_close(json, '}');
}

static void json_wide_numbers(struct json *json, const char *key,
			      const uint64_t *values, size_t n)
{
	json_open(json, key, '[');
	for (size_t i = 0; i < n; i++)
		json_number(json, NULL, values[i]);
	json_close(json, ']');
}

static void json_kept(struct json *json, const Treekv__KeptReply *kept)
{
	json_open(json, "kept", '{');
	json_wide_numbers(json, "edges", kept->edge, kept->n_edge);
	json_open(json, "groups", '[');
	for (size_t i = 0; i < kept->n_group; i++) {
		const Treekv__KeptGroup *group = kept->group[i];

		json_open(json, NULL, '{');
		json_number(json, "layer", group->layer);
		json_number(json, "layers", group->layers);
		json_number(json, "heads", group->heads);
		json_number(json, "stride", group->stride);
		json_wide_numbers(json, "rows", group->rows, group->n_rows);
		json_numbers(json, "scope", group->scope, group->n_scope);
		json_number(json, "outside", group->outside);
		json_close(json, '}');
	}
	json_close(json, ']');
	json_close(json, '}');
}

void show_inspect_json(const Treekv__InspectReply *inspect,
		       const Treekv__KeptReply *kept)
{
	struct json json = { .to = stdout };

	json_open(&json, NULL, '{');
	json_info(&json, inspect->info);
	json_spec(&json, inspect->info->spec);
	json_number(&json, "base_tail", inspect->base_tail);
	json_number(&json, "free", inspect->free);
	json_number(&json, "epoch", inspect->epoch);
	json_number(&json, "head", inspect->head);
	json_number(&json, "seen", inspect->seen);
	json_open(&json, "layers", '[');
	for (size_t i = 0; i < inspect->n_level; i++) {
		const Treekv__Level *level = inspect->level[i];

		json_open(&json, NULL, '{');
		json_number(&json, "live", level->live);
		json_number(&json, "budget", level->budget);
		json_number(&json, "capacity", level->capacity);
		json_numbers(&json, "walk", level->walk, level->n_walk);
		json_close(&json, '}');
	}
	json_close(&json, ']');
	if (kept)
		json_kept(&json, kept);
	json_close(&json, '}');
	json_end(&json);
}

static void json_histogram(struct json *json, const Treekv__Histogram *h)
{
	json_open(json, NULL, '{');
	json_string(json, "name", h->name);
	json_string(json, "help", h->help);
	json_string(json, "unit", h->unit);
	json_string(json, "source", "daemon");
	json_number(json, "count", h->count);
	json_number(json, "sum", h->sum);
	json_real(json, "p50", histogram_quantile(h->bucket, h->n_bucket, 0.5));
	json_real(json, "p99",
		  histogram_quantile(h->bucket, h->n_bucket, 0.99));
	json_open(json, "buckets", '[');
	for (size_t i = 0; i < h->n_bucket; i++)
		json_number(json, NULL, h->bucket[i]);
	json_close(json, ']');
	json_close(json, '}');
}

void show_status_members(struct json *json, const struct show_daemon *daemon,
			 const Treekv__StatsReply *stats)
{
	json_string(json, "daemon", daemon->daemon);
	json_number(json, "pid", daemon->pid);
	json_string(json, "socket", daemon->socket);
	json_number(json, "protocol", daemon->protocol);
	json_optional(json, "snapshot_fault", stats->snapshot_fault);
	json_open(json, "metrics", '{');
	for (size_t i = 0; i < stats->n_metric; i++)
		json_number(json, stats->metric[i]->name,
			    stats->metric[i]->value);
	json_close(json, '}');
}

void show_status_json(const struct treekv *kv, const Treekv__StatsReply *stats)
{
	const struct show_daemon daemon = {
		.daemon = kv->daemon,
		.pid = (uint64_t)kv->daemon_pid,
		.socket = kv->address.sun_path,
		.protocol = kv->version,
	};
	struct json json = { .to = stdout };

	json_open(&json, NULL, '{');
	show_status_members(&json, &daemon, stats);
	json_open(&json, "histograms", '[');
	for (size_t i = 0; i < stats->n_histogram; i++)
		json_histogram(&json, stats->histogram[i]);
	json_close(&json, ']');
	json_close(&json, '}');
	json_end(&json);
}
