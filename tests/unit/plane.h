/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A whole control plane in the calling process: its control thread is the
 * caller's, whose requests go through the socket as anybody's do. It runs while
 * the caller waits for something and stands still otherwise. If asked to it
 * has a service manager, which keeps its caches while it is paused.
 *
 * What the plane opens for itself has numbers from PLANE_FDS on; what has lower
 * ones is the daemon's, or the caller's.
 */
#ifndef TREEKV_PLANE_H
#define TREEKV_PLANE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/frame.h"
#include "treekv.pb-c.h"

#define PLANE_FDS      512
#define PLANE_KEPT_MAX 128 /* descriptors that the manager keeps */

struct plane_reply {
	Treekv__Reply *reply;
	int fds[FRAME_FDS_MAX];
	unsigned int n_fds;
};

/* Kept by the manager, under a name. */
struct plane_kept {
	char name[64];
	int fd;
};

/* Before anything else has been opened. */
void plane_init(void);

/**
 * plane_start - start it
 * @kept: there is a manager
 * @options: of the daemon, NULL at the end; beside a socket, a state folder,
 *	no huge pages and a pool of 8 MiB
 *
 * Return: 0, or what control_start() refused with; *why has its text.
 */
int plane_start(bool kept, const char *const *options, const char **why);

/* An orderly stop of the daemon, and the start of the next one. */
void plane_pause(void);
int plane_resume(const char **why);

/* The same, but that there is to be no next one, and no manager. */
void plane_stop(void);

/* The manager forgets what it keeps. */
void plane_forget(void);

/* What the manager keeps, while the daemon is stopped. */
struct plane_kept *plane_kept(unsigned int *n);

/* Removes its folder. */
void plane_exit(void);

const char *plane_folder(void); /* with "sock" and "state" in it */

/* Runs the daemon until that is so. */
void plane_until(bool (*so)(void *arg), void *arg);

/* Runs it until it has nothing to do. */
void plane_settle(void);

/* A connection of this process; or of another one, until that is killed. */
int plane_connect(void);
int plane_connect_from(pid_t *process, uid_t uid);
void plane_kill(pid_t process);

void plane_write(int fd, const void *bytes, size_t size);
void plane_send(int fd, const Treekv__Request *request);

/* The next reply. Return: false when the daemon has hung up. */
bool plane_read(int fd, struct plane_reply *ret);
void plane_reply_free(struct plane_reply *reply); /* closes what is left */

/* Is there something to read, or the end? */
bool plane_readable(int fd);

/* Descriptors below PLANE_FDS that are open. */
unsigned int plane_open_fds(void);
void plane_print_fds(void);

/* While it is paused: closes those that have been opened since its start. */
void plane_sweep(void);

#endif /* TREEKV_PLANE_H */
