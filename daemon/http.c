// SPDX-License-Identifier: BSD-2-Clause
/*
 * libmicrohttpd speaks HTTP, the control loop does everything else: it accepts,
 * it waits for the library's epoll descriptor and for its time-outs, and the
 * answer is made on the control thread, whose state it is about. The library
 * has no thread of its own and nothing in it waits.
 *
 * Whoever may connect may also be slow, or be many. No more than so many are
 * let in, the others wait in the kernel's queue; who says nothing for a while
 * is shown out, and everybody is after 20 seconds, so that no dripping tap
 * keeps the others out for good.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/control.h"
#include "daemon/endpoint.h"
#include "daemon/exposition.h"
#include "daemon/http.h"
#include "daemon/http_library.h"
#include "daemon/log.h"
#include "daemon/socket.h"

#define CLIENTS_MAX   16
#define IDLE_SECONDS  5
#define LIFE_NS	      UINT64_C(20000000000)
#define MEMORY_MAX    (16 << 10) /* of a client's request */
#define RETRY_SECONDS 1

#define MHD http_library /* MHD.MHD_run(), ... */

/* Something in flight on the loop, no more than one of each at a time. */
struct flight {
	struct loop_op op; /* first: its completions get it back from this */
	bool on;
};

struct client {
	int fd; /* -1: nobody */
	uint64_t since;
};

static struct {
	struct control *control;
	struct MHD_Daemon *mhd; /* NULL: not serving */
	struct socket socket;
	const char *path; /* of a Unix socket, else NULL */
	sa_family_t family;
	int epoll_fd;
	struct client client[CLIENTS_MAX];
	unsigned int clients;
	uint64_t requests;
	struct flight accept;
	struct flight ready; /* the library's descriptor */
	struct flight timer;
	struct flight again; /* it has more to do */
	struct flight retry; /* no descriptors: later */
	bool stopping;
} http;

uint64_t http_requests(void)
{
	return http.requests;
}

static struct loop *loop(void)
{
	return &http.control->loop;
}

static void run(void);

/* ---- answers ---- */

