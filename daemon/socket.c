// SPDX-License-Identifier: BSD-2-Clause
/*
 * A lock on PATH.lock decides which daemon owns PATH: the kernel drops it when
 * its holder dies, so a socket file whose lock is free is stale, whatever
 * happened, and two daemons that start at once cannot both think so. The lock
 * file itself stays: removing it would let a third daemon lock a new one while
 * somebody waits on the old.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/socket.h"

#define SOCKET_MODE    0660
#define DIRECTORY_MODE 0755

__attribute__((format(printf, 3, 4))) static int
refuse(const char **why, int error, const char *format, ...)
{
	static char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	*why = text;
	return error;
}

static int address_init(struct sockaddr_un *address, const char *path,
			const char *option, const char **why)
{
	const size_t size = strlen(path);

	if (size >= sizeof(address->sun_path))
		return refuse(
			why, -ENAMETOOLONG,
			"the socket's path has %zu bytes, but %zu are the "
			"most that the kernel takes; give a shorter one "
			"(--%s): %s",
			size, sizeof(address->sun_path) - 1, option, path);
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, path, size);
	return 0;
}

static int make_directory(const char *path, const char *option,
			  const char **why)
{
	const char *slash = strrchr(path, '/');
	char *directory;
	int r = 0;

	if (!slash || slash == path)
		return 0;
	directory = strndup(path, (size_t)(slash - path));
	if (!directory)
		return refuse(why, -ENOMEM, "out of memory");
	if (mkdir(directory, DIRECTORY_MODE) && errno != EEXIST)
		r = refuse(why, -errno,
			   "cannot make the socket's directory %s: %s; make it "
			   "or give another path (--%s)",
			   directory, strerror(errno), option);
	free(directory);
	return r;
}

/*
 * A killed daemon's ring holds on to its socket until the kernel has taken the
 * ring apart, a while after the process is gone: that is nobody.
 *
 * Return: who listens there; 0 nobody does; -1 somebody, who cannot be told.
 */
static pid_t who_listens(const struct sockaddr_un *address)
{
	struct ucred credentials = { .pid = -1 };
	socklen_t size = sizeof(credentials);
	pid_t ret = 0;
	int fd;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return 0;
	if (!connect(fd, (const void *)address, sizeof(*address))) {
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
		ret = credentials.pid > 0 ? credentials.pid : -1;
		if (ret > 0 && kill(ret, 0) && errno == ESRCH)
			ret = 0;
	} else if (errno == EAGAIN) {
		ret = -1;
	}
	close(fd);
	return ret;
}

static int refuse_second(const struct sockaddr_un *address, pid_t pid,
			 const char *option, const char **why)
{
	if (pid > 0)
		return refuse(why, -EADDRINUSE,
			      "another treekvd listens on %s (pid %d); stop it "
			      "or give another path (--%s)",
			      address->sun_path, (int)pid, option);
	return refuse(why, -EADDRINUSE,
		      "another treekvd listens or is about to listen on %s; "
		      "stop it or give another path (--%s)",
		      address->sun_path, option);
}

static int take_lock(int *ret, const struct sockaddr_un *address,
		     const char *option, const char **why)
{
	char path[sizeof(address->sun_path) + sizeof(".lock")];
	int fd;
	int r;

	snprintf(path, sizeof(path), "%s.lock", address->sun_path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return refuse(why, -errno,
			      "cannot open %s: %s; it keeps two daemons off "
			      "one socket, so its directory must be writable",
			      path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		r = errno == EWOULDBLOCK ?
			    refuse_second(address, who_listens(address), option,
					  why) :
			    refuse(why, -errno, "cannot lock %s: %s", path,
				   strerror(errno));
		close(fd);
		return r;
	}
	*ret = fd;
	return 0;
}

/* Clears @address of a socket that nobody listens on. We hold the lock. */
static int remove_stale(const struct sockaddr_un *address, const char *option,
			const char **why)
{
	const char *path = address->sun_path;
	struct stat stat;
	pid_t pid;

	if (lstat(path, &stat))
		return 0; /* bind() has the better message for what is odd */
	if (!S_ISSOCK(stat.st_mode))
		return refuse(why, -EEXIST,
			      "%s is there and is no socket; remove it or give "
			      "another path (--%s)",
			      path, option);
	pid = who_listens(address);
	if (pid)
		return refuse_second(address, pid, option, why);
	if (unlink(path) && errno != ENOENT)
		return refuse(why, -errno,
			      "cannot remove the stale socket %s: %s", path,
			      strerror(errno));
	return 0;
}

/* The mode is set before anybody can connect, and again past the umask. */
static int bind_and_listen(int fd, const struct sockaddr_un *address,
			   const char **why)
{
	const char *path = address->sun_path;

	if (fchmod(fd, SOCKET_MODE) ||
	    bind(fd, (const void *)address, sizeof(*address)))
		return refuse(why, -errno, "cannot bind the socket %s: %s",
			      path, strerror(errno));
	if (chmod(path, SOCKET_MODE) || listen(fd, SOMAXCONN))
		return refuse(why, -errno, "cannot listen on %s: %s", path,
			      strerror(errno));
	return 0;
}

int socket_lock(int *ret, const char *path, const char *option,
		const char **why)
{
	struct sockaddr_un address;
	int r = address_init(&address, path, option, why);

	return r ? r : take_lock(ret, &address, option, why);
}

int socket_listen(struct socket *ret, const char *path, const char *option,
		  const char **why)
{
	struct socket s = { -1, -1 };
	struct sockaddr_un address;
	int r;

	r = address_init(&address, path, option, why);
	if (!r)
		r = make_directory(path, option, why);
	if (!r)
		r = take_lock(&s.lock_fd, &address, option, why);
	if (!r)
		r = remove_stale(&address, option, why);
	if (!r) {
		s.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (s.fd < 0)
			r = refuse(why, -errno, "cannot make a socket: %s",
				   strerror(errno));
	}
	if (!r)
		r = bind_and_listen(s.fd, &address, why);
	if (!r) {
		*ret = s;
		return 0;
	}
	if (s.fd >= 0)
		close(s.fd);
	if (s.lock_fd >= 0)
		close(s.lock_fd);
	return r;
}
