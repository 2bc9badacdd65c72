// SPDX-License-Identifier: BSD-2-Clause
/*
 * Two threads of a process share a connection: one asks while the daemon is
 * stopped and hears nothing, then the other asks and is answered. That is not
 * the answer to the first one. Exit status: 0; 1 it is taken for that; 3 no
 * daemon can be reached.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "client/conn.h"

#define HURRY_MS    50
#define PATIENCE_MS 20000

static int ask(struct treekv *kv, int timeout_ms)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__List list = TREEKV__LIST__INIT;
	Treekv__Reply *reply;
	int r;

	request.body_case = TREEKV__REQUEST__BODY_LIST;
	request.list = &list;
	r = conn_call_within(kv, timeout_ms, &request, &reply, NULL, NULL);
	if (!r)
		treekv__reply__free_unpacked(reply, NULL);
	return r;
}

static void *other(void *kv)
{
	return ask(kv, PATIENCE_MS) || !conn_answered() ? kv : NULL;
}

static int expect(bool so, const char *what)
{
	printf("%s - %s\n", so ? "ok" : "not ok", what);
	return !so;
}

int main(void)
{
	struct treekv *kv;
	pthread_t thread;
	uint64_t session;
	void *failed;
	int status;

	if (treekv_connect(&kv, NULL) || ask(kv, PATIENCE_MS)) {
		fprintf(stderr, "kvthreads: %s\n", treekv_error());
		return 3;
	}
	session = conn_session();
	kill(kv->daemon_pid, SIGSTOP);
	status = expect(ask(kv, HURRY_MS) == -ETIMEDOUT, "nobody answers");
	kill(kv->daemon_pid, SIGCONT);
	pthread_create(&thread, NULL, other, kv);
	pthread_join(thread, &failed);
	status |= expect(!failed, "another thread is answered");
	status |= expect(!conn_answered(), "which is no answer to the first");
	status |= expect(conn_in_doubt(), "whose request is still in doubt");
	status |= expect(conn_session() == session && kv->session != session,
			 "and whose connection was the one before");
	treekv_close(kv);
	return status;
}
