// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/name.h"
#include "client/owner.h"

#define FAILED	     1
#define USAGE	     2
#define ACCOUNT_SIZE 256

static int failed(void)
{
	fprintf(stderr, "treekvctl: %s\n", treekv_error());
	return FAILED;
}

static int ask(struct treekv *kv, Treekv__Request *request, const char *shown,
	       const char *key, const char *value, bool as_json)
{
	struct json json = { .to = stdout };
	Treekv__Reply *reply;

	if (conn_call(kv, request, &reply, NULL, NULL))
		return failed();
	treekv__reply__free_unpacked(reply, NULL);
	if (!as_json) {
		printf("%s of %s is %s\n", key, shown, value);
		return 0;
	}
	json_open(&json, NULL, '{');
	json_string(&json, "name", shown);
	json_string(&json, key, value);
	json_close(&json, '}');
	putchar('\n');
	return 0;
}

int owner_chmod(struct treekv *kv, const char *mode, const char *name,
		const char *shown, bool json)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Chmod chmod = TREEKV__CHMOD__INIT;
	unsigned long bits;
	char *end, text[8];

	bits = strtoul(mode, &end, 8);
	if (*mode < '0' || *mode > '7' || *end || bits > 0666 || bits & 0111) {
		fprintf(stderr,
			"treekvctl: %s is no mode of a cache: r (4) and w (2) "
			"for owner, group and others, as 0640\n",
			mode);
		return USAGE;
	}
	chmod.name = (char *)(uintptr_t)name;
	chmod.mode = (uint32_t)bits;
	request.body_case = TREEKV__REQUEST__BODY_CHMOD;
	request.chmod = &chmod;
	snprintf(text, sizeof(text), "%04lo", bits);
	return ask(kv, &request, shown, "mode", text, json);
}

int owner_chown(struct treekv *kv, const char *owner, const char *name,
		const char *shown, bool json)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Chown chown = TREEKV__CHOWN__INIT;
	const char *colon = strchr(owner, ':');
	char user[ACCOUNT_SIZE];
	size_t length = colon ? (size_t)(colon - owner) : strlen(owner);

	if (length >= sizeof(user) || !strcmp(owner, "") ||
	    !strcmp(owner, ":")) {
		fprintf(stderr, "treekvctl: chown to whom? USER, USER:GROUP or "
				":GROUP\n");
		return USAGE;
	}
	memcpy(user, owner, length);
	user[length] = '\0';
	chown.has_uid = length > 0;
	chown.has_gid = colon && colon[1];
	if ((chown.has_uid && name_user(&chown.uid, user)) ||
	    (chown.has_gid && name_group(&chown.gid, colon + 1)))
		return failed();
	chown.name = (char *)(uintptr_t)name;
	request.body_case = TREEKV__REQUEST__BODY_CHOWN;
	request.chown = &chown;
	return ask(kv, &request, shown, "owner", owner, json);
}
