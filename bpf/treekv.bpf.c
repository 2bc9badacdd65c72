// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Counts and makes histograms in the kernel: of the daemon by its probes
 * (attached to its process alone), of its writers by the library's probes
 * (attached to the programs they run, so every process that runs one comes by
 * and those that hold no lease are turned away), of the daemon's workers by the
 * scheduler and of its io_uring by their tracepoints.
 *
 * Nothing is sent to user space, which reads the tables when it likes. Each
 * table has a size it never passes; what finds no place is counted in drops.
 *
 * A program is named for what it is attached to: PROVIDER_PROBE of
 * probe_table.h, whose arguments it takes in that sequence, or the tracepoint.
 *
 * The structures of the kernel that are looked into are declared here with the
 * members in question: their offsets are the running kernel's (CO-RE), and the
 * machine that builds this needs no BTF.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <bpf/usdt.bpf.h>

#include "bpf/tables.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TASK_RUNNING 0

struct task_struct {
	unsigned int __state;
	int pid;
	int tgid;
} __attribute__((preserve_access_index));

struct io_kiocb {
	__u8 opcode;
} __attribute__((preserve_access_index));

/* Of the kernel's own numbering; set before loading. */
const volatile __u32 daemon_tgid;
const volatile __u64 io_opcodes; /* a bit each */

struct table_histogram histograms[WATCH_HISTOGRAMS];
__u64 drops[WATCH_TABLES];

static const struct table_cache no_cache;
static const struct table_process no_process;
static const struct table_writer no_writer;

#define TABLE(name, key_type, value_type, entries) \
	struct {                                   \
		__uint(type, BPF_MAP_TYPE_HASH);   \
		__uint(max_entries, entries);      \
		__type(key, key_type);             \
		__type(value, value_type);         \
	} name SEC(".maps")

TABLE(caches, __u64, struct table_cache, TABLE_CACHES);
TABLE(processes, __u32, struct table_process, TABLE_PROCESSES);
TABLE(writers, struct table_writer_key, struct table_writer, TABLE_WRITERS);
TABLE(workers, __u32, struct table_worker, TABLE_WORKERS);
TABLE(requests, __u64, struct table_request, TABLE_REQUESTS);
TABLE(stalls, struct table_stall, __u64, TABLE_STALLS);
TABLE(io, __u64, __u64, TABLE_IO);

static __always_inline void add(__u64 *to, __u64 n)
{
	__sync_fetch_and_add(to, n);
}

static __always_inline void drop(enum watch_table table)
{
	add(&drops[table], 1);
}

/* The place of the highest bit; 0 for 0. */
static __always_inline __u32 log2_of(__u64 v)
{
	__u32 r = 0, shift;

	shift = (v > 0xffffffff) << 5;
	v >>= shift;
	r |= shift;
	shift = (v > 0xffff) << 4;
	v >>= shift;
	r |= shift;
	shift = (v > 0xff) << 3;
	v >>= shift;
	r |= shift;
	shift = (v > 0xf) << 2;
	v >>= shift;
	r |= shift;
	shift = (v > 0x3) << 1;
	v >>= shift;
	r |= shift;
	return r | (__u32)(v >> 1);
}

static __always_inline void observe(struct table_histogram *h, __u64 ns)
{
	__u32 i = log2_of(ns);

	if (i < TABLE_BUCKETS)
		add(&h->bucket[i], 1);
	add(&h->sum, ns);
}

static __always_inline __u64 since(__u64 begin)
{
	return bpf_ktime_get_ns() - begin;
}

static __always_inline struct table_cache *cache_of(__u64 cache)
{
	struct table_cache *at = bpf_map_lookup_elem(&caches, &cache);

	if (at)
		return at;
	bpf_map_update_elem(&caches, &cache, &no_cache, BPF_NOEXIST);
	at = bpf_map_lookup_elem(&caches, &cache);
	if (!at)
		drop(WATCH_TABLE_CACHES);
	return at;
}

/* ---- the daemon's probes ---- */

