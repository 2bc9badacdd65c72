/* SPDX-License-Identifier: BSD-2-Clause */
/* What a program does with libtreekv while a call of the library fails. */
#ifndef TREEKV_FAULT_CLIENT_OPERATIONS_H
#define TREEKV_FAULT_CLIENT_OPERATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/treekv.h"

struct selfcheck;

/* A program with one connection and one cache, "a". */
struct engine {
	struct treekv *kv; /* NULL: none */
	struct treekv_cache *cache; /* NULL: none */
	struct selfcheck *s; /* what "a" has to hold */
};

struct client_operation {
	const char *name;
	void (*prepare)(struct engine *e);
	/*
	 * Does it, or what of it is not done yet: after a failure it is done
	 * again. Return: 0, or what the library said.
	 */
	int (*run)(struct engine *e);
	uint64_t tail; /* of "a" then */
	bool replaces; /* the daemon */
};

extern const struct client_operation client_operations[];
extern const size_t client_operations_count;

/* Without a connection and without a cache. */
void engine_init(struct engine *e);

/* Lets go of everything; the caches stay. */
void engine_let_go(struct engine *e);

/*
 * "a" is as it has to be, of that tail, for a reader and for a writer, who goes
 * on. Return: whether it is; else it is said what is the matter.
 */
bool engine_finds(struct engine *e, uint64_t tail);

/* Drops all caches, and is no more. Return: false: something is still held. */
bool engine_exit(struct engine *e);

#endif /* TREEKV_FAULT_CLIENT_OPERATIONS_H */
