/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * treekvd --keeper: what systemd's descriptor store is to a service, where
 * there is no systemd. A process too small to fail: it starts the daemon, keeps
 * the descriptors that the daemon asks it to, and starts the next one with them
 * when the daemon dies.
 */
#ifndef TREEKVD_KEEPER_H
#define TREEKVD_KEEPER_H

/**
 * keeper_run - keep a daemon running until told to stop
 * @argv: the daemon's command line; its --keeper is left out
 *
 * SIGTERM and SIGINT are passed on and end it once the daemon has ended; SIGHUP
 * is passed on. Return: an exit status.
 */
int keeper_run(char **argv);

#endif /* TREEKVD_KEEPER_H */
