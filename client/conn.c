// SPDX-License-Identifier: BSD-2-Clause
/*
 * A connection is one stream socket on which requests are answered in order,
 * one at a time: a request costs one send and, unless the reply is long, one
 * recvmsg, which brings its descriptors along.
 *
 * The greeting may travel together with the first request (ahead): then its
 * answer is read before that request's.
 *
 * Whatever leaves the stream in doubt (a timeout, a wrong id, bytes nobody
 * asked for) closes it; the next call makes a new one. Whether a call whose
 * connection was lost may simply be repeated is a property of the request, kept
 * in one table; then it is, until the next daemon has answered, or for ten
 * seconds. A lease does not end with its connection, so reconnecting loses
 * nothing; caches compare the session of their lease with the connection's and
 * renew it.
 *
 * Before an answer that takes a while the daemon says how far it has got; each
 * such word begins the wait for the next one anew.
 *
 * The daemon's replies are checked like anybody's: length, id, shape, number of
 * descriptors. Descriptors that nobody takes are closed, on every path.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client/cache.h"
#include "client/clock.h"
#include "client/conn.h"
#include "client/inbox.h"

#define DIAL_TRIES   3
#define PAUSE_MIN_MS 10 /* between tries, twice as long each time */
#define PAUSE_MAX_MS 500

/* What there is to know of a request before it is sent. */
static const struct request_kind {
	const char *name;
	Treekv__Reply__BodyCase reply;
	bool repeat; /* twice is the same as once */
	bool progress; /* Progress may come first */
	bool several; /* more replies may follow the first */
	bool lasts; /* repeated meanwhile it is -EBUSY */
} request_kinds[] = {
	[TREEKV__REQUEST__BODY_HELLO] = { "hello", TREEKV__REPLY__BODY_HELLO,
					  true },
	[TREEKV__REQUEST__BODY_CREATE] = { "create",
					   TREEKV__REPLY__BODY_ATTACHED, true,
					   true },
	[TREEKV__REQUEST__BODY_ATTACH] = { "attach",
					   TREEKV__REPLY__BODY_ATTACHED, true,
					   true },
	[TREEKV__REQUEST__BODY_DETACH] = { "detach",
					   TREEKV__REPLY__BODY__NOT_SET, true },
	[TREEKV__REQUEST__BODY_DROP] = { "drop", TREEKV__REPLY__BODY__NOT_SET,
					 false },
	[TREEKV__REQUEST__BODY_LIST] = { "list", TREEKV__REPLY__BODY_LIST,
					 true },
	[TREEKV__REQUEST__BODY_INSPECT] = { "inspect",
					    TREEKV__REPLY__BODY_INSPECT, true },
	[TREEKV__REQUEST__BODY_STATS] = { "stats", TREEKV__REPLY__BODY_STATS,
					  true },
	[TREEKV__REQUEST__BODY_BREAK_LEASE] = { "lease break",
						TREEKV__REPLY__BODY__NOT_SET,
						false },
	[TREEKV__REQUEST__BODY_FORK] = { "fork", TREEKV__REPLY__BODY_ATTACHED,
					 true },
	[TREEKV__REQUEST__BODY_LOOKUP] = { "lookup", TREEKV__REPLY__BODY_LOOKUP,
					   true },
	[TREEKV__REQUEST__BODY_FREEZE] = { "freeze",
					   TREEKV__REPLY__BODY__NOT_SET, true,
					   .lasts = true },
	[TREEKV__REQUEST__BODY_CHMOD] = { "chmod", TREEKV__REPLY__BODY__NOT_SET,
					  true },
	[TREEKV__REQUEST__BODY_QUOTA] = { "quota", TREEKV__REPLY__BODY_QUOTA,
					  true },
	[TREEKV__REQUEST__BODY_CHOWN] = { "chown", TREEKV__REPLY__BODY__NOT_SET,
					  true },
	[TREEKV__REQUEST__BODY_SNAPSHOT] = { "snapshot",
					     TREEKV__REPLY__BODY_PERSIST, true,
					     true },
	[TREEKV__REQUEST__BODY_RESTORE] = { "restore",
					    TREEKV__REPLY__BODY_PERSIST, false,
					    true },
	[TREEKV__REQUEST__BODY_PARK] = { "park", TREEKV__REPLY__BODY__NOT_SET,
					 true, true, .lasts = true },
	[TREEKV__REQUEST__BODY_KEEP] = { "keep", TREEKV__REPLY__BODY__NOT_SET,
					 true },
	[TREEKV__REQUEST__BODY_EVENTS] = { "events", TREEKV__REPLY__BODY_EVENTS,
					   true, false, true },
	[TREEKV__REQUEST__BODY_PREFILL] = { "commit a prompt",
					    TREEKV__REPLY__BODY__NOT_SET,
					    true },
	[TREEKV__REQUEST__BODY_WORKERS] = { "workers",
					    TREEKV__REPLY__BODY_WORKERS, true },
	[TREEKV__REQUEST__BODY_CLIENTS] = { "clients",
					    TREEKV__REPLY__BODY_CLIENTS, true },
	[TREEKV__REQUEST__BODY_KEPT] = { "kept", TREEKV__REPLY__BODY_KEPT,
					 true },
};

