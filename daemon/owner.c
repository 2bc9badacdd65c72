// SPDX-License-Identifier: BSD-2-Clause
/*
 * In memory a change counts at once; where there is a snapshot it is changed as
 * well, by an errand, and the answer comes when that is on the disk. Until then
 * nobody saves, restores or changes again what has that name, the old one or
 * the new one.
 *
 * A mapping cannot be taken back: who has a lease keeps it, and who reads goes
 * on reading, as with files that are open.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "daemon/control_impl.h"
#include "daemon/event.h"
#include "daemon/log.h"
#include "daemon/lookup.h"
#include "daemon/owner.h"
#include "daemon/persist.h"
#include "daemon/report.h"
#include "daemon/snapshot_owner.h"
#include "daemon/tenant.h"

/* A change that is under way on the disk. */
struct change {
	struct errand errand;
	LIST_ENTRY(change) link;
	struct conn *conn; /* NULL: hung up */
	uint64_t id;
	struct cache *cache; /* NULL: on disk only */
	uint64_t from, to;
	char name[SHM_NAME_MAX + 1];
	struct access_what what;
	int error;
	struct snapshot_error why;
	struct snapshot_info *info;
};

static LIST_HEAD(, change) changes = LIST_HEAD_INITIALIZER(changes);

bool owner_holds(const struct cache *cache)
{
	struct change *change;

	LIST_FOREACH(change, &changes, link)
	if (change->cache == cache)
		return true;
	return false;
}

bool owner_holds_name(uint64_t space, const char *name)
{
	struct change *change;

	LIST_FOREACH(change, &changes, link)
	if ((change->from == space || change->to == space) &&
	    !strcmp(change->name, name))
		return true;
	return false;
}

void owner_closed(struct conn *conn)
{
	struct change *change;

	LIST_FOREACH(change, &changes, link)
	if (change->conn == conn)
		change->conn = NULL;
}

/* ---- what is on disk ---- */

static void work(struct errand *errand)
{
	struct change *change = loop_entry(errand, struct change, errand);

	change->error = snapshot_give(&change->info, persist_root(),
				      change->from, change->name, &change->what,
				      &change->why);
}

/* It may have gone meanwhile: nobody would have told us. */
static void note(struct change *change)
{
	if (change->error == -ENOENT)
		change->error = 0;
	if (!change->info)
		return;
	if (change->from != change->to)
		disk_forget(change->from, change->name);
	disk_note(change->info);
}

static void on_worked(struct errand *errand)
{
	struct change *change = loop_entry(errand, struct change, errand);

	LIST_REMOVE(change, link);
	note(change);
	if (change->error)
		log_error("owner not recorded", "name=%s error=\"%s\"",
			  change->name, change->why.text);
	if (change->error && change->cache)
		persist_changed(change->cache);
	if (change->conn && change->error)
		control_refuse(change->conn, change->id, change->error,
			       "the snapshot of cache %s could not be changed "
			       "with it: %s",
			       change->name, change->why.text);
	else if (change->conn)
		control_done(change->conn, change->id);
	if (change->cache)
		control_leave(change->cache);
	free(change);
}

/* ---- requests ---- */

int owner_find(struct owner_subject *ret, struct conn *conn, uint64_t id,
	       const char *text)
{
	struct cache *cache = control_locate(conn, text, true);
	const struct disk_entry *entry = NULL;
	char why[512];
	struct name name;
	int r;

	if (!cache && !name_parse(&name, text, conn_peer(conn)->uid))
		entry = disk_find(name.space, name.own);
	if (!entry) {
		cache = control_find(conn, id, text, ACCESS_OWN);
		if (!cache)
			return -ENOENT;
		*ret = (struct owner_subject){ cache, cache_space(cache),
					       cache->name, cache_what(cache) };
		return 0;
	}
	*ret = (struct owner_subject){ NULL, name.space, name.own,
				       disk_what(entry) };
	r = control_check(conn, &ret->what, ACCESS_OWN);
	if (r == -ENOENT) {
		control_refuse_absent(conn, id, text);
	} else if (r) {
		control_describe_denial(why, sizeof(why), text, &ret->what,
					ACCESS_OWN);
		control_refuse(conn, id, r, "%s", why);
	} else if (!entry->info) {
		r = -EBADMSG;
		control_refuse(conn, id, r,
			       "the snapshot of cache %.*s is damaged: %.200s",
			       SHM_NAME_FULL, text, entry->why.text);
	}
	return r;
}

