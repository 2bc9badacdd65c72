// SPDX-License-Identifier: BSD-2-Clause
/*
 * When: at the start, every so often, and at the end. A stop writes what has
 * changed since it was last written and waits for that as long as is
 * configured, for which systemd is asked; what is not done by then is given up,
 * named in the log, and leaves the file that was there before.
 *
 * Where the manager keeps the memory of the caches and says that it will start
 * the next daemon at once (systemctl restart), nothing is written: that daemon
 * finds everything as it is, and clients need not wait for a disk. A manager
 * that does not say (or cannot be asked) may well forget them: then it is a
 * stop.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/persist_impl.h"
#include "proto/barrier.h"

bool persist_is_due(const struct cache *cache)
{
	const struct persist *p = cache->persist;

	if (!cache->named || cache->pending || cache->ephemeral ||
	    cache_fault(cache))
		return false;
	return !p || !p->saved || p->mark != persist_mark(cache) ||
	       (persist.stopping &&
		!disk_has(persist.root, cache_space(cache), cache->name));
}

static unsigned int save_all(void)
{
	struct cache *cache = treekvd.store.first, *next;
	struct outcome out;
	unsigned int n = 0;

	for (; cache; cache = next) {
		next = cache->next;
		if (!persist_is_due(cache) ||
		    (cache->persist && cache->persist->job))
			continue;
		persist_outcome_of(&out, cache);
		if (!persist_save(cache, &out)) {
			n++;
			continue;
		}
		persist.failed++;
		log_error("snapshot failed", "name=%s uid=%u text=\"%s\"",
			  out.name, out.uid, out.text);
	}
	return n;
}

static void on_timer(struct loop_op *op, int res, unsigned int flags);

static void timer_arm(void)
{
	if (persist.armed || !treekvd.config->snapshot_every)
		return;
	persist.armed = true;
	persist.timer.done = on_timer;
	persist.time.tv_sec = treekvd.config->snapshot_every;
	io_uring_prep_timeout(loop_sqe(&treekvd.loop, &persist.timer),
			      &persist.time, 0, 0);
}

/* Cancelled: the interval is another one by now. */
static void on_timer(struct loop_op *op, int res, unsigned int flags)
{
	(void)op;
	(void)flags;
	persist.armed = false;
	if (res != -ECANCELED)
		save_all();
	timer_arm();
}

void persist_reload(void)
{
	for (struct cache *c = treekvd.store.first; c; c = c->next)
		if (c->persist && c->persist->job)
			shm_store_relaxed(&c->persist->job->rate,
					  treekvd.config->snapshot_rate);
	if (!persist.root ||
	    persist.time.tv_sec == treekvd.config->snapshot_every)
		return;
	persist.time.tv_sec = treekvd.config->snapshot_every;
	if (persist.armed)
		loop_cancel(&treekvd.loop, &persist.timer);
	else
		timer_arm();
}

static int prepare_root(void)
{
	if (persist.lock_fd < 0)
		return persist.lock_fd;
	if ((mkdir(persist.root, 0700) && errno != EEXIST) ||
	    fsync(persist.lock_fd) || access(persist.root, R_OK | W_OK | X_OK))
		return -errno;
	return 0;
}

static void make_root(void)
{
	int r;

	if (asprintf(&persist.root, "%s/snapshots", treekvd.config->state_dir) <
	    0) {
		persist.root = NULL;
		return;
	}
	r = prepare_root();
	persist.usable = !r;
	if (r)
		log_warning("no place for snapshots",
			    "path=\"%s\" error=\"%s\" way_out=\"make it, or "
			    "give --state-dir\"",
			    persist.root, strerror(-r));
}

static int open_state(void)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	const char *state = treekvd.config->state_dir;
	int fd = open(state, flags);

	if (fd < 0 && errno == ENOENT && !mkdir(state, 0755))
		fd = open(state, flags);
	return fd < 0 ? -errno : fd;
}

static int not_locked(const char **why, int error)
{
	const char *state = treekvd.config->state_dir;
	static char text[512];

	if (error == -EWOULDBLOCK)
		snprintf(text, sizeof(text),
			 "another treekvd keeps its snapshots in %s, or is "
			 "still writing them; wait for it to stop, or give "
			 "another folder (--state-dir)",
			 state);
	else
		snprintf(text, sizeof(text), "cannot open %s: %s", state,
			 strerror(-error));
	*why = text;
	return error;
}