/* Of this thread's last call: the connection may be in another's by then. */
static _Thread_local struct {
	bool answered;
	bool in_doubt;
	uint64_t session;
} last;

static void hang_up(struct treekv *kv)
{
	if (kv->fd >= 0)
		close(kv->fd);
	kv->fd = -1;
	kv->hello = 0;
}

static int set_timeout(struct treekv *kv, int timeout_ms)
{
	struct timeval time = { .tv_sec = timeout_ms / 1000,
				.tv_usec = timeout_ms % 1000 * 1000 };

	if (kv->fd < 0 || kv->timeout_ms == timeout_ms)
		return 0;
	if (setsockopt(kv->fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)) ||
	    setsockopt(kv->fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time)))
		return error_set(-errno, "cannot set a socket's timeout: %s",
				 strerror(errno));
	kv->timeout_ms = timeout_ms;
	return 0;
}

/* Return: 0, -EPIPE, -ECONNRESET, -ETIMEDOUT, ...; no text. */
static int send_bytes(struct treekv *kv, const uint8_t *bytes, size_t size,
		      int64_t deadline, bool *accepted)
{
	while (size > 0) {
		ssize_t n = send(kv->fd, bytes, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR && now_ms() < deadline)
			continue;
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			return -ETIMEDOUT;
		if (n < 0)
			return -errno;
		*accepted = true;
		bytes += n;
		size -= (size_t)n;
	}
	return 0;
}

static int send_request(struct treekv *kv, const Treekv__Request *request,
			int64_t deadline, bool *accepted)
{
	size_t size = treekv__request__get_packed_size(request);
	uint8_t *bytes;
	int r;

	if (size > FRAME_REQUEST_MAX)
		return -EMSGSIZE;
	bytes = malloc(FRAME_HEADER + size);
	if (!bytes)
		return -ENOMEM;
	frame_header(bytes, (uint32_t)size);
	treekv__request__pack(request, bytes + FRAME_HEADER);
	r = send_bytes(kv, bytes, FRAME_HEADER + size, deadline, accepted);
	free(bytes);
	return r;
}

/* Is it an answer to what was asked? Return: 1 when one is still to come. */
static int reply_check(const Treekv__Reply *reply,
		       const Treekv__Request *request)
{
	const struct request_kind *kind = &request_kinds[request->body_case];

	if (reply->error < -4095 || reply->error > 0)
		return -EPROTO;
	if (!reply->id && reply->error)
		return 0; /* about the connection, which the daemon ends */
	if (reply->id != request->id)
		return -EPROTO;
	if (kind->progress && !reply->error &&
	    reply->body_case == TREEKV__REPLY__BODY_PROGRESS)
		return 1;
	return reply->error || reply->body_case == kind->reply ? 0 : -EPROTO;
}

/*
 * Return: as reply_check(); *ret is set unless that is an error. Only where
 * @ahead says that another request has been sent may more follow the answer.
 */
