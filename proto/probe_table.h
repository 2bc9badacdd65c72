/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every USDT probe, its arguments and what they are in: the one list. Names,
 * sequence and types are an ABI that scripts rely on: a probe gets new
 * arguments at its end, and what is taken away gets a new name. From it come
 * the functions of probe.h and the lists of treekv-probes(7).
 *
 * PROBE(provider, name, arguments, text, (type, argument, text)...): six at
 * most, so that all are in registers where a probe fires.
 */
#ifndef TREEKV_PROBE_TABLE_H
#define TREEKV_PROBE_TABLE_H

/* clang-format off */

#define PROBE_CACHE \
	(uint64_t, cache, "number of the cache"), \
	(const char *, name, "its name")

#define PROBES_TREEKVD(PROBE) \
PROBE(treekvd, create, 6, "A cache has been made.", PROBE_CACHE, \
	(int32_t, pid, "of the process that asked for it"), \
	(uint32_t, uid, "its owner"), \
	(uint64_t, bytes, "of memory it takes"), \
	(int32_t, huge, "1: in huge pages, 0: in small ones")) \
PROBE(treekvd, attach, 5, "A process has been given the lease of a cache.", \
	PROBE_CACHE, \
	(int32_t, pid, "of that process, the writer"), \
	(uint64_t, lease, "number of the lease"), \
	(uint64_t, tail, "tokens committed so far")) \
PROBE(treekvd, detach, 5, "A lease is over.", PROBE_CACHE, \
	(int32_t, pid, "of the process that had it"), \
	(int32_t, cause, "0: given back, 1: the process ended, 2: taken away"), \
	(uint64_t, tail, "tokens committed so far")) \
PROBE(treekvd, prefill, 3, "A prompt has been committed as a whole.", \
	PROBE_CACHE, \
	(uint64_t, tail, "tokens of it")) \
PROBE(treekvd, drop, 3, "A cache has been dropped by request.", PROBE_CACHE, \
	(int32_t, pid, "of the process that asked for it")) \
PROBE(treekvd, park, 4, "A cache is on disk, and leaves memory; restore " \
	"tells of its return.", PROBE_CACHE, \
	(uint64_t, tail, "tokens committed to it"), \
	(uint64_t, bytes, "of memory it took")) \
PROBE(treekvd, reclaim, 3, "A cache has been dropped without a request, as " \
	"configured for its class.", PROBE_CACHE, \
	(uint64_t, bytes, "of memory it took")) \
PROBE(treekvd, gone, 3, "The memory of a cache has been given back.", \
	PROBE_CACHE, \
	(uint64_t, bytes, "of memory it took")) \
PROBE(treekvd, doorbell, 3, "A writer has rung.", PROBE_CACHE, \
	(int32_t, ready, "1: the cache was waiting for its worker already")) \
PROBE(treekvd, compaction_start, 4, "A worker begins to compact a cache.", \
	PROBE_CACHE, \
	(uint64_t, generation, "that is being made"), \
	(uint64_t, tail, "tokens it speaks of")) \
PROBE(treekvd, compaction_done, 4, "The new order is complete.", PROBE_CACHE, \
	(uint64_t, generation, "that has been made"), \
	(uint32_t, evicted, "tokens taken out of the deepest layer")) \
PROBE(treekvd, publication, 4, "The new order is the order.", PROBE_CACHE, \
	(uint64_t, generation, "that is published"), \
	(uint32_t, evicted, "tokens taken out of the deepest layer")) \
PROBE(treekvd, stall, 4, "A writer has stalled, as the daemon sees it " \
	"afterwards.", PROBE_CACHE, \
	(uint64_t, stalls, "since this was last told"), \
	(uint64_t, ns, "nanoseconds they took together")) \
PROBE(treekvd, snapshot, 6, "A snapshot has been written, or has failed.", \
	PROBE_CACHE, \
	(uint64_t, tail, "tokens committed in it"), \
	(uint64_t, bytes, "of the file"), \
	(uint64_t, ns, "nanoseconds it took"), \
	(int32_t, error, "0 or a negative errno")) \
PROBE(treekvd, restore, 6, "A snapshot has been restored, or has failed to " \
	"be; one that is refused as it stands has cache 0.", PROBE_CACHE, \
	(uint64_t, tail, "tokens committed in it"), \
	(uint64_t, bytes, "of the file"), \
	(uint64_t, ns, "nanoseconds it took"), \
	(int32_t, error, "0 or a negative errno")) \
PROBE(treekvd, quarantine, 4, "A cache is no longer served.", PROBE_CACHE, \
	(int32_t, fault, "what its words are at fault with"), \
	(const char *, reason, "the same in words")) \
PROBE(treekvd, refusal, 4, "A request has been refused.", \
	(int32_t, pid, "of the process that asked"), \
	(uint32_t, uid, "its user"), \
	(int32_t, error, "a negative errno"), \
	(const char *, text, "what it is told")) \
PROBE(treekvd, request_start, 3, "A request has come in.", \
	(uint64_t, connection, "the same number for all of a connection's"), \
	(uint32_t, type, "its number in treekv.proto, 2: hello"), \
	(int32_t, pid, "of the process that asks")) \
PROBE(treekvd, request_done, 4, "Its reply is on its way.", \
	(uint64_t, connection, "as in request_start"), \
	(uint32_t, type, "as in request_start"), \
	(int32_t, pid, "of the process that asked"), \
	(int32_t, error, "0 or a negative errno; -EPIPE: nobody waits for it"))

#define PROBES_LIBTREEKV(PROBE) \
PROBE(libtreekv, step, 5, "A step has begun.", PROBE_CACHE, \
	(uint32_t, tokens, "to be appended"), \
	(uint64_t, tail, "tokens committed so far"), \
	(uint64_t, generation, "of the order in use")) \
PROBE(libtreekv, commit, 4, "A step has been committed.", PROBE_CACHE, \
	(uint32_t, tokens, "committed by it"), \
	(uint64_t, tail, "tokens committed so far, those included")) \
PROBE(libtreekv, progress, 5, "What this process has done with a cache since " \
	"it opened it: at the next commit after 50 ms, and when it detaches.", \
	PROBE_CACHE, \
	(uint64_t, steps, "begun"), \
	(uint64_t, commits, "made"), \
	(uint64_t, tokens, "committed")) \
PROBE(libtreekv, stall_begin, 4, "A step waits for the daemon.", PROBE_CACHE, \
	(uint64_t, tail, "tokens committed so far"), \
	(int32_t, again, "1: its time was up before, and it is tried again")) \
PROBE(libtreekv, stall_end, 4, "It waits no longer.", PROBE_CACHE, \
	(uint64_t, ns, "nanoseconds it waited"), \
	(int32_t, error, "0 or the negative errno that the step returns")) \
PROBE(libtreekv, reconnect, 4, "A lease has been renewed with a new daemon.", \
	PROBE_CACHE, \
	(uint64_t, lease, "number of the lease"), \
	(uint64_t, reconnects, "of this cache so far, this one included"))

/* clang-format on */

#endif /* TREEKV_PROBE_TABLE_H */
