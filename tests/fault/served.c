// SPDX-License-Identifier: BSD-2-Clause
/*
 * A real daemon, for the library's calls are to fail and not the daemon's; and
 * under a keeper, so that it can die as daemons do and its caches stay. Deaths
 * are the kernel's to tell: the keeper is told of ours.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/conn.h"
#include "client/treekv.h"
#include "tests/fault/served.h"

#define WAIT_S 30

static struct {
	char folder[64];
	char socket[96];
	char state[96];
	char program[PATH_MAX];
	pid_t keeper;
	pid_t daemon;
} served;

/* It lies in ../bin, as seen from this program. */
static int find_program(void)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self));
	char *at;

	if (n < 0 || n == sizeof(self))
		return -1;
	self[n] = '\0';
	for (int up = 0; up < 2; up++) {
		at = strrchr(self, '/');
		if (!at)
			return -1;
		*at = '\0';
	}
	n = snprintf(served.program, sizeof(served.program), "%s/bin/treekvd",
		     self);
	return n < (ssize_t)sizeof(served.program) &&
			       !access(served.program, X_OK) ?
		       0 :
		       -1;
}

__attribute__((noreturn)) static void run(void)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	execl(served.program, "treekvd", "--keeper", "--config=/dev/null",
	      "--pool=8M", "--huge-pages=never", "--snapshot-on-stop=no",
	      "--log-level=error", "--socket", served.socket, "--state-dir",
	      served.state, (char *)NULL);
	_exit(127);
}

/* Until a daemon serves who is not that one. Return: its pid, 0: none came. */
static pid_t await(pid_t before)
{
	time_t end = time(NULL) + WAIT_S;
	struct treekv *kv;
	pid_t pid = 0;

	while (!pid && time(NULL) < end) {
		if (treekv_connect(&kv, served.socket)) {
			poll(NULL, 0, 1);
			continue;
		}
		if (kv->daemon_pid != before)
			pid = kv->daemon_pid;
		treekv_close(kv);
	}
	return pid;
}

int served_start(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(served.folder, sizeof(served.folder),
		 "%s/treekv-faults.XXXXXX",
		 tmp && strlen(tmp) < 32 ? tmp : "/tmp");
	if (find_program() || !mkdtemp(served.folder))
		return -1;
	snprintf(served.socket, sizeof(served.socket), "%s/sock",
		 served.folder);
	snprintf(served.state, sizeof(served.state), "%s/state", served.folder);
	served.keeper = fork();
	if (!served.keeper)
		run();
	if (served.keeper > 0)
		served.daemon = await(0);
	if (served.daemon)
		return 0;
	fprintf(stderr, "no daemon: %s\n", served.program);
	return -1;
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path);
}

void served_stop(void)
{
	if (served.keeper > 0) {
		kill(served.keeper, SIGTERM);
		while (waitpid(served.keeper, NULL, 0) < 0 && errno == EINTR)
			;
	}
	nftw(served.folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *served_socket(void)
{
	return served.socket;
}

void served_replace(void)
{
	kill(served.daemon, SIGKILL);
	served.daemon = await(served.daemon);
	assert_int_not_equal(served.daemon, 0);
}

unsigned int served_fds(void)
{
	unsigned int n = 0;
	char path[64];
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", served.daemon);
	folder = opendir(path);
	assert_non_null(folder);
	while (readdir(folder))
		n++;
	closedir(folder);
	return n;
}
