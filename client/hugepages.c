// SPDX-License-Identifier: BSD-2-Clause
/*
 * The daemon charges a cache that lies in huge pages by whole ones, so a pool
 * needs as many as its size has, no more. Pages that its caches hold already
 * are part of that; pages that others reserved are not to be had. So what is
 * missing is added to the machine's total, which is what the sysctl sets.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "client/conn.h"
#include "client/hugepages.h"
#include "client/json.h"
#include "proto/layout.h"
#include "proto/size.h"

#define PAGES	     "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define POOL_DEFAULT "50%"
#define SYSCTL_FILE  "/etc/sysctl.d/60-treekvd.conf"

struct need {
	uint64_t pool; /* bytes */
	uint64_t pages; /* of them */
	uint64_t total; /* the machine's, and of these: */
	uint64_t free;
	uint64_t reserved; /* counted free, but promised */
	uint64_t held; /* by the daemon's caches */
	uint64_t missing;
};

static bool read_pages(uint64_t *ret, const char *which)
{
	unsigned long value;
	char path[96];
	FILE *from;
	int n;

	snprintf(path, sizeof(path), PAGES "%s", which);
	from = fopen(path, "re");
	if (!from)
		return false;
	n = fscanf(from, "%lu", &value);
	fclose(from);
	if (n == 1)
		*ret = value;
	return n == 1;
}

static void add_held(struct need *need, const Treekv__ListReply *list)
{
	for (size_t i = 0; i < list->n_cache; i++)
		if (list->cache[i]->huge)
			need->held += list->cache[i]->bytes / LAYOUT_HUGE_PAGE;
}

static void take_pool(struct need *need, const Treekv__StatsReply *stats)
{
	for (size_t i = 0; i < stats->n_metric; i++)
		if (!strcmp(stats->metric[i]->name, "pool_limit_bytes"))
			need->pool = (uint64_t)stats->metric[i]->value;
}

/* What a daemon says; nothing when there is none. */
static void ask_daemon(struct need *need, const char *socket)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Stats stats = TREEKV__STATS__INIT;
	Treekv__List list = TREEKV__LIST__INIT;
	Treekv__Reply *reply;
	struct treekv *kv;

	if (treekv_connect(&kv, socket))
		return;
	request.body_case = TREEKV__REQUEST__BODY_STATS;
	request.stats = &stats;
	if (!conn_call(kv, &request, &reply, NULL, NULL)) {
		take_pool(need, reply->stats);
		treekv__reply__free_unpacked(reply, NULL);
	}
	request.body_case = TREEKV__REQUEST__BODY_LIST;
	request.list = &list;
	if (!conn_call(kv, &request, &reply, NULL, NULL)) {
		add_held(need, reply->list);
		treekv__reply__free_unpacked(reply, NULL);
	}
	treekv_close(kv);
}

static int set_pool(struct need *need, const char *pool)
{
	uint64_t memory = 0;
	struct sysinfo info;

	if (!sysinfo(&info))
		memory = (uint64_t)info.totalram * info.mem_unit;
	if (!size_parse(&need->pool, pool, memory))
		return 0;
	fprintf(stderr,
		"treekvctl: --pool cannot be '%s'; it is a size such as 512M, "
		"8G or 50%% (of the machine's memory)\n",
		pool);
	return 2;
}

static void work_out(struct need *need)
{
	uint64_t there = need->held;

	if (need->free > need->reserved)
		there += need->free - need->reserved;
	need->pages = (need->pool + LAYOUT_HUGE_PAGE - 1) / LAYOUT_HUGE_PAGE;
	need->missing = need->pages > there ? need->pages - there : 0;
}

static void print_json(const struct need *need, const char *line)
{
	struct json json = { .to = stdout };

	json_open(&json, NULL, '{');
	json_number(&json, "pool_bytes", need->pool);
	json_number(&json, "page_bytes", LAYOUT_HUGE_PAGE);
	json_number(&json, "pages_needed", need->pages);
	json_number(&json, "pages_total", need->total);
	json_number(&json, "pages_free", need->free);
	json_number(&json, "pages_reserved", need->reserved);
	json_number(&json, "pages_held", need->held);
	json_number(&json, "pages_missing", need->missing);
	if (need->missing)
		json_string(&json, "sysctl", line);
	else
		json_null(&json, "sysctl");
	json_close(&json, '}');
	putchar('\n');
}

static void print_text(const struct need *need, const char *line)
{
	printf("pool     %llu MiB need %llu pages of 2 MiB\n"
	       "machine  %llu pages: %llu free (%llu of them reserved), %llu "
	       "held by caches of yours\n",
	       (unsigned long long)(need->pool >> 20),
	       (unsigned long long)need->pages, (unsigned long long)need->total,
	       (unsigned long long)need->free,
	       (unsigned long long)need->reserved,
	       (unsigned long long)need->held);
	if (!need->missing) {
		puts("missing  none");
		return;
	}
	printf("missing  %llu pages; get them with\n\n"
	       "    sysctl -w %s\n\n"
	       "and after each boot with the line \"%s\" in\n" SYSCTL_FILE
	       ". Early after boot memory is still in one piece;\n"
	       "run this again to see how many the kernel could give.\n",
	       (unsigned long long)need->missing, line, line);
}

int hugepages_main(const char *socket, const char *pool, bool json)
{
	struct need need = { 0 };
	char line[64];
	int r = 0;

	if (!read_pages(&need.total, "nr_hugepages") ||
	    !read_pages(&need.free, "free_hugepages") ||
	    !read_pages(&need.reserved, "resv_hugepages")) {
		fputs("treekvctl: this kernel has no huge pages of 2 MiB (" PAGES
		      " cannot be read)\n",
		      stderr);
		return 1;
	}
	ask_daemon(&need, socket);
	if (pool || !need.pool)
		r = set_pool(&need, pool ? pool : POOL_DEFAULT);
	if (r)
		return r;
	work_out(&need);
	snprintf(line, sizeof(line), "vm.nr_hugepages=%llu",
		 (unsigned long long)need.total + need.missing);
	if (json)
		print_json(&need, line);
	else
		print_text(&need, line);
	return 0;
}
