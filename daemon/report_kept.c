// SPDX-License-Identifier: BSD-2-Clause
/*
 * The map of what a cache holds is made by the cache's worker, who alone writes
 * its orders and so reads them as they stand, a few heads between compactions.
 * Each head is looked at under one order; between heads the order may move on,
 * which shifts a map of thousands of rows by a few.
 *
 * The work is bounded whatever the cache's size: of many heads some are looked
 * at, evenly spread, of many rows every stride-th, and the answer says so.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "daemon/control_impl.h"
#include "daemon/kept.h"
#include "daemon/persist.h"
#include "daemon/report.h"
#include "proto/barrier.h"

#define GROUPS_MAX 64
#define LOOK_ROWS  (1U << 20) /* looked at for one answer */
#define HEAD_ROWS  (1U << 16) /* of one head */
#define SLICE_ROWS (1U << 14) /* between looks at who is ready */

struct look_group {
	uint32_t layer;
	uint32_t layers;
	uint32_t heads; /* of all its layers, those that are looked at */
	uint32_t stride; /* the largest of any */
	uint32_t held; /* the most of any */
	uint64_t outside;
	uint64_t *rows; /* by bucket */
	uint32_t *scope;
};

struct look {
	struct worker_task task; /* first: slices get it back from this */
	LIST_ENTRY(look) link;
	struct conn *conn; /* NULL: hung up */
	uint64_t id;
	struct cache *cache;
	uint64_t edge[KEPT_BUCKETS_MAX + 1];
	struct kept_axis axis;
	struct look_group group[GROUPS_MAX];
	uint32_t groups;
	uint32_t head_rows; /* looked at in a head */
	void *memory; /* rows and scopes */

	/* The worker's. */
	uint32_t at_group;
	uint32_t at_head;
	uint64_t tail;
	uint64_t generation;
};

static LIST_HEAD(, look) looks = LIST_HEAD_INITIALIZER(looks);

/* ---- looking: on the worker ---- */

/* One (layer, head) as it is now. Return: whose rows they are. */
static void head_init(struct kept_head *ret, struct look *look, uint32_t l,
		      uint32_t h)
{
	const struct cache *cache = look->cache;
	const struct shm_index *index = cache->index;
	const struct shm_layer *layer =
		(const struct shm_layer *)((const char *)index +
					   index->layers) +
		l;
	struct cache_look now;
	uint64_t live;

	cache_look(cache, &now);
	/* The tail is the writer's word. */
	if (now.tail < now.base_tail)
		now.tail = now.base_tail;
	if (now.tail - now.base_tail > now.free)
		now.tail = now.base_tail + now.free;
	look->tail = now.tail;
	look->generation = now.generation;
	live = cache_levels(cache)[l].n_live + (now.tail - now.base_tail);
	*ret = (struct kept_head){
		.order = cache_order(cache, l, h),
		.entry_size = index->spec.entry_size,
		.live = live < layer->slots ? (uint32_t)live : layer->slots,
		.token = (const void *)((const char *)cache->rows +
					layer->token + h * layer->token_stride),
		.slots = layer->slots,
		.tail = now.tail,
	};
	ret->stride = ret->live / look->head_rows + 1;
}

static bool has_scope(uint32_t policy)
{
	return policy == SHM_POLICY_TREEKV ||
	       policy == SHM_POLICY_TREEKV_LEFT ||
	       policy == SHM_POLICY_TREEKV_SKIP;
}

/* Return: rows looked at. */
static uint32_t look_at(struct look *look, struct look_group *group, uint32_t l,
			uint32_t h)
{
	const struct shm_spec *spec = &look->cache->index->spec;
	struct kept_head head;
	size_t at;

	head_init(&head, look, l, h);
	group->outside += kept_count(group->rows, &look->axis, &head);
	group->stride = head.stride > group->stride ? head.stride :
						      group->stride;
	group->held = head.live > group->held ? head.live : group->held;
	if (has_scope(spec->policy)) {
		at = kept_at(&look->axis, &head,
			     (uint64_t)spec->sinks +
				     cache_walks(look->cache, l)[h] - 1);
		if (at < look->axis.buckets)
			group->scope[at]++;
	}
	return head.live / head.stride + 1;
}

static bool look_slice(struct worker_task *task, struct staging *staging)
{
	struct look *look = (struct look *)task;
	uint32_t kv_heads = look->cache->index->spec.kv_heads;
	uint64_t rows = 0, all, head;

	(void)staging;
	while (look->at_group < look->groups && rows < SLICE_ROWS) {
		struct look_group *group = &look->group[look->at_group];

		all = (uint64_t)group->layers * kv_heads;
		head = look->at_head * all / group->heads;
		rows += look_at(look, group,
				group->layer + (uint32_t)(head / kv_heads),
				(uint32_t)(head % kv_heads));
		if (++look->at_head == group->heads) {
			look->at_head = 0;
			look->at_group++;
		}
	}
	task->over = look->at_group == look->groups;
	return true;
}

/* ---- the rest: on the control thread ---- */

static struct look *look_free(struct look *look)
{
	if (!look)
		return NULL;
	LIST_REMOVE(look, link);
	free(look->memory);
	free(look);
	return NULL;
}