static bool is_taken(uint64_t space, const char *name)
{
	return store_find(&treekvd.store, space, name) ||
	       disk_has(persist_root(), space, name);
}

/* Return: 0; or a negative errno, and the peer was told. */
static int check_change(struct conn *conn, uint64_t id,
			const struct owner_subject *of, uint64_t to)
{
	const struct name name = { to, of->name };
	char folder[NAME_FOLDER_MAX + 1], why[QUOTA_TEXT_SIZE];

	if (owner_holds_name(of->space, of->name) ||
	    (of->cache && (of->cache->pending || persist_holds(of->cache)))) {
		control_refuse(conn, id, -EBUSY,
			       "cache %s is being made, saved, restored or "
			       "changed; try again",
			       of->name);
		return -EBUSY;
	}
	if (to == of->space)
		return 0;
	if (tenant_room(&name, of->cache ? cache_bytes(of->cache) : 0, why,
			sizeof(why))) {
		control_refuse(conn, id, -EDQUOT, "%s", why);
		return -EDQUOT;
	}
	if (!is_taken(to, of->name) && !owner_holds_name(to, of->name))
		return 0;
	name_folder(folder, to);
	control_refuse(conn, id, -EEXIST,
		       "%s %s has a cache %s already; drop one of the two",
		       name_is_shared(to) ? "group" : "user",
		       folder + name_is_shared(to), of->name);
	return -EEXIST;
}

static void change(struct conn *conn, uint64_t id,
		   const struct owner_subject *of,
		   const struct access_what *what)
{
	uint64_t to = name_is_shared(of->space) ? NAME_GROUP | what->gid :
						  what->uid;
	bool saved = disk_has(persist_root(), of->space, of->name);
	struct change *change = NULL;

	if (check_change(conn, id, of, to))
		return;
	if (saved)
		change = calloc(1, sizeof(*change));
	if (saved && !change) {
		control_refuse(conn, id, -ENOMEM, "the daemon has no memory");
		return;
	}
	log_info("owner changed", "name=%s uid=%u gid=%u mode=%04o by=%d",
		 of->name, what->uid, what->gid, what->mode,
		 conn_peer(conn)->pid);
	if (saved) {
		snprintf(change->name, sizeof(change->name), "%s", of->name);
		change->conn = conn;
		change->id = id;
		change->cache = of->cache;
		change->from = of->space;
		change->to = to;
		change->what = *what;
		LIST_INSERT_HEAD(&changes, change, link);
	}
	if (of->cache && to != of->space)
		lookup_remove(of->cache);
	if (of->cache)
		store_give(&treekvd.store, of->cache, what);
	if (of->cache && to != of->space)
		lookup_add(of->cache);
	if (saved)
		errand_run(&change->errand, work, on_worked);
	else
		control_done(conn, id);
}

void owner_on_chmod(struct conn *conn, uint64_t id,
		    const Treekv__Chmod *request)
{
	struct access_what what;
	struct owner_subject of;

	if (control_refuse_mode(conn, id, request->mode) ||
	    owner_find(&of, conn, id, request->name))
		return;
	what = of.what;
	what.mode = request->mode;
	change(conn, id, &of, &what);
}

void owner_on_chown(struct conn *conn, uint64_t id,
		    const Treekv__Chown *request)
{
	bool all = report_sees_all(conn);
	struct access_what what;
	struct owner_subject of;

	if (owner_find(&of, conn, id, request->name))
		return;
	what = of.what;
	if (request->has_uid)
		what.uid = request->uid;
	if (request->has_gid)
		what.gid = request->gid;
	if (what.uid == NAME_NOBODY || what.gid == NAME_NOBODY)
		control_refuse(conn, id, -EINVAL,
			       "%u is the number of no user or group",
			       NAME_NOBODY);
	else if (!all && what.uid != of.what.uid)
		control_refuse(conn, id, -EPERM,
			       "only root gives a cache to another user");
	else if (!all && what.gid != of.what.gid &&
		 !control_in_group(conn, what.gid))
		control_refuse(conn, id, -EPERM,
			       "you are not in group %u; log in again if you "
			       "have been added to it since",
			       what.gid);
	else
		change(conn, id, &of, &what);
}
