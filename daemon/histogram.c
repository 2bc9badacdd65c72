// SPDX-License-Identifier: BSD-2-Clause
/*
 * There is no count beside the buckets: it would be a third store, and a reader
 * who came between would see a histogram that contradicts itself. The sum may
 * be ahead of the buckets or behind them by the one value that is being added.
 */
#include "daemon/histogram.h"

#define REQUEST(name)                     \
	"request_" name, "request", name, \
		"Time from a request to its reply, by its type", 12, 30, 2

const struct histogram_row histogram_rows[HISTOGRAMS] = {
	[HISTOGRAM_COMPACTION] = { "compaction", "compaction", NULL,
				   "Time from the start of a compaction to its "
				   "publication",
				   8, 30, 1 },
	[HISTOGRAM_PUBLICATION] = { "publication", "publication", NULL,
				    "Time from a doorbell to the publication "
				    "that answers it",
				    8, 30, 1 },
	[HISTOGRAM_STALL] = { "stall", "stall", NULL,
			      "Time that steps waited for the daemon, by what "
			      "writers say",
			      12, 34, 1 },
	[HISTOGRAM_SNAPSHOT] = { "snapshot", "snapshot", NULL,
				 "Time to write a snapshot", 18, 38, 1 },
	[HISTOGRAM_RESTORE] = { "restore", "restore", NULL,
				"Time to bring a cache back from a snapshot",
				18, 38, 1 },
	[HISTOGRAM_REQUEST_CREATE] = { REQUEST("create") },
	[HISTOGRAM_REQUEST_ATTACH] = { REQUEST("attach") },
	[HISTOGRAM_REQUEST_DETACH] = { REQUEST("detach") },
	[HISTOGRAM_REQUEST_DROP] = { REQUEST("drop") },
	[HISTOGRAM_REQUEST_LIST] = { REQUEST("list") },
	[HISTOGRAM_REQUEST_INSPECT] = { REQUEST("inspect") },
	[HISTOGRAM_REQUEST_STATS] = { REQUEST("stats") },
	[HISTOGRAM_REQUEST_BREAK] = { REQUEST("lease_break") },
	[HISTOGRAM_REQUEST_SNAPSHOT] = { REQUEST("snapshot") },
	[HISTOGRAM_REQUEST_RESTORE] = { REQUEST("restore") },
	[HISTOGRAM_REQUEST_EVENTS] = { REQUEST("events") },
	[HISTOGRAM_REQUEST_PREFILL] = { REQUEST("prefill") },
	[HISTOGRAM_REQUEST_WORKERS] = { REQUEST("workers") },
	[HISTOGRAM_REQUEST_CLIENTS] = { REQUEST("clients") },
	[HISTOGRAM_REQUEST_KEPT] = { REQUEST("kept") },
	[HISTOGRAM_REQUEST_FREEZE] = { REQUEST("freeze") },
	[HISTOGRAM_REQUEST_FORK] = { REQUEST("fork") },
	[HISTOGRAM_REQUEST_LOOKUP] = { REQUEST("lookup") },
	[HISTOGRAM_REQUEST_PARK] = { REQUEST("park") },
	[HISTOGRAM_REQUEST_KEEP] = { REQUEST("keep") },
};

enum histogram_id histogram_of_request(Treekv__Request__BodyCase request)
{
	switch (request) {
	case TREEKV__REQUEST__BODY_CREATE:
		return HISTOGRAM_REQUEST_CREATE;
	case TREEKV__REQUEST__BODY_ATTACH:
		return HISTOGRAM_REQUEST_ATTACH;
	case TREEKV__REQUEST__BODY_DETACH:
		return HISTOGRAM_REQUEST_DETACH;
	case TREEKV__REQUEST__BODY_DROP:
		return HISTOGRAM_REQUEST_DROP;
	case TREEKV__REQUEST__BODY_LIST:
		return HISTOGRAM_REQUEST_LIST;
	case TREEKV__REQUEST__BODY_INSPECT:
		return HISTOGRAM_REQUEST_INSPECT;
	case TREEKV__REQUEST__BODY_STATS:
		return HISTOGRAM_REQUEST_STATS;
	case TREEKV__REQUEST__BODY_BREAK_LEASE:
		return HISTOGRAM_REQUEST_BREAK;
	case TREEKV__REQUEST__BODY_SNAPSHOT:
		return HISTOGRAM_REQUEST_SNAPSHOT;
	case TREEKV__REQUEST__BODY_RESTORE:
		return HISTOGRAM_REQUEST_RESTORE;
	case TREEKV__REQUEST__BODY_EVENTS:
		return HISTOGRAM_REQUEST_EVENTS;
	case TREEKV__REQUEST__BODY_PREFILL:
		return HISTOGRAM_REQUEST_PREFILL;
	case TREEKV__REQUEST__BODY_WORKERS:
		return HISTOGRAM_REQUEST_WORKERS;
	case TREEKV__REQUEST__BODY_CLIENTS:
		return HISTOGRAM_REQUEST_CLIENTS;
	case TREEKV__REQUEST__BODY_KEPT:
		return HISTOGRAM_REQUEST_KEPT;
	case TREEKV__REQUEST__BODY_FREEZE:
		return HISTOGRAM_REQUEST_FREEZE;
	case TREEKV__REQUEST__BODY_FORK:
		return HISTOGRAM_REQUEST_FORK;
	case TREEKV__REQUEST__BODY_LOOKUP:
		return HISTOGRAM_REQUEST_LOOKUP;
	case TREEKV__REQUEST__BODY_PARK:
		return HISTOGRAM_REQUEST_PARK;
	case TREEKV__REQUEST__BODY_KEEP:
		return HISTOGRAM_REQUEST_KEEP;
	case TREEKV__REQUEST__BODY_CHMOD: /* too rare to be timed */
	case TREEKV__REQUEST__BODY_CHOWN:
	case TREEKV__REQUEST__BODY_QUOTA:
	case TREEKV__REQUEST__BODY_HELLO: /* conn.c answers it */
	case TREEKV__REQUEST__BODY__NOT_SET:
	case _TREEKV__REQUEST__BODY__CASE_IS_INT_SIZE:
		break;
	}
	return HISTOGRAMS;
}

void histogram_sum(struct histogram *sum, const struct histogram *of)
{
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		sum->bucket[i] += shm_load_relaxed(&of->bucket[i]);
	sum->sum += shm_load_relaxed(&of->sum);
}

uint64_t histogram_count(const struct histogram *sum)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		n += sum->bucket[i];
	return n;
}
