// SPDX-License-Identifier: BSD-2-Clause
/*
 * treekvctl: one request, one answer, printed. Options may stand on either side
 * of the command; replay parses its own. Exit status: 0, 1 when something
 * failed, 2 when the command line makes no sense.
 */
#include <getopt.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/conn.h"
#include "client/doctor.h"
#include "client/events.h"
#include "client/hugepages.h"
#include "client/json.h"
#include "client/keep.h"
#include "client/map.h"
#include "client/name.h"
#include "client/owner.h"
#include "client/persist.h"
#include "client/quota.h"
#include "client/replay.h"
#include "client/show.h"
#include "proto/size.h"

#define KEPT_WIDTH  64 /* parts that inspect's map has */
#define KEPT_GROUPS 8

enum {
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
};

struct options {
	const char *socket;
	const char *name; /* the command's last argument */
	const char *value; /* the one before it, of ttl, chmod and chown */
	char *const *words; /* all arguments, of quota */
	int n_words;
	char full[SHM_NAME_FULL + 1]; /* the name, as the daemon takes it */
	const char *pool; /* hugepages' */
	struct events_options events;
	bool json;
	bool all;
	bool keep_snapshot;
	bool help;
	bool version;
};

/* One of connected and alone is set, or raw. */
struct command {
	const char *name;
	const char *argument; /* NULL: none */
	const char *help;
	int (*connected)(struct treekv *kv, const struct options *options);
	int (*alone)(const struct options *options);
	int (*raw)(int argc, char **argv, bool json);
};

static int ask(struct treekv *kv, Treekv__Request *request,
	       Treekv__Request__BodyCase body, Treekv__Reply **ret)
{
	request->body_case = body;
	if (!conn_call(kv, request, ret, NULL, NULL))
		return 0;
	fprintf(stderr, "treekvctl: %s\n", treekv_error());
	return EXIT_FAILED;
}

static int run_status(struct treekv *kv, const struct options *options)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Stats stats = TREEKV__STATS__INIT;
	Treekv__Reply *reply;

	request.stats = &stats;
	if (ask(kv, &request, TREEKV__REQUEST__BODY_STATS, &reply))
		return EXIT_FAILED;
	if (options->json)
		show_status_json(kv, reply->stats);
	else
		show_status(kv, reply->stats);
	treekv__reply__free_unpacked(reply, NULL);
	return 0;
}

static int run_list(struct treekv *kv, const struct options *options)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__List list = TREEKV__LIST__INIT;
	Treekv__Reply *reply;

	request.list = &list;
	if (ask(kv, &request, TREEKV__REQUEST__BODY_LIST, &reply))
		return EXIT_FAILED;
	if (options->json)
		show_list_json(reply->list);
	else
		show_list(reply->list);
	treekv__reply__free_unpacked(reply, NULL);
	return 0;
}

/* An older daemon has none, one that is empty neither: then NULL. */
static Treekv__Reply *ask_kept(struct treekv *kv, const Treekv__CacheInfo *info)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Kept kept = TREEKV__KEPT__INIT;
	uint64_t edge[KEPT_WIDTH + 1];
	Treekv__Reply *reply;

	kept.cache = info->cache;
	kept.edge = edge;
	kept.n_edge = map_edges(edge, KEPT_WIDTH, info->tail, MAP_EVEN) + 1;
	kept.has_groups = true;
	kept.groups = KEPT_GROUPS;
	request.kept = &kept;
	request.body_case = TREEKV__REQUEST__BODY_KEPT;
	if (kept.n_edge < 2 || conn_call(kv, &request, &reply, NULL, NULL))
		return NULL;
	return reply;
}

static int run_inspect(struct treekv *kv, const struct options *options)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Inspect inspect = TREEKV__INSPECT__INIT;
	Treekv__Reply *reply, *map;
	const Treekv__KeptReply *kept;

	inspect.name = (char *)(uintptr_t)options->full;
	request.inspect = &inspect;
	if (ask(kv, &request, TREEKV__REQUEST__BODY_INSPECT, &reply))
		return EXIT_FAILED;
	map = ask_kept(kv, reply->inspect->info);
	kept = map ? map->kept : NULL;
	if (options->json)
		show_inspect_json(reply->inspect, kept);
	else
		show_inspect(reply->inspect, kept);
	if (map)
		treekv__reply__free_unpacked(map, NULL);
	treekv__reply__free_unpacked(reply, NULL);
	return 0;
}