SEC("usdt")
int BPF_USDT(treekvd_compaction_start, __u64 cache)
{
	struct table_cache *at = cache_of(cache);

	if (at)
		at->started = bpf_ktime_get_ns();
	return 0;
}

SEC("usdt")
int BPF_USDT(treekvd_compaction_done, __u64 cache, const char *name,
	     __u64 generation, __u32 evicted)
{
	struct table_cache *at = cache_of(cache);
	__u64 ns;

	if (!at)
		return 0;
	add(&at->compactions, 1);
	add(&at->evictions, evicted);
	if (!at->started)
		return 0;
	ns = since(at->started);
	at->started = 0;
	observe(&at->compaction, ns);
	observe(&histograms[WATCH_COMPACTION], ns);
	return 0;
}

SEC("usdt")
int BPF_USDT(treekvd_doorbell, __u64 cache, const char *name, int ready)
{
	struct table_cache *at = cache_of(cache);

	if (!at)
		return 0;
	add(&at->doorbells, 1);
	if (!ready || !at->rung)
		at->rung = bpf_ktime_get_ns();
	return 0;
}

SEC("usdt")
int BPF_USDT(treekvd_publication, __u64 cache)
{
	struct table_cache *at = cache_of(cache);

	if (!at)
		return 0;
	add(&at->publications, 1);
	if (!at->rung)
		return 0;
	observe(&histograms[WATCH_PUBLICATION], since(at->rung));
	at->rung = 0;
	return 0;
}

SEC("usdt")
int BPF_USDT(treekvd_gone, __u64 cache)
{
	struct table_cache *at = bpf_map_lookup_elem(&caches, &cache);

	if (at)
		at->gone = 1;
	return 0;
}

/* It opened the cache (again): what it tells of it begins at nothing. */
static __always_inline void restart(struct table_writer *at)
{
	at->from.steps -= at->now.steps;
	at->from.commits -= at->now.commits;
	at->from.tokens -= at->now.tokens;
	__builtin_memset(&at->now, 0, sizeof(at->now));
}

/* From here on it is followed; user space looks at the program it runs. */
SEC("usdt")
int BPF_USDT(treekvd_attach, __u64 cache, const char *name, int pid)
{
	struct table_writer_key key = { .cache = cache, .pid = (__u32)pid };
	struct table_writer *writer = bpf_map_lookup_elem(&writers, &key);
	__u32 tgid = pid;

	if (!bpf_map_lookup_elem(&processes, &tgid) &&
	    bpf_map_update_elem(&processes, &tgid, &no_process, BPF_NOEXIST)) {
		drop(WATCH_TABLE_PROCESSES);
		return 0;
	}
	if (writer)
		restart(writer);
	else if (bpf_map_update_elem(&writers, &key, &no_writer, BPF_NOEXIST))
		drop(WATCH_TABLE_WRITERS);
	return 0;
}

SEC("usdt")
int BPF_USDT(treekvd_request_start, __u64 connection, __u32 type)
{
	struct table_request request = {
		.begun = bpf_ktime_get_ns(),
		.type = type,
	};

	if (bpf_map_update_elem(&requests, &connection, &request, BPF_ANY))
		drop(WATCH_TABLE_REQUESTS);
	return 0;
}

SEC("usdt")
int BPF_USDT(treekvd_request_done, __u64 connection)
{
	struct table_request *request =
		bpf_map_lookup_elem(&requests, &connection);

	if (!request)
		return 0;
	if (request->type < WATCH_REQUESTS)
		observe(&histograms[WATCH_REQUEST + request->type],
			since(request->begun));
	bpf_map_delete_elem(&requests, &connection);
	return 0;
}

/* ---- the library's probes ---- */

/* Its entry, if this process holds a lease of the daemon's. */
static __always_inline struct table_process *own_process(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	return bpf_map_lookup_elem(&processes, &tgid);
}

