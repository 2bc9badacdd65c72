// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "client/conn.h"
#include "client/json.h"
#include "client/keep.h"
#include "proto/size.h"

#define FAILED	 1
#define USAGE	 2
#define TIME_MAX (UINT64_C(1) << 32) /* seconds */

static int ask(struct treekv *kv, Treekv__Keep *keep, const char *shown,
	       const char *done, bool json)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	struct json to = { .to = stdout };
	Treekv__Reply *reply;

	request.body_case = TREEKV__REQUEST__BODY_KEEP;
	request.keep = keep;
	if (conn_call(kv, &request, &reply, NULL, NULL)) {
		fprintf(stderr, "treekvctl: %s\n", treekv_error());
		return FAILED;
	}
	treekv__reply__free_unpacked(reply, NULL);
	if (!json) {
		printf("%s %s\n", done, shown);
		return 0;
	}
	json_open(&to, NULL, '{');
	json_string(&to, done, shown);
	json_close(&to, '}');
	putchar('\n');
	return 0;
}

int keep_pin(struct treekv *kv, const char *name, const char *shown, bool pin,
	     bool json)
{
	Treekv__Keep keep = TREEKV__KEEP__INIT;

	keep.name = (char *)(uintptr_t)name;
	keep.has_pinned = true;
	keep.pinned = pin;
	return ask(kv, &keep, shown, pin ? "pinned" : "unpinned", json);
}

/* Return: 0 or -EINVAL. */
static int parse_time(uint64_t *ret, const char *text)
{
	static const struct {
		char letter;
		uint32_t seconds;
	} units[] = {
		{ '\0', 1 },   { 's', 1 },     { 'm', 60 },
		{ 'h', 3600 }, { 'd', 86400 },
	};
	uint64_t number;
	char *end;

	if (!strcmp(text, "none")) {
		*ret = 0;
		return 0;
	}
	if (size_parse_digits(&number, text, &end) || !number)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (*end != units[i].letter || (*end && end[1]) ||
		    number > TIME_MAX / units[i].seconds)
			continue;
		*ret = number * units[i].seconds;
		return 0;
	}
	return -EINVAL;
}

int keep_ttl(struct treekv *kv, const char *time, const char *name,
	     const char *shown, bool json)
{
	Treekv__Keep keep = TREEKV__KEEP__INIT;

	keep.name = (char *)(uintptr_t)name;
	keep.has_ttl = true;
	if (!parse_time(&keep.ttl, time))
		return ask(kv, &keep, shown, keep.ttl ? "limited" : "unlimited",
			   json);
	fprintf(stderr,
		"treekvctl: a time is none, or a number with s, m, h or d, "
		"136 years at most; not '%s'\n",
		time);
	return USAGE;
}