static int receive_reply(struct treekv *kv, const Treekv__Request *request,
			 bool ahead, struct inbox *inbox, Treekv__Reply **ret)
{
	const struct request_kind *kind = &request_kinds[request->body_case];
	Treekv__Reply *reply;
	uint32_t body = 0;
	int r;

	r = inbox_receive(inbox, kv->fd, kind->several,
			  now_ms() + kv->timeout_ms, &body);
	if (!r)
		r = inbox_unpack(&reply, inbox, body);
	if (r)
		return r;
	r = reply_check(reply, request);
	inbox_consume(inbox, body);
	if (!r && !ahead && inbox->size)
		r = -EPROTO;
	if (r < 0)
		treekv__reply__free_unpacked(reply, NULL);
	else
		*ret = reply;
	return r;
}

/* What has been sent, and its answer to come; no text but the daemon's. */
static int await_reply(struct treekv *kv, const Treekv__Request *request,
		       Treekv__Reply **ret, struct inbox *inbox)
{
	Treekv__Reply *reply = NULL;
	int r;

	while ((r = receive_reply(kv, request, false, inbox, &reply)) > 0) {
		assert(reply);
		kv->heard = now_ms();
		if (kv->progress)
			kv->progress(kv->progress_arg, reply->progress->done,
				     reply->progress->total);
		treekv__reply__free_unpacked(reply, NULL);
	}
	if (!r)
		*ret = reply;
	return r;
}

/* The daemon's refusal as an error of ours. Frees a reply that is one. */
static int reply_error(Treekv__Reply *reply, const struct request_kind *kind)
{
	int r = reply->error;

	if (!r)
		return 0;
	if (reply->text && reply->text[0])
		error_set(r, "%s", reply->text);
	else
		error_set(r, "treekvd refuses to %s: %s", kind->name,
			  strerror(-r));
	treekv__reply__free_unpacked(reply, NULL);
	return r;
}

static int explain_connect(const struct treekv *kv, int error)
{
	const char *path = kv->address.sun_path;
	const char *advice = "";

	if (error == -ENOENT || error == -ECONNREFUSED)
		advice = "; is it running? Start it with 'systemctl start "
			 "treekvd', or give its socket by --socket or "
			 "TREEKV_SOCKET";
	else if (error == -EACCES)
		advice = "; its group may use it: 'usermod -aG treekv USER', "
			 "then log in again";
	return error_set(error, "cannot connect to treekvd at %s: %s%s", path,
			 strerror(-error), advice);
}

static int explain_call(const struct treekv *kv,
			const struct request_kind *kind, int error)
{
	const char *path = kv->address.sun_path;

	if (error == -ETIMEDOUT)
		return error_set(error,
				 "treekvd at %s has not answered '%s' in %d "
				 "ms; it hangs or is overloaded: see its log "
				 "('journalctl -u treekvd')",
				 path, kind->name, kv->timeout_ms);
	if (error == -EPIPE || error == -ECONNRESET)
		return error_set(-ECONNRESET,
				 "treekvd at %s closed the connection before "
				 "it answered '%s'; see its log ('journalctl "
				 "-u treekvd') and ask again",
				 path, kind->name);
	if (error == -EPROTO || error == -EMSGSIZE)
		return error_set(-EPROTO,
				 "what answered '%s' at %s does not speak "
				 "treekvd's protocol %d; is it another program "
				 "or another version?",
				 kind->name, path, TREEKV_PROTOCOL);
	return error_set(error, "cannot ask treekvd at %s to %s: %s", path,
			 kind->name, strerror(-error));
}

static void hello_init(Treekv__Request *request, Treekv__Hello *hello)
{
	treekv__request__init(request);
	treekv__hello__init(hello);
	hello->version_min = TREEKV_PROTOCOL;
	hello->version_max = TREEKV_PROTOCOL;
	hello->program = program_invocation_short_name;
	request->body_case = TREEKV__REQUEST__BODY_HELLO;
	request->hello = hello;
}

