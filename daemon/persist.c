// SPDX-License-Identifier: BSD-2-Clause
/*
 * One job a cache at a time, each on the worker that has the cache. Who asks
 * for a snapshot while one is under way gets one that is taken afterwards: what
 * he has committed by then is to be in it.
 *
 * A restored cache has a name from the start, so that nobody makes another of
 * that name meanwhile, and is pending until its bytes have been checked and,
 * where there is one, the service manager keeps it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/crash.h"
#include "daemon/event.h"
#include "daemon/keep.h"
#include "daemon/log.h"
#include "daemon/lookup.h"
#include "daemon/owner.h"
#include "daemon/park.h"
#include "daemon/persist_impl.h"
#include "daemon/report.h"
#include "daemon/room.h"
#include "daemon/spec.h"
#include "proto/barrier.h"

struct persist_module persist = { .lock_fd = -1 };

void persist_outcome(struct outcome *out, uint64_t space, const char *name)
{
	*out = (struct outcome){ .space = space };
	out->uid = name_is_shared(space) ? NAME_NOBODY : (uid_t)space;
	snprintf(out->name, sizeof(out->name), "%s", name);
}

void persist_outcome_of(struct outcome *out, const struct cache *cache)
{
	persist_outcome(out, cache_space(cache), cache->name);
	out->uid = cache->uid;
}

/*
 * Two commits of nothing leave the word as it was, but perhaps not the note:
 * that is part of the mark. So is what was asked for, or a file would bring
 * back what has been taken back.
 */
static uint64_t mark_of(uint64_t commit, const uint8_t *note, uint32_t flags,
			uint64_t ttl)
{
	struct {
		uint64_t commit;
		uint64_t ttl;
		uint64_t flags;
		uint8_t note[SHM_NOTE_SIZE];
	} what = {
		.commit = commit,
		.ttl = ttl,
		.flags = flags & SNAPSHOT_FLAGS,
	};

	shm_copy(what.note, note, sizeof(what.note));
	return snapshot_hash(&what, sizeof(what));
}

uint64_t persist_mark(const struct cache *cache)
{
	uint64_t commit = cache_commit(cache);

	return mark_of(commit, cache->rows->note[shm_commit_parity(commit)],
		       cache->index->flags, cache->index->ttl);
}

/* In the index as well: a daemon that adopts it need not write it again. */
void persist_note(struct cache *cache, uint64_t mark, uint64_t taken)
{
	struct persist *p = cache->persist;

	p->saved = true;
	p->mark = mark;
	p->taken = taken;
	cache->index->snapshot_mark = mark;
	cache->index->snapshot_taken = taken;
}

struct persist *persist_of(struct cache *cache)
{
	if (!cache->persist) {
		cache->persist = calloc(1, sizeof(*cache->persist));
		if (cache->persist)
			cache->persist->cache = cache;
	}
	return cache->persist;
}

bool persist_holds(const struct cache *cache)
{
	return cache->persist &&
	       (cache->persist->job || cache->persist->barrier);
}

bool persist_is_loading(const struct cache *cache)
{
	return cache->persist && cache->persist->loading;
}

const char *persist_root(void)
{
	return persist.root;
}

static void set_fault(const struct access_what *of, int error, const char *text)
{
	snprintf(persist.fault, sizeof(persist.fault), "%s", text);
	persist.fault_error = error;
	persist.fault_of = *of;
}

/* The text has the cache's name. */
const char *persist_fault(const struct conn *conn)
{
	static char hidden[128];

	if (!*persist.fault)
		return NULL;
	if (control_check(conn, &persist.fault_of, ACCESS_READ) != -ENOENT)
		return persist.fault;
	snprintf(hidden, sizeof(hidden), "of another user's cache: %s",
		 strerror(-persist.fault_error));
	return hidden;
}

/* ---- saving ---- */

static void failed(struct persist *p, const struct snapshot_job *job)
{
	const struct access_what what = cache_what(p->cache);

	snprintf(p->fault, sizeof(p->fault), "%s", job->why.text);
	if (job->error != -ECANCELED)
		set_fault(&what, job->error, job->why.text);
}

/*
 * Dropped while it was being written. A new cache of that name may have been
 * saved meanwhile, and whose file it is now cannot be told: he is saved again.
 */
