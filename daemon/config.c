// SPDX-License-Identifier: BSD-2-Clause
/*
 * An option is one row of a table; one word names it on the command line
 * (--word VALUE, --word=VALUE) and in the file (word = VALUE). The command line
 * is split first, because --config says which file to read, then everything is
 * applied in order: defaults, file, command line. All three go through the same
 * option_set(), so a value is refused in the same words wherever it stood.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "daemon/config.h"
#include "daemon/config_table.h"
#include "daemon/crash.h"
#include "daemon/endpoint.h"
#include "daemon/log.h"
#include "daemon/quota.h"
#include "proto/frame.h"
#include "proto/size.h"

#define FILE_DEFAULT "/etc/treekvd/treekvd.conf"
#define WORKERS_MAX  64
#define HELP_COLUMN  24

static const char *const huge_pages_words[] = {
	[HUGE_PAGES_REQUIRE] = "require",
	[HUGE_PAGES_PREFER] = "prefer",
	[HUGE_PAGES_NEVER] = "never",
	NULL,
};

static const char *const log_level_words[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
	NULL,
};

static const char *const no_yes_words[] = { "no", "yes", NULL };

static const char *const restore_words[] = {
	[RESTORE_LAZY] = "lazy",
	[RESTORE_EAGER] = "eager",
	[RESTORE_NEVER] = "never",
	NULL,
};

static const char *const reclaim_words[] = {
	[RECLAIM_PARK] = "park",
	[RECLAIM_DROP] = "drop",
	[RECLAIM_NEVER] = "never",
	NULL,
};

const struct option_row config_options[] = {
	{ .name = "socket",
	  .metavar = "PATH",
	  .text = TREEKV_SOCKET_DEFAULT,
	  .help = "the Unix socket to listen on",
	  .type = OPTION_PATH,
	  .offset = offsetof(struct config, socket) },
	{ .name = "state-dir",
	  .metavar = "DIR",
	  .text = "/var/lib/treekvd",
	  .help = "where the daemon keeps what outlives it",
	  .type = OPTION_PATH,
	  .offset = offsetof(struct config, state_dir) },
	{ .name = "pool",
	  .metavar = "SIZE",
	  .text = "50%",
	  .help = "what all caches together may take: bytes, with K, M, G or "
		  "T, or a percentage of the machine's memory",
	  .type = OPTION_SIZE,
	  .offset = offsetof(struct config, pool),
	  .live = true },
	{ .name = "huge-pages",
	  .metavar = "require|prefer|never",
	  .text = "prefer",
	  .help = "require huge pages for caches, prefer them, or use none",
	  .type = OPTION_WORD,
	  .words = huge_pages_words,
	  .offset = offsetof(struct config, huge_pages),
	  .live = true },
	{ .name = "workers",
	  .metavar = "N",
	  .text = "1",
	  .help = "threads that compact caches, 1 to 64",
	  .type = OPTION_NUMBER,
	  .min = 1,
	  .max = WORKERS_MAX,
	  .offset = offsetof(struct config, workers) },
	{ .name = "log-level",
	  .metavar = "error|warning|info|debug",
	  .text = "info",
	  .help = "the least of what is logged",
	  .type = OPTION_WORD,
	  .words = log_level_words,
	  .offset = offsetof(struct config, log_level),
	  .live = true },
	{ .name = "busy-poll",
	  .metavar = "MICROSECONDS",
	  .text = "0",
	  .help = "stay awake that long after a request for the next one: a "
		  "sleeping processor takes longer to wake than most requests "
		  "take; 0: sleep at once",
	  .type = OPTION_NUMBER,
	  .min = 0,
	  .max = 1000000,
	  .offset = offsetof(struct config, busy_poll) },
	{ .name = "snapshot-every",
	  .metavar = "SECONDS",
	  .text = "0",
	  .help = "write the caches that changed to the state directory that "
		  "often; 0: only when asked, and when stopping",
	  .type = OPTION_NUMBER,
	  .min = 0,
	  .max = 31536000,
	  .offset = offsetof(struct config, snapshot_every),
	  .live = true },
	{ .name = "snapshot-rate",
	  .metavar = "SIZE",
	  .text = "0",
	  .help = "bytes a second that a worker writes for a snapshot at most, "
		  "0: as many as it can",
	  .type = OPTION_SIZE,
	  .offset = offsetof(struct config, snapshot_rate),
	  .live = true },
	{ .name = "snapshot-on-stop",
	  .metavar = "no|yes",
	  .text = "yes",
	  .help = "write the caches that changed when the daemon is stopped, "
		  "but not when it is restarted by a manager that keeps "
		  "them",
	  .type = OPTION_WORD,
	  .words = no_yes_words,
	  .offset = offsetof(struct config, snapshot_on_stop),
	  .live = true },
	{ .name = "snapshot-limit",
	  .metavar = "SECONDS",
	  .text = "60",
	  .help = "give up what is not written that long after the daemon was "
		  "stopped",
	  .type = OPTION_NUMBER,
	  .min = 0,
	  .max = 86400,
	  .offset = offsetof(struct config, snapshot_limit),
	  .live = true },
	{ .name = "restore",
	  .metavar = "lazy|eager|never",
	  .text = "lazy",
	  .help = "bring caches back from the state directory when somebody "
		  "attaches, at the start, or only when asked",
	  .type = OPTION_WORD,
	  .words = restore_words,
	  .offset = offsetof(struct config, restore),
	  .live = true },
	{ .name = "high-water",
	  .metavar = "PERCENT",
	  .text = "90",
	  .help = "of the pool: what caches take beyond is given back by "
		  "writing idle ones to the state directory, from where the "
		  "next attach brings them back; 100: only where room is "
		  "wanted and there is none",
	  .type = OPTION_NUMBER,
	  .min = 0,
	  .max = 100,
	  .offset = offsetof(struct config, high_water),
	  .live = true },
	{ .name = "ready",
	  .metavar = "SIZE",
	  .text = "0",
	  .help = "of what the pool has left: memory kept cleared, of the sizes "
		  "of caches made lately, so that the next ones need not "
		  "wait for it",
	  .type = OPTION_SIZE,
	  .offset = offsetof(struct config, ready),
	  .live = true },
	{ .name = "reclaim-named",
	  .metavar = "park|drop|never",
	  .text = "park",
	  .help = "what becomes of an idle cache that somebody named when room is wanted, or its time to live is over: it is written to disk, or dropped, or stays",
	  .type = OPTION_WORD,
	  .words = reclaim_words,
	  .offset = offsetof(struct config, reclaim_named),
	  .live = true },
	{ .name = "reclaim-anonymous",
	  .metavar = "park|drop|never",
	  .text = "park",
	  .help = "the same for caches that the daemon named",
	  .type = OPTION_WORD,
	  .words = reclaim_words,
	  .offset = offsetof(struct config, reclaim_anonymous),
	  .live = true },
	{ .name = "reclaim-frozen",
	  .metavar = "park|drop|never",
	  .text = "park",
	  .help = "the same for frozen caches that nobody is forked from any more",
	  .type = OPTION_WORD,
	  .words = reclaim_words,
	  .offset = offsetof(struct config, reclaim_frozen),
	  .live = true },
	{ .name = "metrics",
	  .metavar = "off|PATH|ADDRESS:PORT",
	  .text = "off",
	  .help = "serve metrics to Prometheus over HTTP: on a Unix socket, or "
		  "on a port of a loopback address, which every user of this "
		  "machine can read",
	  .type = OPTION_ENDPOINT,
	  .offset = offsetof(struct config, metrics) },
	{ .name = "metrics-tenants",
	  .metavar = "N",
	  .text = "10",
	  .help = "how many users the metrics name, those whose caches take "
		  "the most memory; the others are summed up",
	  .type = OPTION_NUMBER,
	  .min = 0,
	  .max = 1000,
	  .offset = offsetof(struct config, metrics_tenants),
	  .live = true },
	{ .name = "quota-bytes",
	  .metavar = "SIZE",
	  .text = "0",
	  .help = "what the caches of one user, or of one group, may take; 0: "
		  "no more than the pool",
	  .type = OPTION_SIZE,
	  .offset = offsetof(struct config, quota_bytes),
	  .live = true },
	{ .name = "quota-caches",
	  .metavar = "N",
	  .text = "0",
	  .help = "how many caches one user, or one group, may have; 0: no "
		  "limit",
	  .type = OPTION_NUMBER,
	  .max = UINT32_MAX,
	  .offset = offsetof(struct config, quota_caches),
	  .live = true },
	{ .name = "quota-connections",
	  .metavar = "N",
	  .text = "512",
	  .help = "how many connections one user may have; 0: no limit",
	  .type = OPTION_NUMBER,
	  .max = UINT32_MAX,
	  .offset = offsetof(struct config, quota_connections),
	  .live = true },
	{ .name = "quota-requests",
	  .metavar = "N",
	  .text = "256",
	  .help = "how many requests of one user may be in flight, of each "
		  "connection one; 0: no limit",
	  .type = OPTION_NUMBER,
	  .max = UINT32_MAX,
	  .offset = offsetof(struct config, quota_requests),
	  .live = true },
	{ .name = "quota",
	  .metavar = "USER|@GROUP LIMIT...",
	  .text = "",
	  .help = "other limits for one user or group, as in \"alice bytes=8G "
		  "caches=10\" or \"@ai connections=none\"; may be given "
		  "again for others. The four above do not hold for root and "
		  "the daemon's own user, this one does",
	  .type = OPTION_QUOTAS,
	  .offset = offsetof(struct config, quota),
	  .live = true },
	{ .name = "sandbox",
	  .metavar = "no|yes",
	  .text = "yes",
	  .help = "give up all capabilities and the system calls that a "
		  "serving daemon has no use for, see SECURITY; no: for "
		  "profilers and the like",
	  .type = OPTION_WORD,
	  .words = no_yes_words,
	  .offset = offsetof(struct config, sandbox) },
	{ .name = "config",
	  .metavar = "FILE",
	  .text = FILE_DEFAULT,
	  .help = "read these options from FILE first, one \"name = value\" "
		  "a line",
	  .type = OPTION_PATH,
	  .offset = offsetof(struct config, file),
	  .flag_only = true },
	{ .name = "keeper",
	  .help = "start the daemon, keep the memory of its caches, and start "
		  "the next one with them when it dies: for machines "
		  "without systemd",
	  .type = OPTION_FLAG,
	  .offset = offsetof(struct config, keeper),
	  .flag_only = true },
};

static_assert(sizeof(config_options) / sizeof(config_options[0]) ==
		      CONFIG_OPTIONS,
	      "config_table.h says how many options there are");

/* Where a value stood, for the message that refuses it. */
struct place {
	const char *file; /* NULL: the command line */
	unsigned int line;
};

