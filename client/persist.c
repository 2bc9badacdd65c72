// SPDX-License-Identifier: BSD-2-Clause
/*
 * The daemon answers when all is done. On a terminal a second connection asks
 * meanwhile how far it has got.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/conn.h"
#include "client/json.h"
#include "client/persist.h"

#define WAIT_MS (24 * 3600 * 1000)
#define SHOW_MS 200
#define FAILED	1

struct progress {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool running;
	bool stop;
	char socket[128];
};

static void show_progress(struct treekv *kv)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__List list = TREEKV__LIST__INIT;
	uint64_t done = 0, total = 0;
	Treekv__Reply *reply;

	request.body_case = TREEKV__REQUEST__BODY_LIST;
	request.list = &list;
	if (conn_call(kv, &request, &reply, NULL, NULL))
		return;
	for (size_t i = 0; i < reply->list->n_cache; i++) {
		done += reply->list->cache[i]->snapshot_done;
		total += reply->list->cache[i]->snapshot_total;
	}
	treekv__reply__free_unpacked(reply, NULL);
	if (total)
		fprintf(stderr, "\r%8.1f of %.1f MiB ", (double)done / 1048576,
			(double)total / 1048576);
}

static void *progress_main(void *arg)
{
	struct progress *p = arg;
	struct timespec until;
	struct treekv *kv;

	if (treekv_connect(&kv, p->socket))
		return NULL;
	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += SHOW_MS * 1000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&p->over, &p->lock, &until);
		if (!p->stop)
			show_progress(kv);
	}
	pthread_mutex_unlock(&p->lock);
	treekv_close(kv);
	return NULL;
}

static void progress_begin(struct progress *p, const struct treekv *kv)
{
	*p = (struct progress){ .running = false };
	if (!isatty(STDERR_FILENO))
		return;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->over, NULL);
	snprintf(p->socket, sizeof(p->socket), "%s", kv->address.sun_path);
	p->running = !pthread_create(&p->thread, NULL, progress_main, p);
}

static void progress_end(struct progress *p)
{
	if (!p->running)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_signal(&p->over);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	fputs("\r\033[K", stderr);
}

static void print_one(const Treekv__Persisted *item, const char *done)
{
	double seconds = (double)item->ns / 1e9;

	if (item->error)
		fprintf(stderr, "treekvctl: %s: %s\n", item->name, item->text);
	else if (item->bytes)
		printf("%s %s at token %" PRIu64 ": %.1f MiB in %.3f s\n", done,
		       item->name, item->tail, (double)item->bytes / 1048576,
		       seconds);
	else
		printf("%s %s at token %" PRIu64 "\n", done, item->name,
		       item->tail);
}

static void print_json(const Treekv__PersistReply *reply)
{
	struct json json = { .to = stdout };

	json_open(&json, NULL, '[');
	for (size_t i = 0; i < reply->n_cache; i++) {
		const Treekv__Persisted *item = reply->cache[i];

		json_open(&json, NULL, '{');
		json_string(&json, "name", item->name);
		json_number(&json, "uid", item->uid);
		json_number(&json, "errno", (uint64_t)-item->error);
		json_string(&json, "error", item->text ? item->text : "");
		json_number(&json, "tail", item->tail);
		json_number(&json, "bytes", item->bytes);
		json_number(&json, "ns", item->ns);
		json_close(&json, '}');
	}
	json_close(&json, ']');
	putchar('\n');
}

static int ask(struct treekv *kv, Treekv__Request *request, const char *done,
	       bool json)
{
	struct progress progress;
	Treekv__Reply *reply;
	int r, status = 0;

	progress_begin(&progress, kv);
	r = conn_call_within(kv, WAIT_MS, request, &reply, NULL, NULL);
	progress_end(&progress);
	if (r) {
		fprintf(stderr, "treekvctl: %s\n", treekv_error());
		return FAILED;
	}
	for (size_t i = 0; i < reply->persist->n_cache; i++) {
		const Treekv__Persisted *item = reply->persist->cache[i];

		if (item->error)
			status = FAILED;
		if (!json || item->error)
			print_one(item, done);
	}
	if (json)
		print_json(reply->persist);
	else if (!reply->persist->n_cache)
		printf("nothing to do\n");
	treekv__reply__free_unpacked(reply, NULL);
	return status;
}

int persist_save(struct treekv *kv, const char *name, bool json)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Snapshot snapshot = TREEKV__SNAPSHOT__INIT;

	snapshot.name = (char *)(uintptr_t)name;
	snapshot.has_all = snapshot.all = !name;
	request.body_case = TREEKV__REQUEST__BODY_SNAPSHOT;
	request.snapshot = &snapshot;
	return ask(kv, &request, "saved", json);
}

int persist_restore(struct treekv *kv, const char *name, bool json)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Restore restore = TREEKV__RESTORE__INIT;

	restore.name = (char *)(uintptr_t)name;
	restore.has_all = restore.all = !name;
	request.body_case = TREEKV__REQUEST__BODY_RESTORE;
	request.restore = &restore;
	return ask(kv, &request, "restored", json);
}
