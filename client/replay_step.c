// SPDX-License-Identifier: BSD-2-Clause
/*
 * A recorded step hands each (layer, head) one row of weights, and each has a
 * small cache of its own here: what daemon and writer share about it, which is
 * two buffers for its order, taken in turns, and scores, since and token by
 * slot. Its capacity is the budget and one, and each step that passes the
 * budget evicts one row at once: Algorithm 1 to the bit.
 *
 * Memory goes by layers x kv heads x budget and one row of weights, never by
 * the size of the file. So several policies and budgets can share one pass over
 * the trace.
 */
#include <math.h>
#include <stdlib.h>

#include "client/replay_impl.h"

static uint32_t slots_of(const struct replay *replay, uint32_t layer)
{
	uint32_t budget = replay->budget[layer];

	return (budget < replay->steps ? budget : replay->steps) + 1;
}

static size_t array_bytes(const struct replay *replay, uint32_t slots)
{
	return (3 * sizeof(uint32_t) + 4 * (size_t)replay->entry_size) * slots;
}

/* Gives a head its arrays: score, since, token, two orders, two ranks. */
static void head_init(const struct replay *replay, struct replay_head *head,
		      uint32_t slots, char *at)
{
	size_t entries = (size_t)slots * replay->entry_size;
	size_t words = (size_t)slots * sizeof(uint32_t);

	head->walk = 1;
	head->score = (void *)at;
	head->since = (void *)(at += words);
	head->token = (void *)(at += words);
	at += words;
	for (int b = 0; b < 2; b++, at += 2 * entries) {
		head->order[b].order = at;
		head->order[b].rank = at + entries;
	}
	order_init(&head->order[0], slots, replay->entry_size);
}

static void heads_init(struct replay *replay)
{
	char *at = replay->arrays;

	for (uint32_t l = 0; l < replay->layers; l++) {
		uint32_t slots = slots_of(replay, l);

		for (uint32_t h = 0; h < replay->kv_heads; h++) {
			head_init(replay,
				  &replay->head[l * replay->kv_heads + h],
				  slots, at);
			at += array_bytes(replay, slots);
		}
	}
}

/* No more slots than the trace has steps, whatever the budget. */
enum replay_status replay_init(struct replay *replay, const struct trace *trace)
{
	size_t heads = trace_heads(trace), size = 0;
	uint32_t most = 0;

	replay->layers = trace->layers;
	replay->kv_heads = trace->kv_heads;
	replay->steps = trace->steps;
	for (uint32_t l = 0; l < trace->layers; l++)
		if (slots_of(replay, l) > most)
			most = slots_of(replay, l);
	replay->entry_size = most > SHM_ENTRY16_MAX ? 4 : 2;
	for (uint32_t l = 0; l < trace->layers; l++)
		size += array_bytes(replay, slots_of(replay, l)) *
			trace->kv_heads;
	replay->head = calloc(heads, sizeof(*replay->head));
	replay->arrays = calloc(1, size);
	replay->memory = malloc(order_scratch_size(most));
	if (!replay->head || !replay->arrays || !replay->memory)
		return replay_complain(REPLAY_REFUSED,
				       "not enough memory to replay %s: %zu "
				       "heads of %u rows; try a smaller "
				       "--budget",
				       trace->path, heads, most);
	order_scratch_init(&replay->scratch, replay->memory, most);
	heads_init(replay);
	return REPLAY_OK;
}

void replay_exit(struct replay *replay)
{
	free(replay->memory);
	free(replay->arrays);
	free(replay->head);
}

static uint32_t slot_at(const struct replay *replay,
			const struct replay_head *head, uint32_t rank)
{
	return order_entry(head->order[head->current].order, replay->entry_size,
			   rank);
}

uint32_t replay_token(const struct replay *replay,
		      const struct replay_head *head, uint32_t rank)
{
	return head->token[slot_at(replay, head, rank)];
}

static void head_append(const struct replay *replay, struct replay_head *head,
			uint32_t token)
{
	uint32_t slot = slot_at(replay, head, head->live++);

	head->score[slot] = 0;
	head->since[slot] = token;
	head->token[slot] = token;
}

