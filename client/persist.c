// SPDX-License-Identifier: BSD-2-Clause
/*
 * The daemon answers when all is done, and says meanwhile how far it has got:
 * shown where somebody may be looking. A disk that is slow, or slowed down by
 * configuration, is waited for.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "client/conn.h"
#include "client/json.h"
#include "client/persist.h"

#define WAIT_MS (24 * 3600 * 1000)
#define FAILED	1

static void show_progress(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	fprintf(stderr, "\r%8.1f of %.1f MiB ", (double)done / 1048576,
		(double)total / 1048576);
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

/* Return: 0, FAILED: it is said why. */
static int call(struct treekv *kv, Treekv__Request *request,
		Treekv__Reply **ret)
{
	bool shown = isatty(STDERR_FILENO);
	int r;

	kv->progress = shown ? show_progress : NULL;
	r = conn_call_within(kv, WAIT_MS, request, ret, NULL, NULL);
	kv->progress = NULL;
	if (shown)
		fputs("\r\033[K", stderr);
	if (!r)
		return 0;
	fprintf(stderr, "treekvctl: %s\n", treekv_error());
	return FAILED;
}

static int ask(struct treekv *kv, Treekv__Request *request, const char *done,
	       bool json)
{
	Treekv__Reply *reply;
	int status = 0;

	if (call(kv, request, &reply))
		return FAILED;
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
	snapshot.has_progress = snapshot.progress = true;
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
	restore.has_progress = restore.progress = true;
	request.body_case = TREEKV__REQUEST__BODY_RESTORE;
	request.restore = &restore;
	return ask(kv, &request, "restored", json);
}

int persist_park(struct treekv *kv, const char *name, const char *shown,
		 bool json)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	struct json to = { .to = stdout };
	Treekv__Park park = TREEKV__PARK__INIT;
	Treekv__Reply *reply;

	park.name = (char *)(uintptr_t)name;
	park.has_progress = park.progress = true;
	request.body_case = TREEKV__REQUEST__BODY_PARK;
	request.park = &park;
	if (call(kv, &request, &reply))
		return FAILED;
	treekv__reply__free_unpacked(reply, NULL);
	if (!json) {
		printf("parked %s\n", shown);
		return 0;
	}
	json_open(&to, NULL, '{');
	json_string(&to, "parked", shown);
	json_close(&to, '}');
	putchar('\n');
	return 0;
}
