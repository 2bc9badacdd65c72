// SPDX-License-Identifier: BSD-2-Clause
/*
 * The tables, copied out. Histograms and drops are in memory that is shared
 * with the kernel; a table costs one system call, however many entries it has.
 * What is gone is read a last time and then taken out, so that tables fill up
 * with what lives only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "bpf/watch_impl.h"

/* All entries of a table, as they are there. */
struct entries {
	char *keys;
	char *values;
	uint32_t n;
	uint32_t key_size;
	uint32_t value_size;
	int fd;
};

static void entries_free(struct entries *e)
{
	free(e->keys);
	free(e->values);
}

static int entries_read(struct entries *e, const struct bpf_map *map)
{
	uint32_t batch[8]; /* where the kernel would go on: a bucket's number */
	int r;

	*e = (struct entries){
		.n = bpf_map__max_entries(map),
		.key_size = bpf_map__key_size(map),
		.value_size = bpf_map__value_size(map),
		.fd = bpf_map__fd(map),
	};
	e->keys = calloc(e->n, e->key_size);
	e->values = calloc(e->n, e->value_size);
	if (!e->keys || !e->values)
		return -ENOMEM;
	r = bpf_map_lookup_batch(e->fd, NULL, batch, e->keys, e->values, &e->n,
				 NULL);
	return r == -ENOENT ? 0 : r;
}

static const void *key_at(const struct entries *e, uint32_t i)
{
	return e->keys + (size_t)i * e->key_size;
}

static const void *value_at(const struct entries *e, uint32_t i)
{
	return e->values + (size_t)i * e->value_size;
}

static void copy_histogram(struct watch_histogram_data *to,
			   const struct table_histogram *from)
{
	to->sum = __atomic_load_n(&from->sum, __ATOMIC_RELAXED);
	to->count = 0;
	for (int i = 0; i < TABLE_BUCKETS; i++) {
		to->bucket[i] =
			__atomic_load_n(&from->bucket[i], __ATOMIC_RELAXED);
		to->count += to->bucket[i];
	}
}

static void add_histogram(struct watch_histogram_data *to,
			  const struct watch_histogram_data *from)
{
	to->sum += from->sum;
	to->count += from->count;
	for (int i = 0; i < TABLE_BUCKETS; i++)
		to->bucket[i] += from->bucket[i];
}

static int by_cache(const void *a, const void *b)
{
	uint64_t x = ((const struct watch_cache *)a)->cache;
	uint64_t y = ((const struct watch_cache *)b)->cache;

	return (x > y) - (x < y);
}

static int by_pid(const void *a, const void *b)
{
	return ((const struct watch_process *)a)->pid -
	       ((const struct watch_process *)b)->pid;
}

static int by_tid(const void *a, const void *b)
{
	return ((const struct watch_worker *)a)->tid -
	       ((const struct watch_worker *)b)->tid;
}

static void copy_cache(struct watch_cache *to, const struct table_cache *from)
{
	to->compactions = from->compactions;
	to->evictions = from->evictions;
	to->publications = from->publications;
	to->doorbells = from->doorbells;
	to->stalls = from->stalls;
	to->stall_ns = from->stall_ns;
	copy_histogram(&to->compaction, &from->compaction);
}

static int read_caches(struct watch *w, struct watch_data *data)
{
	struct entries e;
	int r = entries_read(&e, w->bpf->maps.caches);

	if (r)
		goto out;
	data->cache = calloc(e.n + 1, sizeof(*data->cache));
	if (!data->cache) {
		r = -ENOMEM;
		goto out;
	}
	data->caches = e.n;
	for (uint32_t i = 0; i < e.n; i++) {
		const struct table_cache *from = value_at(&e, i);

		memcpy(&data->cache[i].cache, key_at(&e, i), e.key_size);
		copy_cache(&data->cache[i], from);
		if (from->gone)
			bpf_map_delete_elem(e.fd, key_at(&e, i));
	}
	qsort(data->cache, data->caches, sizeof(*data->cache), by_cache);
out:
	entries_free(&e);
	return r;
}

/* Of one who died while he waited. */
static void forget_stalls(struct watch *w, pid_t pid)
{
	struct entries e;

	if (!entries_read(&e, w->bpf->maps.stalls))
		for (uint32_t i = 0; i < e.n; i++) {
			const struct table_stall *at = key_at(&e, i);

			if ((pid_t)(at->thread >> 32) == pid)
				bpf_map_delete_elem(e.fd, at);
		}
	entries_free(&e);
}