/* @text is the response's, freed with it, where @format says what it is. */
static enum MHD_Result respond(struct MHD_Connection *connection,
			       unsigned int status, char *text, size_t size,
			       const char *type,
			       enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *response;
	enum MHD_Result r;

	response = MHD.MHD_create_response_from_buffer(size, text, mode);
	if (!response) {
		if (mode == MHD_RESPMEM_MUST_FREE)
			free(text);
		return MHD_NO;
	}
	MHD.MHD_add_response_header(response, "Content-Type", type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD.MHD_add_response_header(response, "Allow", "GET, HEAD");
	r = MHD.MHD_queue_response(connection, status, response);
	MHD.MHD_destroy_response(response);
	http.requests++;
	return r;
}

static enum MHD_Result say(struct MHD_Connection *connection,
			   unsigned int status, const char *text)
{
	return respond(connection, status, (char *)(uintptr_t)text,
		       strlen(text), "text/plain; charset=utf-8",
		       MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result give_metrics(struct MHD_Connection *connection)
{
	const char *accept = MHD.MHD_lookup_connection_value(
		connection, MHD_HEADER_KIND, "Accept");
	enum exposition_format format = exposition_choose(accept);
	size_t size;
	char *text;

	if (exposition_new(&text, &size, http.control, format,
			   http.control->config->metrics_tenants))
		return say(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
			   "the daemon is out of memory\n");
	return respond(connection, MHD_HTTP_OK, text, size,
		       exposition_type(format), MHD_RESPMEM_MUST_FREE);
}

/* First with the headers, then with what they announce, at last with none. */
static enum MHD_Result on_request(void *data, struct MHD_Connection *connection,
				  const char *url, const char *method,
				  const char *version, const char *upload,
				  size_t *upload_size, void **state)
{
	static char begun;

	(void)data;
	(void)version;
	(void)upload;
	if (strcmp(method, "GET") && strcmp(method, "HEAD"))
		return say(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
			   "this is to be read only\n");
	if (!*state) {
		*state = &begun;
		return MHD_YES;
	}
	if (*upload_size) {
		*upload_size = 0;
		return MHD_YES;
	}
	if (!strcmp(url, "/metrics"))
		return give_metrics(connection);
	return say(connection, MHD_HTTP_NOT_FOUND,
		   "treekvd's metrics are at /metrics\n");
}

/* ---- clients ---- */

static struct client *slot_of(int fd)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (http.client[i].fd == fd)
			return &http.client[i];
	return NULL;
}

static void on_connection(void *data, struct MHD_Connection *connection,
			  void **context,
			  enum MHD_ConnectionNotificationCode what)
{
	const union MHD_ConnectionInfo *info;
	struct client *client = *context;

	(void)data;
	if (what == MHD_CONNECTION_NOTIFY_CLOSED && client) {
		client->fd = -1;
		http.clients--;
		return;
	}
	info = MHD.MHD_get_connection_info(connection,
					   MHD_CONNECTION_INFO_CONNECTION_FD);
	client = slot_of(-1);
	if (!info || !client) /* no more are let in than there are slots */
		return;
	client->fd = info->connect_fd;
	client->since = clock_ns();
	http.clients++;
	*context = client;
}

/* Return: when the next one's time is up, in ns from now; UINT64_MAX: never. */
static uint64_t show_out(void)
{
	uint64_t now = clock_ns(), left, least = UINT64_MAX;

	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		const struct client *client = &http.client[i];

		if (client->fd < 0)
			continue;
		left = client->since + LIFE_NS;
		if (left <= now) {
			shutdown(client->fd, SHUT_RDWR);
			continue; /* the library closes it */
		}
		left -= now;
		least = left < least ? left : least;
	}
	return least;
}

static void let_in(int fd)
{
	struct sockaddr_storage address = { .ss_family = http.family };
	socklen_t length = http.family == AF_INET6 ?
				   sizeof(struct sockaddr_in6) :
				   sizeof(struct sockaddr_in);

	if (http.path)
		length = sizeof(address.ss_family);
	/* Closes it when it cannot be taken. */
	MHD.MHD_add_connection(http.mhd, fd, (struct sockaddr *)&address,
			       length);
}

/* ---- the loop's side ---- */

static bool landed(struct loop_op *op)
{
	((struct flight *)op)->on = false;
	return !http.stopping;
}

static bool take_off(struct flight *flight)
{
	if (flight->on)
		return false;
	flight->on = true;
	return true;
}

static void timeout_arm(struct flight *flight, struct __kernel_timespec *time)
{
	if (take_off(flight))
		io_uring_prep_timeout(loop_sqe(loop(), &flight->op), time, 0,
				      0);
}

static void accept_arm(void)
{
	if (http.clients < CLIENTS_MAX && !http.retry.on &&
	    take_off(&http.accept))
		io_uring_prep_accept(loop_sqe(loop(), &http.accept.op),
				     http.socket.fd, NULL, NULL,
				     SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static void on_accept(struct loop_op *op, int res, unsigned int flags)
{
	static struct __kernel_timespec pause = { .tv_sec = RETRY_SECONDS };

	(void)flags;
	if (!landed(op)) {
		if (res >= 0)
			close(res);
		return;
	}
	if (res >= 0)
		let_in(res);
	else if (res != -ECONNABORTED && res != -EINTR)
		timeout_arm(&http.retry, &pause); /* no descriptors */
	run();
}

static void on_any(struct loop_op *op, int res, unsigned int flags)
{
	(void)res;
	(void)flags;
	if (landed(op))
		run();
}

/* One that is set already fires early at worst, and then is set again. */
static void timer_arm(void)
{
	static struct __kernel_timespec time;
	MHD_UNSIGNED_LONG_LONG ms;
	uint64_t ns = show_out();

	if (MHD.MHD_get_timeout(http.mhd, &ms) == MHD_YES) {
		if (!ms && take_off(&http.again))
			loop_post(loop(), loop(), &http.again.op, 0);
		ns = ms < ns / 1000000 ? ms * 1000000 : ns;
	}
	if (!ns || ns == UINT64_MAX || http.timer.on)
		return;
	time.tv_sec = (long long)(ns / 1000000000);
	time.tv_nsec = (long long)(ns % 1000000000);
	timeout_arm(&http.timer, &time);
}

static void run(void)
{
	MHD.MHD_run(http.mhd);
	timer_arm();
	accept_arm();
	if (take_off(&http.ready))
		loop_poll_once(loop(), http.epoll_fd, &http.ready.op);
}

/* ---- starting and stopping ---- */

static int listen_at(const struct endpoint *endpoint, const char **why)
{
	const struct sockaddr *address = (const void *)&endpoint->address;
	int one = 1;

	http.socket = (struct socket){ -1, -1 };
	if (endpoint->kind == ENDPOINT_UNIX) {
		http.path = http.control->config->metrics;
		http.family = AF_UNIX;
		return socket_listen(&http.socket, http.path, "metrics", why);
	}
	http.family = endpoint->address.ss_family;
	http.socket.fd = socket(http.family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (http.socket.fd >= 0 &&
	    !setsockopt(http.socket.fd, SOL_SOCKET, SO_REUSEADDR, &one,
			sizeof(one)) &&
	    !bind(http.socket.fd, address, endpoint->length) &&
	    !listen(http.socket.fd, SOMAXCONN))
		return 0;
	*why = strerror(errno);
	if (errno == EAFNOSUPPORT || errno == EACCES || errno == EPERM)
		*why = "the system does not let it; under systemd see METRICS "
		       "in treekvd(8)";
	return -errno;
}

static int start_library(const char **why)
{
	const union MHD_DaemonInfo *info = NULL;

	if (http_library_load(why))
		return -ENOENT;
	http.mhd = MHD.MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL,
		on_request, NULL, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned int)CLIENTS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned int)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)MEMORY_MAX, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
		NULL, MHD_OPTION_END);
	if (http.mhd)
		info = MHD.MHD_get_daemon_info(http.mhd,
					       MHD_DAEMON_INFO_EPOLL_FD);
	if (info) {
		http.epoll_fd = info->epoll_fd;
		return 0;
	}
	*why = "libmicrohttpd does not start; is it built without epoll?";
	return -ENOTSUP;
}

