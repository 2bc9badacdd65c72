// SPDX-License-Identifier: BSD-2-Clause
/*
 * A request for a lease that was given up has perhaps been granted, and a lease
 * that was given back while no daemon answered is still recorded: the process
 * holds it, knows nothing of it, and would be refused its own cache until it
 * ends. So both are remembered, for the process, whatever becomes of the
 * connection, and given back before the next lease is asked for there. That
 * cannot hit a lease in use: numbers and nonces are drawn, no two are alike, and
 * only what nobody here was handed, or what he has let go of, gets in.
 *
 * A child made by fork() finds its parent's list and leaves it alone: the leases
 * are the parent's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "client/cache.h"
#include "client/lease.h"

struct owed {
	struct owed *next;
	struct sockaddr_un address;
	pid_t pid;
	uint64_t lease;
	uint64_t nonce;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct owed *all;

uint64_t lease_nonce(void)
{
	uint64_t nonce = 0;

	while (!nonce)
		if (getrandom(&nonce, sizeof(nonce), 0) != sizeof(nonce))
			nonce = 0;
	return nonce;
}

static void put(struct owed *owed)
{
	pthread_mutex_lock(&lock);
	owed->next = all;
	all = owed;
	pthread_mutex_unlock(&lock);
}

/* The next one that is owed there, out of the list; NULL: nothing is. */
static struct owed *take(const struct treekv *kv)
{
	struct owed **at = &all, *owed;
	pid_t pid = getpid();

	pthread_mutex_lock(&lock);
	while (*at && ((*at)->pid != pid ||
		       strcmp((*at)->address.sun_path, kv->address.sun_path)))
		at = &(*at)->next;
	owed = *at;
	if (owed)
		*at = owed->next;
	pthread_mutex_unlock(&lock);
	return owed;
}

static void owe(const struct treekv *kv, uint64_t lease, uint64_t nonce)
{
	struct owed *owed = malloc(sizeof(*owed));

	if (!owed)
		return; /* then it ends with the process */
	*owed = (struct owed){
		.address = kv->address,
		.pid = getpid(),
		.lease = lease,
		.nonce = nonce,
	};
	put(owed);
}

/* Return: 0 when the daemon has answered, whatever it said. */
static int give_back(struct treekv *kv, uint64_t lease, uint64_t nonce,
		     int timeout_ms)
{
	Treekv__Detach detach = TREEKV__DETACH__INIT;
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Reply *reply;
	int r;

	detach.lease = lease;
	detach.has_nonce = !lease;
	detach.nonce = nonce;
	request.body_case = TREEKV__REQUEST__BODY_DETACH;
	request.detach = &detach;
	r = conn_call_within(kv, timeout_ms, &request, &reply, NULL, NULL);
	if (r)
		return conn_answered() ? 0 : r;
	treekv__reply__free_unpacked(reply, NULL);
	return 0;
}

void lease_release(struct treekv *kv, uint64_t lease, uint64_t nonce,
		   int timeout_ms)
{
	char text[1024];
	int r = -ETIMEDOUT;

	snprintf(text, sizeof(text), "%s", treekv_error());
	if (timeout_ms > 0)
		r = give_back(kv, lease, nonce, timeout_ms);
	if (r)
		owe(kv, lease, nonce);
	error_set(0, "%s", text);
}

int lease_settle(struct treekv *kv)
{
	struct owed *owed;
	int r = 0;

	while (!r && (owed = take(kv))) {
		r = give_back(kv, owed->lease, owed->nonce, CONN_TIMEOUT_MS);
		if (r)
			put(owed);
		else
			free(owed);
	}
	return r;
}
