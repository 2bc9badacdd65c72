// SPDX-License-Identifier: BSD-2-Clause
/*
 * Two figures tell policies apart without the model: what share of full
 * attention goes to rows that are still held, which is what a policy loses, and
 * how many of the rows at a distance are held, which is what its memory is like.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "client/json.h"
#include "client/replay_impl.h"

#define PERCENT 100.0

static bool same_budgets(const struct replay *replay)
{
	for (uint32_t l = 1; l < replay->layers; l++)
		if (replay->budget[l] != replay->budget[0])
			return false;
	return true;
}

static void json_budget(struct json *json, const struct replay *replay)
{
	if (same_budgets(replay)) {
		json_number(json, "budget", replay->budget[0]);
		return;
	}
	json_open(json, "budget", '[');
	for (uint32_t l = 0; l < replay->layers; l++)
		json_number(json, NULL, replay->budget[l]);
	json_close(json, ']');
}

static void json_settings(struct json *json, const struct replay *replay)
{
	json_string(json, "policy", replay->policy->name);
	json_budget(json, replay);
	json_number(json, "sinks", replay->sinks);
	json_number(json, "recent", replay->recent);
}

static void json_trace(struct json *json, const struct replay *replay)
{
	json_number(json, "steps", replay->steps);
	json_number(json, "layers", replay->layers);
	json_number(json, "kv_heads", replay->kv_heads);
}

static void json_mass(struct json *json, const struct replay_mass *mass)
{
	json_exact(json, "mass", mass->known ? mass->mean : NAN);
	if (!mass->known) {
		json_null(json, "least");
		return;
	}
	json_open(json, "least", '{');
	json_number(json, "layer", mass->layer);
	json_number(json, "head", mass->head);
	json_exact(json, "mass", mass->least);
	json_close(json, '}');
}

static void print_held_json(const struct replay *replay)
{
	struct json json = { .to = stdout };

	json_open(&json, NULL, '[');
	for (uint32_t i = 0; i < replay->layers * replay->kv_heads; i++) {
		const struct replay_head *head = &replay->head[i];

		json_open(&json, NULL, '{');
		json_number(&json, "layer", i / replay->kv_heads);
		json_number(&json, "head", i % replay->kv_heads);
		json_open(&json, "held", '[');
		for (uint32_t rank = 0; rank < head->live; rank++)
			json_number(&json, NULL,
				    replay_token(replay, head, rank));
		json_close(&json, ']');
		json_close(&json, '}');
	}
	json_close(&json, ']');
	putchar('\n');
}

void replay_print_held(const struct replay *replay, bool json)
{
	if (json) {
		print_held_json(replay);
		return;
	}
	for (uint32_t i = 0; i < replay->layers * replay->kv_heads; i++) {
		const struct replay_head *head = &replay->head[i];

		printf("%u %u", i / replay->kv_heads, i % replay->kv_heads);
		for (uint32_t rank = 0; rank < head->live; rank++)
			printf(" %u", replay_token(replay, head, rank));
		printf("\n");
	}
}

/* Over all heads. */
static struct replay_stats sum_stats(const struct replay *replay)
{
	struct replay_stats sum = { 0 };

	for (uint32_t i = 0; i < replay->layers * replay->kv_heads; i++) {
		const struct replay_stats *stats = &replay->head[i].stats;

		sum.steps += stats->steps;
		sum.weighed += stats->weighed;
		sum.mass += stats->mass;
		for (int d = 0; d < REPLAY_DECADES; d++) {
			sum.held[d] += stats->held[d];
			sum.seen[d] += stats->seen[d];
		}
	}
	return sum;
}

/* What is within [*from, *to] back is of this decade. */
static void decade_bounds(const struct replay *replay, int decade,
			  uint64_t *from, uint64_t *to)
{
	uint64_t furthest = replay->steps - 1 - replay->sinks;

	*from = 0;
	*to = 9;
	for (int d = 0; d < decade; d++) {
		*from = *to + 1;
		*to = 10 * *to + 9;
	}
	if (*to > furthest)
		*to = furthest;
}

static void json_distances(struct json *json, const struct replay *replay,
			   const struct replay_stats *stats)
{
	uint64_t from, to;

	json_open(json, "distances", '[');
	for (int d = 0; d < REPLAY_DECADES && stats->seen[d]; d++) {
		decade_bounds(replay, d, &from, &to);
		json_open(json, NULL, '{');
		json_number(json, "from", from);
		json_number(json, "to", to);
		json_exact(json, "kept",
			   (double)stats->held[d] / (double)stats->seen[d]);
		json_close(json, '}');
	}
	json_close(json, ']');
}

static void json_heads(struct json *json, const struct replay *replay)
{
	json_open(json, "heads", '[');
	for (uint32_t i = 0; i < replay->layers * replay->kv_heads; i++) {
		const struct replay_stats *stats = &replay->head[i].stats;

		json_open(json, NULL, '{');
		json_number(json, "layer", i / replay->kv_heads);
		json_number(json, "head", i % replay->kv_heads);
		json_number(json, "steps", stats->steps);
		json_exact(json, "mass", stats->mass / (double)stats->weighed);
		json_distances(json, replay, stats);
		json_close(json, '}');
	}
	json_close(json, ']');
}

