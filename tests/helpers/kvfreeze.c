// SPDX-License-Identifier: BSD-2-Clause
/*
 * Stops one thread of a process, as SIGSTOP stops all of them, and holds it
 * until the process has ended: a thread that hangs, for the watchdog.
 *
 *	kvfreeze TID
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	pid_t tid = argc == 2 ? atoi(argv[1]) : 0;
	int status;

	if (tid <= 0) {
		fputs("usage: kvfreeze TID\n", stderr);
		return 2;
	}
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) ||
	    ptrace(PTRACE_INTERRUPT, tid, NULL, NULL)) {
		perror("kvfreeze: ptrace");
		return 1;
	}
	while (waitpid(tid, &status, __WALL) == tid)
		if (!WIFSTOPPED(status))
			return 0;
	return 0;
}
