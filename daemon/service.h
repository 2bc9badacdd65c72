/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The service manager, systemd or a keeper (keeper.h): both speak
 * sd_notify(3)'s protocol, keep descriptors for us while we are dead and hand
 * them over when we start again. Control thread only.
 */
#ifndef TREEKVD_SERVICE_H
#define TREEKVD_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVICE_NAME_MAX 8 /* longer names break exec with thousands of them */
#define SERVICE_LISTENER "listen" /* our own socket in the store */

/* A descriptor that was handed over. */
struct service_fd {
	int fd;
	char name[64];
};

/**
 * service_init - read what the manager left in the environment
 *
 * The variables are taken out of it. Return: 0 or -ENOMEM.
 */
int service_init(void);
void service_exit(void);

/* Is there somebody who listens to what we say? */
bool service_is_managed(void);

/* Is it systemd's system manager? */
bool service_is_systemd(void);

/* Is there somebody who keeps descriptors? How many, as he says? */
bool service_has_store(void);
uint32_t service_store_size(void);

/* What was handed over, listening sockets included; fd -1: taken already. */
struct service_fd *service_fds(size_t *ret);

/* The listening socket among them, -1: none. *activated: the manager's own. */
int service_take_listener(bool *activated);

/* READY=1, STATUS=..., and the like; nothing without a manager. */
__attribute__((format(printf, 1, 2))) void service_notify(const char *format,
							  ...);

/**
 * service_store - ask the manager to keep descriptors
 * @name: up to SERVICE_NAME_MAX bytes
 *
 * Kept once a later barrier has passed. Return: 0 or a negative errno.
 */
int service_store(const char *name, const int *fds, unsigned int n);

/* Asks it to forget all descriptors of that name. */
void service_forget(const char *name);

/**
 * service_barrier - learn when the manager has done what was asked
 *
 * Return: a descriptor that becomes readable (hangs up) then, to be closed by
 * the caller; or a negative errno.
 */
int service_barrier(void);

/* Loads what that asks systemd with, while we still may. */
void service_job_prepare(void);

/**
 * service_is_restarting - is it for a restart that we are being stopped?
 *
 * Asks systemd over D-Bus, for a second at most. Return: false also when it
 * cannot be told.
 */
bool service_is_restarting(void);

/* Half the time within which the manager wants a sign of life; 0: it does not. */
uint64_t service_watchdog_ns(void);

#endif /* TREEKVD_SERVICE_H */