static void unwanted(const struct cache *cache, bool keep_file)
{
	const struct cache *heir =
		store_find(&treekvd.store, cache_space(cache), cache->name);

	if (!keep_file)
		disk_remove(persist.root, cache_space(cache), cache->name);
	if (heir && heir->persist)
		heir->persist->saved = false;
}

static void saved(struct persist *p, struct snapshot_job *job)
{
	const struct snapshot_header *header = &job->info->header;
	struct cache *cache = p->cache;

	persist_note(cache,
		     mark_of(shm_commit_pack(header->tail, header->parity != 0),
			     header->note, header->flags, header->ttl),
		     header->taken);
	*p->fault = '\0';
	event_saved(cache, job);
	disk_note(job->info);
	job->info = NULL;
	if (!cache->named)
		unwanted(cache, p->keep_file);
}

static void outcome_of(struct outcome *out, const struct snapshot_job *job)
{
	persist_outcome_of(out, job->cache);
	out->error = job->error;
	snprintf(out->text, sizeof(out->text), "%s", job->why.text);
	out->ns = job->ns;
	if (!job->error) {
		out->tail = job->info->header.tail;
		out->bytes = job->info->header.file_size;
	}
}

static void on_saved(struct worker_job *arrived)
{
	struct snapshot_job *job =
		loop_entry(arrived, struct snapshot_job, task.job);
	struct cache *cache = job->cache;
	struct persist *p = cache->persist;
	struct outcome out;
	bool more;

	outcome_of(&out, job);
	if (job->error) {
		event_save_failed(cache, job);
		failed(p, job);
	} else {
		saved(p, job);
	}
	p->job = snapshot_job_free(job);
	persist.jobs--;
	persist.ended++;
	persist.failed += out.error != 0;
	more = persist_tell(cache, &out);
	if (persist.stopping) {
		more = p->again && persist_is_due(cache);
		p->again = false;
	}
	while (more) {
		persist_outcome_of(&out, cache);
		if (!persist_save(cache, &out))
			break;
		more = persist_tell(cache, &out);
	}
	park_saved(cache, out.error, out.text);
	control_leave(cache);
}

int persist_may_save(const struct cache *cache, struct outcome *out)
{
	if (cache_fault(cache)) {
		out->error = -EUCLEAN;
		snprintf(out->text, sizeof(out->text),
			 "cache %s is quarantined: %s; no snapshot is taken of "
			 "it",
			 cache->name, compact_fault_text(cache_fault(cache)));
	} else if (cache->ephemeral) {
		out->error = -EINVAL;
		snprintf(out->text, sizeof(out->text),
			 "cache %s is ephemeral: it ends with its lease and is "
			 "not kept; create it without that to keep it",
			 cache->name);
	} else if (cache->parent) {
		out->error = -EOPNOTSUPP;
		snprintf(out->text, sizeof(out->text),
			 "cache %s is a fork of %s, whose rows are not its "
			 "own: no snapshot is taken of it; keep %s, and fork "
			 "it again",
			 cache->name, cache->parent->name, cache->parent->name);
	} else if (cache->pending || !cache->named || owner_holds(cache)) {
		out->error = -EBUSY;
		snprintf(out->text, sizeof(out->text),
			 "cache %s is being made, restored, changed or "
			 "dropped; ask again later",
			 cache->name);
	}
	return out->error;
}

int persist_save(struct cache *cache, struct outcome *out)
{
	struct persist *p = persist_of(cache);
	struct snapshot_job *job;

	if (persist_may_save(cache, out))
		return out->error;
	if (!p || snapshot_save(&job, cache, persist.root,
				treekvd.config->snapshot_rate)) {
		out->error = -ENOMEM;
		snprintf(out->text, sizeof(out->text),
			 "no memory for a snapshot of %s", cache->name);
		return -ENOMEM;
	}
	if (persist.stopping)
		job->rate = 0;
	job->task.job.done = on_saved;
	p->job = job;
	persist.jobs++;
	worker_run(cache, &job->task);
	return 0;
}

/* ---- loading ---- */

