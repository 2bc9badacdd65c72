// SPDX-License-Identifier: BSD-2-Clause
/*
 * One poll loop over the notification socket and a signalfd. Kept descriptors
 * live above all that a child may be handed, so that it can lay them at 3, 4, ...
 * without treading on any. Where the limit of descriptors leaves room for fewer,
 * the daemon is told how many there is room for, and makes no more caches. A daemon that ends by itself with status 0, or that we were
 * told to stop, ends us; any other end starts its successor: almost at once
 * where it has served, else after a pause that grows while successors fail. Once
 * one has served we never give up, for that would lose the caches: also a
 * configuration that makes no sense may be mended.
 *
 * Only messages of the daemon's own pid count: SCM_CREDENTIALS tells.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/keeper.h"
#include "daemon/log.h"
#include "daemon/service.h"

#define FIRST_FD    3
#define KEPT_MAX    2200 /* as the unit of systemd has it */
#define KEPT_LEAST  32
#define OWN_FDS	    64 /* more than we have open besides */
#define MESSAGE_FDS 4
#define PAUSE_MIN   50 /* ms */
#define PAUSE_MAX   2000

struct kept {
	int fd;
	char name[SERVICE_NAME_MAX + 1];
};

static struct {
	struct kept kept[KEPT_MAX];
	unsigned int n_kept;
	unsigned int room; /* for so many */
	int notify;
	struct sockaddr_un address;
	socklen_t length;
	int signals;
	sigset_t old_mask;
	pid_t child;
	bool ready; /* it has said so */
	bool served; /* it, or a predecessor */
	int pause_ms;
	bool stopping;
	char **argv;
	char program[PATH_MAX]; /* so that an upgrade is taken up */
} keeper = { .notify = -1, .signals = -1, .pause_ms = PAUSE_MIN };

static void keep(int fd, const char *name)
{
	struct kept *to = &keeper.kept[keeper.n_kept];
	int at = -1;

	errno = ENOSPC;
	if (keeper.n_kept < keeper.room)
		at = fcntl(fd, F_DUPFD_CLOEXEC, (int)keeper.room + OWN_FDS);
	if (at < 0) {
		log_error("descriptor not kept", "name=%s kept=%u error=\"%s\"",
			  name, keeper.n_kept, strerror(errno));
		return;
	}
	to->fd = at;
	snprintf(to->name, sizeof(to->name), "%s", name);
	keeper.n_kept++;
}

static void forget(const char *name)
{
	unsigned int left = 0;

	for (unsigned int i = 0; i < keeper.n_kept; i++)
		if (strcmp(keeper.kept[i].name, name))
			keeper.kept[left++] = keeper.kept[i];
		else
			close(keeper.kept[i].fd);
	keeper.n_kept = left;
}

/* The value of a variable in a message of lines, "" when it is not there. */
static void variable(char *to, size_t size, const char *text, const char *name)
{
	size_t length = strlen(name);

	*to = '\0';
	for (; text; text = strchr(text, '\n')) {
		text += *text == '\n';
		if (!strncmp(text, name, length) && text[length] == '=') {
			text += length + 1;
			snprintf(to, size, "%.*s", (int)strcspn(text, "\n"),
				 text);
			return;
		}
		if (!*text)
			return;
	}
}

/* Closing what came with it is all that a barrier asks. */
static void understand(const char *text, const int *fds, unsigned int n)
{
	char name[SERVICE_NAME_MAX + 1], value[8];

	variable(name, sizeof(name), text, "FDNAME");
	variable(value, sizeof(value), text, "FDSTORE");
	for (unsigned int i = 0; *value && i < n; i++)
		keep(fds[i], *name ? name : "stored");
	variable(value, sizeof(value), text, "FDSTOREREMOVE");
	if (*value)
		forget(name);
	variable(value, sizeof(value), text, "READY");
	if (*value)
		keeper.ready = keeper.served = true;
}

static unsigned int take_control(struct msghdr *message, int *fds, pid_t *from)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(message);
	struct ucred cred;
	unsigned int n = 0;

	for (; c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&cred, CMSG_DATA(c), sizeof(cred));
			*from = cred.pid;
		} else if (c->cmsg_type == SCM_RIGHTS) {
			n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		}
	}
	return n;
}

/* Return: false when there is nothing more to read. */
static bool listen_once(void)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct ucred)) +
			   CMSG_SPACE(MESSAGE_FDS * sizeof(int))];
	} control;
	char text[1024];
	struct iovec iov = { text, sizeof(text) - 1 };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	int fds[MESSAGE_FDS];
	unsigned int n;
	pid_t from = 0;
	ssize_t size;

	size = recvmsg(keeper.notify, &message,
		       MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (size < 0)
		return errno == EINTR;
	text[size] = '\0';
	n = take_control(&message, fds, &from);
	if (from == keeper.child)
		understand(text, fds, n);
	for (unsigned int i = 0; i < n; i++)
		close(fds[i]);
	return true;
}

static int open_socket(void)
{
	int one = 1;

	keeper.notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (keeper.notify < 0)
		return -errno;
	keeper.address.sun_family = AF_UNIX; /* autobind: an abstract name */
	keeper.length = sizeof(keeper.address);
	if (setsockopt(keeper.notify, SOL_SOCKET, SO_PASSCRED, &one,
		       sizeof(one)) ||
	    bind(keeper.notify, (struct sockaddr *)&keeper.address,
		 sizeof(sa_family_t)) ||
	    getsockname(keeper.notify, (struct sockaddr *)&keeper.address,
			&keeper.length))
		return -errno;
	return 0;
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &keeper.old_mask);
	keeper.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return keeper.signals < 0 ? -errno : 0;
}