/* "dropped NAME", as text or JSON. */
static int tell(const struct options *options, const char *what)
{
	struct json json = { .to = stdout };

	if (!options->json) {
		printf("%s %s\n", what, options->name);
		return 0;
	}
	json_open(&json, NULL, '{');
	json_string(&json, what, options->name);
	json_close(&json, '}');
	putchar('\n');
	return 0;
}

static int run_drop(struct treekv *kv, const struct options *options)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Drop drop = TREEKV__DROP__INIT;
	Treekv__Reply *reply;

	drop.name = (char *)(uintptr_t)options->full;
	drop.has_keep_snapshot = options->keep_snapshot;
	drop.keep_snapshot = options->keep_snapshot;
	request.drop = &drop;
	if (ask(kv, &request, TREEKV__REQUEST__BODY_DROP, &reply))
		return EXIT_FAILED;
	treekv__reply__free_unpacked(reply, NULL);
	return tell(options, "dropped");
}

static int run_break(struct treekv *kv, const struct options *options)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Break break_lease = TREEKV__BREAK__INIT;
	struct json json = { .to = stdout };
	Treekv__Reply *reply;

	break_lease.name = (char *)(uintptr_t)options->full;
	request.break_lease = &break_lease;
	if (ask(kv, &request, TREEKV__REQUEST__BODY_BREAK_LEASE, &reply))
		return EXIT_FAILED;
	treekv__reply__free_unpacked(reply, NULL);
	if (!options->json) {
		printf("cache %s is free\n", options->name);
		return 0;
	}
	json_open(&json, NULL, '{');
	json_string(&json, "broken", options->name);
	json_close(&json, '}');
	putchar('\n');
	return 0;
}

static int run_freeze(struct treekv *kv, const struct options *options)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Freeze freeze = TREEKV__FREEZE__INIT;
	Treekv__Reply *reply;

	freeze.name = (char *)(uintptr_t)options->full;
	request.freeze = &freeze;
	if (ask(kv, &request, TREEKV__REQUEST__BODY_FREEZE, &reply))
		return EXIT_FAILED;
	treekv__reply__free_unpacked(reply, NULL);
	return tell(options, "frozen");
}

static int run_snapshot(struct treekv *kv, const struct options *options)
{
	return persist_save(kv, options->all ? NULL : options->full,
			    options->json);
}

static int run_park(struct treekv *kv, const struct options *options)
{
	return persist_park(kv, options->full, options->name, options->json);
}

static int run_pin(struct treekv *kv, const struct options *options)
{
	return keep_pin(kv, options->full, options->name, true, options->json);
}

static int run_unpin(struct treekv *kv, const struct options *options)
{
	return keep_pin(kv, options->full, options->name, false, options->json);
}

static int run_ttl(struct treekv *kv, const struct options *options)
{
	return keep_ttl(kv, options->value, options->full, options->name,
			options->json);
}

static int run_restore(struct treekv *kv, const struct options *options)
{
	return persist_restore(kv, options->all ? NULL : options->full,
			       options->json);
}

static int run_chmod(struct treekv *kv, const struct options *options)
{
	return owner_chmod(kv, options->value, options->full, options->name,
			   options->json);
}

static int run_chown(struct treekv *kv, const struct options *options)
{
	return owner_chown(kv, options->value, options->full, options->name,
			   options->json);
}

static int run_quota(struct treekv *kv, const struct options *options)
{
	return quota_main(kv, options->words, options->n_words, options->json);
}

static int run_events(struct treekv *kv, const struct options *options)
{
	struct events_options events = options->events;

	events.json = options->json;
	return events_main(kv, &events);
}

static int run_doctor(const struct options *options)
{
	return doctor_main(options->socket, options->json);
}

static int run_hugepages(const struct options *options)
{
	return hugepages_main(options->socket, options->pool, options->json);
}

#define LEASE_BREAK "lease break" /* the one command of two words */

