// SPDX-License-Identifier: BSD-2-Clause
/*
 * noring [CALL:]ERRNO-NAME COMMAND...: runs a command under a seccomp filter that
 * answers io_uring_setup(2), or bpf(2) or perf_event_open(2), with EPERM or
 * ENOSYS, as containers do.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int install(unsigned int call, unsigned int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {
		.len = sizeof(filter) / sizeof(*filter),
		.filter = filter,
	};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static const struct {
	const char *prefix;
	unsigned int number;
} calls[] = {
	{ "bpf:", SYS_bpf },
	{ "perf:", SYS_perf_event_open },
};

/* The call that is to be refused; *error is what comes behind its prefix. */
static unsigned int call_of(const char **error)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		size_t length = strlen(calls[i].prefix);

		if (strncmp(*error, calls[i].prefix, length))
			continue;
		*error += length;
		return calls[i].number;
	}
	return SYS_io_uring_setup;
}

int main(int argc, char **argv)
{
	const char *error;
	unsigned int call;

	if (argc < 3) {
		fprintf(stderr, "usage: noring [bpf:|perf:]EPERM|ENOSYS "
				"COMMAND...\n");
		return 2;
	}
	error = argv[1];
	call = call_of(&error);
	if (install(call, strcmp(error, "ENOSYS") ? EPERM : ENOSYS)) {
		perror("noring: seccomp");
		return 77;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 126;
}
