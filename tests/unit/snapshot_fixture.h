/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots without a daemon: a cache with its memfds, a writer on the same
 * mappings whose rows check themselves, and jobs whose slices are run by hand,
 * so that the writer can go on between any two of them. With TREEKV_TEST_HUGE
 * in the environment caches are in huge pages.
 */
#ifndef TREEKV_SNAPSHOT_FIXTURE_H
#define TREEKV_SNAPSHOT_FIXTURE_H

#include "daemon/snapshot.h"
#include "tests/helpers/selfcheck.h"

#define BED_UID 1234

extern char bed_root[]; /* of all snapshots */
extern struct loop bed_loop;
extern struct staging *bed_staging;

/* A cache and its writer. */
struct bed {
	struct cache *cache;
	struct shm_rows *rows;
	struct treekv_cache writer;
	struct treekv_spec spec;
	struct selfcheck check;
	struct order_scratch scratch;
	void *memory;
};

struct bed *bed_new(const struct treekv_spec *spec, const char *name);
void bed_free(struct bed *bed); /* takes NULL */

/* A spec whose cache has some megabytes. */
struct treekv_spec bed_large_spec(void);

void bed_compact(struct bed *bed);
void bed_write(struct bed *bed, uint64_t n);

/* A job from beginning to end. */
void bed_run(struct snapshot_job *job);

void bed_save(struct bed *bed);
void bed_save_one(const struct treekv_spec *spec, const char *name);
struct bed *bed_load(const struct treekv_spec *spec, const char *name);

/* What a load says; *ret is set when it succeeds. */
int bed_load_file(struct bed **ret, const struct treekv_spec *spec,
		  const char *name, struct snapshot_error *why);

void assert_verified(struct bed *bed);
void assert_same(struct bed *a, struct bed *b);

/* A snapshot's bytes; the caller's to free. */
struct file {
	char path[256];
	uint8_t *bytes;
	size_t size;
};

struct file file_read(const char *name);
void file_write(const struct file *file, size_t size);

int bed_set_up(void **state);
int bed_tear_down(void **state);

#endif /* TREEKV_SNAPSHOT_FIXTURE_H */
