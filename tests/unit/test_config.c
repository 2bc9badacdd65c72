// SPDX-License-Identifier: BSD-2-Clause
/*
 * daemon/config.c and config_print.c. What a user reads is part of it: each
 * refusal is compared with the text it should have. stdout and stderr go to
 * unlinked files while an option list is loaded. Last, log.c: what a line looks
 * like.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/config.h"
#include "daemon/config_table.h"
#include "daemon/log.h"
#include "proto/frame.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define ARGS_MAX      8

static char captured[8192];

/* What is written to @fd from here on ends up in @captured. */
struct capture {
	int fd;
	int saved;
	int file;
};

static struct capture capture_begin(int fd)
{
	struct capture capture = { .fd = fd };

	fflush(NULL);
	capture.file = memfd_create("captured", MFD_CLOEXEC);
	capture.saved = dup(fd);
	assert_true(capture.file >= 0 && capture.saved >= 0);
	dup2(capture.file, fd);
	return capture;
}

static void capture_end(const struct capture *capture)
{
	ssize_t n;

	fflush(NULL);
	dup2(capture->saved, capture->fd);
	close(capture->saved);
	n = pread(capture->file, captured, sizeof(captured) - 1, 0);
	close(capture->file);
	assert_true(n >= 0);
	captured[n] = '\0';
}

/*
 * config_load() with up to four arguments; @captured: what @fd got. The machine
 * may have a config file: it is not read.
 */
static int load(struct config *config, int fd, const char *a, const char *b,
		const char *c, const char *d)
{
	static char program[] = "treekvd";
	const char *const given[] = { a, b, c, d };
	static char no_file[] = "--config=/dev/null";
	char *argv[ARGS_MAX] = { program, no_file };
	struct capture capture;
	int argc = 2;
	int r;

	for (size_t i = 0; i < 4 && given[i]; i++)
		argv[argc++] = strdup(given[i]);
	capture = capture_begin(fd);
	r = config_load(config, argc, argv);
	capture_end(&capture);
	for (int i = 2; i < argc; i++)
		free(argv[i]);
	return r;
}

static void assert_refused(const char *a, const char *b, const char *text)
{
	struct config config;

	assert_int_equal(load(&config, 2, a, b, NULL, NULL), -EINVAL);
	assert_string_equal(captured, text);
}

static char file_path[] = "/tmp/test_config.XXXXXX";

static void write_file(const char *text)
{
	FILE *file = fopen(file_path, "we");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

/* @text, as the config file's content, is refused with "<file>:<@refusal>". */
static void assert_file_refused(const char *text, const char *refusal)
{
	char expected[512];

	write_file(text);
	snprintf(expected, sizeof(expected), "treekvd: %s:%s\n", file_path,
		 refusal);
	assert_refused("--config", file_path, expected);
}

static void test_defaults(void **state)
{
	struct config config;
	struct sysinfo info;

	(void)state;
	write_file("");
	assert_int_equal(load(&config, 2, "--config", file_path, NULL, NULL),
			 0);
	assert_string_equal(captured, "");
	assert_string_equal(config.socket, TREEKV_SOCKET_DEFAULT);
	assert_string_equal(config.state_dir, "/var/lib/treekvd");
	assert_string_equal(config.file, file_path);
	assert_int_equal(config.huge_pages, HUGE_PAGES_PREFER);
	assert_int_equal(config.workers, 1);
	assert_int_equal(config.log_level, LOG_LEVEL_INFO);
	sysinfo(&info);
	assert_in_range(config.pool,
			(uint64_t)info.totalram * info.mem_unit / 2 - 100,
			(uint64_t)info.totalram * info.mem_unit / 2);
	config_free(&config);
	config_free(&config);
}

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t size;
	} sizes[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "1K", 1024 },
		{ "512M", UINT64_C(512) << 20 },
		{ "8G", UINT64_C(8) << 30 },
		{ "2T", UINT64_C(2) << 40 },
		{ "16777215T", UINT64_C(16777215) << 40 },
		{ "18446744073709551615", UINT64_MAX },
	};
	uint64_t size;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(config_parse_size(&size, sizes[i].text), 0);
		assert_true(size == sizes[i].size);
	}
}

static void test_odd_sizes_are_refused(void **state)
{
	static const char *const sizes[] = {
		"",   "M",    "-1",  "+1",  " 1",	 "1 ",
		"1m", "1.5G", "1MB", "0%",  "101%",	 "50%%",
		"%",  "0x10", "1Q",  "nan", "16777216T", "18446744073709551616",
	};
	uint64_t size = 7;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		assert_int_equal(config_parse_size(&size, sizes[i]), -EINVAL);
	assert_int_equal(size, 7);
}