static const struct command commands[] = {
	{ "status", NULL, "the daemon and its metrics", run_status, NULL,
	  NULL },
	{ "list", NULL, "the caches there are", run_list, NULL, NULL },
	{ "inspect", "NAME", "everything about one cache", run_inspect, NULL,
	  NULL },
	{ "drop", "NAME",
	  "free a cache's name; its memory goes with its last holder,\n"
	  "                  its snapshot at once (but: --keep-snapshot)",
	  run_drop, NULL, NULL },
	{ "freeze", "NAME", "make a cache immutable, to be read and forked",
	  run_freeze, NULL, NULL },
	{ "chmod", "MODE NAME",
	  "who may read and write a cache, as of a file: 0640", run_chmod, NULL,
	  NULL },
	{ "chown", "OWNER NAME", "whose it is: USER, USER:GROUP, :GROUP",
	  run_chown, NULL, NULL },
	{ "quota", "...",
	  "who uses how much of what he may, or one USER or @GROUP;\n"
	  "                  with bytes=, caches=, connections=, requests=: "
	  "set it",
	  run_quota, NULL, NULL },
	{ "snapshot", "NAME", "write a cache to disk, or --all", run_snapshot,
	  NULL, NULL },
	{ "park", "NAME",
	  "write a cache to disk and give its memory back; the next attach\n"
	  "                  brings it back",
	  run_park, NULL, NULL },
	{ "pin", "NAME", "have a cache stay in memory, come what may", run_pin,
	  NULL, NULL },
	{ "unpin", "NAME", "let it go again when room is wanted", run_unpin,
	  NULL, NULL },
	{ "ttl", "TIME NAME",
	  "how long a cache may be idle: 90s, 15m, 2h, 7d, none", run_ttl, NULL,
	  NULL },
	{ "restore", "NAME", "bring a cache back from disk, or --all",
	  run_restore, NULL, NULL },
	{ LEASE_BREAK, "NAME",
	  "take a cache from a process that neither goes on nor ends",
	  run_break, NULL, NULL },
	{ "events", NULL, "what has happened; with --follow, what happens",
	  run_events, NULL, NULL },
	{ "doctor", NULL, "what this machine can and cannot do", NULL,
	  run_doctor, NULL },
	{ "hugepages", NULL,
	  "how many huge pages a pool needs, and how to get them", NULL,
	  run_hugepages, NULL },
	{ "replay", "...", "run a recorded attention trace (see replay --help)",
	  NULL, NULL, replay_main },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(void)
{
	puts("usage: treekvctl [OPTION]... COMMAND [ARGUMENT]\n\ncommands:");
	for (size_t i = 0; i < COMMANDS; i++) {
		const struct command *c = &commands[i];
		const char *argument = c->argument ? c->argument : "";
		int width = 16 - (int)strlen(c->name) - 1;

		printf("  %s %-*s%s\n", c->name, width, argument, c->help);
	}
	puts("\noptions:\n"
	     "  --socket PATH   the socket, else $TREEKV_SOCKET, else\n"
	     "                  " TREEKV_SOCKET_DEFAULT "\n"
	     "  --json          JSON on stdout\n"
	     "  --pool SIZE     of hugepages: the pool that is wanted\n"
	     "  --all           snapshot, restore: all there are\n"
	     "  --keep-snapshot drop: leave what is on disk\n"
	     "  --follow        events: go on until stopped\n"
	     "  --last N        events: the latest N; else all that are kept,\n"
	     "                  and 10 with --follow\n"
	     "  --help          this text\n"
	     "  --version       the version");
}

static int usage(const char *what, const char *which)
{
	fprintf(stderr, "treekvctl: %s%s; see treekvctl --help\n", what, which);
	return EXIT_USAGE;
}

static int parse_last(struct events_options *events, const char *text)
{
	uint64_t number;
	char *end;

	if (size_parse_digits(&number, text, &end) || *end ||
	    number > UINT32_MAX)
		return -1;
	events->has_last = true;
	events->last = (uint32_t)number;
	return 0;
}

/* @where: "+" stops at the first word that is no option. */
static int parse(struct options *options, int argc, char **argv,
		 const char *where)
{
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ "pool", required_argument, NULL, 'p' },
		{ "all", no_argument, NULL, 'a' },
		{ "keep-snapshot", no_argument, NULL, 'k' },
		{ "follow", no_argument, NULL, 'f' },
		{ "last", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ 0 },
	};
	int c;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, where, longs, NULL)) != -1) {
		if (c == 's')
			options->socket = optarg;
		else if (c == 'j')
			options->json = true;
		else if (c == 'p')
			options->pool = optarg;
		else if (c == 'a')
			options->all = true;
		else if (c == 'k')
			options->keep_snapshot = true;
		else if (c == 'f')
			options->events.follow = true;
		else if (c == 'l' && parse_last(&options->events, optarg))
			return usage("--last takes a number, not ", optarg);
		else if (c == 'l')
			continue;
		else if (c == 'h')
			options->help = true;
		else if (c == 'v')
			options->version = true;
		else
			return usage("unknown option, or one without its "
				     "argument: ",
				     argv[optind - 1]);
	}
	opterr = 1;
	return 0;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	}
	return NULL;
}

