// SPDX-License-Identifier: BSD-2-Clause
/*
 * sd_notify(3) in a page: datagrams of VARIABLE=value lines to NOTIFY_SOCKET,
 * descriptors beside them. libsystemd would do the same and be one more thing
 * that a machine without systemd must have.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/service.h"

#define FIRST_FD  3
#define STORE_FDS 2

static struct {
	int socket; /* -1: no manager */
	struct sockaddr_un address;
	socklen_t length;
	struct service_fd *fds;
	size_t n_fds;
	uint64_t watchdog_ns;
	uint32_t store; /* descriptors that it keeps */
} service = { .socket = -1 };

static int take_socket(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t length;

	if (!path || (*path != '/' && *path != '@'))
		return 0;
	length = strlen(path);
	if (length >= sizeof(service.address.sun_path))
		return 0;
	service.address.sun_family = AF_UNIX;
	memcpy(service.address.sun_path, path, length);
	if (*path == '@')
		service.address.sun_path[0] = '\0';
	service.length =
		offsetof(struct sockaddr_un, sun_path) + (socklen_t)length;
	service.socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return service.socket < 0 ? -errno : 0;
}

/* The i-th name of a list parted by colons, "" when there is none. */
static void take_name(char *to, size_t size, const char **list)
{
	size_t length = strcspn(*list, ":");

	snprintf(to, size, "%.*s", (int)(length < size ? length : size - 1),
		 *list);
	*list += length;
	if (**list == ':')
		++*list;
}

static bool is_for_us(const char *variable)
{
	const char *pid = getenv(variable);

	return pid && strtoul(pid, NULL, 10) == (unsigned long)getpid();
}

static int take_fds(void)
{
	const char *count = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	unsigned long n;

	if (!is_for_us("LISTEN_PID") || !count)
		return 0;
	n = strtoul(count, NULL, 10);
	if (n > 1 << 20)
		return 0;
	service.fds = calloc(n + 1, sizeof(*service.fds));
	if (!service.fds)
		return -ENOMEM;
	names = names ? names : "";
	for (size_t i = 0; i < n; i++) {
		service.fds[i].fd = FIRST_FD + (int)i;
		fcntl(service.fds[i].fd, F_SETFD, FD_CLOEXEC);
		take_name(service.fds[i].name, sizeof(service.fds[i].name),
			  &names);
	}
	service.n_fds = n;
	return 0;
}

int service_init(void)
{
	static const char *const variables[] = {
		"NOTIFY_SOCKET", "LISTEN_PID",	   "LISTEN_FDS", "WATCHDOG_PID",
		"WATCHDOG_USEC", "LISTEN_FDNAMES", "FDSTORE",
	};
	const char *usec = getenv("WATCHDOG_USEC");
	const char *store = getenv("FDSTORE");
	int r = take_socket();

	service.store = store ? (uint32_t)strtoul(store, NULL, 10) : 0;
	if (!r)
		r = take_fds();
	if (usec && (!getenv("WATCHDOG_PID") || is_for_us("WATCHDOG_PID")))
		service.watchdog_ns = strtoull(usec, NULL, 10) * 1000 / 2;
	for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++)
		unsetenv(variables[i]);
	return r;
}

void service_exit(void)
{
	if (service.socket >= 0)
		close(service.socket);
	service.socket = -1;
	free(service.fds);
	service.fds = NULL;
	service.n_fds = 0;
}

bool service_is_managed(void)
{
	return service.socket >= 0;
}

bool service_is_systemd(void)
{
	return service.socket >= 0 &&
	       !strcmp(service.address.sun_path, "/run/systemd/notify");
}

/*
 * Not everybody who listens to notifications keeps descriptors: a container
 * manager does not. FDSTORE is set by systemd from 254 on, by our unit for
 * older ones, and by the keeper.
 */
bool service_has_store(void)
{
	return service.socket >= 0 && service.store;
}

uint32_t service_store_size(void)
{
	return service_has_store() ? service.store : 0;
}

struct service_fd *service_fds(size_t *ret)
{
	*ret = service.n_fds;
	return service.fds;
}

static bool is_listener(int fd)
{
	socklen_t size = sizeof(int);
	int listening = 0;

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) &&
	       listening;
}

/* The manager's own socket before one of ours that it kept. */
int service_take_listener(bool *activated)
{
	struct service_fd *found = NULL;
	int fd;

	for (size_t i = 0; i < service.n_fds; i++) {
		struct service_fd *at = &service.fds[i];

		if (at->fd >= 0 && is_listener(at->fd) &&
		    (!found || strcmp(at->name, SERVICE_LISTENER)))
			found = at;
	}
	if (!found)
		return -1;
	*activated = strcmp(found->name, SERVICE_LISTENER) != 0;
	fd = found->fd;
	found->fd = -1;
	return fd;
}

static int send_message(const char *text, const int *fds, unsigned int n)
{
	struct iovec iov = { (char *)(uintptr_t)text, strlen(text) };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(STORE_FDS * sizeof(int))];
	} control = { 0 };
	struct msghdr message = {
		.msg_name = &service.address,
		.msg_namelen = service.length,
		.msg_iov = &iov,
		.msg_iovlen = 1,
	};
	struct cmsghdr *header;

	if (n) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(n * sizeof(int));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(header), fds, n * sizeof(int));
	}
	while (sendmsg(service.socket, &message, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

void service_notify(const char *format, ...)
{
	char text[512];
	va_list args;
	int r;

	if (service.socket < 0)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	r = send_message(text, NULL, 0);
	if (r)
		log_warning("the service manager does not listen",
			    "error=\"%s\"", strerror(-r));
}

int service_store(const char *name, const int *fds, unsigned int n)
{
	char text[64];

	if (!service_has_store() || n > STORE_FDS)
		return -EINVAL;
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%.*s", SERVICE_NAME_MAX,
		 name);
	return send_message(text, fds, n);
}

void service_forget(const char *name)
{
	if (service_has_store())
		service_notify("FDSTOREREMOVE=1\nFDNAME=%.*s", SERVICE_NAME_MAX,
			       name);
}

int service_barrier(void)
{
	int ends[2], r;

	if (service.socket < 0)
		return -EINVAL;
	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	r = send_message("BARRIER=1", &ends[1], 1);
	close(ends[1]);
	if (r) {
		close(ends[0]);
		return r;
	}
	return ends[0];
}

uint64_t service_watchdog_ns(void)
{
	return service.watchdog_ns;
}