static void test_the_file_counts_and_flags_count_more(void **state)
{
	struct config config;

	(void)state;
	write_file("# a comment\n"
		   "\n"
		   "  socket=/tmp/a#b # the rest is not part of it\n"
		   "pool\t=\t64M\n"
		   "workers = 3\r\n"
		   "huge-pages = never\n"
		   "workers = 4");
	assert_int_equal(load(&config, 2, "--config", file_path,
			      "--huge-pages=require", NULL),
			 0);
	assert_string_equal(config.socket, "/tmp/a#b");
	assert_int_equal(config.pool, 64 << 20);
	assert_int_equal(config.workers, 4);
	assert_int_equal(config.huge_pages, HUGE_PAGES_REQUIRE);
	config_free(&config);
}

static void test_the_last_flag_counts(void **state)
{
	struct config config;

	(void)state;
	write_file("");
	assert_int_equal(load(&config, 2, "--workers=5", "--workers=64",
			      "--log-level=debug", NULL),
			 0);
	assert_int_equal(config.workers, 64);
	assert_int_equal(config.log_level, LOG_LEVEL_DEBUG);
	config_free(&config);
}

static void test_refused_flags_say_why(void **state)
{
	(void)state;
	assert_refused(
		"--wrokers", "2",
		"treekvd: there is no option '--wrokers'; there are "
		"--socket, --state-dir, --pool, --huge-pages, "
		"--workers, --log-level, --busy-poll, --snapshot-every, "
		"--snapshot-rate, --snapshot-on-stop, "
		"--snapshot-limit, --restore, --high-water, --ready, "
		"--reclaim-named, --reclaim-anonymous, --reclaim-frozen, "
		"--metrics, --metrics-tenants, --quota-bytes, --quota-caches, "
		"--quota-connections, --quota-requests, --quota, --sandbox, "
		"--config, --keeper; see treekvd --help\n");
	assert_refused(
		"here", NULL,
		"treekvd: there is no option 'here'; there are "
		"--socket, --state-dir, --pool, --huge-pages, "
		"--workers, --log-level, --busy-poll, --snapshot-every, "
		"--snapshot-rate, --snapshot-on-stop, "
		"--snapshot-limit, --restore, --high-water, --ready, "
		"--reclaim-named, --reclaim-anonymous, --reclaim-frozen, "
		"--metrics, --metrics-tenants, --quota-bytes, --quota-caches, "
		"--quota-connections, --quota-requests, --quota, --sandbox, "
		"--config, --keeper; see treekvd --help\n");
	assert_refused("--pool", NULL, "treekvd: --pool lacks its SIZE\n");
	assert_refused("--workers", "0",
		       "treekvd: workers cannot be '0'; it is a number from "
		       "1 to 64\n");
	assert_refused("--workers", "65",
		       "treekvd: workers cannot be '65'; it is a number from "
		       "1 to 64\n");
	assert_refused("--workers", "4294967297",
		       "treekvd: workers cannot be '4294967297'; it is a "
		       "number from 1 to 64\n");
	assert_refused("--huge-pages", "maybe",
		       "treekvd: huge-pages cannot be 'maybe'; it is one of "
		       "require|prefer|never\n");
	assert_refused("--log-level=verbose", NULL,
		       "treekvd: log-level cannot be 'verbose'; it is one of "
		       "error|warning|info|debug\n");
	assert_refused("--pool=12Q", NULL,
		       "treekvd: pool cannot be '12Q'; it is a size such as "
		       "512M, 8G or 50% (of the machine's memory)\n");
	assert_refused("--socket=", NULL,
		       "treekvd: socket is empty; give a path\n");
}

static void test_refused_files_name_the_line(void **state)
{
	(void)state;
	assert_file_refused("\n\nworkers = many\n",
			    "3: workers cannot be 'many'; it is a number "
			    "from 1 to 64");
	assert_file_refused(
		"# x\nworker = 2\n",
		"2: there is no option 'worker'; there are "
		"socket, state-dir, pool, huge-pages, workers, "
		"log-level, busy-poll, snapshot-every, snapshot-rate, "
		"snapshot-on-stop, snapshot-limit, restore, high-water, "
		"ready, reclaim-named, reclaim-anonymous, reclaim-frozen, "
		"metrics, metrics-tenants, quota-bytes, quota-caches, "
		"quota-connections, quota-requests, quota, sandbox");
	assert_file_refused(
		"config = /etc/other\n",
		"1: there is no option 'config'; there are "
		"socket, state-dir, pool, huge-pages, workers, "
		"log-level, busy-poll, snapshot-every, snapshot-rate, "
		"snapshot-on-stop, snapshot-limit, restore, high-water, "
		"ready, reclaim-named, reclaim-anonymous, reclaim-frozen, "
		"metrics, metrics-tenants, quota-bytes, quota-caches, "
		"quota-connections, quota-requests, quota, sandbox");
	assert_file_refused("workers 2\n",
			    "1: 'workers 2' is not of the form name = value");
	assert_file_refused("pool =\n",
			    "1: pool cannot be ''; it is a size such as "
			    "512M, 8G or 50% (of the machine's memory)");
}

