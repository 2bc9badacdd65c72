// SPDX-License-Identifier: BSD-2-Clause
/*
 * The calls that the daemon makes once it serves, and no others. They were
 * derived from what it does, section by section below, so that a call that is
 * new here is refused in the first test that gets to it.
 *
 * What it does not do any more by then, and whoever takes it over would want to:
 * start a program or a process, trace one, make memory executable, make a socket
 * that reaches beyond this machine, set up another io_uring. The rings that it
 * has are held to their own list, in loop.c: what goes through a ring passes no
 * filter.
 *
 * A call that is refused fails with EPERM and is named in the log, once. To kill
 * would be no safer, for the call does not happen either way, and would turn a
 * new libc's harmless new call into a daemon that cannot stay up.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/ucontext.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/sandbox.h"

#define CALLS_MAX 512

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Allowed whatever their arguments are. */
static const int plain[] = {
	/* memory; mmap() and mprotect() are below */
	SCMP_SYS(brk),
	SCMP_SYS(madvise),
	SCMP_SYS(mremap),
	SCMP_SYS(munmap),
	SCMP_SYS(memfd_create),
	/* threads, locks, time */
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(futex),
	SCMP_SYS(getcpu),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(nanosleep),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(rseq),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_yield),
	SCMP_SYS(set_robust_list),
	/* signals, to ourselves only: tgkill() is below */
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	/* rings that there are */
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
	/* descriptors; fcntl(), fchmod() and ioctl() are below */
	SCMP_SYS(close),
	SCMP_SYS(dup3),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(eventfd2),
	SCMP_SYS(pipe2),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(pread64),
	SCMP_SYS(pwrite64),
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	/* clients, the manager, the system bus; socket() is below */
	SCMP_SYS(accept4),
	SCMP_SYS(connect),
	SCMP_SYS(getpeername),
	SCMP_SYS(getsockname),
	SCMP_SYS(getsockopt),
	SCMP_SYS(pidfd_open),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(setsockopt),
	SCMP_SYS(shutdown),
	/* snapshots, configuration, /proc and /sys */
	SCMP_SYS(access),
	SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
	SCMP_SYS(fallocate),
	SCMP_SYS(flock),
	SCMP_SYS(fstat),
	SCMP_SYS(fstatfs),
	SCMP_SYS(fsync),
	SCMP_SYS(ftruncate),
	SCMP_SYS(getdents64),
	SCMP_SYS(link), /* a snapshot moves to another user */
	SCMP_SYS(linkat),
	SCMP_SYS(lseek),
	SCMP_SYS(mkdir),
	SCMP_SYS(mkdirat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(open),
	SCMP_SYS(openat),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(rename),
	SCMP_SYS(renameat),
	SCMP_SYS(renameat2),
	SCMP_SYS(stat),
	SCMP_SYS(statfs),
	SCMP_SYS(statx),
	SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
	/* who and where we are */
	SCMP_SYS(getegid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getpid),
	SCMP_SYS(getrandom),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(sysinfo),
	SCMP_SYS(uname),
#if SANITIZED
	/* what AddressSanitizer looks for leaks with, and says what it found */
	SCMP_SYS(clone),
	SCMP_SYS(getppid),
	SCMP_SYS(getrlimit),
	SCMP_SYS(kill),
	SCMP_SYS(mmap),
	SCMP_SYS(mprotect),
	SCMP_SYS(prctl),
	SCMP_SYS(prlimit64),
	SCMP_SYS(ptrace),
	SCMP_SYS(setrlimit),
	SCMP_SYS(wait4),
#endif
};