static int run_connected(const struct command *command,
			 const struct options *options)
{
	struct treekv *kv;
	int r;

	if (treekv_connect(&kv, options->socket)) {
		fprintf(stderr, "treekvctl: %s\n", treekv_error());
		return EXIT_FAILED;
	}
	r = command->connected(kv, options);
	treekv_close(kv);
	return r;
}

static int count_words(const char *text)
{
	int n = text ? 1 : 0;

	for (; text && *text; text++)
		n += *text == ' ';
	return n;
}

/* argv[0] is the command. */
static int run(const struct command *command, struct options *options, int argc,
	       char **argv)
{
	int wanted = command->connected == run_quota ?
			     0 :
			     count_words(command->argument);
	bool takes_all = command->connected == run_snapshot ||
			 command->connected == run_restore;

	if (command->raw)
		return command->raw(argc, argv, options->json);
	if (parse(options, argc, argv, ""))
		return EXIT_USAGE;
	if (options->help) {
		print_help();
		return 0;
	}
	if (options->all && !takes_all)
		return usage("--all does not go with ", command->name);
	if (options->keep_snapshot && command->connected != run_drop)
		return usage("--keep-snapshot does not go with ",
			     command->name);
	if ((options->events.follow || options->events.has_last) &&
	    command->connected != run_events)
		return usage("--follow and --last do not go with ",
			     command->name);
	if (options->all)
		wanted = 0;
	if (argc - optind < wanted)
		return usage(wanted == 1 ? "a NAME is missing after " :
					   "too little stands after ",
			     command->name);
	if (argc - optind > wanted && command->connected != run_quota)
		return usage("one too many: ", argv[optind + wanted]);
	if (options->pool && command->alone != run_hugepages)
		return usage("--pool is no option of ", command->name);
	options->words = argv + optind;
	options->n_words = argc - optind;
	options->name = wanted ? argv[optind + wanted - 1] : NULL;
	options->value = wanted == 2 ? argv[optind] : NULL;
	if (wanted && name_resolve(options->full, options->name)) {
		fprintf(stderr, "treekvctl: %s\n", treekv_error());
		return EXIT_FAILED;
	}
	if (command->alone)
		return command->alone(options);
	return run_connected(command, options);
}

static int dispatch(int argc, char **argv)
{
	struct options options = { 0 };
	const struct command *command;

	if (parse(&options, argc, argv, "+"))
		return EXIT_USAGE;
	if (options.help) {
		print_help();
		return 0;
	}
	if (options.version) {
		puts("treekvctl " TREEKV_VERSION);
		return 0;
	}
	if (optind >= argc)
		return usage("a command is missing", "");
	if (!strcmp(argv[optind], "lease") && optind + 1 < argc &&
	    !strcmp(argv[optind + 1], "break"))
		argv[++optind] = (char *)(uintptr_t)LEASE_BREAK;
	command = find_command(argv[optind]);
	if (!command)
		return usage("no such command: ", argv[optind]);
	return run(command, &options, argc - optind, argv + optind);
}

int main(int argc, char **argv)
{
	int r;

	setlocale(LC_CTYPE, "");
	r = dispatch(argc, argv);

	if (fflush(stdout) || ferror(stdout)) {
		perror("treekvctl: cannot write to stdout");
		return EXIT_FAILED;
	}
	return r;
}