__attribute__((format(printf, 2, 3))) static int
refuse(const struct place *place, const char *format, ...)
{
	va_list args;

	fputs("treekvd: ", stderr);
	if (place->file)
		fprintf(stderr, "%s:%u: ", place->file, place->line);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return -EINVAL;
}

static int no_memory(void)
{
	fputs("treekvd: out of memory while reading the options\n", stderr);
	return -ENOMEM;
}

/* The table's names as "--socket, --state-dir"; for messages. */
static const char *names(bool of_file)
{
	static char text[1024];
	size_t n = 0;

	for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
		if (of_file && config_options[i].flag_only)
			continue;
		n += snprintf(text + n, sizeof(text) - n, "%s%s%s",
			      n ? ", " : "", of_file ? "" : "--",
			      config_options[i].name);
	}
	return text;
}

int config_parse_size(uint64_t *ret, const char *text)
{
	struct sysinfo info;

	if (sysinfo(&info) < 0)
		return -EINVAL;
	return size_parse(ret, text, (uint64_t)info.totalram * info.mem_unit);
}

static int set_path(const struct option_row *row, char **to, const char *value,
		    const struct place *place)
{
	char *copy;

	if (!*value)
		return refuse(place, "%s is empty; give a path", row->name);
	copy = strdup(value);
	if (!copy)
		return no_memory();
	free(*to);
	*to = copy;
	return 0;
}