/* In reverse; nothing is in flight. */
static void release(void)
{
	if (http.mhd)
		MHD.MHD_stop_daemon(http.mhd);
	http.mhd = NULL;
	if (http.socket.fd >= 0) {
		if (http.path)
			unlink(http.path);
		close(http.socket.fd);
	}
	if (http.socket.lock_fd >= 0)
		close(http.socket.lock_fd);
}

void http_start(struct control *control)
{
	const char *at = control->config->metrics;
	const char *why = "it makes no sense";
	struct endpoint endpoint;
	int r = endpoint_parse(&endpoint, at);

	http.control = control;
	if (!r && endpoint.kind == ENDPOINT_OFF)
		return;
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		http.client[i].fd = -1;
	http.accept.op.done = on_accept;
	http.ready.op.done = http.timer.op.done = on_any;
	http.again.op.done = http.retry.op.done = on_any;
	http.socket = (struct socket){ -1, -1 };
	if (!r)
		r = start_library(&why);
	if (!r)
		r = listen_at(&endpoint, &why);
	if (r) {
		log_error("metrics not served", "at=%s error=\"%s\"", at, why);
		release();
		return;
	}
	log_info("serving metrics", "at=%s", at);
	run();
}

void http_stop(void)
{
	struct flight *const flights[] = { &http.accept, &http.ready,
					   &http.timer, &http.again,
					   &http.retry };
	const size_t n = sizeof(flights) / sizeof(*flights);

	if (!http.mhd)
		return;
	http.stopping = true;
	for (size_t i = 0; i < n; i++)
		if (flights[i]->on)
			loop_cancel(loop(), &flights[i]->op);
	for (size_t i = 0; i < n; i++)
		while (flights[i]->on)
			if (loop_turn(loop()))
				return; /* broken: leak */
	release();
}