/* Sends what greeted() reads the answer to. The text is set. */
static int greet(struct treekv *kv)
{
	Treekv__Request request;
	bool accepted = false;
	Treekv__Hello hello;
	int r;

	hello_init(&request, &hello);
	request.id = ++kv->last_id;
	r = send_request(kv, &request, now_ms() + kv->timeout_ms, &accepted);
	/* A daemon that turns us away has said why before it hung up. */
	if (r && r != -EPIPE && r != -ECONNRESET)
		return explain_call(
			kv, &request_kinds[TREEKV__REQUEST__BODY_HELLO], r);
	kv->hello = request.id;
	return 0;
}

/* Agrees on a version. The text is set. */
static int agree(struct treekv *kv, const Treekv__HelloReply *hello)
{
	if (hello->version != TREEKV_PROTOCOL)
		return error_set(-EPROTO,
				 "%s at %s speaks protocol %u, this library "
				 "%d; use the library that came with it",
				 hello->daemon, kv->address.sun_path,
				 hello->version, TREEKV_PROTOCOL);
	kv->version = hello->version;
	kv->daemon_pid = (pid_t)hello->pid;
	snprintf(kv->daemon, sizeof(kv->daemon), "%s", hello->daemon);
	return 0;
}

/*
 * The answer to greet(), behind which there is that to a request sent @ahead.
 * @refused is set when the daemon does not want us: nobody hears that request.
 */
static int greeted(struct treekv *kv, bool ahead, struct inbox *inbox,
		   bool *refused)
{
	const struct request_kind *kind =
		&request_kinds[TREEKV__REQUEST__BODY_HELLO];
	Treekv__Request request;
	Treekv__Reply *reply;
	Treekv__Hello hello;
	int r;

	hello_init(&request, &hello);
	request.id = kv->hello;
	kv->hello = 0;
	r = receive_reply(kv, &request, ahead, inbox, &reply);
	if (r)
		return explain_call(kv, kind, r);
	r = reply_error(reply, kind);
	*refused = r;
	if (r)
		return r == -EPROTONOSUPPORT ? -EPROTO : r;
	r = agree(kv, reply->hello);
	*refused = r;
	treekv__reply__free_unpacked(reply, NULL);
	return r;
}

/* @ahead: the greeting is answered when the next request is. */
static int dial_once(struct treekv *kv, int timeout_ms, bool ahead)
{
	struct inbox inbox = { 0 };
	bool refused;
	int r;

	hang_up(kv);
	kv->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (kv->fd < 0)
		return error_set(-errno, "cannot make a socket: %s",
				 strerror(errno));
	kv->pid = getpid();
	kv->timeout_ms = 0;
	r = set_timeout(kv, timeout_ms);
	if (r)
		goto out;
	do
		r = connect(kv->fd, (const struct sockaddr *)&kv->address,
			    sizeof(kv->address));
	while (r && errno == EINTR);
	if (r) {
		r = explain_connect(kv, errno == EAGAIN ? -ETIMEDOUT : -errno);
		goto out;
	}
	r = greet(kv);
	if (!r && !ahead)
		r = greeted(kv, false, &inbox, &refused);
	inbox_clear(&inbox);
	if (!r)
		++kv->session;
out:
	if (r)
		hang_up(kv);
	return r;
}

/*
 * Replaces the connection, if there is one. The text is set. A daemon that dies
 * takes along who was in its queue; the next one's is entered at once, and the
 * answer waited for there.
 */
static int dial(struct treekv *kv, int timeout_ms, bool ahead)
{
	int r = -ECONNRESET;

	for (int i = 0; r == -ECONNRESET && i < DIAL_TRIES; i++)
		r = dial_once(kv, timeout_ms, ahead);
	return r;
}

