/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The others, as little of a client as each of them takes: a bare echo in a
 * process of its own, Redis, memcached. All of them over Unix stream sockets,
 * as the daemon's is. Static functions in a header for the reason that bench.h
 * gives; no program uses all of them.
 */
#ifndef TREEKV_BENCH_PEERS_H
#define TREEKV_BENCH_PEERS_H

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define PEER_ECHO  64
#define PEER_CHUNK ((size_t)1000000) /* memcached's items end at 1 MiB */
#define PEER_KEYS  1000

static inline void peer_send(int fd, const void *from, size_t size)
{
	const char *at = from;

	while (size) {
		ssize_t n = write(fd, at, size);

		if (n < 0)
			bench_die("a peer: write", strerror(errno));
		at += n;
		size -= (size_t)n;
	}
}

static inline int peer_try_receive(int fd, void *to, size_t size)
{
	char *at = to;

	while (size) {
		ssize_t n = read(fd, at, size);

		if (n <= 0)
			return -1;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

static inline void peer_receive(int fd, void *to, size_t size)
{
	if (peer_try_receive(fd, to, size))
		bench_die("a peer: read", "it has hung up");
}

/* A line, without its end: one look and one read for it. */
static inline void peer_receive_line(int fd, char *to, size_t size)
{
	for (;;) {
		ssize_t n = recv(fd, to, size - 1, MSG_PEEK);
		char *end;

		if (n <= 0)
			bench_die("a peer: recv", "it has hung up");
		end = memchr(to, '\n', (size_t)n);
		if (end) {
			peer_receive(fd, to, (size_t)(end - to) + 1);
			end[end > to ? -1 : 0] = 0;
			return;
		}
		if ((size_t)n == size - 1)
			bench_die("a peer", "a line that is too long");
	}
}

static inline int peer_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (void *)&address, sizeof(address)))
		bench_die(path, strerror(errno));
	return fd;
}

static inline void peer_expect(int fd, const char *wanted)
{
	char line[128];

	peer_receive_line(fd, line, sizeof(line));
	if (strcmp(line, wanted))
		bench_die(wanted, line);
}

/* ---- a bare echo ---- */

static inline pid_t peer_echo_start(int *fd, size_t asked, size_t answered)
{
	char *message = calloc(1, asked > answered ? asked : answered);
	int pair[2];
	pid_t pid;

	if (!message || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		bench_die("an echo", strerror(errno));
	pid = fork();
	if (pid < 0)
		bench_die("fork", strerror(errno));
	if (!pid) {
		close(pair[0]);
		while (!peer_try_receive(pair[1], message, asked) &&
		       write(pair[1], message, answered) == (ssize_t)answered)
			;
		_exit(0);
	}
	free(message);
	close(pair[1]);
	*fd = pair[0];
	return pid;
}

static inline void peer_echo_end(pid_t pid, int fd)
{
	close(fd);
	waitpid(pid, NULL, 0);
}

/* ---- Redis ---- */

static inline void peer_redis_set(int fd, const char *key, const void *value,
				  size_t size)
{
	char line[128];

	snprintf(line, sizeof(line),
		 "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(key), key,
		 size);
	peer_send(fd, line, strlen(line));
	peer_send(fd, value, size);
	peer_send(fd, "\r\n", 2);
	peer_expect(fd, "+OK");
}

static inline void peer_redis_get(int fd, const char *key, void *to,
				  size_t size)
{
	char line[128];

	snprintf(line, sizeof(line), "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n",
		 strlen(key), key);
	peer_send(fd, line, strlen(line));
	peer_receive_line(fd, line, sizeof(line));
	if (line[0] != '$' || strtoull(line + 1, NULL, 10) != size)
		bench_die("Redis: GET", line);
	peer_receive(fd, to, size);
	peer_receive(fd, line, 2);
}

/* A GET of 64 bytes, read in one go as the whole reply fits. */
static inline void peer_redis_get_small(int fd, char key)
{
	static const char answer[] = "$64\r\n";
	char line[5 + PEER_ECHO + 2];

	snprintf(line, sizeof(line), "*2\r\n$3\r\nGET\r\n$1\r\n%c\r\n", key);
	peer_send(fd, line, strlen(line));
	peer_receive(fd, line, sizeof(line));
	if (memcmp(line, answer, sizeof(answer) - 1))
		bench_die("Redis: GET", "not the 64 bytes that were set");
}

/* With 64 bytes in it by the key. */
static inline int peer_redis_small(const char *path, char key)
{
	char value[PEER_ECHO] = { 0 }, name[2] = { key, 0 };
	int fd = peer_connect(path);

	peer_redis_set(fd, name, value, sizeof(value));
	return fd;
}

/* ---- memcached ---- */

static inline void peer_memcached_set(int fd, const char *value, size_t size)
{
	char line[128];

	for (size_t at = 0, i = 0; at < size; at += PEER_CHUNK, i++) {
		size_t n = size - at < PEER_CHUNK ? size - at : PEER_CHUNK;

		snprintf(line, sizeof(line), "set k%zu 0 0 %zu\r\n", i, n);
		peer_send(fd, line, strlen(line));
		peer_send(fd, value + at, n);
		peer_send(fd, "\r\n", 2);
		peer_expect(fd, "STORED");
	}
}

/* One request for all chunks. */
static inline void peer_memcached_get(int fd, char *to, size_t size)
{
	static char line[16 * PEER_KEYS];
	size_t n = (size_t)snprintf(line, sizeof(line), "get");
	size_t chunks = (size + PEER_CHUNK - 1) / PEER_CHUNK;

	for (size_t i = 0; i < chunks && n < sizeof(line) - 16; i++)
		n += (size_t)snprintf(line + n, sizeof(line) - n, " k%zu", i);
	n += (size_t)snprintf(line + n, sizeof(line) - n, "\r\n");
	peer_send(fd, line, n);
	for (size_t at = 0; at < size; at += PEER_CHUNK) {
		size_t part = size - at < PEER_CHUNK ? size - at : PEER_CHUNK;

		peer_receive_line(fd, line, sizeof(line));
		if (strncmp(line, "VALUE ", 6))
			bench_die("memcached: get", line);
		peer_receive(fd, to + at, part);
		peer_receive(fd, line, 2);
	}
	peer_expect(fd, "END");
}

#endif /* TREEKV_BENCH_PEERS_H */