static void test_a_named_file_must_be_there(void **state)
{
	(void)state;
	assert_refused("--config", "/nowhere/treekvd.conf",
		       "treekvd: cannot open the config file "
		       "/nowhere/treekvd.conf: No such file or directory\n");
	assert_refused("--config", "/tmp",
		       "treekvd: cannot read the config file /tmp: Is a "
		       "directory\n");
}

static void test_nothing_is_written_on_refusal(void **state)
{
	struct config config = { .workers = 77 };

	(void)state;
	assert_int_equal(load(&config, 2, "--workers", "2", "--pool", "x"),
			 -EINVAL);
	assert_int_equal(config.workers, 77);
	assert_null(config.socket);
}

static void test_every_option_is_in_the_help(void **state)
{
	struct config config;
	char flag[128];

	(void)state;
	assert_int_equal(load(&config, 1, "--help", NULL, NULL, NULL), 1);
	for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
		const struct option_row *row = &config_options[i];

		snprintf(flag, sizeof(flag), "\n  --%s %s", row->name,
			 row->metavar ? row->metavar : "");
		assert_non_null(strstr(captured, flag));
		assert_true(!row->text || strstr(captured, row->text));
	}
	for (char *line = strtok(captured, "\n"); line;
	     line = strtok(NULL, "\n"))
		assert_true(strlen(line) < 80);
}

static void test_every_option_is_in_the_man_page(void **state)
{
	struct config config;
	unsigned int entries = 0;

	(void)state;
	assert_int_equal(
		load(&config, 1, "--print-options-man", NULL, NULL, NULL), 1);
	for (char *p = captured; (p = strstr(p, ".TP\n")); p++)
		entries++;
	assert_int_equal(entries, CONFIG_OPTIONS);
	assert_non_null(strstr(captured,
			       ".TP\n\\fB\\-\\-state\\-dir\\fR \\fIDIR\\fR\n"
			       "where the daemon keeps what outlives it.\n"
			       "Default: \\fB/var/lib/treekvd\\fR.\n"));
}

/* As shipped it changes nothing; uncommented it says what the defaults are. */
static void test_the_printed_config_is_the_defaults(void **state)
{
	struct config defaults, config;
	unsigned int options = 0;
	char text[sizeof(captured)];
	size_t n = 0;

	(void)state;
	assert_int_equal(load(&config, 1, "--print-config", NULL, NULL, NULL),
			 1);
	strcpy(text, captured);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		assert_int_equal(line[0], '#');
		assert_true(strlen(line) <= 80);
		if (line[1] == ' ')
			continue;
		n += (size_t)sprintf(captured + n, "%s\n", line + 1);
		options++;
	}
	assert_int_equal(options, CONFIG_OPTIONS - 2); /* config, keeper */
	strcpy(text, captured);
	write_file(text);
	assert_int_equal(load(&config, 2, "--config", file_path, NULL, NULL),
			 0);
	assert_int_equal(load(&defaults, 2, NULL, NULL, NULL, NULL), 0);
	assert_string_equal(config.socket, defaults.socket);
	assert_string_equal(config.state_dir, defaults.state_dir);
	assert_int_equal(config.pool, defaults.pool);
	assert_int_equal(config.huge_pages, defaults.huge_pages);
	assert_int_equal(config.workers, defaults.workers);
	assert_int_equal(config.log_level, defaults.log_level);
	config_free(&config);
	config_free(&defaults);
}

static char changes[256];
static char program_arg[] = "treekvd", config_arg[] = "--config";

static void on_changed(const char *name, bool live)
{
	size_t n = strlen(changes);

	snprintf(changes + n, sizeof(changes) - n, "%s%s ", name,
		 live ? "" : "!");
}

static void test_a_reload_takes_what_may_change_live(void **state)
{
	static char workers_arg[] = "--workers=3";
	char *argv[] = { program_arg, config_arg, file_path, workers_arg };
	struct config config;

	(void)state;
	write_file("pool = 1G\nsocket = /a\nworkers = 5\n");
	assert_int_equal(config_load(&config, 4, argv), 0);
	write_file("pool = 2G\nsocket = /b\nworkers = 6\n"
		   "log-level = debug\nhuge-pages = prefer\n");
	changes[0] = '\0';
	assert_int_equal(config_reload(&config, 4, argv, on_changed), 0);
	assert_string_equal(changes, "socket! pool log-level ");
	assert_string_equal(config.socket, "/a");
	assert_int_equal(config.pool, UINT64_C(2) << 30);
	assert_int_equal(config.workers, 3);
	assert_int_equal(config.log_level, LOG_LEVEL_DEBUG);
	config_free(&config);
}