/* One try; a stream in doubt is closed. The text is set. */
static int attempt(struct treekv *kv, Treekv__Request *request,
		   Treekv__Reply **ret, struct inbox *inbox, bool *accepted)
{
	bool refused = false;
	int r, sent;

	request->id = ++kv->last_id;
	sent = r =
		send_request(kv, request, now_ms() + kv->timeout_ms, accepted);
	/* As in greet(): read on, though nothing can be sent. */
	if (sent && sent != -EPIPE && sent != -ECONNRESET)
		goto fail;
	if (kv->hello) {
		r = greeted(kv, true, inbox, &refused);
		*accepted &= !refused;
		if (r)
			goto out;
	}
	r = await_reply(kv, request, ret, inbox);
	if (!r)
		return 0;
	r = sent ? sent : r;
fail:
	r = explain_call(kv, &request_kinds[request->body_case], r);
out:
	hang_up(kv);
	inbox_clear(inbox);
	return r;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void sleep_ms(int64_t ms)
{
	struct timespec time = { .tv_sec = ms / 1000,
				 .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

/* It is refused because what it repeats is being done. */
static bool is_under_way(const Treekv__Request *request,
			 const Treekv__Reply *reply)
{
	assert(reply);
	return request_kinds[request->body_case].lasts &&
	       reply->error == -EBUSY;
}

/*
 * Over new connections, after one was lost. The text is set. The first try is
 * at once: most connections are lost to a daemon that has been replaced by now.
 */
static int repeat(struct treekv *kv, int timeout_ms, Treekv__Request *request,
		  Treekv__Reply **ret, struct inbox *inbox)
{
	bool may_repeat = request_kinds[request->body_case].repeat;
	int64_t end = least(kv->heard + timeout_ms, now_ms() + CONN_TIMEOUT_MS);
	int64_t pause = 0, left;
	int r = 0;

	for (;;) {
		bool again, doubt = kv->in_doubt;

		left = kv->heard + timeout_ms - now_ms();
		if (kv->fd < 0)
			r = dial(kv, left > 0 ? (int)left : 1, false);
		if (!r)
			r = attempt(kv, request, ret, inbox, &kv->in_doubt);
		again = r ? r == -ECONNRESET && (!kv->in_doubt || may_repeat) :
			    doubt && is_under_way(request, *ret);
		pause = pause ? least(2 * pause, PAUSE_MAX_MS) : PAUSE_MIN_MS;
		if (!again || now_ms() + pause >= end)
			return r;
		if (!r)
			treekv__reply__free_unpacked(*ret, NULL);
		inbox_clear(inbox);
		sleep_ms(pause);
	}
}

static int call(struct treekv *kv, int timeout_ms, Treekv__Request *request,
		Treekv__Reply **ret, struct inbox *inbox)
{
	const struct request_kind *kind = &request_kinds[request->body_case];
	int r;

	*ret = NULL;
	kv->heard = now_ms();
	kv->answered = false;
	kv->in_doubt = false;
	/* The daemon knows a connection by the process that made it. */
	if (kv->fd >= 0 && kv->pid != getpid())
		hang_up(kv);
	r = kv->fd < 0 ? dial(kv, timeout_ms, false) :
			 set_timeout(kv, timeout_ms);
	if (r)
		return r;
	r = attempt(kv, request, ret, inbox, &kv->in_doubt);
	if (r == -ECONNRESET && (!kv->in_doubt || kind->repeat))
		r = repeat(kv, timeout_ms, request, ret, inbox);
	if (r)
		return r;
	assert(*ret);
	kv->answered = true;
	kv->in_doubt = false;
	return reply_error(*ret, kind);
}

int conn_call_within(struct treekv *kv, int timeout_ms,
		     Treekv__Request *request, Treekv__Reply **ret,
		     int fds[FRAME_FDS_MAX], unsigned int *n_fds)
{
	struct inbox inbox = { 0 };
	Treekv__Reply *reply;
	int r;

	assert(timeout_ms > 0);
	pthread_mutex_lock(&kv->lock);
	r = call(kv, timeout_ms, request, &reply, &inbox);
	last.answered = kv->answered;
	last.in_doubt = kv->in_doubt;
	last.session = kv->session;
	pthread_mutex_unlock(&kv->lock);
	if (!r) {
		*ret = reply;
		if (fds) {
			memcpy(fds, inbox.fds, sizeof(inbox.fds));
			*n_fds = inbox.n_fds;
			inbox.n_fds = 0;
		}
	}
	inbox_clear(&inbox);
	return r;
}

int conn_call(struct treekv *kv, Treekv__Request *request, Treekv__Reply **ret,
	      int fds[FRAME_FDS_MAX], unsigned int *n_fds)
{
	return conn_call_within(kv, CONN_TIMEOUT_MS, request, ret, fds, n_fds);
}

/* The next frame as a reply to @request. Return: no text is set. */
static int next_reply(struct treekv *kv, const Treekv__Request *request,
		      Treekv__Reply **ret, struct inbox *inbox)
{
	Treekv__Reply *reply;
	uint32_t body = 0;
	int r = inbox_receive(inbox, kv->fd, true, INT64_MAX, &body);

	if (!r)
		r = inbox_unpack(&reply, inbox, body);
	if (r)
		return r;
	r = reply_check(reply, request);
	if (r)
		treekv__reply__free_unpacked(reply, NULL);
	else
		*ret = reply;
	return r;
}

int conn_next(struct treekv *kv, const Treekv__Request *request,
	      Treekv__Reply **ret)
{
	const struct request_kind *kind = &request_kinds[request->body_case];
	struct inbox inbox = { 0 };
	Treekv__Reply *reply = NULL;
	int r;

	pthread_mutex_lock(&kv->lock);
	r = kv->fd < 0 ? -ECONNRESET : set_timeout(kv, 0);
	if (!r)
		r = next_reply(kv, request, &reply, &inbox);
	if (r)
		hang_up(kv);
	if (r == -ECONNRESET)
		error_set(r, "treekvd at %s has ended", kv->address.sun_path);
	else if (r)
		explain_call(kv, kind, r);
	pthread_mutex_unlock(&kv->lock);
	inbox_clear(&inbox);
	if (r)
		return r;
	r = reply_error(reply, kind);
	if (!r)
		*ret = reply;
	return r;
}

bool conn_answered(void)
{
	return last.answered;
}

bool conn_in_doubt(void)
{
	return last.in_doubt;
}

uint64_t conn_session(void)
{
	return last.session;
}

int conn_alive(struct treekv *kv, uint64_t session)
{
	int alive = 0;
	char byte;

	if (pthread_mutex_trylock(&kv->lock))
		return -EBUSY;
	if (kv->fd >= 0 && kv->session == session)
		alive = recv(kv->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
			(errno == EAGAIN || errno == EINTR);
	pthread_mutex_unlock(&kv->lock);
	return alive;
}

static int set_address(struct treekv *kv, const char *path)
{
	if (!path)
		path = secure_getenv("TREEKV_SOCKET");
	if (!path || !path[0])
		path = TREEKV_SOCKET_DEFAULT;
	if (strlen(path) >= sizeof(kv->address.sun_path))
		return error_set(-ENAMETOOLONG,
				 "the socket's path %s is too long: %zu bytes "
				 "is the most",
				 path, sizeof(kv->address.sun_path) - 1);
	kv->address.sun_family = AF_UNIX;
	memcpy(kv->address.sun_path, path, strlen(path) + 1);
	return 0;
}

static int connect_to(struct treekv **ret, const char *socket, bool ahead)
{
	struct treekv *kv = calloc(1, sizeof(*kv));
	int r;

	if (!kv)
		return error_set(-ENOMEM, "no memory for a connection");
	kv->fd = -1;
	pthread_mutex_init(&kv->lock, NULL);
	r = set_address(kv, socket);
	if (!r)
		r = dial(kv, CONN_TIMEOUT_MS, ahead);
	if (r)
		treekv_close(kv);
	else
		*ret = kv;
	return r;
}

int treekv_connect(struct treekv **ret, const char *socket)
{
	return connect_to(ret, socket, false);
}

int treekv_connect_ahead(struct treekv **ret, const char *socket)
{
	return connect_to(ret, socket, true);
}

struct treekv *treekv_close(struct treekv *kv)
{
	if (!kv)
		return NULL;
	hang_up(kv);
	pthread_mutex_destroy(&kv->lock);
	free(kv);
	return NULL;
}
