// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/control.h"
#include "daemon/lease.h"
#include "tests/unit/plane.h"
#include "tests/unit/plane_clear.h"

#define must(so)                                                         \
	do {                                                             \
		if (!(so)) {                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, \
				__LINE__, #so);                          \
			abort();                                         \
		}                                                        \
	} while (0)

static struct plane_reply request(int fd, Treekv__Request *request)
{
	struct plane_reply reply;

	plane_send(fd, request);
	must(plane_read(fd, &reply));
	while (reply.reply->body_case == TREEKV__REPLY__BODY_PROGRESS) {
		plane_reply_free(&reply);
		must(plane_read(fd, &reply));
	}
	return reply;
}

/* A lease of ours may be one that we have not been told of. */
static void detach_all(int fd)
{
	const struct cache *cache = treekvd.store.first;

	while (cache) {
		Treekv__Request to = TREEKV__REQUEST__INIT;
		Treekv__Detach detach = TREEKV__DETACH__INIT;
		struct plane_reply reply;

		if (!cache->lease || cache->lease->pid != getpid()) {
			cache = cache->next;
			continue;
		}
		to.body_case = TREEKV__REQUEST__BODY_DETACH;
		to.detach = &detach;
		detach.lease = cache->lease->id;
		reply = request(fd, &to);
		plane_reply_free(&reply);
		cache = treekvd.store.first; /* others may have gone as well */
	}
}

static void full_name(char *to, size_t size, const Treekv__CacheInfo *cache,
		      uid_t uid)
{
	if (cache->shared)
		snprintf(to, size, "@%u/%s", cache->gid, cache->name);
	else if (cache->uid == uid)
		snprintf(to, size, "%s", cache->name);
	else
		snprintf(to, size, "~%u/%s", cache->uid, cache->name);
}

/* What this user sees, in memory and on disk: root all there is. */
static void drop_all(int fd, uid_t uid)
{
	char name[SHM_NAME_FULL + 16];
	Treekv__Request to = TREEKV__REQUEST__INIT;
	Treekv__List list = TREEKV__LIST__INIT;
	struct plane_reply listed, reply;

	to.body_case = TREEKV__REQUEST__BODY_LIST;
	to.list = &list;
	listed = request(fd, &to);
	for (size_t i = 0; i < listed.reply->list->n_cache; i++) {
		const Treekv__CacheInfo *cache = listed.reply->list->cache[i];
		Treekv__Drop drop = TREEKV__DROP__INIT;

		to.body_case = TREEKV__REQUEST__BODY_DROP;
		to.drop = &drop;
		full_name(name, sizeof(name), cache, uid);
		drop.name = name;
		drop.has_cache = cache->cache != 0;
		drop.cache = cache->cache;
		reply = request(fd, &to);
		plane_reply_free(&reply);
	}
	plane_reply_free(&listed);
}

static bool is_empty(void *arg)
{
	(void)arg;
	return !treekvd.store.caches && !treekvd.store.leaving &&
	       !listener_connections(treekvd.listener);
}

static void greet(int fd)
{
	Treekv__Request to = TREEKV__REQUEST__INIT;
	Treekv__Hello hello = TREEKV__HELLO__INIT;
	struct plane_reply reply;

	hello.version_min = hello.version_max = TREEKV_PROTOCOL;
	to.body_case = TREEKV__REQUEST__BODY_HELLO;
	to.hello = &hello;
	reply = request(fd, &to);
	plane_reply_free(&reply);
}

void plane_clear(uid_t uid)
{
	pid_t process = 0;
	int fd = uid ? plane_connect_from(&process, uid) : plane_connect();

	must(fd >= 0);
	greet(fd);
	if (!uid)
		detach_all(fd);
	drop_all(fd, uid);
	close(fd);
	if (process)
		plane_kill(process);
}

void plane_await_end(void)
{
	plane_until(is_empty, NULL);
	must(!treekvd.leases);
	must(!treekvd.store.dropped);
	must(!treekvd.store.leaving_bytes);
	must(!treekvd.store.parking && !treekvd.store.parking_bytes);
}