static void set_number(const char *name, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	setenv(name, text, 1);
}

static void child_environment(void)
{
	char names[KEPT_MAX * (SERVICE_NAME_MAX + 1) + 1];
	char path[sizeof(keeper.address.sun_path) + 1];
	size_t at = 0;

	*names = '\0';
	for (unsigned int i = 0; i < keeper.n_kept; i++)
		at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%s",
				       i ? ":" : "", keeper.kept[i].name);
	snprintf(path, sizeof(path), "@%.*s",
		 (int)(keeper.length - sizeof(sa_family_t) - 1),
		 keeper.address.sun_path + 1);
	setenv("NOTIFY_SOCKET", path, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	set_number("FDSTORE", keeper.room);
	set_number("LISTEN_FDS", keeper.n_kept);
	set_number("LISTEN_PID", getpid());
}

__attribute__((noreturn)) static void child_main(void)
{
	for (unsigned int i = 0; i < keeper.n_kept; i++)
		if (dup2(keeper.kept[i].fd, FIRST_FD + (int)i) < 0) {
			log_error("cannot hand over the caches", "error=\"%s\"",
				  strerror(errno));
			_exit(EXIT_FAILURE);
		}
	child_environment();
	sigprocmask(SIG_SETMASK, &keeper.old_mask, NULL);
	execv(keeper.program, keeper.argv);
	log_error("cannot start the daemon", "error=\"%s\"", strerror(errno));
	_exit(EXIT_FAILURE);
}

static int start_child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid)
		child_main();
	keeper.child = pid;
	keeper.ready = false;
	return 0;
}

static void pause_before_next(void)
{
	struct timespec pause = {
		.tv_sec = keeper.pause_ms / 1000,
		.tv_nsec = keeper.pause_ms % 1000 * 1000000L,
	};

	nanosleep(&pause, NULL);
	keeper.pause_ms *= 2;
	if (keeper.pause_ms > PAUSE_MAX)
		keeper.pause_ms = PAUSE_MAX;
}

/* The daemon has ended. Return: our exit status, or -1 to go on. */
static int child_ended(int status)
{
	while (listen_once()) /* what it said last */
		;
	if (keeper.stopping || (WIFEXITED(status) && !WEXITSTATUS(status)))
		return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2 && !keeper.served)
		return 2; /* its command line makes no sense */
	if (keeper.ready)
		keeper.pause_ms = PAUSE_MIN;
	log_warning("the daemon died",
		    "pid=%d signal=%d status=%d kept=%u pause_ms=%d",
		    keeper.child, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
		    WIFEXITED(status) ? WEXITSTATUS(status) : 0, keeper.n_kept,
		    keeper.pause_ms);
	pause_before_next();
	return start_child() ? EXIT_FAILURE : -1;
}

static int on_signals(void)
{
	struct signalfd_siginfo info;
	int status, r = -1;

	while (read(keeper.signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			continue;
		keeper.stopping |= info.ssi_signo != SIGHUP;
		kill(keeper.child, (int)info.ssi_signo);
	}
	if (waitpid(keeper.child, &status, WNOHANG) == keeper.child)
		r = child_ended(status);
	return r;
}

static void drop_option(char **argv, const char *option)
{
	char **to = argv;

	for (; *argv; argv++)
		if (strcmp(*argv, option))
			*to++ = *argv;
	*to = NULL;
}

/* Each kept one takes two: ours, and the one that a child is handed. */
static int make_room(void)
{
	struct rlimit limit;
	rlim_t room;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	room = limit.rlim_max > OWN_FDS ? (limit.rlim_max - OWN_FDS) / 2 : 0;
	keeper.room = room < KEPT_MAX ? (unsigned int)room : KEPT_MAX;
	if (keeper.room == KEPT_MAX)
		return 0;
	if (keeper.room < KEPT_LEAST) {
		log_error("too few descriptors",
			  "limit=%llu least=%d hint=\"raise the hard limit: "
			  "'ulimit -Hn'\"",
			  (unsigned long long)limit.rlim_max,
			  OWN_FDS + 2 * KEPT_LEAST);
		return -EMFILE;
	}
	log_warning("room for fewer caches",
		    "limit=%llu wanted=%d descriptors=%u hint=\"raise the hard "
		    "limit: 'ulimit -Hn'\"",
		    (unsigned long long)limit.rlim_max, OWN_FDS + 2 * KEPT_MAX,
		    keeper.room);
	return 0;
}

int keeper_run(char **argv)
{
	struct pollfd fds[2];
	int r;

	if (readlink("/proc/self/exe", keeper.program,
		     sizeof(keeper.program) - 1) < 0)
		return EXIT_FAILURE;
	drop_option(argv, "--keeper");
	keeper.argv = argv;
	/*
	 * What the daemon gives up when it serves it needs to start, and has
	 * from us; a filter of ours would be its own as well.
	 */
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	r = make_room();
	if (!r)
		r = open_socket();
	if (!r)
		r = open_signals();
	if (!r)
		r = start_child();
	if (r) {
		log_error("the keeper cannot start", "error=\"%s\"",
			  strerror(-r));
		return EXIT_FAILURE;
	}
	fds[0] = (struct pollfd){ .fd = keeper.notify, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = keeper.signals, .events = POLLIN };
	for (r = -1; r < 0;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return EXIT_FAILURE;
		while (listen_once())
			;
		r = on_signals();
	}
	return r;
}
