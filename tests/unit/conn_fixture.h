/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A listener with an owner of few words, on a thread of its own, and a client
 * that sends and reads raw frames. Included after cmocka.h.
 *
 * The owner answers: Stats at once; Attach with three pipes' read ends that
 * hold "0", "1", "2"; List with 3 MiB of text; Inspect with more than a reply
 * may have; Drop later, after other completions; Detach never.
 */
#ifndef CONN_FIXTURE_H
#define CONN_FIXTURE_H

#include <stddef.h>
#include <stdint.h>
#include <semaphore.h>
#include <pthread.h>
#include <sys/un.h>

#include "daemon/conn.h"
#include "daemon/loop.h"
#include "proto/frame.h"

struct server {
	char directory[32];
	struct sockaddr_un address;
	pthread_t thread;
	struct loop loop;
	struct loop_op stop;
	int stop_fd;
	struct listener *listener;
	char why[512];
	int result;
	int last_pid; /* of the last request's peer */
	bool has_pidfd;
	uint32_t connections; /* when it came */
	sem_t ready;
	sem_t requested; /* posted for each request the owner was given */
	sem_t closed; /* and for each connection that closed */
};

/* What came back. */
struct answer {
	Treekv__Reply *reply; /* NULL: the connection ended */
	int fds[FRAME_FDS_MAX];
	unsigned int n_fds;
};

void server_start(struct server *server);
void server_stop(struct server *server);

/* cmocka's set-up and tear-down: *state is the server. */
int server_setup(void **state);
int server_teardown(void **state);

int client_connect(const struct server *server);
void client_write(int fd, const void *bytes, size_t size);
void client_send(int fd, const Treekv__Request *request);
size_t client_pack(uint8_t *to, const Treekv__Request *request);

/* Reads one reply; a peer that says nothing for 20 s fails the test. */
struct answer client_read(int fd);
void answer_free(struct answer *answer);

/* Connects and says Hello. */
int client_greeted(const struct server *server);

/* The next reply to @fd has @id and @error, and text that begins with @text. */
void assert_reply(int fd, uint64_t id, int error, const char *text);

/* There is no further reply: the daemon has closed. */
void assert_hung_up(int fd);

Treekv__Request request_of(uint64_t id, Treekv__Request__BodyCase body);

#endif /* CONN_FIXTURE_H */