int persist_lock(const char **why)
{
	int fd = open_state(), r;

	persist.lock_fd = fd;
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
		return not_locked(why, fd);
	if (fd < 0 || !flock(fd, LOCK_EX | LOCK_NB))
		return 0;
	r = -errno;
	if (r == -EWOULDBLOCK)
		return not_locked(why, r);
	log_warning("snapshots are not locked",
		    "path=\"%s\" error=\"%s\" way_out=\"start no other "
		    "daemon with this --state-dir\"",
		    treekvd.config->state_dir, strerror(-r));
	return 0;
}

static void restore_all(void)
{
	const struct persist_wish wish = { .conn = NULL };
	struct disk_entry *entry = disk_first(), *next;
	struct outcome out;
	struct cache *cache;

	for (; entry; entry = next) {
		next = entry->next;
		if (!entry->info ||
		    store_find(&treekvd.store, entry->space, entry->name))
			continue;
		if (persist_load(&cache, entry->space, entry->name, &wish,
				 &out))
			log_error("not restored", "name=%s uid=%u text=\"%s\"",
				  out.name, out.uid, out.text);
	}
}

/* A predecessor may have written what its caches, ours by now, still hold. */
static void adopt_marks(void)
{
	for (struct cache *c = treekvd.store.first; c; c = c->next) {
		const struct disk_entry *entry =
			disk_find(cache_space(c), c->name);
		uint64_t taken = c->index->snapshot_taken;

		if (entry && entry->info && taken &&
		    entry->info->header.taken == taken && persist_of(c))
			persist_note(c, c->index->snapshot_mark, taken);
	}
}

void persist_start(void)
{
	make_root();
	if (!persist.root)
		return;
	disk_scan(persist.root, true);
	adopt_marks();
	if (treekvd.config->restore == RESTORE_EAGER)
		restore_all();
	timer_arm();
}

static void cancel_all(bool loads_only)
{
	for (struct cache *c = treekvd.store.first; c; c = c->next)
		if (c->persist && c->persist->job &&
		    (c->persist->loading || !loads_only))
			__atomic_store_n(&c->persist->job->cancel, true,
					 __ATOMIC_RELAXED);
}

/* Those that are under way may be of an older commit. */
static void hurry(void)
{
	for (struct cache *c = treekvd.store.first; c; c = c->next)
		if (c->persist && c->persist->job && !c->persist->loading) {
			shm_store_relaxed(&c->persist->job->rate, 0);
			c->persist->again = true;
		}
}

static void on_deadline(struct loop_op *op, int res, unsigned int flags)
{
	(void)op;
	(void)flags;
	if (res == -ECANCELED)
		return;
	log_error("snapshots not finished", "left=%u after_seconds=%u",
		  persist.jobs, treekvd.config->snapshot_limit);
	for (struct cache *c = treekvd.store.first; c; c = c->next)
		if (c->persist)
			c->persist->again = false;
	cancel_all(false);
}

static void wait_for_jobs(void)
{
	static struct __kernel_timespec time;
	static struct loop_op deadline = { .done = on_deadline };

	time.tv_sec = treekvd.config->snapshot_limit;
	io_uring_prep_timeout(loop_sqe(&treekvd.loop, &deadline), &time, 0, 0);
	while (persist.jobs)
		loop_turn(&treekvd.loop);
}

/* Return: whether what is in memory will be forgotten, and may be written. */
static bool is_to_save(void)
{
	if (!treekvd.config->snapshot_on_stop || !persist.usable)
		return false;
	if (!treekvd.kept || !service_is_restarting())
		return true;
	log_info("restarting", "caches=%u kept=1", treekvd.store.caches);
	return false;
}

unsigned int persist_stop(void)
{
	bool saves = is_to_save();
	unsigned int n = 0;

	cancel_all(saves);
	persist.stopping = true;
	persist.failed = 0;
	if (saves) {
		hurry();
		n = save_all();
	}
	if (n) {
		log_info("writing snapshots", "caches=%u", n);
		service_notify("EXTEND_TIMEOUT_USEC=%llu",
			       (treekvd.config->snapshot_limit + 10) *
				       1000000ULL);
	}
	if (persist.jobs)
		wait_for_jobs();
	return saves ? persist.failed : 0;
}

void persist_exit(void)
{
	disk_exit();
	free(persist.root);
	if (persist.lock_fd >= 0)
		close(persist.lock_fd);
	persist = (struct persist_module){ .lock_fd = -1 };
}
