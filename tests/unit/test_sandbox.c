// SPDX-License-Identifier: BSD-2-Clause
/*
 * daemon/sandbox_filter.c in children that install it. Each call that is to be
 * refused is made without the filter first, where it must fare differently: so
 * it is the filter that refuses it, not its arguments or who we are.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/sandbox.h"
#include "tests/unit/counted.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define NO_FD	      (-1)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* A call as a child makes it: what it returns, -1 with errno. */
static long call_execve(void)
{
	char *const none[] = { NULL };

	return execve("/nonexistent", none, none);
}

static long call_execveat(void)
{
	return syscall(SYS_execveat, NO_FD, "x", NULL, NULL, 0);
}

static long call_socket_inet(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static long call_socket_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

static long call_io_uring_setup(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL);
}

static long call_bpf(void)
{
	return syscall(SYS_bpf, -1, NULL, 0);
}

static long call_perf_event_open(void)
{
	return syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0);
}

static long call_process_vm_readv(void)
{
	return syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0);
}

static long call_process_vm_writev(void)
{
	return syscall(SYS_process_vm_writev, getpid(), NULL, 0, NULL, 0, 0);
}

static long call_pidfd_getfd(void)
{
	return syscall(SYS_pidfd_getfd, NO_FD, 0, 0);
}

static long call_pidfd_send_signal(void)
{
	return syscall(SYS_pidfd_send_signal, NO_FD, 0, NULL, 0);
}

static long call_tgkill_other(void)
{
	return syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static long call_setresuid(void)
{
	/* Not libc's, which has each thread make it. */
	return syscall(SYS_setresuid, getuid(), getuid(), getuid());
}

static long call_unshare(void)
{
	return unshare(0);
}

static long call_keyctl(void)
{
	return syscall(SYS_keyctl, 0, -1, 0, 0, 0);
}

static long call_symlink(void)
{
	return symlink("x", "/nonexistent/x");
}

static long call_chmod(void)
{
	return chmod("/nonexistent", 0600);
}

static long call_fchmod_setuid(void)
{
	return fchmod(NO_FD, 04755);
}

static long call_chown(void)
{
	return chown("/nonexistent", getuid(), getgid());
}

static long call_set_owner(void)
{
	return fcntl(NO_FD, F_SETOWN, 1);
}

static long call_terminal_input(void)
{
	return ioctl(NO_FD, TIOCSTI, "x");
}

static long call_memfd_secret(void)
{
	return syscall(447, 1 << 30);
}

static long call_userfaultfd(void)
{
	return syscall(SYS_userfaultfd, 1 << 30);
}

static long call_bind(void)
{
	return bind(NO_FD, NULL, 0);
}

static long call_listen(void)
{
	return listen(NO_FD, 1);
}

#if !SANITIZED
static long call_fork(void)
{
	long r = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (!r)
		_exit(0);
	return r;
}

static long call_ptrace(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long call_kill(void)
{
	return kill(getppid(), 0);
}

static long call_map_executable(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_EXEC,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? -1 : 0;
}

static long call_make_executable(void)
{
	void *at =
		mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(at, 4096, PROT_READ | PROT_EXEC);
}

static long call_set_dumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long call_set_limit(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_CORE, &limit) ? -1 :
						setrlimit(RLIMIT_CORE, &limit);
}
#endif

static const struct {
	const char *name;
	long (*make)(void);
} refused[] = {
	{ "execve", call_execve },
	{ "execveat", call_execveat },
	{ "socket(AF_INET)", call_socket_inet },
	{ "socket(AF_NETLINK)", call_socket_netlink },
	{ "bind", call_bind },
	{ "listen", call_listen },
	{ "io_uring_setup", call_io_uring_setup },
	{ "bpf", call_bpf },
	{ "perf_event_open", call_perf_event_open },
	{ "process_vm_readv", call_process_vm_readv },
	{ "process_vm_writev", call_process_vm_writev },
	{ "pidfd_getfd", call_pidfd_getfd },
	{ "pidfd_send_signal", call_pidfd_send_signal },
	{ "tgkill(another)", call_tgkill_other },
	{ "setresuid", call_setresuid },
	{ "unshare", call_unshare },
	{ "keyctl", call_keyctl },
	{ "symlink", call_symlink },
	{ "chmod", call_chmod },
	{ "fchmod(04755)", call_fchmod_setuid },
	{ "chown", call_chown },
	{ "fcntl(F_SETOWN)", call_set_owner },
	{ "ioctl(TIOCSTI)", call_terminal_input },
	{ "memfd_secret", call_memfd_secret },
	{ "userfaultfd", call_userfaultfd },
#if !SANITIZED
	{ "fork", call_fork },
	{ "ptrace", call_ptrace },
	{ "kill", call_kill },
	{ "mmap(PROT_EXEC)", call_map_executable },
	{ "mprotect(PROT_EXEC)", call_make_executable },
	{ "prctl(PR_SET_DUMPABLE)", call_set_dumpable },
	{ "setrlimit", call_set_limit },
#endif
};

/* Return: how a child that runs @body ends, as waitpid() has it. */
static int in_child(void (*body)(const void *), const void *argument)
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		body(argument);
		leave(0);
	}
	waitpid(pid, &status, 0);
	return status;
}