static void read_comm(char *comm, size_t size, pid_t pid)
{
	char path[32];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "re");
	if (!file)
		return;
	if (fgets(comm, (int)size, file))
		comm[strcspn(comm, "\n")] = '\0';
	fclose(file);
}

static void read_process(struct watch *w, struct watch_process *to,
			 const struct entries *e, uint32_t i)
{
	const struct table_process *from = value_at(e, i);
	uint32_t pid;

	memcpy(&pid, key_at(e, i), sizeof(pid));
	to->pid = (pid_t)pid;
	memcpy(to->comm, from->comm, sizeof(to->comm) - 1);
	if (!*to->comm)
		read_comm(to->comm, sizeof(to->comm), to->pid);
	to->stalls = from->stalls;
	to->stall_ns = from->stall_ns;
	to->gone = watch_is_gone(to->pid);
	if (!to->gone) {
		watch_look_at(w, to->pid);
		return;
	}
	bpf_map_delete_elem(e->fd, key_at(e, i));
	watch_forget(w, to->pid);
	forget_stalls(w, to->pid);
}

/* Adds what each has done with its caches; forgets those that are gone. */
static int read_writers(struct watch *w, struct watch_data *data)
{
	struct watch_process *process;
	struct entries e;
	int r = entries_read(&e, w->bpf->maps.writers);

	for (uint32_t i = 0; !r && i < e.n; i++) {
		const struct table_writer_key *key = key_at(&e, i);
		const struct table_writer *at = value_at(&e, i);
		struct watch_process wanted = { .pid = (pid_t)key->pid };

		process = bsearch(&wanted, data->process, data->processes,
				  sizeof(wanted), by_pid);
		if (!process)
			continue;
		process->steps += at->now.steps - at->from.steps;
		process->commits += at->now.commits - at->from.commits;
		process->tokens += at->now.tokens - at->from.tokens;
		if (process->gone)
			bpf_map_delete_elem(e.fd, key);
	}
	entries_free(&e);
	return r;
}

static int read_processes(struct watch *w, struct watch_data *data)
{
	struct entries e;
	int r = entries_read(&e, w->bpf->maps.processes);

	if (r)
		goto out;
	data->process = calloc(e.n + 1, sizeof(*data->process));
	if (!data->process) {
		r = -ENOMEM;
		goto out;
	}
	data->processes = e.n;
	for (uint32_t i = 0; i < e.n; i++)
		read_process(w, &data->process[i], &e, i);
	qsort(data->process, data->processes, sizeof(*data->process), by_pid);
out:
	entries_free(&e);
	return r;
}

static int read_workers(struct watch *w, struct watch_data *data)
{
	struct watch_histogram_data *all = &data->histogram[WATCH_RUN_DELAY];
	struct entries e;
	int r = entries_read(&e, w->bpf->maps.workers);

	if (r)
		goto out;
	data->worker = calloc(e.n + 1, sizeof(*data->worker));
	if (!data->worker) {
		r = -ENOMEM;
		goto out;
	}
	data->workers = e.n;
	for (uint32_t i = 0; i < e.n; i++) {
		const struct table_worker *from = value_at(&e, i);

		memcpy(&data->worker[i].tid, key_at(&e, i), e.key_size);
		copy_histogram(&data->worker[i].run_delay, &from->delay);
		add_histogram(all, &data->worker[i].run_delay);
	}
	qsort(data->worker, data->workers, sizeof(*data->worker), by_tid);
out:
	entries_free(&e);
	return r;
}

int watch_read(struct watch *w, struct watch_data *data)
{
	int r = 0;

	memset(data, 0, sizeof(*data));
	if (w->level == WATCH_NONE)
		return 0;
	for (int i = 0; i < WATCH_HISTOGRAMS; i++)
		copy_histogram(&data->histogram[i],
			       &w->bpf->bss->histograms[i]);
	if (w->level == WATCH_FULL) {
		r = read_caches(w, data);
		if (!r)
			r = read_processes(w, data);
		if (!r)
			r = read_writers(w, data);
	}
	if (!r)
		r = read_workers(w, data);
	for (int i = 0; i < WATCH_TABLES; i++)
		data->drops[i] = __atomic_load_n(&w->bpf->bss->drops[i],
						 __ATOMIC_RELAXED);
	data->drops[WATCH_TABLE_PROGRAMS] += w->programs_missed;
	return r;
}
