/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the daemon gives up once it has what it needs: privileges, and most of
 * the kernel's system calls.
 */
#ifndef TREEKVD_SANDBOX_H
#define TREEKVD_SANDBOX_H

/**
 * sandbox_enter - give up capabilities and system calls for good
 *
 * Before the first thread is started and the first byte of anybody else's is
 * read. What the kernel does not offer is left out, and said in the log.
 */
void sandbox_enter(void);

/* ---- the filter alone, sandbox_filter.c ---- */

/*
 * Return: 0, and every call that is not in the table fails with EPERM from now
 * on, in all threads; or a negative errno.
 */
int sandbox_filter_install(void);

/* Of a system call of this machine; "?" when it has none. */
const char *sandbox_call_name(int number);

#endif /* TREEKVD_SANDBOX_H */