/* The last step: now it is a cache as any other. */
static void loaded(struct cache *cache, struct outcome *out)
{
	struct persist *p = cache->persist;

	if (!out->error && !cache->named) {
		out->error = -ECANCELED;
		snprintf(out->text, sizeof(out->text),
			 "cache %s was dropped while it was being restored",
			 cache->name);
	}
	p->loading = false;
	persist.jobs--;
	persist.ended++;
	cache->pending = false;
	treekvd.store.settled++;
	if (out->error) {
		persist_tell(cache, out);
		control_drop(cache);
		persist.not_loaded = out;
		room_again();
		persist.not_loaded = NULL;
		return;
	}
	if (cache->index->ttl) /* or it would be over by now */
		shm_store_relaxed(&cache->index->last_used,
				  (uint64_t)time(NULL));
	keep_added(cache);
	lookup_add(cache);
	if (cache_is_frozen(cache))
		cache_shed(cache);
	treekvd.counters.restores++;
	persist_tell(cache, out);
	room_again();
	control_leave(cache);
}

static void on_kept(struct loop_op *op, int res, unsigned int flags)
{
	struct persist *p = loop_entry(op, struct persist, stored);
	struct outcome out;

	(void)res;
	(void)flags;
	close(p->barrier);
	p->barrier = 0;
	crash_at(CRASH_RESTORE_KEPT);
	persist_outcome_of(&out, p->cache);
	out.tail = p->tail;
	out.bytes = p->bytes;
	out.ns = p->ns;
	loaded(p->cache, &out);
}

/* The same that creating does: nobody gets it before it is kept. */
static int keep(struct cache *cache)
{
	const int fds[] = { cache->rows_fd, cache->index_fd };
	struct persist *p = cache->persist;
	int r;

	snprintf(cache->stored, sizeof(cache->stored), "%08llx",
		 (unsigned long long)cache->id & 0xffffffff);
	r = service_store(cache->stored, fds, 2);
	if (r)
		return r;
	crash_at(CRASH_RESTORE_SENT);
	r = service_barrier();
	if (r < 0)
		return r;
	p->barrier = r;
	p->stored.done = on_kept;
	loop_poll_once(&treekvd.loop, r, &p->stored);
	return 0;
}

static void note_loaded(struct persist *p, struct snapshot_job *job)
{
	const struct snapshot_header *header = &job->info->header;

	persist_note(p->cache, persist_mark(p->cache), header->taken);
	p->tail = header->tail;
	p->bytes = header->file_size;
	p->ns = job->ns;
	event_loaded(p->cache, job);
	disk_note(job->info);
	job->info = NULL;
}

/* One that was frozen is so again before anybody gets it. */
static void freeze_again(struct cache *cache, const struct snapshot_job *job,
			 struct outcome *out)
{
	if (!(job->info->header.flags & SHM_CACHE_FROZEN))
		return;
	out->error = cache_seal(cache);
	if (!out->error)
		out->error = cache_freeze(cache);
	if (out->error)
		snprintf(out->text, sizeof(out->text),
			 "cache %s cannot be frozen again: %s", cache->name,
			 strerror(-out->error));
}

static void on_loaded(struct worker_job *arrived)
{
	struct snapshot_job *job =
		loop_entry(arrived, struct snapshot_job, task.job);
	struct cache *cache = job->cache;
	struct persist *p = cache->persist;
	struct outcome out;

	outcome_of(&out, job);
	if (job->error) {
		event_load_failed(cache, job);
		failed(p, job);
		if (job->error == -EBADMSG)
			disk_damaged(cache_space(cache), cache->name,
				     job->why.text);
	} else {
		freeze_again(cache, job, &out);
	}
	if (!out.error)
		note_loaded(p, job);
	p->job = snapshot_job_free(job);
	if (!out.error && treekvd.kept && cache->named) {
		out.error = keep(cache);
		if (!out.error)
			return;
		snprintf(out.text, sizeof(out.text),
			 "cache %s: the service manager does not keep it: %s",
			 cache->name, strerror(-out.error));
	}
	loaded(cache, &out);
}

int persist_compare(const struct cache *cache, const Treekv__Spec *spec,
		    struct outcome *out)
{
	uint32_t budgets[SHM_LAYERS_MAX];
	struct shm_spec asked;
	char why[400];

	if (!spec)
		return 0;
	out->error = spec_load(&asked, budgets, spec, why, sizeof(why));
	if (!out->error)
		out->error = spec_compare(cache->index, &asked, budgets, why,
					  sizeof(why));
	if (out->error)
		snprintf(out->text, sizeof(out->text), "cache %.80s: %s",
			 cache->name, why);
	return out->error;
}