static int set_endpoint(const struct option_row *row, char **to,
			const char *value, const struct place *place)
{
	struct endpoint endpoint;

	if (endpoint_parse(&endpoint, value))
		return refuse(place, "%s cannot be '%s'; it is " ENDPOINT_FORMS,
			      row->name, value);
	return set_path(row, to, value, place);
}

static int add_quota(const struct option_row *row, char **to, const char *value,
		     const struct place *place)
{
	char why[QUOTA_TEXT_SIZE], *all, *numbers;
	int r = quota_resolve(&numbers, value, why);

	if (r == -ENOMEM)
		return no_memory();
	if (r)
		return refuse(place, "%s cannot be '%s': %s", row->name, value,
			      why);
	r = asprintf(&all, "%s%s%s", *to ? *to : "", *to ? ";" : "", numbers);
	free(numbers);
	if (r < 0)
		return no_memory();
	free(*to);
	*to = all;
	return 0;
}

static int set_word(const struct option_row *row, int *to, const char *value,
		    const struct place *place)
{
	for (int i = 0; row->words[i]; i++) {
		if (strcmp(row->words[i], value) == 0) {
			*to = i;
			return 0;
		}
	}
	return refuse(place, "%s cannot be '%s'; it is one of %s", row->name,
		      value, row->metavar);
}

