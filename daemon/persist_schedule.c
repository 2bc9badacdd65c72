// SPDX-License-Identifier: BSD-2-Clause
/*
 * When: at the start, every so often, and at the end. A stop writes what has
 * changed since it was last written and waits for that STOP_SECONDS at most,
 * for which systemd is asked; what is not done by then is given up, named in
 * the log, and leaves the file that was there before.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/persist_impl.h"

#define STOP_SECONDS 60

/* Has it been written since its last snapshot? */
static bool is_due(const struct cache *cache)
{
	const struct persist *p = cache->persist;

	if (!cache->named || cache->pending || cache->ephemeral ||
	    cache_fault(cache) || (p && p->job))
		return false;
	return !p || !p->saved || p->commit != persist_commit(cache);
}

static unsigned int save_all(void)
{
	struct cache *cache = treekvd.store.first, *next;
	struct outcome out;
	unsigned int n = 0;

	for (; cache; cache = next) {
		next = cache->next;
		persist_outcome(&out, cache->uid, cache->name);
		if (is_due(cache) && !persist_save(cache, &out))
			n++;
	}
	return n;
}

static void timer_arm(void)
{
	io_uring_prep_timeout(loop_sqe(&treekvd.loop, &persist.timer),
			      &persist.time, 0, 0);
}

static void on_timer(struct loop_op *op, int res, unsigned int flags)
{
	(void)op;
	(void)res;
	(void)flags;
	save_all();
	timer_arm();
}

static void make_root(void)
{
	const char *state = treekvd.config->state_dir;

	if (asprintf(&persist.root, "%s/snapshots", state) < 0) {
		persist.root = NULL;
		return;
	}
	if ((mkdir(state, 0755) && errno != EEXIST) ||
	    (mkdir(persist.root, 0700) && errno != EEXIST) ||
	    access(persist.root, R_OK | W_OK | X_OK))
		log_warning("no place for snapshots",
			    "path=\"%s\" error=\"%s\" way_out=\"make it, or "
			    "give --state-dir\"",
			    persist.root, strerror(errno));
	else
		persist.usable = true;
}

static void restore_all(void)
{
	struct disk_entry *entry = disk_first(), *next;
	struct outcome out;
	struct cache *cache;

	for (; entry; entry = next) {
		next = entry->next;
		if (!entry->info ||
		    store_find(&treekvd.store, entry->uid, entry->name))
			continue;
		if (persist_load(&cache, entry->uid, entry->name, NULL, &out))
			log_error("not restored", "name=%s uid=%u text=\"%s\"",
				  out.name, out.uid, out.text);
	}
}

void persist_start(void)
{
	make_root();
	if (!persist.root)
		return;
	disk_scan(persist.root);
	if (treekvd.config->restore == RESTORE_EAGER)
		restore_all();
	if (!treekvd.config->snapshot_every)
		return;
	persist.timer.done = on_timer;
	persist.time.tv_sec = treekvd.config->snapshot_every;
	timer_arm();
}

static void cancel_all(void)
{
	for (struct cache *c = treekvd.store.first; c; c = c->next)
		if (c->persist && c->persist->job)
			__atomic_store_n(&c->persist->job->cancel, true,
					 __ATOMIC_RELAXED);
}

static void on_deadline(struct loop_op *op, int res, unsigned int flags)
{
	(void)op;
	(void)flags;
	if (res == -ECANCELED)
		return;
	log_error("snapshots not finished", "left=%u after_seconds=%d",
		  persist.jobs, STOP_SECONDS);
	cancel_all();
}

void persist_stop(void)
{
	static struct __kernel_timespec time = { .tv_sec = STOP_SECONDS };
	static struct loop_op deadline = { .done = on_deadline };
	unsigned int n = 0;

	persist.hurry = true;
	if (treekvd.config->snapshot_on_stop && persist.usable)
		n = save_all();
	else
		cancel_all();
	persist.stopping = true;
	if (n) {
		log_info("writing snapshots", "caches=%u", n);
		service_notify("EXTEND_TIMEOUT_USEC=%u",
			       (STOP_SECONDS + 10) * 1000000U);
	}
	if (!persist.jobs)
		return;
	io_uring_prep_timeout(loop_sqe(&treekvd.loop, &deadline), &time, 0, 0);
	while (persist.jobs)
		loop_turn(&treekvd.loop);
}

void persist_exit(void)
{
	disk_exit();
	free(persist.root);
	persist = (struct persist_module){ 0 };
}