/* The memory of a cache, formatted for the spec of a file. */
static int make(struct cache **ret, const struct snapshot_header *header,
		const uint32_t *budgets, struct outcome *out)
{
	struct shm_spec spec = header->spec;
	struct access_what what = snapshot_what(header);
	struct name name = { snapshot_space(header), header->name };
	struct cache_error error = { .text = "" };
	struct cache *cache;
	int r;

	r = control_room(&name, &spec, budgets, NULL, &out->lacks, error.text,
			 sizeof(error.text));
	if (!r)
		r = cache_new(
			&cache, header->name, &spec, budgets, NULL,
			(enum config_huge_pages)treekvd.config->huge_pages,
			&error);
	if (r) {
		out->error = r;
		snprintf(out->text, sizeof(out->text), "cache %.80s: %s",
			 header->name, error.text);
		return r;
	}
	cache_set_owner(cache, &what, name_is_shared(snapshot_space(header)));
	cache->pending = true;
	shm_store_relaxed(&cache->index->epoch, 1);
	*ret = cache;
	return 0;
}

static int begin_load(struct cache *cache, struct snapshot_info *info,
		      uint64_t began)
{
	struct snapshot_job *job;

	if (!persist_of(cache) ||
	    snapshot_load(&job, cache, persist.root, info))
		return -ENOMEM;
	store_add(&treekvd.store, cache);
	disk_settle(cache_space(cache), cache->name);
	worker_give(control_least_loaded(), cache, &cache->give);
	job->began = began;
	job->task.job.done = on_loaded;
	cache->persist->job = job;
	cache->persist->loading = true;
	persist.jobs++;
	worker_run(cache, &job->task);
	return 0;
}

/* Why there is a file that is not taken, or whether there is one is unknown. */
static void refuse_file(struct outcome *out, const struct snapshot_error *why)
{
	const struct disk_entry unread = { .space = out->space };
	struct access_what what = disk_what(&unread);
	bool full = out->error == -EMFILE || out->error == -ENFILE;
	char folder[NAME_FOLDER_MAX + 1];

	name_folder(folder, out->space);

	if (out->error != -EBADMSG && out->error != -EPROTO)
		snprintf(out->text, sizeof(out->text),
			 "whether there is a snapshot of %.127s in %.150s "
			 "cannot be told: %s%s",
			 out->name, persist.root, strerror(-out->error),
			 full ? "; the daemon is out of descriptors, raise "
				"LimitNOFILE" :
				"");
	else
		snprintf(out->text, sizeof(out->text),
			 "%.100s/%s/%.127s.tkv cannot be restored: %.160s; it "
			 "is left where it is: move it away to start afresh",
			 persist.root, folder, out->name, why->text);
	if (full || out->error == -ENOMEM) /* which says nothing of the disk */
		return;
	set_fault(&what, out->error, out->text);
	event_file_refused(out->space, out->name, out->error, out->text);
}

/* What cannot be read is nobody's but his whose name it has. */
static int may_load(const struct persist_wish *wish,
		    const struct snapshot_info *info, struct outcome *out)
{
	const struct disk_entry unread = { .space = out->space };
	struct access_what what = info ? snapshot_what(&info->header) :
					 disk_what(&unread);
	int r;

	if (!wish->conn)
		return 0;
	r = control_check(wish->conn, &what, info ? wish->right : ACCESS_READ);
	if (r == -EACCES && !info)
		r = 0;
	if (r == -EACCES) {
		out->error = r;
		control_describe_denial(out->text, sizeof(out->text), out->name,
					&what, wish->right);
	}
	return r;
}

/*
 * In a space that is not his nothing is looked for on the disk but what is known
 * to be there and his to see: how long that takes would tell the rest.
 */
static bool is_hidden(const struct persist_wish *wish, uint64_t space,
		      const char *name)
{
	const struct disk_entry *entry = disk_find(space, name);
	struct access_what what = { NAME_NOBODY, NAME_NOBODY, 0 };

	if (!wish->conn || report_sees_all(wish->conn) ||
	    creation_may(wish->conn, space))
		return false;
	if (entry)
		what = disk_what(entry);
	return control_check(wish->conn, &what, ACCESS_READ) == -ENOENT;
}

