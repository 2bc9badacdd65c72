/* SPDX-License-Identifier: BSD-2-Clause */
/* A Unix socket in the file system that one daemon at a time listens on. */
#ifndef TREEKVD_SOCKET_H
#define TREEKVD_SOCKET_H

struct socket {
	int fd;
	int lock_fd; /* held as long as the path is ours */
};

/**
 * socket_listen - take a path and listen there
 * @path: its directory is made (0755) when missing; the file has mode 0660
 * @option: which option names another path, for @why
 * @why: on failure set to what went wrong and what to do; kept by the module
 *
 * Return: 0; -EADDRINUSE another daemon is there; or a negative errno.
 */
int socket_listen(struct socket *ret, const char *path, const char *option,
		  const char **why);

/**
 * socket_lock - keep other daemons off a path whose socket is ours already
 * @ret: set to the lock, which lasts as long as it is open
 *
 * Return: 0; -EADDRINUSE another daemon is there; or a negative errno.
 */
int socket_lock(int *ret, const char *path, const char *option,
		const char **why);

#endif /* TREEKVD_SOCKET_H */