SEC("usdt")
int BPF_USDT(libtreekv_progress, __u64 cache, const char *name, __u64 steps,
	     __u64 commits, __u64 tokens)
{
	struct table_writer_key key = {
		.cache = cache,
		.pid = bpf_get_current_pid_tgid() >> 32,
	};
	struct table_progress now = { steps, commits, tokens };
	struct table_writer first = { .now = now, .from = now };
	struct table_writer *at = bpf_map_lookup_elem(&writers, &key);
	struct table_process *process = own_process();

	if (!process)
		return 0;
	if (!process->comm[0])
		bpf_get_current_comm(process->comm, sizeof(process->comm));
	if (at)
		at->now = now;
	else if (bpf_map_update_elem(&writers, &key, &first, BPF_NOEXIST))
		drop(WATCH_TABLE_WRITERS);
	return 0;
}

/* A step that is tried again after its time was up is the same stall. */
SEC("usdt")
int BPF_USDT(libtreekv_stall_begin, __u64 cache, const char *name, __u64 tail,
	     int again)
{
	struct table_process *process = own_process();
	struct table_stall key = {
		.thread = bpf_get_current_pid_tgid(),
		.cache = cache,
	};
	__u64 now = bpf_ktime_get_ns();
	struct table_cache *at;

	if (!process)
		return 0;
	if (bpf_map_update_elem(&stalls, &key, &now, BPF_ANY))
		drop(WATCH_TABLE_STALLS);
	if (again)
		return 0;
	add(&process->stalls, 1);
	at = cache_of(cache);
	if (at)
		add(&at->stalls, 1);
	return 0;
}

SEC("usdt")
int BPF_USDT(libtreekv_stall_end, __u64 cache)
{
	struct table_process *process = own_process();
	struct table_stall key = {
		.thread = bpf_get_current_pid_tgid(),
		.cache = cache,
	};
	__u64 *begun = bpf_map_lookup_elem(&stalls, &key);
	struct table_cache *at;
	__u64 ns;

	if (!process || !begun)
		return 0;
	ns = since(*begun);
	bpf_map_delete_elem(&stalls, &key);
	observe(&histograms[WATCH_STALL], ns);
	add(&process->stall_ns, ns);
	at = cache_of(cache);
	if (at)
		add(&at->stall_ns, ns);
	return 0;
}

/* ---- the scheduler ---- */

static __always_inline struct table_worker *worker_of(struct task_struct *task)
{
	__u32 tid;

	if (task->tgid != daemon_tgid)
		return NULL;
	tid = task->pid;
	return bpf_map_lookup_elem(&workers, &tid);
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(sched_wakeup, struct task_struct *task)
{
	struct table_worker *worker = worker_of(task);

	if (worker)
		worker->runnable = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev,
	     struct task_struct *next)
{
	struct table_worker *worker = worker_of(prev);

	if (worker && prev->__state == TASK_RUNNING)
		worker->runnable = bpf_ktime_get_ns();
	worker = worker_of(next);
	if (worker && worker->runnable) {
		observe(&worker->delay, since(worker->runnable));
		worker->runnable = 0;
	}
	return 0;
}

/* ---- io_uring ---- */

static __always_inline int submitted(struct io_kiocb *req)
{
	__u64 key = (__u64)req, now;

	if (bpf_get_current_pid_tgid() >> 32 != daemon_tgid ||
	    req->opcode >= 64 || !(io_opcodes >> req->opcode & 1))
		return 0;
	now = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&io, &key, &now, BPF_ANY))
		drop(WATCH_TABLE_IO);
	return 0;
}

/* One of the two exists: the name was changed with Linux 6.3. */
SEC("?tp_btf/io_uring_submit_req")
int BPF_PROG(io_uring_submit_req, struct io_kiocb *req)
{
	return submitted(req);
}

SEC("?tp_btf/io_uring_submit_sqe")
int BPF_PROG(io_uring_submit_sqe, struct io_kiocb *req)
{
	return submitted(req);
}

SEC("?tp_btf/io_uring_complete")
int BPF_PROG(io_uring_complete, void *ring, void *req)
{
	__u64 key = (__u64)req;
	__u64 *begun = bpf_map_lookup_elem(&io, &key);

	if (!begun)
		return 0;
	observe(&histograms[WATCH_IO_URING], since(*begun));
	bpf_map_delete_elem(&io, &key);
	return 0;
}
