// SPDX-License-Identifier: BSD-2-Clause
/*
 * The threads and processes there are. A client is a process: it may have
 * several connections, and a lease outlives the connection it was got over, so
 * both are gathered by pid.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/lease.h"
#include "daemon/report.h"

static void no_memory(struct conn *conn, uint64_t id)
{
	conn_refuse(conn, id, -ENOMEM, "the daemon is out of memory");
}

/* ---- workers ---- */

/* Processor time and run-queue delay, where the kernel counts them. */
static void read_schedule(Treekv__Worker *to, pid_t thread)
{
	uint64_t cpu, delay;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat",
		 (int)thread);
	file = fopen(path, "re");
	if (!file)
		return;
	if (fscanf(file, "%" SCNu64 " %" SCNu64, &cpu, &delay) == 2) {
		to->has_cpu_ns = to->has_delay_ns = true;
		to->cpu_ns = cpu;
		to->delay_ns = delay;
	}
	fclose(file);
}

static void worker_init(Treekv__Worker *to, const struct worker *worker)
{
	struct worker_counters counters;

	treekv__worker__init(to);
	worker_counters(worker, &counters);
	to->thread = (uint32_t)worker_thread(worker);
	to->caches = worker_caches(worker);
	to->compactions = counters.compactions;
	to->evictions = counters.evictions;
	to->doorbells = counters.rings;
	to->busy_ns = counters.busy_ns;
	read_schedule(to, worker_thread(worker));
}

void report_workers(struct control *control, struct conn *conn, uint64_t id)
{
	Treekv__WorkersReply workers = TREEKV__WORKERS_REPLY__INIT;
	Treekv__Worker items[CONTROL_WORKERS_MAX];
	Treekv__Worker *list[CONTROL_WORKERS_MAX];
	Treekv__Reply reply = TREEKV__REPLY__INIT;

	for (uint32_t i = 0; i < control->workers; i++) {
		worker_init(&items[i], control->worker[i]);
		list[i] = &items[i];
	}
	workers.worker = list;
	workers.n_worker = control->workers;
	reply.id = id;
	reply.body_case = TREEKV__REPLY__BODY_WORKERS;
	reply.workers = &workers;
	conn_reply(conn, &reply, NULL, 0);
}

/* ---- clients ---- */

struct clients {
	Treekv__Client *at; /* one a connection or lease, then one a process */
	size_t n;
	bool all;
	uid_t uid;
};

static Treekv__Client *add(struct clients *to, pid_t pid, uid_t uid)
{
	Treekv__Client *client;

	if (!to->all && uid != to->uid)
		return NULL;
	client = &to->at[to->n++];
	treekv__client__init(client);
	client->pid = (uint32_t)pid;
	client->uid = uid;
	return client;
}

static void see_connection(const struct conn *conn, void *data)
{
	const struct conn_story *story = conn_story(conn);
	const struct conn_peer *peer = conn_peer(conn);
	Treekv__Client *client = add(data, peer->pid, peer->uid);

	if (!client)
		return;
	client->connections = 1;
	client->requests = story->requests;
	client->has_since = true;
	client->since = story->since;
	if (story->program[0])
		client->program = (char *)(uintptr_t)story->program;
}

static void see_lease(struct clients *to, const struct cache *cache)
{
	Treekv__Client *client = add(to, cache->lease->pid, cache->lease->uid);

	if (!client)
		return;
	client->leases = 1;
	client->bytes = cache_bytes(cache);
}

/* By process; of one process the connections first, the oldest leading. */
static int compare(const void *a, const void *b)
{
	const Treekv__Client *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	if (x->connections != y->connections)
		return x->connections > y->connections ? -1 : 1;
	return (x->since > y->since) - (x->since < y->since);
}

static void merge(struct clients *clients)
{
	Treekv__Client *to = clients->at;
	size_t n = 0;

	qsort(to, clients->n, sizeof(*to), compare);
	for (size_t i = 0; i < clients->n; i++) {
		const Treekv__Client *from = &clients->at[i];

		if (!n || to[n - 1].pid != from->pid) {
			to[n++] = *from;
			continue;
		}
		to[n - 1].connections += from->connections;
		to[n - 1].leases += from->leases;
		to[n - 1].bytes += from->bytes;
		to[n - 1].requests += from->requests;
	}
	clients->n = n;
}

static void clients_reply(struct conn *conn, uint64_t id,
			  const struct clients *clients, Treekv__Client **list)
{
	Treekv__ClientsReply body = TREEKV__CLIENTS_REPLY__INIT;
	Treekv__Reply reply = TREEKV__REPLY__INIT;

	for (size_t i = 0; i < clients->n; i++)
		list[i] = &clients->at[i];
	body.client = list;
	body.n_client = clients->n;
	reply.id = id;
	reply.body_case = TREEKV__REPLY__BODY_CLIENTS;
	reply.clients = &body;
	conn_reply(conn, &reply, NULL, 0);
}

void report_clients(struct control *control, struct conn *conn, uint64_t id)
{
	size_t most = listener_connections(control->listener) +
		      (size_t)control->store.caches;
	struct clients clients = {
		.at = calloc(most + 1, sizeof(Treekv__Client)),
		.all = report_sees_all(conn),
		.uid = conn_peer(conn)->uid,
	};
	Treekv__Client **list = calloc(most + 1, sizeof(Treekv__Client *));

	if (!clients.at || !list) {
		no_memory(conn, id);
		goto out;
	}
	listener_each(control->listener, see_connection, &clients);
	for (const struct cache *c = control->store.first; c; c = c->next)
		if (c->lease)
			see_lease(&clients, c);
	merge(&clients);
	clients_reply(conn, id, &clients, list);
out:
	free(list);
	free(clients.at);
}