/* Standard error goes to /dev/null: refusals are told there. */
static void enter(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	dup2(null, STDERR_FILENO);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || sandbox_filter_install())
		leave(99);
}

struct attempt {
	long (*make)(void);
	bool filtered;
};

static void try_once(const void *argument)
{
	const struct attempt *attempt = argument;
	long r;

	if (attempt->filtered)
		enter();
	errno = 0;
	r = attempt->make();
	leave(r == -1 && errno == EPERM ? 1 : 0);
}

static bool is_refused(size_t i, bool filtered)
{
	const struct attempt attempt = { refused[i].make, filtered };
	int status = in_child(try_once, &attempt);

	if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
		fail_msg("%s ends the child: %#x", refused[i].name, status);
	return WEXITSTATUS(status);
}

static void test_what_a_serving_daemon_never_does_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		if (is_refused(i, false))
			fail_msg("%s is refused without the filter",
				 refused[i].name);
		if (!is_refused(i, true))
			fail_msg("%s is not refused", refused[i].name);
	}
}

static void *thread_main(void *arg)
{
	return arg;
}

static void need(bool good)
{
	if (!good)
		leave(5);
}

static void work_as_the_daemon_does(const void *argument)
{
	char path[64];
	pthread_t thread;
	void *result, *map;
	int fd, ro, s;

	enter();
	need(!pthread_create(&thread, NULL, thread_main, path));
	need(!pthread_join(thread, &result) && result == path);
	fd = memfd_create("rows", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	need(fd >= 0 && !fchmod(fd, 0600) && !ftruncate(fd, 4096));
	need(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(map != MAP_FAILED && !madvise(map, 4096, MADV_DONTDUMP));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	need(ro >= 0 && !munmap(map, 4096));
	s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	need(s >= 0 && !close(s) && !close(ro) && !close(fd));
	need(link("/nonexistent/x", "/nonexistent/y") && errno == ENOENT);
	leave(*(const int *)argument);
}

static void test_what_it_does_is_allowed(void **state)
{
	const int good = 42;
	int status = in_child(work_as_the_daemon_does, &good);

	(void)state;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
}

static void abort_in_sandbox(const void *argument)
{
	(void)argument;
	enter();
	abort();
}

static void test_it_can_still_abort(void **state)
{
	int status = in_child(abort_in_sandbox, NULL);

	(void)state;
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void refuse_and_tell(const void *argument)
{
	dup2(*(const int *)argument, STDERR_FILENO);
	if (sandbox_filter_install())
		leave(99);
	call_execve();
	call_execve();
	call_socket_inet();
}

static unsigned int count(const char *text, const char *what)
{
	unsigned int n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

static void test_a_refusal_is_told_once_with_its_name(void **state)
{
	int fd = memfd_create("log", MFD_CLOEXEC);
	char text[4096];
	ssize_t size;

	(void)state;
	assert_int_equal(in_child(refuse_and_tell, &fd), 0);
	size = pread(fd, text, sizeof(text) - 1, 0);
	assert_true(size > 0);
	text[size] = '\0';
	close(fd);
	assert_int_equal(count(text, "event=\"system call refused\""), 2);
	assert_int_equal(count(text, "call=execve "), 1);
	assert_int_equal(count(text, "call=socket "), 1);
	assert_int_equal(count(text, "--sandbox no"), 2);
}

static void names_in_child(const void *argument)
{
	(void)argument;
	enter();
	if (strcmp(sandbox_call_name(SYS_ptrace), "ptrace") ||
	    strcmp(sandbox_call_name(SYS_io_uring_setup), "io_uring_setup") ||
	    strcmp(sandbox_call_name(-1), "?") ||
	    strcmp(sandbox_call_name(1 << 20), "?"))
		leave(1);
}

static void test_calls_have_names(void **state)
{
	(void)state;
	assert_int_equal(in_child(names_in_child, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_what_a_serving_daemon_never_does_is_refused),
		cmocka_unit_test(test_what_it_does_is_allowed),
		cmocka_unit_test(test_it_can_still_abort),
		cmocka_unit_test(test_a_refusal_is_told_once_with_its_name),
		cmocka_unit_test(test_calls_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
