// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/control_impl.h"
#include "daemon/fork.h"
#include "daemon/fork_make.h"
#include "daemon/lookup.h"
#include "daemon/park.h"
#include "daemon/persist.h"
#include "daemon/room.h"
#include "daemon/spec.h"

#define TOLD 1 /* why it cannot be */

/* Why nothing forks from it; @error is set. NULL: it may be forked. */
static const char *refusal(const struct cache *parent, int *error)
{
	*error = -EUCLEAN;
	if (cache_fault(parent))
		return "it is quarantined";
	*error = -EBUSY;
	if (parent->pending)
		return "it is being made or restored; try again";
	if (!cache_is_frozen(parent))
		return "it is not frozen: 'treekvctl freeze' it, when nobody "
		       "writes it any more";
	return NULL;
}

static void take_spec(struct fork_plan *plan)
{
	const struct shm_index *index = plan->parent->index;
	const struct shm_layer *layers =
		(const void *)((const char *)index + index->layers);

	plan->spec = index->spec;
	for (uint32_t l = 0; l < index->spec.layers; l++)
		plan->budgets[l] = layers[l].budget;
}

/*
 * The longest beginning of the prompt that fits: of an exact cache as much as
 * there is room for. A compacted one is as large as the budget, so there is
 * none for it unless it may be evicted.
 */
static struct lookup_result find_prefix(const struct fork_plan *plan,
					const struct lookup_query *query,
					bool compacted)
{
	struct lookup_result exact, other = { .cache = NULL };
	uint64_t limit = fork_limit(plan);

	lookup_exact(&exact, query);
	exact.tokens = exact.tokens < limit ? exact.tokens : limit;
	if (compacted && plan->evict_prefix)
		lookup_compacted(&other, query);
	if (other.tokens > exact.tokens)
		exact = other;
	if (!exact.tokens)
		exact.cache = NULL;
	return exact;
}

/*
 * Among his own; and those of a group if the fork is to be the group's. Not
 * otherwise: whoever takes rows trusts him who wrote them.
 */
static void find_anywhere(struct fork_plan *plan, struct lookup_query *query,
			  uint64_t space, bool compacted)
{
	struct lookup_result found = find_prefix(plan, query, compacted), more;

	if (space != query->space) {
		query->space = space;
		more = find_prefix(plan, query, compacted);
		if (more.tokens > found.tokens)
			found = more;
	}
	lookup_count(&found);
	plan->parent = found.cache;
	plan->tokens = found.tokens;
}

static int find_by_ids(struct fork_plan *plan, const struct conn *conn,
		       const Treekv__Fork *request, uint64_t space, char *why,
		       size_t size)
{
	struct lookup_query query = {
		.conn = conn,
		.space = conn_peer(conn)->uid,
		.spec = &plan->spec,
		.budgets = plan->budgets,
	};
	int r = lookup_begin(&query, &request->ids, why, size);

	if (r)
		return r;
	find_anywhere(plan, &query, space, request->compacted);
	lookup_end(&query);
	if (plan->parent)
		return 0;
	snprintf(why, size, "no frozen cache begins as these %zu tokens do",
		 query.n);
	return -ENOENT;
}

static int find_parent(struct fork_plan *plan, struct conn *conn, uint64_t id,
		       const Treekv__Fork *request, uint64_t space, char *why,
		       size_t size)
{
	if (request->parent) {
		plan->parent =
			control_get(conn, id, request->parent, ACCESS_READ);
		return plan->parent ? 0 : TOLD;
	}
	if (request->spec && request->has_ids)
		return find_by_ids(plan, conn, request, space, why, size);
	snprintf(why, size,
		 "fork what? give a parent's name, or a spec and ids");
	return -EINVAL;
}

static int plan_make(struct fork_plan *plan, struct conn *conn, uint64_t id,
		     const Treekv__Fork *request, uint64_t space, char *why,
		     size_t size)
{
	const char *refused;
	int r = 0;

	plan->evict_prefix = request->evict_prefix;
	if (request->spec)
		r = spec_load(&plan->spec, plan->budgets, request->spec, why,
			      size);
	if (!r)
		r = find_parent(plan, conn, id, request, space, why, size);
	if (r)
		return r;
	park_used(plan->parent);
	refused = refusal(plan->parent, &r);
	if (refused) {
		snprintf(why, size, "cache %s is not forked: %s",
			 plan->parent->name, refused);
		return r;
	}
	if (!request->spec)
		take_spec(plan);
	if (request->parent)
		plan->tokens = request->has_tokens ?
				       request->tokens :
				       plan->parent->index->frozen_tail;
	return 0;
}