static void print_stats_json(const struct replay *replay)
{
	struct replay_mass mass = replay_mass(replay, 0, replay->layers);
	struct replay_stats sum = sum_stats(replay);
	struct json json = { .to = stdout };

	json_open(&json, NULL, '{');
	json_settings(&json, replay);
	json_trace(&json, replay);
	json_mass(&json, &mass);
	json_distances(&json, replay, &sum);
	json_heads(&json, replay);
	json_close(&json, '}');
	putchar('\n');
}

static void print_settings(const struct replay *replay)
{
	uint32_t least = UINT32_MAX, most = 0;

	for (uint32_t l = 0; l < replay->layers; l++) {
		uint32_t budget = replay->budget[l];

		least = budget < least ? budget : least;
		most = budget > most ? budget : most;
	}
	printf("%s, budget %u", replay->policy->name, least);
	if (least < most)
		printf(" to %u", most);
	printf(" (%u sinks, %u recent); %u steps, %u layers, %u kv heads\n",
	       replay->sinks, replay->recent, replay->steps, replay->layers,
	       replay->kv_heads);
}

static void print_distances(const struct replay *replay,
			    const struct replay_stats *stats)
{
	uint64_t from, to;

	printf("\n%-23s %6s\n", "DISTANCE", "KEPT");
	for (int d = 0; d < REPLAY_DECADES && stats->seen[d]; d++) {
		char range[48];

		decade_bounds(replay, d, &from, &to);
		snprintf(range, sizeof(range), "%" PRIu64 " to %" PRIu64, from,
			 to);
		printf("%-23s %6.2f %%\n", range,
		       PERCENT * (double)stats->held[d] /
			       (double)stats->seen[d]);
	}
}

static void print_mass(const struct replay_mass *mass)
{
	printf("%13.2f %%  %8.2f %%  %u.%u\n", PERCENT * mass->mean,
	       PERCENT * mass->least, mass->layer, mass->head);
}

static void print_masses(const struct replay *replay)
{
	struct replay_mass mass = replay_mass(replay, 0, replay->layers);

	printf("\n%-6s %8s %15s %11s  %s\n", "LAYER", "BUDGET",
	       "ATTENTION KEPT", "LEAST", "IN LAYER.HEAD");
	for (uint32_t l = 0; l < replay->layers; l++) {
		struct replay_mass of = replay_mass(replay, l, l + 1);

		if (!of.known)
			continue;
		printf("%-6u %8u ", l, replay->budget[l]);
		print_mass(&of);
	}
	if (!mass.known)
		return;
	printf("%-6s %8s ", "all", "");
	print_mass(&mass);
}

void replay_print_stats(const struct replay *replay, bool json)
{
	struct replay_stats sum = sum_stats(replay);

	if (json) {
		print_stats_json(replay);
		return;
	}
	print_settings(replay);
	if (!sum.steps) {
		puts("nothing is taken out before the last step");
		return;
	}
	print_distances(replay, &sum);
	print_masses(replay);
}

static void print_sweep_json(const struct replay *replays, size_t n)
{
	struct json json = { .to = stdout };

	json_open(&json, NULL, '{');
	json_trace(&json, replays);
	json_open(&json, "cells", '[');
	for (size_t i = 0; i < n; i++) {
		const struct replay *replay = &replays[i];
		struct replay_mass mass =
			replay_mass(replay, 0, replay->layers);
		struct replay_stats sum = sum_stats(replay);

		json_open(&json, NULL, '{');
		json_settings(&json, replay);
		json_mass(&json, &mass);
		json_distances(&json, replay, &sum);
		json_close(&json, '}');
	}
	json_close(&json, ']');
	json_close(&json, '}');
	putchar('\n');
}

void replay_print_sweep(const struct replay *replays, size_t rows,
			size_t columns, bool json)
{
	if (json) {
		print_sweep_json(replays, rows * columns);
		return;
	}
	printf("attention kept, %%: mean (least head); %u steps, %u layers, "
	       "%u kv heads, %u sinks\n\n%-12s",
	       replays->steps, replays->layers, replays->kv_heads,
	       replays->sinks, "POLICY");
	for (size_t b = 0; b < columns; b++)
		printf("  %14u", replays[b].mean);
	putchar('\n');
	for (size_t i = 0; i < rows * columns; i++) {
		struct replay_mass mass =
			replay_mass(&replays[i], 0, replays->layers);

		if (i % columns == 0)
			printf("%-12s", replays[i].policy->name);
		if (mass.known)
			printf("  %6.2f (%5.2f)", PERCENT * mass.mean,
			       PERCENT * mass.least);
		else
			printf("  %14s", "-");
		if (i % columns == columns - 1)
			putchar('\n');
	}
}
