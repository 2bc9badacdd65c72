/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The connection to the daemon as the rest of the client sees it: a request
 * out, its reply and descriptors in, reconnecting where that is harmless.
 */
#ifndef TREEKV_CONN_H
#define TREEKV_CONN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "client/treekv.h"
#include "proto/frame.h"
#include "treekv.pb-c.h"

#define CONN_TIMEOUT_MS 10000 /* a daemon silent for longer hangs */

struct treekv {
	pthread_mutex_t lock; /* a stalled step may talk as well */
	struct sockaddr_un address;
	int fd; /* -1: lost, made again by the next call */
	pid_t pid; /* who made it: a lease is not inherited by a fork */
	int timeout_ms; /* what fd is set to */
	int64_t heard; /* ms: a sign of life of this call, or its beginning */
	bool answered; /* the last call: by the daemon, be it a refusal */
	bool in_doubt; /* a daemon may have taken the last request */
	uint64_t session; /* raised by each connection made */
	uint64_t last_id;
	uint64_t hello; /* sent, and its answer not read yet; 0: none */
	uint32_t version;
	pid_t daemon_pid;
	char daemon[64];

	/* Told how far a call is that takes a while; the caller's. */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *progress_arg;
};

/**
 * conn_call - one request and its reply
 * @kv: connected again where that is needed
 * @request: its body; the id is filled in
 * @ret: the reply; its body is the one that belongs to the request. Free it
 *	with treekv__reply__free_unpacked(reply, NULL)
 * @fds: the descriptors that came with it, the caller's to close; NULL: none
 *	are expected and any that come are closed
 * @n_fds: how many; NULL when @fds is
 *
 * A request is sent again, over a new connection, when the old one turns out to
 * be dead before it took a byte, and also later when doing it twice is the same
 * as once.
 *
 * Return: 0; the daemon's own refusal, upon which the connection goes on
 * (conn_answered()); -ENOENT, -ECONNREFUSED, -EACCES when it cannot be
 * reached; -ECONNRESET, -ETIMEDOUT, -EPROTO, -ENOMEM. The text is set.
 */
int conn_call(struct treekv *kv, Treekv__Request *request, Treekv__Reply **ret,
	      int fds[FRAME_FDS_MAX], unsigned int *n_fds);

/*
 * The same, and a daemon that is silent for longer than @timeout_ms is
 * -ETIMEDOUT. Where it restores a cache first, or writes one, and was asked to
 * say how far it has got, it is not silent while that goes on.
 */
int conn_call_within(struct treekv *kv, int timeout_ms,
		     Treekv__Request *request, Treekv__Reply **ret,
		     int fds[FRAME_FDS_MAX], unsigned int *n_fds);

/**
 * conn_next - one more reply to a request that has several
 * @request: answered by conn_call(), and no other since
 * @ret: as there
 *
 * Waits until there is one. Return: 0, -ECONNRESET the daemon has ended,
 * -EPROTO, -ENOMEM, or the daemon's refusal. The text is set.
 */
int conn_next(struct treekv *kv, const Treekv__Request *request,
	      Treekv__Reply **ret);

/* Did this thread's last call, which failed, fail by the daemon's word? */
bool conn_answered(void);

/* Or may it have been done all the same, though nobody said so? */
bool conn_in_doubt(void);

/* The session of the connection that it was made on last. */
uint64_t conn_session(void);

/*
 * Is the connection of that session still up? Does not wait. Return: 1 or 0;
 * -EBUSY another thread is in a call on it, and finds out.
 */
int conn_alive(struct treekv *kv, uint64_t session);

/* ---- open.c ---- */

/**
 * open_granted - ask for a cache, and attach to what is handed out
 * @request: its reply carries Attached; its name has been checked
 * @nonce: that of the request
 * @reader: it is for reading
 * @prefix: set to what a new fork begins with, if the daemon says so; or NULL
 *
 * Return: 0, or a negative errno with the text set.
 */
int open_granted(struct treekv_cache **ret, struct treekv *kv,
		 Treekv__Request *request, uint64_t nonce, bool reader,
		 struct treekv_prefix *prefix);

/* @from may be NULL. */
void open_fill_prefix(struct treekv_prefix *to, const Treekv__Prefix *from);

/* Points into @from, which must stay. */
void open_fill_spec(Treekv__Spec *to, const struct treekv_spec *from);

/**
 * open_reconnect - renew a cache's lease if its connection is lost
 * @cache: attached by treekv_open()
 * @timeout_ms: 50 to 1000 are taken
 *
 * One try. For a step that sees a new epoch: a new daemon adopted the cache.
 *
 * Return: 0 (also when nothing was lost); -EAGAIN nobody is there yet; -ESTALE
 * the lease is gone for good and cache->lost is set; -EPROTO the new daemon
 * speaks another protocol.
 */
int open_reconnect(struct treekv_cache *cache, int timeout_ms);

#endif /* TREEKV_CONN_H */