/* @bytes: what it lacks, for -ENOSPC. */
static int make(struct cache **ret, struct fork_plan *plan,
		const struct name *name, uint64_t *bytes, char *why,
		size_t size)
{
	struct cache_error error;
	struct cache *cache;
	int r;

	r = fork_check(plan, why, size);
	if (!r)
		r = control_room(name, &plan->spec, plan->budgets, plan->layer,
				 bytes, why, size);
	if (r)
		return r;
	r = cache_new(&cache, name->own, &plan->spec, plan->budgets,
		      plan->layer,
		      (enum config_huge_pages)treekvd.config->huge_pages,
		      &error);
	if (r) {
		snprintf(why, size, "%s", error.text);
		return r;
	}
	*ret = cache;
	return 0;
}

static void refuse(struct conn *conn, uint64_t id, const Treekv__Fork *request,
		   int error, const char *why)
{
	/* That nothing begins so is no event. */
	if (error == -ENOENT && !request->parent)
		conn_refuse(conn, id, error, "%s", why);
	else
		control_refuse(conn, id, error, "%s", why);
}

/* There is one of that name: that is answered. */
static bool is_taken(struct conn *conn, uint64_t id, const char *text,
		     const struct name *name, uint64_t nonce)
{
	const struct control_wish wish = { .nonce = nonce };
	struct cache *cache = control_look_up(name->space, name->own);

	if (!creation_may(conn, name->space))
		control_refuse_absent(conn, id, text);
	else if (cache && creation_again(conn, id, cache, &wish))
		return true;
	else if (cache)
		creation_refuse_taken(conn, id, text, false);
	else if (persist_is_on_disk(name->space, name->own))
		creation_refuse_taken(conn, id, text, true);
	else
		return creation_refuse_given(conn, id, name);
	return true;
}

/* Return: 0 and the plan is taken over, or a negative errno with @why. */
static int fork_off(struct conn *conn, uint64_t id, struct fork_plan *plan,
		    const Treekv__Fork *request, const struct name *name,
		    uint64_t *bytes, char *why, size_t size)
{
	const struct creation_wish wish = {
		.fork = plan,
		.space = name->space,
		.has_mode = request->has_mode,
		.mode = request->mode,
		.nonce = request->nonce,
		.ephemeral = request->ephemeral,
		.anonymous = !*request->name,
	};
	char text[CONTROL_REASON_SIZE] = "the daemon has no memory";
	struct cache *cache;
	int r = plan_make(plan, conn, id, request, name->space, why, size);

	if (r)
		return r;
	r = make(&cache, plan, name, bytes, text, sizeof(text));
	if (!r)
		r = creation_begin(conn, id, cache, &wish);
	if (r)
		snprintf(why, size, "cache %s is not forked: %.300s",
			 plan->parent->name, text);
	else
		treekvd.counters.forks++;
	return r;
}

bool fork_attempt(struct conn *conn, uint64_t id, const Treekv__Fork *request,
		  struct room_try *try)
{
	enum persist_answer answer = PERSIST_IS_ELSEWHERE;
	char why[CONTROL_REASON_SIZE] = "the daemon has no memory";
	char room[CREATION_NAME_SIZE];
	struct cache *parent;
	struct fork_plan *plan;
	struct name name;
	uint64_t bytes = 0;
	int r = -ENOMEM;

	if ((request->has_mode &&
	     control_refuse_mode(conn, id, request->mode)) ||
	    creation_name(conn, id, request->name, request->nonce, room,
			  &name) ||
	    is_taken(conn, id, request->name, &name, request->nonce))
		return true;
	if (request->parent)
		answer = persist_fetch(conn, id, request->parent, try);
	if (answer != PERSIST_IS_ELSEWHERE)
		return answer == PERSIST_ANSWERS;
	plan = calloc(1, sizeof(*plan));
	if (plan)
		r = fork_off(conn, id, plan, request, &name, &bytes, why,
			     sizeof(why));
	if (!r)
		return true;
	parent = plan ? plan->parent : NULL;
	free(plan);
	if (r == -ENOSPC && parent && room_comes_beside(try, bytes, parent))
		return false;
	if (r != TOLD)
		refuse(conn, id, request, r, why);
	return true;
}