static int set_number(const struct option_row *row, uint32_t *to,
		      const char *value, const struct place *place)
{
	uint64_t number;
	char *end;

	if (size_parse_digits(&number, value, &end) || *end ||
	    number < row->min || number > row->max)
		return refuse(place,
			      "%s cannot be '%s'; it is a number from %u to %u",
			      row->name, value, row->min, row->max);
	*to = (uint32_t)number;
	return 0;
}

static int option_set(struct config *config, const struct option_row *row,
		      const char *value, const struct place *place)
{
	void *to = (char *)config + row->offset;

	switch (row->type) {
	case OPTION_PATH:
		return set_path(row, to, value, place);
	case OPTION_ENDPOINT:
		return set_endpoint(row, to, value, place);
	case OPTION_QUOTAS:
		return add_quota(row, to, value, place);
	case OPTION_WORD:
		return set_word(row, to, value, place);
	case OPTION_NUMBER:
		return set_number(row, to, value, place);
	case OPTION_FLAG:
		*(bool *)to = true;
		return 0;
	case OPTION_SIZE:
		if (!config_parse_size(to, value))
			return 0;
		return refuse(place,
			      "%s cannot be '%s'; it is a size such as "
			      "512M, 8G or 50%% (of the machine's memory)",
			      row->name, value);
	}
	return -EINVAL;
}

static const struct option_row *option_find(const char *name, size_t length)
{
	for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
		if (strlen(config_options[i].name) == length &&
		    memcmp(config_options[i].name, name, length) == 0)
			return &config_options[i];
	}
	return NULL;
}

static char *strip(char *text)
{
	size_t n;

	while (isspace((unsigned char)*text))
		text++;
	n = strlen(text);
	while (n && isspace((unsigned char)text[n - 1]))
		n--;
	text[n] = '\0';
	return text;
}

/* A '#' begins a comment at the start of a line or after a blank. */
static void cut_comment(char *line)
{
	for (char *p = line; *p; p++) {
		if (*p == '#' && (p == line || isspace((unsigned char)p[-1]))) {
			*p = '\0';
			return;
		}
	}
}

static int read_line(struct config *config, char *line,
		     const struct place *place)
{
	const struct option_row *row;
	char *equals;
	char *name;

	cut_comment(line);
	line = strip(line);
	if (!*line)
		return 0;
	equals = strchr(line, '=');
	if (!equals)
		return refuse(place, "'%s' is not of the form name = value",
			      line);
	*equals = '\0';
	name = strip(line);
	row = option_find(name, strlen(name));
	if (!row || row->flag_only)
		return refuse(place, "there is no option '%s'; there are %s",
			      name, names(true));
	return option_set(config, row, strip(equals + 1), place);
}

/* @must: the user named it, so it has to be there. */
static int read_file(struct config *config, const char *path, bool must)
{
	struct place place = { .file = path };
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;
	int r = 0;

	if (!file && errno == ENOENT && !must)
		return 0;
	if (!file) {
		fprintf(stderr, "treekvd: cannot open the config file %s: %s\n",
			path, strerror(errno));
		return -EINVAL;
	}
	while (!r && getline(&line, &size, file) >= 0) {
		place.line++;
		r = read_line(config, line, &place);
	}
	if (!r && ferror(file)) {
		fprintf(stderr, "treekvd: cannot read the config file %s: %s\n",
			path, strerror(errno));
		r = -EINVAL;
	}
	free(line);
	fclose(file);
	return r;
}

/* The flags that answer something; true when @arg was one. */
static bool answer(const char *arg)
{
	if (strcmp(arg, "--help") == 0)
		config_print_help(stdout);
	else if (strcmp(arg, "--version") == 0)
		puts("treekvd " TREEKVD_VERSION);
#ifdef TREEKV_FAULTS
	else if (strcmp(arg, "--print-crash-points") == 0)
		crash_print_points();
#endif
	else if (strcmp(arg, "--print-options-man") == 0)
		config_print_man(stdout);
	else if (strcmp(arg, "--print-config") == 0)
		config_print_file(stdout);
	else if (strcmp(arg, "--print-config-man") == 0)
		config_print_file_man(stdout);
	else
		return false;
	return true;
}