static void test_a_refused_reload_changes_nothing(void **state)
{
	char *argv[] = { program_arg, config_arg, file_path };
	struct capture capture;
	struct config config;

	(void)state;
	write_file("pool = 1G\n");
	assert_int_equal(config_load(&config, 3, argv), 0);
	write_file("pool = 2G\nworkers = none\n");
	changes[0] = '\0';
	capture = capture_begin(2);
	assert_int_equal(config_reload(&config, 3, argv, on_changed), -EINVAL);
	capture_end(&capture);
	assert_non_null(strstr(captured, ":2: workers cannot be 'none'"));
	assert_string_equal(changes, "");
	assert_int_equal(config.pool, UINT64_C(1) << 30);
	config_free(&config);
}

/* A default that its own option would refuse keeps the daemon from starting. */
static void test_the_table_is_sound(void **state)
{
	(void)state;
	for (size_t i = 0; i < CONFIG_OPTIONS; i++) {
		const struct option_row *row = &config_options[i];

		assert_non_null(row->help);
		assert_true(row->offset < sizeof(struct config));
		assert_int_equal(row->type == OPTION_WORD, row->words != NULL);
		assert_int_equal(row->type == OPTION_NUMBER, row->max != 0);
		for (size_t j = 0; j < i; j++) {
			assert_string_not_equal(row->name,
						config_options[j].name);
			assert_int_not_equal(row->offset,
					     config_options[j].offset);
		}
	}
}

static void test_the_version_is_printed(void **state)
{
	struct config config;

	(void)state;
	assert_int_equal(load(&config, 1, "--version", NULL, NULL, NULL), 1);
	assert_string_equal(captured, "treekvd " TREEKVD_VERSION "\n");
}

static void test_a_log_line_cannot_be_forged(void **state)
{
	struct capture capture;

	(void)state;
	setenv("JOURNAL_STREAM", "1:2", 1);
	capture = capture_begin(2);
	log_warning("attach refused", "name=\"%s\"", "a\nb\x1b[2J\x7f");
	capture_end(&capture);
	assert_string_equal(captured,
			    "<4>level=warning event=\"attach refused\" "
			    "name=\"a\\nb\\x1b[2J\\x7f\"\n");
}

static void test_a_log_line_has_the_time_but_in_the_journal(void **state)
{
	struct capture capture;
	int year;
	int n = 0;

	(void)state;
	unsetenv("JOURNAL_STREAM");
	capture = capture_begin(2);
	log_error("x", "y=%d", 1);
	capture_end(&capture);
	sscanf(captured, "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%*3dZ %n", &year, &n);
	assert_true(n > 0);
	assert_string_equal(captured + n, "level=error event=\"x\" y=1\n");
}

static void test_a_log_line_is_bounded_and_keeps_errno(void **state)
{
	static char text[10000];
	struct capture capture;

	(void)state;
	memset(text, '\n', sizeof(text) - 1);
	capture = capture_begin(2);
	errno = ESTALE;
	log_error(text, "%s", text);
	log_debug("not at this level", "x=%d", 1);
	assert_int_equal(errno, ESTALE);
	capture_end(&capture);
	assert_in_range(strlen(captured), 1024, 2048);
	assert_ptr_equal(strchr(captured, '\n'),
			 captured + strlen(captured) - 1);
}

static int setup_file(void **state)
{
	int fd = mkstemp(file_path);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(file_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_odd_sizes_are_refused),
		cmocka_unit_test(test_the_file_counts_and_flags_count_more),
		cmocka_unit_test(test_the_last_flag_counts),
		cmocka_unit_test(test_refused_flags_say_why),
		cmocka_unit_test(test_refused_files_name_the_line),
		cmocka_unit_test(test_a_named_file_must_be_there),
		cmocka_unit_test(test_nothing_is_written_on_refusal),
		cmocka_unit_test(test_every_option_is_in_the_help),
		cmocka_unit_test(test_every_option_is_in_the_man_page),
		cmocka_unit_test(test_the_printed_config_is_the_defaults),
		cmocka_unit_test(test_a_reload_takes_what_may_change_live),
		cmocka_unit_test(test_a_refused_reload_changes_nothing),
		cmocka_unit_test(test_the_table_is_sound),
		cmocka_unit_test(test_the_version_is_printed),
		cmocka_unit_test(test_a_log_line_cannot_be_forged),
		cmocka_unit_test(
			test_a_log_line_has_the_time_but_in_the_journal),
		cmocka_unit_test(test_a_log_line_is_bounded_and_keeps_errno),
	};

	return cmocka_run_group_tests(tests, setup_file, remove_file);
}