/* The weights of rows that have left are passed over; nothing is rescaled. */
static void head_observe(const struct replay *replay, struct replay_head *head,
			 const float *weights)
{
	for (uint32_t i = 0; i < head->live; i++) {
		uint32_t slot = slot_at(replay, head, i);
		float weight = weights[head->token[slot]];

		switch (replay->policy->scores) {
		case POLICY_SCORES_NONE:
			break;
		case POLICY_SCORES_SUM:
			head->score[slot] += weight;
			break;
		case POLICY_SCORES_LAST:
			head->score[slot] = weight;
			break;
		}
	}
}

static void head_evict(struct replay *replay, struct replay_head *head,
		       uint32_t layer, uint32_t tail)
{
	const struct order *from = &head->order[head->current];
	const struct policy_scope scope = {
		.order = from->order,
		.entry_size = replay->entry_size,
		.live = head->live,
		.score = head->score,
		.since = head->since,
		.tail = tail,
		.sinks = replay->sinks,
		.selected =
			replay->budget[layer] - replay->sinks - replay->recent,
		.walk = head->walk,
	};

	head->current ^= 1;
	head->walk = order_compact(&head->order[head->current], from,
				   replay->policy, &scope,
				   slots_of(replay, layer), head->ranked, 1,
				   &replay->scratch);
	head->ranked = --head->live;
}

/* What a weight counts in sums of attention. */
static double paid(float weight)
{
	return isfinite(weight) && weight > 0 ? (double)weight : 0;
}

double replay_total(const float *weights, uint32_t n)
{
	double total = 0;

	for (uint32_t i = 0; i < n; i++)
		total += paid(weights[i]);
	return total;
}

/* Rows that are no sinks and lie 0 to @furthest back, by decade. */
static void count_seen(struct replay_stats *stats, uint64_t furthest)
{
	uint64_t from = 0, end = 10;

	for (int i = 0; i < REPLAY_DECADES && from <= furthest; i++) {
		stats->seen[i] += (end <= furthest ? end : furthest + 1) - from;
		from = end;
		end *= 10;
	}
}

/* As the step attends: what it appends is there, nothing has left yet. */
static void head_account(const struct replay *replay, struct replay_head *head,
			 uint32_t t, const float *weights, double total)
{
	struct replay_stats *stats = &head->stats;
	double kept = 0;
	uint64_t end = 10;
	int decade = 0;

	stats->steps++;
	if (t >= replay->sinks)
		count_seen(stats, t - replay->sinks);
	for (uint32_t rank = head->live; rank-- > 0;) {
		uint32_t token = replay_token(replay, head, rank);

		kept += paid(weights[token]);
		if (token < replay->sinks)
			continue;
		for (; t - token >= end; end *= 10)
			decade++;
		stats->held[decade]++;
	}
	if (total > 0) {
		stats->weighed++;
		stats->mass += kept / total;
	}
}

void replay_step(struct replay *replay, size_t head, uint32_t t,
		 const float *weights, double total)
{
	uint32_t layer = (uint32_t)(head / replay->kv_heads);
	struct replay_head *at = &replay->head[head];

	head_append(replay, at, t);
	if (total >= 0 && at->live <= t)
		head_account(replay, at, t, weights, total);
	head_observe(replay, at, weights);
	if (at->live > replay->budget[layer])
		head_evict(replay, at, layer, t + 1);
}

struct replay_mass replay_mass(const struct replay *replay, uint32_t from,
			       uint32_t to)
{
	struct replay_mass ret = { .least = INFINITY };
	double sum = 0;
	size_t heads = 0;

	for (uint32_t l = from; l < to; l++)
		for (uint32_t h = 0; h < replay->kv_heads; h++) {
			const struct replay_stats *stats =
				&replay->head[l * replay->kv_heads + h].stats;
			double mass;

			if (!stats->weighed)
				continue;
			mass = stats->mass / (double)stats->weighed;
			sum += mass;
			heads++;
			if (mass < ret.least) {
				ret.least = mass;
				ret.layer = l;
				ret.head = h;
			}
		}
	ret.known = heads > 0;
	ret.mean = heads ? sum / (double)heads : 0;
	return ret;
}
