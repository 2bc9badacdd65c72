/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options: one table in config.c, from which the command line, the config file
 * ("key = value" lines, '#' comments), --help and the man page come.
 */
#ifndef TREEKVD_CONFIG_H
#define TREEKVD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define TREEKVD_VERSION "0.1.0"

enum config_huge_pages {
	HUGE_PAGES_REQUIRE,
	HUGE_PAGES_PREFER,
	HUGE_PAGES_NEVER,
};

enum config_restore {
	RESTORE_LAZY, /* at the first attach */
	RESTORE_EAGER, /* at the start */
	RESTORE_NEVER, /* by request only */
};

/* What becomes of an idle cache when room is wanted, or its time is over. */
enum config_reclaim {
	RECLAIM_PARK, /* it goes to disk */
	RECLAIM_DROP, /* it is gone, its snapshot as well */
	RECLAIM_NEVER,
};

struct config {
	char *socket;
	char *state_dir;
	uint64_t pool; /* bytes all caches together may take; 0: see main */
	int huge_pages;
	uint32_t workers;
	int log_level;
	uint32_t busy_poll; /* microseconds */
	uint32_t snapshot_every; /* seconds, 0: never */
	uint64_t snapshot_rate; /* bytes a second, 0: no limit */
	int snapshot_on_stop;
	uint32_t snapshot_limit; /* seconds that a stop takes for it at most */
	int restore;
	uint32_t high_water; /* percent of the pool */
	uint64_t ready; /* bytes */
	int reclaim_named;
	int reclaim_anonymous;
	int reclaim_frozen;
	char *metrics; /* an endpoint */
	uint32_t metrics_tenants;
	uint64_t quota_bytes; /* of each user and group; 0: no limit */
	uint32_t quota_caches;
	uint32_t quota_connections; /* of each user */
	uint32_t quota_requests;
	char *quota; /* other limits, as quota_parse() takes them */
	int sandbox;
	char *file; /* --config */
	bool keeper; /* keep a daemon running, see keeper.h */
};

/**
 * config_load - defaults, then the config file, then the command line
 *
 * Return: 0; 1 when --help, --version or the like has been answered on stdout;
 * -EINVAL when something was refused, with the option, the value and the way
 * out on stderr; -ENOMEM.
 */
int config_load(struct config *ret, int argc, char **argv);
void config_free(struct config *config);

/* Told of each option that has another value by now; @live: it has effect. */
typedef void config_changed_fn(const char *name, bool live);

/**
 * config_reload - read file and command line once more
 * @config: takes on the options that may change without a restart; the others
 *	stay as they are
 *
 * Return: as config_load(), and @config is as before unless it is 0.
 */
int config_reload(struct config *config, int argc, char **argv,
		  config_changed_fn *changed);

/* The table as a man page's section, for the build. */
void config_print_man(FILE *to);

/* The table as a config file of nothing but comments, and its man page's. */
void config_print_file(FILE *to);
void config_print_file_man(FILE *to);

/* "512M", "8G", "50%" of memory, plain bytes; K, M, G, T; -EINVAL. */
int config_parse_size(uint64_t *ret, const char *text);

#endif /* TREEKVD_CONFIG_H */
