// SPDX-License-Identifier: BSD-2-Clause
/*
 * Start and stop: the rings, the workers, the listener, the sandbox, and what a
 * predecessor left.
 */
#include <time.h>

#include "daemon/control_impl.h"
#include "daemon/duty.h"
#include "daemon/errand.h"
#include "daemon/event.h"
#include "daemon/http.h"
#include "daemon/keep.h"
#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/lookup.h"
#include "daemon/persist.h"
#include "daemon/prefill.h"
#include "daemon/ready.h"
#include "daemon/report.h"
#include "daemon/sandbox.h"
#include "daemon/service.h"
#include "daemon/takeover.h"
#include "daemon/tenant.h"
#include "proto/barrier.h"

#define CONTROL_RING 1024

struct control treekvd;

static int make_workers(uint32_t n, const char **why)
{
	int r = errand_init(&treekvd.loop, why);

	for (uint32_t i = 0; !r && i < n; i++) {
		r = worker_new(&treekvd.worker[i], &treekvd.loop,
			       "treekvd-worker", why);
		if (!r)
			treekvd.workers++;
	}
	return r;
}

static int start_workers(const char **why)
{
	int r = errand_start(why);

	for (uint32_t i = 0; !r && i < treekvd.workers; i++)
		r = worker_start(treekvd.worker[i], why);
	return r;
}

static void stop_workers(void)
{
	while (treekvd.workers)
		worker_free(treekvd.worker[--treekvd.workers]);
	errand_stop();
}

/* ---- what a predecessor left ---- */

static void on_adopted(struct cache *cache)
{
	store_add(&treekvd.store, cache);
	disk_settle(cache_space(cache), cache->name);
	keep_added(cache);
	worker_give(control_least_loaded(), cache, &cache->give);
	control_resume_lease(cache);
	lookup_add(cache);
	if (cache_is_frozen(cache))
		cache_shed(cache);
}

/* Once the forks are known that they may be the parents of. */
static void drop_adopted(void)
{
	struct cache *cache = treekvd.store.first, *next;

	for (; cache; cache = next) {
		next = cache->next;
		if (cache->index->flags & SHM_CACHE_DROPPED ||
		    (cache->ephemeral && !cache->lease && !cache->barred))
			control_drop(cache);
	}
}

static struct cache *find_adopted(uint64_t id)
{
	struct cache *cache = treekvd.store.first;

	while (cache && cache->id != id)
		cache = cache->next;
	return cache;
}

static void adopt(void)
{
	struct adopt_counts *counts = &treekvd.adopted;
	struct service_fd *fds;
	size_t n;

	fds = service_fds(&n);
	adopt_all(fds, n, on_adopted, find_adopted, counts);
	drop_adopted();
	if (n)
		event_adopted(counts);
}

/* Ours from before, or the manager's; a stored one must be of this path. */
static int listen_on(const char *path, const char **why)
{
	bool activated = false;
	int inherited = service_take_listener(&activated);
	int r, fd;

	r = listener_new(&treekvd.listener, &treekvd.loop, path, inherited,
			 &control_ops, why);
	if (r)
		return r;
	if (!treekvd.kept)
		return 0;
	listener_keep(treekvd.listener);
	fd = listener_fd(treekvd.listener);
	if (inherited < 0)
		service_store(SERVICE_LISTENER, &fd, 1);
	return 0;
}

/*
 * What takes privileges comes first: rings, sockets, libraries. Threads have
 * what the one that starts them has; so they are started in the sandbox, and
 * what others have written is looked at there.
 */
static int start(const struct config *config, const char **why)
{
	int r = make_workers(config->workers, why);

	if (!r)
		r = listen_on(config->socket, why);
	if (!r)
		r = persist_lock(why);
	if (r)
		return r;
	http_start(&treekvd);
	service_job_prepare();
	quota_stay_local();
	if (config->sandbox)
		sandbox_enter();
	return start_workers(why);
}

int control_start(const struct config *config, const char **why)
{
	struct timespec ts;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	treekvd.started = (uint64_t)ts.tv_sec;
	treekvd.config = config;
	treekvd.kept = service_has_store();
	store_init(&treekvd.store, config->pool);
	*why = "out of memory";
	r = tenant_configure(config);
	if (r)
		return r;
	r = prefixes_init(&treekvd.prefixes);
	if (r)
		goto no_prefixes;
	r = loop_init(&treekvd.loop, CONTROL_RING, why);
	if (r)
		goto no_loop;
	treekvd.loop.awake_ns = (uint64_t)config->busy_poll * 1000;
	r = start(config, why);
	if (r)
		goto not_started;
	adopt();
	persist_start();
	duty_start(&treekvd);
	return 0;
not_started:
	http_stop();
	treekvd.listener = listener_free(treekvd.listener);
	stop_workers();
	persist_exit();
	loop_exit(&treekvd.loop);
no_loop:
	prefixes_exit(&treekvd.prefixes);
no_prefixes:
	quota_exit(&treekvd.store.quotas);
	return r;
}

/* Frees our side of every cache; the manager's descriptors keep the memory. */
static void let_go(void)
{
	struct cache *cache = treekvd.store.first, *next;

	for (; cache; cache = next) {
		next = cache->next;
		if (cache->lease) /* stays recorded, for the next daemon */
			lease_free(cache->lease);
		creation_abandon(cache);
		lookup_remove(cache);
		cache_free(cache);
	}
}

static void end_all(void)
{
	struct cache *cache = treekvd.store.first, *next;

	for (; cache; cache = next) {
		next = cache->next;
		if (cache->lease)
			control_end_lease(cache->lease);
		if (cache->named)
			control_drop(cache);
	}
	while (treekvd.store.caches && !loop_turn(&treekvd.loop))
		;
}

unsigned int control_stop(void)
{
	unsigned int unsaved;

	service_notify("STOPPING=1");
	http_stop();
	treekvd.listener = listener_free(treekvd.listener);
	unsaved = persist_stop();
	if (!treekvd.kept)
		end_all();
	errand_settle();
	stop_workers();
	if (treekvd.kept)
		let_go();
	persist_exit();
	ready_exit();
	takeover_exit();
	prefill_exit();
	report_kept_exit();
	prefixes_exit(&treekvd.prefixes);
	quota_exit(&treekvd.store.quotas);
	loop_exit(&treekvd.loop);
	return unsaved;
}
