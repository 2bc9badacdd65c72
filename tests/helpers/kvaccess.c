// SPDX-License-Identifier: BSD-2-Clause
/*
 * What a client can do to the descriptors that it is handed, one "ok" or "not
 * ok" line each. As root it also becomes another user, who tries to reopen them
 * for writing, through the parent's /proc entry and, as a descriptor may have
 * been passed on, through its own. Exit status: 1 when a line was "not ok".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/conn.h"
#include "tests/helpers/spec_options.h"

#define NOBODY 65534

enum {
	ROWS,
	INDEX,
	BELL,
};

static int failed;

/* @r is what the call returned; it has to have failed with @error. */
static void refused(const char *what, bool succeeded, int error)
{
	int got = errno;

	if (!succeeded && got == error) {
		printf("ok - %s: %s\n", what, strerror(error));
		return;
	}
	printf("not ok - %s: %s\n", what,
	       succeeded ? "succeeds" : strerror(got));
	failed = 1;
}

static void get_descriptors(struct treekv *kv, int fds[FRAME_FDS_MAX])
{
	struct treekv_spec spec = spec_default();
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Create create = TREEKV__CREATE__INIT;
	Treekv__Spec wanted = TREEKV__SPEC__INIT;
	Treekv__Reply *reply;
	unsigned int n;

	wanted.model.data = spec.model;
	wanted.model.len = sizeof(spec.model);
	wanted.layers = spec.layers;
	wanted.kv_heads = spec.kv_heads;
	wanted.k_row = spec.k_row;
	wanted.v_row = spec.v_row;
	wanted.dtype = TREEKV__DTYPE__F32;
	wanted.policy = TREEKV__POLICY__TREEKV;
	wanted.positions = TREEKV__POSITIONS__RANK;
	wanted.budget = &spec.budget;
	wanted.n_budget = 1;
	wanted.slack = spec.slack;
	create.name = (char *)(uintptr_t) "access";
	create.spec = &wanted;
	request.body_case = TREEKV__REQUEST__BODY_CREATE;
	request.create = &create;
	if (conn_call(kv, &request, &reply, fds, &n) || n != FRAME_FDS_MAX) {
		fprintf(stderr, "kvaccess: %s\n", treekv_error());
		exit(3);
	}
	treekv__reply__free_unpacked(reply, NULL);
}

static void try_index(int fd)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	refused("index mapped writable", at != MAP_FAILED, EACCES);
	at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	refused("index made writable by mprotect",
		!mprotect(at, 4096, PROT_READ | PROT_WRITE), EACCES);
	munmap(at, 4096);
	refused("index written", write(fd, "x", 1) >= 0, EBADF);
	refused("index sealed by a client",
		!fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
}

static void try_size(const char *what, int fd)
{
	struct stat st;

	fstat(fd, &st);
	refused(what, !ftruncate(fd, 0), EPERM);
	refused(what, !ftruncate(fd, st.st_size * 2), EPERM);
}

static void try_open(const char *what, pid_t pid, int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	refused(what, open(path, O_RDWR) >= 0, EACCES);
}

static int as_another_user(const int fds[FRAME_FDS_MAX])
{
	pid_t parent = getppid();

	failed = 0;
	if (setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY)) {
		perror("setresuid");
		return 1;
	}
	try_open("another user opens the writer's rows", parent, fds[ROWS]);
	try_open("another user opens the writer's index", parent, fds[INDEX]);
	try_open("another user reopens rows handed on", getpid(), fds[ROWS]);
	try_open("another user reopens index handed on", getpid(), fds[INDEX]);
	return failed;
}

int main(void)
{
	int fds[FRAME_FDS_MAX], status;
	struct treekv *kv;
	pid_t pid;

	if (treekv_connect(&kv, NULL)) {
		fprintf(stderr, "kvaccess: %s\n", treekv_error());
		return 3;
	}
	get_descriptors(kv, fds);
	try_index(fds[INDEX]);
	try_size("rows resized", fds[ROWS]);
	fflush(stdout);
	if (geteuid()) {
		puts("skip - another user's access: not root");
	} else {
		pid = fork();
		if (!pid) {
			status = as_another_user(fds);
			fflush(stdout);
			_exit(status);
		}
		waitpid(pid, &status, 0);
		failed |= status;
	}
	for (int i = 0; i < FRAME_FDS_MAX; i++)
		close(fds[i]);
	treekv_close(kv);
	return failed ? 1 : 0;
}
