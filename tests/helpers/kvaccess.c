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
	WRITER_FDS,
	READER_FDS = BELL,
};

static int failed;
static uint64_t lease;

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
	if (conn_call(kv, &request, &reply, fds, &n) || n != WRITER_FDS) {
		fprintf(stderr, "kvaccess: %s\n", treekv_error());
		exit(3);
	}
	lease = reply->attached->lease;
	treekv__reply__free_unpacked(reply, NULL);
}

static void get_reader(struct treekv *kv, int fds[FRAME_FDS_MAX])
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Attach attach = TREEKV__ATTACH__INIT;
	Treekv__Reply *reply;
	unsigned int n;

	attach.name = (char *)(uintptr_t) "access";
	attach.has_read = attach.read = 1;
	request.body_case = TREEKV__REQUEST__BODY_ATTACH;
	request.attach = &attach;
	if (conn_call(kv, &request, &reply, fds, &n) || n != READER_FDS ||
	    reply->attached->lease) {
		fprintf(stderr, "kvaccess: %s\n", treekv_error());
		exit(3);
	}
	treekv__reply__free_unpacked(reply, NULL);
}

static const char *words(const char *what, const char *how)
{
	static char text[128];

	snprintf(text, sizeof(text), "%s %s", what, how);
	return text;
}

/* What is somebody else's to write. */
static void try_to_write(const char *what, int fd)
{
	struct stat st;
	size_t page;
	void *at;

	fstat(fd, &st);
	page = (size_t)st.st_blksize;
	at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	refused(words(what, "mapped writable"), at != MAP_FAILED, EACCES);
	at = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
	refused(words(what, "made writable by mprotect"),
		!mprotect(at, page, PROT_READ | PROT_WRITE), EACCES);
	munmap(at, page);
	refused(words(what, "written"), write(fd, "x", 1) >= 0, EBADF);
	refused(words(what, "sealed by a client"),
		!fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
	refused(words(what, "punched"),
		!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			   (off_t)page),
		EBADF);
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

static void ask(struct treekv *kv, Treekv__Request *request)
{
	Treekv__Reply *reply;

	if (conn_call(kv, request, &reply, NULL, NULL)) {
		fprintf(stderr, "kvaccess: %s\n", treekv_error());
		exit(3);
	}
	treekv__reply__free_unpacked(reply, NULL);
}

static void freeze(struct treekv *kv)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Freeze body = TREEKV__FREEZE__INIT;

	body.name = (char *)(uintptr_t) "access";
	body.has_lease = 1;
	body.lease = lease;
	request.body_case = TREEKV__REQUEST__BODY_FREEZE;
	request.freeze = &body;
	ask(kv, &request);
}

/* Frozen rows are sealed: against the writer's descriptor, too. */
static void try_frozen(int fd)
{
	struct stat st;
	void *at;

	fstat(fd, &st);
	at = mmap(NULL, (size_t)st.st_blksize, PROT_READ | PROT_WRITE,
		  MAP_SHARED, fd, 0);
	refused("frozen rows mapped writable", at != MAP_FAILED, EPERM);
	refused("frozen rows written", write(fd, "x", 1) >= 0, EPERM);
	refused("frozen rows punched",
		!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			   st.st_blksize),
		EPERM);
	refused("frozen rows sealed otherwise",
		!fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), EPERM);
}

static int as_another_user(const int fds[WRITER_FDS],
			   const int reader[READER_FDS])
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
	try_open("another user opens a reader's rows", parent, reader[ROWS]);
	try_open("another user who reads reopens rows", getpid(), reader[ROWS]);
	try_open("another user who reads reopens index", getpid(),
		 reader[INDEX]);
	return failed;
}

int main(void)
{
	int fds[FRAME_FDS_MAX], reader[FRAME_FDS_MAX], status;
	struct treekv *kv;
	pid_t pid;

	if (treekv_connect(&kv, NULL)) {
		fprintf(stderr, "kvaccess: %s\n", treekv_error());
		return 3;
	}
	get_descriptors(kv, fds);
	get_reader(kv, reader);
	try_to_write("index", fds[INDEX]);
	try_to_write("a reader's rows", reader[ROWS]);
	try_to_write("a reader's index", reader[INDEX]);
	try_size("rows resized", fds[ROWS]);
	fflush(stdout);
	if (geteuid()) {
		puts("skip - another user's access: not root");
	} else {
		pid = fork();
		if (!pid) {
			status = as_another_user(fds, reader);
			fflush(stdout);
			_exit(status);
		}
		waitpid(pid, &status, 0);
		failed |= status;
	}
	freeze(kv);
	try_frozen(fds[ROWS]);
	for (int i = 0; i < WRITER_FDS; i++)
		close(fds[i]);
	for (int i = 0; i < READER_FDS; i++)
		close(reader[i]);
	treekv_close(kv);
	return failed ? 1 : 0;
}
