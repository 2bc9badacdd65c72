/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of treekvctl replay share. */
#ifndef TREEKV_REPLAY_IMPL_H
#define TREEKV_REPLAY_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "daemon/order.h"
#include "daemon/policy.h"

#define REPLAY_DECADES 10 /* of distances: 0-9, 10-99, ...; below 2^32 */

enum replay_status {
	REPLAY_OK = 0,
	REPLAY_REFUSED = 1,
	REPLAY_USAGE = 2,
};

/* Says it on stderr. Return: @status. */
__attribute__((format(printf, 2, 3))) enum replay_status
replay_complain(enum replay_status status, const char *format, ...);

/* A file of attention weights, to be read once, front to back. */
struct trace {
	const char *path;
	FILE *file;
	uint32_t layers;
	uint32_t kv_heads;
	uint32_t steps;
};

/* Opens @trace->path and checks what it says of itself. */
enum replay_status trace_open(struct trace *trace);
enum replay_status trace_read(struct trace *trace, float *to, uint32_t n);
void trace_close(struct trace *trace);

static inline size_t trace_heads(const struct trace *trace)
{
	return (size_t)trace->layers * trace->kv_heads;
}

/**
 * struct replay_stats - what became of one (layer, head)'s attention
 * @steps: that attended with something taken out already; all that follows is
 *	of these steps
 * @weighed: of them, those that paid any attention at all
 * @mass: sum over the weighed steps of the share that went to rows still held
 * @held: rows held, by the decade of their distance; sinks do not count
 * @seen: rows there would have been, likewise
 */
struct replay_stats {
	uint64_t steps;
	uint64_t weighed;
	double mass;
	uint64_t held[REPLAY_DECADES];
	uint64_t seen[REPLAY_DECADES];
};

struct replay_head {
	struct order order[2];
	unsigned int current;
	uint32_t live;
	uint32_t ranked;
	uint32_t walk;
	float *score; /* by slot, as all three */
	uint32_t *since;
	uint32_t *token;
	struct replay_stats stats;
};

/**
 * struct replay - one policy at one budget, in lockstep, over all heads
 *
 * The first block is the caller's to fill in.
 *
 * @policy: what leaves
 * @budget: of each layer, @layers of them
 * @mean: what the budgets were asked for by: --budget
 * @sinks: first rows that stay
 * @recent: newest rows that stay
 */
struct replay {
	const struct policy *policy;
	uint32_t *budget;
	uint32_t mean;
	uint32_t sinks;
	uint32_t recent;

	uint32_t layers;
	uint32_t kv_heads;
	uint32_t steps; /* of the trace */
	uint32_t entry_size;
	struct replay_head *head; /* [layers][kv_heads] */
	char *arrays; /* what every head's pointers point into */
	void *memory;
	struct order_scratch scratch;
};

/* Makes the caches. Refuses when there is no memory. */
enum replay_status replay_init(struct replay *replay,
			       const struct trace *trace);
/* Takes one that was not made, too; the budgets are the caller's. */
void replay_exit(struct replay *replay);

/**
 * replay_step - one token of one (layer, head)
 * @head: layer x kv_heads + head
 * @t: the step, from 0 on
 * @weights: t + 1 of them
 * @total: of the weights, as replay_total() adds them up; negative: no
 *	statistics are wanted
 */
void replay_step(struct replay *replay, size_t head, uint32_t t,
		 const float *weights, double total);

/* Weights that are negative or no numbers count as nothing. */
double replay_total(const float *weights, uint32_t n);

/* The token at a rank. */
uint32_t replay_token(const struct replay *replay,
		      const struct replay_head *head, uint32_t rank);

/**
 * struct replay_mass - the attention that was paid to rows still held
 * @known: something was taken out, and attention was paid
 * @mean: over heads
 * @least: of a head
 * @layer: of that one
 * @head: of that one
 */
struct replay_mass {
	bool known;
	double mean;
	double least;
	uint32_t layer;
	uint32_t head;
};

/* Over the heads of layers @from ... @to - 1. */
struct replay_mass replay_mass(const struct replay *replay, uint32_t from,
			       uint32_t to);

/* Printing; to stdout. */
void replay_print_held(const struct replay *replay, bool json);
void replay_print_stats(const struct replay *replay, bool json);
/* @replays: @rows policies x @columns budgets, policy by policy. */
void replay_print_sweep(const struct replay *replays, size_t rows,
			size_t columns, bool json);

#endif /* TREEKV_REPLAY_IMPL_H */
