// SPDX-License-Identifier: BSD-2-Clause
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/json.h"
#include "client/name.h"
#include "client/quota.h"
#include "client/show.h"
#include "proto/size.h"

#define FAILED	1
#define USAGE	2
#define SET_MAX 4 /* one of each kind */

struct question {
	Treekv__Quota quota;
	Treekv__QuotaSet sets[SET_MAX];
	Treekv__QuotaSet *list[SET_MAX];
	char kinds[SET_MAX][16];
};

static int failed(void)
{
	fprintf(stderr, "treekvctl: %s\n", treekv_error());
	return FAILED;
}

static int parse_value(Treekv__QuotaSet *set, const char *text)
{
	if (!strcmp(text, "default"))
		return 0;
	if (!strcmp(text, "none")) {
		set->has_unlimited = set->unlimited = true;
		return 0;
	}
	set->has_limit = true;
	return size_parse(&set->limit, text,
			  (uint64_t)sysconf(_SC_PHYS_PAGES) *
				  (uint64_t)sysconf(_SC_PAGESIZE));
}

static int refuse_word(const char *word)
{
	fprintf(stderr,
		"treekvctl: what is %s? There are bytes=SIZE, caches=N, "
		"connections=N and requests=N, each also none or default\n",
		word);
	return USAGE;
}

/* "bytes=8G". Return: 0 or the exit status. */
static int parse_set(struct question *q, const char *word)
{
	size_t n = q->quota.n_set, length = strcspn(word, "=");
	Treekv__QuotaSet *set = &q->sets[n < SET_MAX ? n : 0];

	if (n >= SET_MAX || length >= sizeof(q->kinds[n]))
		return refuse_word(word);
	treekv__quota_set__init(set);
	memcpy(q->kinds[n], word, length);
	set->kind = q->kinds[n];
	q->list[n] = set;
	q->quota.n_set++;
	return parse_value(set, word + length + 1) ? refuse_word(word) : 0;
}

static int parse_who(struct question *q, const char *word)
{
	if (*word == '@') {
		q->quota.has_gid = true;
		return name_group(&q->quota.gid, word + 1) ? failed() : 0;
	}
	q->quota.has_uid = true;
	return name_user(&q->quota.uid, word) ? failed() : 0;
}

static void name_of(char *to, size_t size, const Treekv__QuotaAccount *account)
{
	if (!account->shared) {
		show_owner(to, size, account->id);
		return;
	}
	*to = '@';
	show_group(to + 1, size - 1, account->id);
}

static void format(char *to, size_t size, bool bytes, uint64_t value)
{
	if (bytes)
		show_size(to, size, value);
	else
		snprintf(to, size, "%" PRIu64, value);
}

static void print_text(const Treekv__QuotaReply *reply)
{
	printf("%-20s %-12s %14s %14s\n", "WHO", "WHAT", "USED", "LIMIT");
	for (size_t i = 0; i < reply->n_account; i++) {
		const Treekv__QuotaAccount *account = reply->account[i];
		char who[256], used[32], limit[32] = "none";

		name_of(who, sizeof(who), account);
		for (size_t k = 0; k < account->n_usage; k++) {
			const Treekv__QuotaUsage *usage = account->usage[k];
			bool bytes = !strcmp(usage->kind, "bytes");

			strcpy(limit, "none");
			format(used, sizeof(used), bytes, usage->used);
			if (usage->has_limit)
				format(limit, sizeof(limit), bytes,
				       usage->limit);
			printf("%-20s %-12s %14s %14s\n", who, usage->kind,
			       used, limit);
		}
	}
}

static void print_json(const Treekv__QuotaReply *reply)
{
	struct json json = { .to = stdout };
	char who[256];

	json_open(&json, NULL, '[');
	for (size_t i = 0; i < reply->n_account; i++) {
		const Treekv__QuotaAccount *account = reply->account[i];

		name_of(who, sizeof(who), account);
		json_open(&json, NULL, '{');
		json_string(&json, "who", who);
		json_number(&json, account->shared ? "gid" : "uid",
			    account->id);
		for (size_t k = 0; k < account->n_usage; k++) {
			const Treekv__QuotaUsage *usage = account->usage[k];

			json_open(&json, usage->kind, '{');
			json_number(&json, "used", usage->used);
			if (usage->has_limit)
				json_number(&json, "limit", usage->limit);
			else
				json_null(&json, "limit");
			json_close(&json, '}');
		}
		json_close(&json, '}');
	}
	json_close(&json, ']');
	putchar('\n');
}

int quota_main(struct treekv *kv, char *const *words, int n, bool json)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	struct question q = { .quota = TREEKV__QUOTA__INIT };
	Treekv__Reply *reply;
	int r = 0;

	for (int i = 0; !r && i < n; i++)
		if (strchr(words[i], '='))
			r = parse_set(&q, words[i]);
		else if (!i)
			r = parse_who(&q, words[i]);
		else
			r = refuse_word(words[i]);
	if (r)
		return r;
	q.quota.set = q.list;
	request.body_case = TREEKV__REQUEST__BODY_QUOTA;
	request.quota = &q.quota;
	if (conn_call(kv, &request, &reply, NULL, NULL))
		return failed();
	if (json)
		print_json(reply->quota);
	else
		print_text(reply->quota);
	treekv__reply__free_unpacked(reply, NULL);
	return 0;
}