/* Sorts the command line into @values, one a row: the last one counts. */
static int split_args(const char **values, int argc, char **argv)
{
	const struct place place = { .file = NULL };

	for (int i = 1; i < argc; i++) {
		const struct option_row *row = NULL;
		const char *arg = argv[i];
		size_t length = strcspn(arg, "=");

		if (answer(arg))
			return 1;
		if (strncmp(arg, "--", 2) == 0)
			row = option_find(arg + 2, length - 2);
		if (!row)
			return refuse(&place,
				      "there is no option '%.*s'; there are "
				      "%s; see treekvd --help",
				      (int)length, arg, names(false));
		if (row->type == OPTION_FLAG && arg[length])
			return refuse(&place, "--%s takes no value", row->name);
		if (row->type == OPTION_FLAG)
			values[row - config_options] = "";
		else if (arg[length])
			values[row - config_options] = arg + length + 1;
		else if (++i < argc)
			values[row - config_options] = argv[i];
		else
			return refuse(&place, "%s lacks its %s", arg,
				      row->metavar);
	}
	return 0;
}

/* Rows without a value are left alone. */
static int apply(struct config *config, const char *const *values)
{
	const struct place place = { .file = NULL };
	int r = 0;

	for (size_t i = 0; i < CONFIG_OPTIONS && !r; i++) {
		if (values[i])
			r = option_set(config, &config_options[i], values[i],
				       &place);
	}
	return r;
}

int config_load(struct config *ret, int argc, char **argv)
{
	const char *defaults[CONFIG_OPTIONS];
	const char *args[CONFIG_OPTIONS] = { NULL };
	const size_t file = option_find("config", 6) - config_options;
	struct config config = { .socket = NULL };
	int r;

	for (size_t i = 0; i < CONFIG_OPTIONS; i++)
		defaults[i] = config_options[i].text;
	r = split_args(args, argc, argv);
	if (!r)
		r = apply(&config, defaults);
	if (!r)
		r = read_file(&config, args[file] ? args[file] : config.file,
			      args[file] != NULL);
	if (!r)
		r = apply(&config, args);
	if (r) {
		config_free(&config);
		return r;
	}
	*ret = config;
	return 0;
}

/* What @row says in two configurations; as it is stored, not as written. */
static bool option_equal(const struct option_row *row, const struct config *a,
			 const struct config *b)
{
	const void *x = (const char *)a + row->offset;
	const void *y = (const char *)b + row->offset;

	switch (row->type) {
	case OPTION_PATH:
	case OPTION_ENDPOINT:
	case OPTION_QUOTAS:
		return strcmp(*(char *const *)x, *(char *const *)y) == 0;
	case OPTION_WORD:
		return *(const int *)x == *(const int *)y;
	case OPTION_NUMBER:
		return *(const uint32_t *)x == *(const uint32_t *)y;
	case OPTION_FLAG:
		return *(const bool *)x == *(const bool *)y;
	case OPTION_SIZE:
		return *(const uint64_t *)x == *(const uint64_t *)y;
	}
	return true;
}

/* Exchanged, so that whatever was allocated is freed with @from. */
static void option_exchange(const struct option_row *row, struct config *to,
			    struct config *from)
{
	static const size_t sizes[] = {
		[OPTION_PATH] = sizeof(char *),
		[OPTION_ENDPOINT] = sizeof(char *),
		[OPTION_QUOTAS] = sizeof(char *),
		[OPTION_WORD] = sizeof(int),
		[OPTION_NUMBER] = sizeof(uint32_t),
		[OPTION_FLAG] = sizeof(bool),
		[OPTION_SIZE] = sizeof(uint64_t),
	};
	char *x = (char *)to + row->offset, *y = (char *)from + row->offset;
	char saved[sizeof(uint64_t)];

	memcpy(saved, x, sizes[row->type]);
	memcpy(x, y, sizes[row->type]);
	memcpy(y, saved, sizes[row->type]);
}

int config_reload(struct config *config, int argc, char **argv,
		  config_changed_fn *changed)
{
	struct config next;
	int r = config_load(&next, argc, argv);

	if (r)
		return r;
	for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
		const struct option_row *row = &config_options[i];

		if (row->flag_only || option_equal(row, config, &next))
			continue;
		if (row->live)
			option_exchange(row, config, &next);
		changed(row->name, row->live);
	}
	config_free(&next);
	return 0;
}

void config_free(struct config *config)
{
	free(config->socket);
	free(config->state_dir);
	free(config->metrics);
	free(config->quota);
	free(config->file);
	memset(config, 0, sizeof(*config));
}
