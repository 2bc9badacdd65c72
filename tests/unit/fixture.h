/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A cache in private memory whose two sides a test drives by hand: the writer
 * through treekv.h, the compaction by fixture_compact(). It is made as the
 * daemon makes one, without memfds, sockets or threads.
 */
#ifndef TREEKV_TESTS_FIXTURE_H
#define TREEKV_TESTS_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "client/cache.h"
#include "daemon/compact.h"

struct fixture {
	struct treekv_cache cache; /* the writer's; owner: this fixture */
	struct compaction compaction;
	struct order_scratch scratch;
	struct shm_index *index;
	struct shm_rows *rows;
	struct shm_layer *layers;
	void *memory;
	const struct cache_ops *ops;
	unsigned int rings; /* by fixture_ops */
	unsigned int waits;
};

/* Two layers of two heads, budget 8, slack 4, policy treekv. */
struct treekv_spec fixture_spec(void);

/* As the index has it. */
struct shm_spec fixture_shm_spec(const struct treekv_spec *from);

/* Rings and waits are counted and nothing happens: a daemon that hangs. */
extern const struct cache_ops fixture_ops;

/* @ops: NULL, fixture_ops. A spec must be sound. */
struct fixture *fixture_new(const struct treekv_spec *spec,
			    const struct cache_ops *ops);
struct fixture *fixture_free(struct fixture *fixture);

/* cmocka's set-up and tear-down: *state is one of fixture_spec(). */
int fixture_set_up(void **state);
int fixture_tear_down(void **state);

/* Forgets the writer, as SIGKILL would, and attaches another. */
void fixture_reattach(struct fixture *fixture);

/* A reader of the same memory; cache_exit() is the caller's. */
void fixture_reader(struct fixture *fixture, struct treekv_cache *reader);

/* One compaction, if one is due. Return: whether one was. */
bool fixture_compact(struct fixture *fixture);

#endif /* TREEKV_TESTS_FIXTURE_H */