static void group_message(Treekv__KeptGroup *to, const struct look *look,
			  const struct look_group *from)
{
	treekv__kept_group__init(to);
	to->layer = from->layer;
	to->layers = from->layers;
	to->heads = from->heads;
	to->stride = from->stride;
	to->held = from->held;
	to->outside = from->outside;
	to->rows = from->rows;
	to->n_rows = look->axis.buckets;
	if (has_scope(look->cache->index->spec.policy)) {
		to->scope = from->scope;
		to->n_scope = look->axis.buckets;
	}
}

static void answer(struct look *look)
{
	Treekv__KeptReply kept = TREEKV__KEPT_REPLY__INIT;
	Treekv__Reply reply = TREEKV__REPLY__INIT;
	Treekv__KeptGroup *list[GROUPS_MAX];
	Treekv__KeptGroup items[GROUPS_MAX];

	for (uint32_t g = 0; g < look->groups; g++) {
		group_message(&items[g], look, &look->group[g]);
		list[g] = &items[g];
	}
	kept.cache = look->cache->id;
	kept.tail = look->tail;
	kept.generation = look->generation;
	kept.edge = look->edge;
	kept.n_edge = look->axis.buckets + 1;
	kept.group = list;
	kept.n_group = look->groups;
	reply.id = look->id;
	reply.body_case = TREEKV__REPLY__BODY_KEPT;
	reply.kept = &kept;
	conn_reply(look->conn, &reply, NULL, 0);
}

static void on_looked(struct worker_job *job)
{
	struct look *look = loop_entry(job, struct look, task.job);
	struct cache *cache = look->cache;

	if (look->conn)
		answer(look);
	look_free(look);
	cache->looks--;
	control_leave(cache);
}

void report_kept_closed(struct conn *conn)
{
	struct look *look;

	LIST_FOREACH(look, &looks, link)
	if (look->conn == conn)
		look->conn = NULL;
}

void report_kept_exit(void)
{
	struct look *look;

	while ((look = LIST_FIRST(&looks))) /* which that takes off */
		look_free(look); /* NOLINT(clang-analyzer-unix.Malloc) */
}

/* Layers by groups, heads so that the work stays within its bound. */
static void plan(struct look *look, const struct cache *cache, uint32_t wanted)
{
	const struct shm_spec *spec = &cache->index->spec;
	uint32_t groups = wanted < spec->layers ? wanted : spec->layers;
	size_t buckets = look->axis.buckets;
	uint64_t *rows = look->memory;
	uint32_t *scope = (uint32_t *)(rows + groups * buckets);
	uint32_t rows_a_group = LOOK_ROWS / groups, most;

	look->groups = groups;
	look->head_rows = rows_a_group < HEAD_ROWS ? rows_a_group : HEAD_ROWS;
	most = rows_a_group / (cache->slots < look->head_rows ?
				       cache->slots :
				       look->head_rows);
	for (uint32_t g = 0; g < groups; g++) {
		uint32_t first = g * spec->layers / groups;
		uint32_t next = (g + 1) * spec->layers / groups;
		uint32_t heads = (next - first) * spec->kv_heads;

		look->group[g] = (struct look_group){
			.layer = first,
			.layers = next - first,
			.heads = heads < most ? heads : most,
			.rows = rows + g * buckets,
			.scope = scope + g * buckets,
		};
	}
}

static struct look *look_new(const Treekv__Kept *request, struct cache *cache)
{
	uint32_t groups = request->has_groups ? request->groups : 1;
	size_t buckets = request->n_edge - 1;
	struct look *look = calloc(1, sizeof(*look));

	if (!look)
		return NULL;
	look->memory =
		calloc(groups * buckets, sizeof(uint64_t) + sizeof(uint32_t));
	if (!look->memory) {
		free(look);
		return NULL;
	}
	memcpy(look->edge, request->edge, request->n_edge * sizeof(uint64_t));
	look->axis = (struct kept_axis){ look->edge, buckets };
	look->cache = cache;
	plan(look, cache, groups);
	look->task.lane = WORKER_SHORT;
	look->task.slice = look_slice;
	look->task.job.done = on_looked;
	LIST_INSERT_HEAD(&looks, look, link);
	return look;
}

void report_kept(struct conn *conn, uint64_t id, const Treekv__Kept *request)
{
	struct cache *cache = control_numbered(conn, request->cache);
	struct look *look;

	if (kept_axis_check(request->edge, request->n_edge) ||
	    (request->has_groups &&
	     (!request->groups || request->groups > GROUPS_MAX))) {
		control_refuse(conn, id, -EINVAL,
			       "a map takes 2 to %d rising edges and 1 to %d "
			       "groups of layers",
			       KEPT_BUCKETS_MAX + 1, GROUPS_MAX);
		return;
	}
	if (!cache || !cache->worker || cache->pending ||
	    persist_is_loading(cache)) {
		control_refuse(conn, id, -ENOENT,
			       "there is no cache %llu in memory",
			       (unsigned long long)request->cache);
		return;
	}
	look = look_new(request, cache);
	if (!look) {
		control_refuse(conn, id, -ENOMEM,
			       "the daemon is out of memory");
		return;
	}
	look->conn = conn;
	look->id = id;
	cache->looks++;
	worker_run(cache, &look->task);
}
