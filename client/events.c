// SPDX-License-Identifier: BSD-2-Clause
/*
 * One line an event, text or JSON, written as soon as it is there, so that it
 * can be read through a pipe. Names of kinds and figures are the daemon's: one
 * that is newer has kinds that are not known here, and they show all the same.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/conn.h"
#include "client/events.h"
#include "client/json.h"
#include "client/show.h"

#define FAILED	     1
#define FOLLOW_FIRST 10 /* as tail -f has it */

static void print_time(uint64_t ns)
{
	time_t seconds = (time_t)(ns / 1000000000);
	struct tm tm;
	char text[32];

	localtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%F %T", &tm);
	printf("%s.%03u", text, (unsigned int)(ns / 1000000 % 1000));
}

/* What comes from elsewhere must not move the terminal's cursor. */
static void print_plain(const char *text)
{
	for (; *text; text++)
		putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' :
								      *text);
}

static void print_details(const Treekv__Event *e)
{
	char size[32];

	if (e->has_pid && e->pid)
		printf("  pid %u", e->pid);
	if (e->has_count)
		printf("  count %" PRIu64, e->count);
	if (e->has_evictions)
		printf("  evicted %" PRIu64, e->evictions);
	if (e->has_tail)
		printf("  tail %" PRIu64, e->tail);
	if (e->has_bytes) {
		show_size(size, sizeof(size), e->bytes);
		printf("  size %s", size);
	}
	if (e->has_ns)
		printf("  took %.3f ms", (double)e->ns / 1e6);
	if (e->has_error)
		printf("  %s", strerror(-e->error));
	if (e->text && *e->text) {
		fputs("  ", stdout);
		print_plain(e->text);
	}
}

static void print_event(const Treekv__Event *e)
{
	char owner[256] = "-";

	if (e->has_uid && e->uid != UINT32_MAX)
		show_owner(owner, sizeof(owner), e->uid);
	print_time(e->time_ns);
	printf("  %-15s %-8s ", e->kind, owner);
	print_plain(e->name ? e->name : "-");
	print_details(e);
	putchar('\n');
}

static void json_event(const Treekv__Event *e)
{
	struct json json = { .to = stdout };

	json_open(&json, NULL, '{');
	if (e->has_number)
		json_number(&json, "number", e->number);
	else
		json_null(&json, "number");
	json_number(&json, "time_ns", e->time_ns);
	json_string(&json, "kind", e->kind);
	if (e->has_uid && e->uid != UINT32_MAX)
		json_number(&json, "uid", e->uid);
	if (e->has_cache)
		json_number(&json, "cache", e->cache);
	if (e->name)
		json_string(&json, "name", e->name);
	if (e->has_pid)
		json_number(&json, "pid", e->pid);
	if (e->has_count)
		json_number(&json, "count", e->count);
	if (e->has_evictions)
		json_number(&json, "evictions", e->evictions);
	if (e->has_tail)
		json_number(&json, "tail", e->tail);
	if (e->has_bytes)
		json_number(&json, "bytes", e->bytes);
	if (e->has_ns)
		json_number(&json, "ns", e->ns);
	if (e->has_error)
		json_number(&json, "errno", (uint64_t) - (int64_t)e->error);
	if (e->text)
		json_string(&json, "text", e->text);
	json_close(&json, '}');
	putchar('\n');
}

/* What was lost comes before what is there. */
static void print_lost(uint64_t n, bool as_json)
{
	struct json json = { .to = stdout };

	if (!as_json) {
		printf("-- %" PRIu64 " events lost: not read in time --\n", n);
		return;
	}
	json_open(&json, NULL, '{');
	json_string(&json, "kind", "lost");
	json_number(&json, "count", n);
	json_close(&json, '}');
	putchar('\n');
}

/* Return: 0, or -EPIPE when nobody reads. */
static int print_reply(Treekv__Reply *reply, bool as_json)
{
	const Treekv__EventsReply *events = reply->events;

	if (events->lost)
		print_lost(events->lost, as_json);
	for (size_t i = 0; i < events->n_event; i++)
		if (as_json)
			json_event(events->event[i]);
		else
			print_event(events->event[i]);
	treekv__reply__free_unpacked(reply, NULL);
	return fflush(stdout) || ferror(stdout) ? -EPIPE : 0;
}

int events_main(struct treekv *kv, const struct events_options *options)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Events events = TREEKV__EVENTS__INIT;
	Treekv__Reply *reply;
	int r;

	events.has_last = options->has_last || options->follow;
	events.last = options->has_last ? options->last : FOLLOW_FIRST;
	events.has_follow = events.follow = options->follow;
	request.body_case = TREEKV__REQUEST__BODY_EVENTS;
	request.events = &events;
	r = conn_call(kv, &request, &reply, NULL, NULL);
	if (!r)
		r = print_reply(reply, options->json);
	while (!r && options->follow) {
		r = conn_next(kv, &request, &reply);
		if (!r)
			r = print_reply(reply, options->json);
	}
	if (r && r != -EPIPE) /* of stdout, which main() reports */
		fprintf(stderr, "treekvctl: %s\n", treekv_error());
	return r ? FAILED : 0;
}