/* Allowed where (argument & mask) is value. */
static const struct {
	int call;
	unsigned int argument;
	uint64_t mask;
	uint64_t value;
} masked[] = {
#if !SANITIZED
	{ SCMP_SYS(mmap), 2, PROT_EXEC, 0 },
	{ SCMP_SYS(mprotect), 2, PROT_EXEC, 0 },
	/* threads, no processes; clone3() is below */
	{ SCMP_SYS(clone), 0, CLONE_THREAD | CLONE_VM,
	  CLONE_THREAD | CLONE_VM },
	{ SCMP_SYS(prctl), 0, UINT32_MAX, PR_SET_NAME },
	{ SCMP_SYS(prctl), 0, UINT32_MAX, PR_GET_NAME },
	/* looked at, of ourselves, not set */
	{ SCMP_SYS(prlimit64), 2, UINT64_MAX, 0 },
#endif
	{ SCMP_SYS(socket), 0, UINT32_MAX, AF_UNIX },
	{ SCMP_SYS(fchmod), 1, UINT32_MAX, 0600 },
	{ SCMP_SYS(ioctl), 1, UINT32_MAX, TCGETS },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_DUPFD_CLOEXEC },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFD },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETFD },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFL },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETFL },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_ADD_SEALS },
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_GET_SEALS },
#ifdef TREEKV_COVERAGE /* counters are written at the end, under a lock */
	{ SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETLKW },
#endif
};

/* ---- what is refused ---- */

static const char *names[CALLS_MAX];
static atomic_bool told[CALLS_MAX];

/* Looked up in advance: a handler of signals allocates nothing. */
static void look_up_names(void)
{
	for (int i = 0; i < CALLS_MAX; i++)
		names[i] =
			seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
}

const char *sandbox_call_name(int number)
{
	if (number < 0 || number >= CALLS_MAX || !names[number])
		return "?";
	return names[number];
}

static void tell(int number)
{
	if (number >= 0 && number < CALLS_MAX &&
	    atomic_exchange(&told[number], true))
		return;
	log_error("system call refused",
		  "call=%s number=%d hint=\"the daemon has no use for it; if a "
		  "library of this system has, give --sandbox no and report "
		  "it\"",
		  sandbox_call_name(number), number);
}

/* The call has not happened; here it gets its result. */
static void on_sigsys(int signal, siginfo_t *info, void *context)
{
	ucontext_t *at = context;
	int saved = errno;

	(void)signal;
	(void)at;
	tell(info->si_syscall);
#if defined(__x86_64__)
	at->uc_mcontext.gregs[REG_RAX] = -EPERM;
#elif defined(__aarch64__)
	at->uc_mcontext.regs[0] = (unsigned long long)-EPERM;
#endif
	errno = saved;
}

/* Where we know how to give a trapped call a result. */
static uint32_t refusal(void)
{
#if defined(__x86_64__) || defined(__aarch64__)
	return SCMP_ACT_TRAP;
#else
	return SCMP_ACT_ERRNO(EPERM);
#endif
}

/* ---- the filter ---- */

static int add_rules(scmp_filter_ctx filter)
{
	int r = 0;

	for (size_t i = 0; !r && i < sizeof(plain) / sizeof(*plain); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, plain[i], 0);
	for (size_t i = 0; !r && i < sizeof(masked) / sizeof(*masked); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, masked[i].call, 1,
				     SCMP_CMP(masked[i].argument,
					      SCMP_CMP_MASKED_EQ,
					      masked[i].mask, masked[i].value));
	if (!r)
		r = seccomp_rule_add(
			filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
			SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	/* Its flags lie in memory; libc then takes clone(). */
	if (!r)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS),
				     SCMP_SYS(clone3), 0);
	return r;
}

static int load(scmp_filter_ctx filter)
{
	int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
				 SCMP_ACT_KILL_PROCESS);

	if (!r)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!r) /* a search, not a list: calls with arguments are at its end */
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!r)
		r = add_rules(filter);
	return r ? r : seccomp_load(filter);
}

int sandbox_filter_install(void)
{
	struct sigaction action = {
		.sa_sigaction = on_sigsys,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};
	scmp_filter_ctx filter = seccomp_init(refusal());
	int r;

	if (!filter)
		return -ENOMEM;
	look_up_names();
	tzset(); /* likewise: a log line's time reads a file when it is the first */
	sigaction(SIGSYS, &action, NULL);
	r = load(filter);
	seccomp_release(filter);
	return r;
}