static int peek(struct snapshot_info **ret, uint64_t space, const char *name,
		const struct persist_wish *wish, struct outcome *out)
{
	struct snapshot_info *info = NULL;
	struct snapshot_error why;
	int r, may;

	persist_outcome(out, space, name);
	if (store_name_check(name) || is_hidden(wish, space, name))
		return -ENOENT;
	r = snapshot_peek(&info, persist.root, space, name, &why);
	if (r == -ENOENT || r == -ENOTDIR) {
		disk_forget(space, name);
		return -ENOENT;
	}
	may = may_load(wish, info, out);
	if (may) {
		free(info);
		return may;
	}
	if (owner_holds_name(space, name)) {
		free(info);
		out->error = -EBUSY;
		snprintf(out->text, sizeof(out->text),
			 "owner or mode of cache %s are being changed; try "
			 "again",
			 name);
		return -EBUSY;
	}
	if (!r) {
		*ret = info;
		return 0;
	}
	out->error = r;
	refuse_file(out, &why);
	if (r == -EBADMSG || r == -EPROTO)
		disk_damaged(space, name, why.text);
	return r;
}

int persist_load(struct cache **ret, uint64_t space, const char *name,
		 const struct persist_wish *wish, struct outcome *out)
{
	uint64_t began = snapshot_now();
	uint32_t budgets[SHM_LAYERS_MAX];
	struct snapshot_info *info;
	struct cache *cache = NULL;
	int r = peek(&info, space, name, wish, out);

	if (r)
		return r;
	for (uint32_t l = 0; l < info->header.spec.layers; l++)
		budgets[l] = info->layers[l].budget;
	r = make(&cache, &info->header, budgets, out);
	if (!r)
		r = persist_compare(cache, wish->spec, out);
	if (!r) {
		r = begin_load(cache, info, began);
		if (r)
			snprintf(out->text, sizeof(out->text),
				 "no memory to restore %s", name);
	}
	if (r) {
		out->error = r;
		cache_free(cache);
		free(info);
		return r;
	}
	*ret = cache;
	return 0;
}

bool persist_is_current(const struct cache *cache)
{
	struct snapshot_info *info;
	struct snapshot_error why;
	bool current;

	if (persist_is_due(cache) ||
	    snapshot_peek(&info, persist.root, cache_space(cache), cache->name,
			  &why))
		return false;
	current = info->header.taken == cache->persist->taken &&
		  info->header.tail == shm_commit_tail(cache_commit(cache)) &&
		  info->header.uid == cache->uid &&
		  info->header.gid == cache->gid &&
		  info->header.mode == cache->mode;
	free(info);
	return current;
}

/* ---- dropping ---- */

void persist_dropped(struct cache *cache, bool keep_file)
{
	struct persist *p = cache->persist;
	int r = 0;

	if (p && p->job) {
		__atomic_store_n(&p->job->cancel, true, __ATOMIC_RELAXED);
		p->keep_file = keep_file;
	}
	if (!keep_file && !cache->ephemeral)
		r = disk_remove(persist.root, cache_space(cache), cache->name);
	if (r && r != -ENOENT && r != -ENOTDIR)
		log_error("snapshot not removed", "name=%s uid=%u error=\"%s\"",
			  cache->name, cache->uid, strerror(-r));
}

void persist_changed(struct cache *cache)
{
	if (cache->persist)
		cache->persist->saved = false;
}

int persist_drop_file(const struct conn *conn, uint64_t space, const char *name,
		      char *why, size_t size)
{
	const struct disk_entry *entry = disk_find(space, name);
	struct access_what what;
	int r;

	if (store_name_check(name) || !entry)
		return -ENOENT;
	what = disk_what(entry);
	r = control_check(conn, &what, ACCESS_OWN);
	if (r) {
		control_describe_denial(why, size, name, &what, ACCESS_OWN);
		return r;
	}
	if (owner_holds_name(space, name)) {
		snprintf(why, size,
			 "owner or mode of cache %s are being changed; try "
			 "again",
			 name);
		return -EBUSY;
	}
	r = disk_remove(persist.root, space, name);
	if (r)
		snprintf(why, size,
			 "the snapshot of cache %s cannot be removed: %s", name,
			 strerror(-r));
	return r;
}

void persist_describe(const struct cache *cache, Treekv__CacheInfo *info)
{
	const struct persist *p = cache->persist;

	if (!p)
		return;
	if (p->taken) {
		info->has_snapshot_time = true;
		info->snapshot_time = p->taken;
	}
	if (p->job) {
		info->has_snapshot_done = info->has_snapshot_total = true;
		info->snapshot_done = shm_load_relaxed(&p->job->done);
		info->snapshot_total = shm_load_relaxed(&p->job->total);
	}
	if (*p->fault)
		info->snapshot_fault = (char *)(uintptr_t)p->fault;
}
