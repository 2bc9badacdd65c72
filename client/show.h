/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What treekvctl prints: replies in, text to stdout. show.c is for people,
 * show_json.c has the same facts with their plain values.
 */
#ifndef TREEKV_SHOW_H
#define TREEKV_SHOW_H

#include <stddef.h>
#include <stdint.h>

#include "client/conn.h"
#include "client/json.h"

/* @kept: NULL when the daemon has not said. */
void show_list(const Treekv__ListReply *list);
void show_inspect(const Treekv__InspectReply *inspect,
		  const Treekv__KeptReply *kept);
void show_status(const struct treekv *kv, const Treekv__StatsReply *stats);

void show_list_json(const Treekv__ListReply *list);
void show_inspect_json(const Treekv__InspectReply *inspect,
		       const Treekv__KeptReply *kept);
void show_status_json(const struct treekv *kv, const Treekv__StatsReply *stats);

/* ---- their parts, which treekv-top --json has as well ---- */

/* Who answers. */
struct show_daemon {
	const char *daemon; /* program and version */
	uint64_t pid;
	const char *socket;
	uint64_t protocol;
};

/* The members of the object about a daemon. */
void show_status_members(struct json *json, const struct show_daemon *daemon,
			 const Treekv__StatsReply *stats);

/* The members every object about a cache has. */
void show_info_members(struct json *json, const Treekv__CacheInfo *info,
		       const char *owner);

/* Names of what a spec has as numbers; "unknown" for a newer daemon's. */
const char *show_policy(const Treekv__Spec *spec);
const char *show_dtype(const Treekv__Spec *spec);
const char *show_positions(const Treekv__Spec *spec);

/* "45.1 MiB" */
void show_size(char *to, size_t size, uint64_t bytes);

/* The user's name, or the uid when it has none. */
void show_owner(char *to, size_t size, uint32_t uid);
void show_group(char *to, size_t size, uint32_t gid);

/* A cache's name as this user has to say it; and its mode, "rw-r-----". */
void show_name(char *to, size_t size, const Treekv__CacheInfo *info);
void show_mode(char to[10], uint32_t mode);

#endif /* TREEKV_SHOW_H */
