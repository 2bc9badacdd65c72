// SPDX-License-Identifier: BSD-2-Clause
/*
 * The loop is the daemon's own loop_run(), stopped from its idle callback when
 * what the caller waits for has come; so nothing is in flight between requests
 * that would not be there while the daemon sleeps.
 *
 * The manager has a thread of its own, because the daemon waits for it when it
 * stops. A daemon finds what was kept from descriptor 3 on: so these numbers are
 * taken up before anybody else gets them, and given to it at its start.
 *
 * Another process is one that shares our memory and our descriptors: it
 * connects, and then sleeps until it is killed. It runs on a stack of its own
 * and while it does something we wait for it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/control.h"
#include "daemon/log.h"
#include "daemon/service.h"
#include "tests/unit/plane.h"

#define FIRST_FD 3
#define ARGS_MAX 32
#define STACK	 (64 << 10)
#define CHILDREN 8
#define CAN(call)                                                              \
	do {                                                                   \
		if (!(call)) {                                                 \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, \
				#call, strerror(errno));                       \
			abort();                                               \
		}                                                              \
	} while (0)

static struct {
	char folder[64];
	char sock[96];
	struct config config;
	bool kept;
	bool running;
	bool (*idle)(struct loop *loop);
	bool (*so)(void *arg);
	void *arg;

	int manager; /* -1: none */
	pthread_t thread;
	pthread_mutex_t lock;
	struct plane_kept keep[PLANE_KEPT_MAX];
	unsigned int n_keep;

	bool was_open[PLANE_FDS]; /* before the start */
	void *stack[CHILDREN];
	pid_t child[CHILDREN];
} plane = { .manager = -1, .lock = PTHREAD_MUTEX_INITIALIZER };

/* A number that is not the daemon's. */
static int aside(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, PLANE_FDS);

	CAN(high >= 0);
	close(fd);
	return high;
}

static void take_up(void)
{
	for (int fd = FIRST_FD; fd < FIRST_FD + PLANE_KEPT_MAX; fd++)
		if (fcntl(fd, F_GETFD) < 0) {
			int nowhere = open("/dev/null", O_RDONLY | O_CLOEXEC);

			CAN(nowhere >= 0);
			if (nowhere != fd) {
				CAN(dup3(nowhere, fd, O_CLOEXEC) == fd);
				close(nowhere);
			}
		}
}

void plane_init(void)
{
	const char *shm = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	const char *tmp = getenv("TMPDIR");
	char state[96];

	take_up();
	signal(SIGPIPE, SIG_IGN);
	snprintf(plane.folder, sizeof(plane.folder), "%s/treekv-plane.XXXXXX",
		 tmp && strlen(tmp) < 32 ? tmp : shm);
	CAN(mkdtemp(plane.folder));
	CAN(!chmod(plane.folder, 0755));
	snprintf(plane.sock, sizeof(plane.sock), "%s/sock", plane.folder);
	snprintf(state, sizeof(state), "%s/state", plane.folder);
	CAN(!mkdir(state, 0700));
}

const char *plane_folder(void)
{
	return plane.folder;
}

/* ---- the manager ---- */

static void keep(const char *name, int fd)
{
	struct plane_kept *to = &plane.keep[plane.n_keep];

	if (plane.n_keep == PLANE_KEPT_MAX) {
		close(fd);
		return;
	}
	plane.n_keep++;
	snprintf(to->name, sizeof(to->name), "%s", name);
	to->fd = aside(fd);
}

static void forget(const char *name)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < plane.n_keep; i++)
		if (strcmp(plane.keep[i].name, name))
			plane.keep[n++] = plane.keep[i];
		else
			close(plane.keep[i].fd);
	plane.n_keep = n;
}

/* Whatever else is sent along, be it the end of a barrier, is closed. */
static void obey(const char *text, const int *fds, unsigned int n)
{
	const char *name = strstr(text, "FDNAME=");

	pthread_mutex_lock(&plane.lock);
	name = name ? name + strlen("FDNAME=") : "";
	if (strstr(text, "FDSTOREREMOVE=1"))
		forget(name);
	for (unsigned int i = 0; i < n; i++)
		if (strstr(text, "FDSTORE=1"))
			keep(name, fds[i]);
		else
			close(fds[i]);
	pthread_mutex_unlock(&plane.lock);
}

/* Until an empty message comes. */
static void *manage(void *arg)
{
	(void)arg;
	for (;;) {
		char text[4096], control[CMSG_SPACE(4 * sizeof(int))];
		struct iovec iov = { text, sizeof(text) - 1 };
		struct msghdr message = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		struct cmsghdr *header;
		unsigned int n_fds = 0;
		int fds[4];
		ssize_t n;

		n = recvmsg(plane.manager, &message, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return NULL;
		text[n] = '\0';
		header = CMSG_FIRSTHDR(&message);
		if (header) {
			n_fds = (unsigned int)((header->cmsg_len -
						CMSG_LEN(0)) /
					       sizeof(int));
			memcpy(fds, CMSG_DATA(header), n_fds * sizeof(int));
		}
		obey(text, fds, n_fds);
	}
}

static void notify_address(struct sockaddr_un *address)
{
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path, sizeof(address->sun_path), "%s/notify",
		 plane.folder);
}

static void begin_managing(void)
{
	struct sockaddr_un address;

	notify_address(&address);
	unlink(address.sun_path);
	plane.manager = aside(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	CAN(!bind(plane.manager, (const void *)&address, sizeof(address)));
	CAN(!pthread_create(&plane.thread, NULL, manage, NULL));
}

static void end_managing(void)
{
	struct sockaddr_un address;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	notify_address(&address);
	CAN(fd >= 0 &&
	    !sendto(fd, "", 0, 0, (const void *)&address, sizeof(address)));
	close(fd);
	pthread_join(plane.thread, NULL);
	close(plane.manager);
	plane.manager = -1;
}

/* Until it has done all it was told. */
static void await_manager(void)
{
	struct pollfd end = { .fd = service_barrier() };

	CAN(end.fd >= 0);
	while (poll(&end, 1, -1) < 0)
		CAN(errno == EINTR);
	close(end.fd);
	pthread_mutex_lock(&plane.lock); /* in the language's order, too */
	pthread_mutex_unlock(&plane.lock);
}

static void export(const char *name, unsigned long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", value);
	setenv(name, text, 1);
}

/* The environment and the descriptors that it starts the daemon with. */
static void hand_over(void)
{
	char names[PLANE_KEPT_MAX * 65] = "", path[128];
	size_t at = 0;
	int n = FIRST_FD;

	pthread_mutex_lock(&plane.lock);
	for (unsigned int i = 0; i < plane.n_keep; i++, n++) {
		CAN(dup2(plane.keep[i].fd, n) == n);
		at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%s",
				       i ? ":" : "", plane.keep[i].name);
	}
	snprintf(path, sizeof(path), "%s/notify", plane.folder);
	setenv("NOTIFY_SOCKET", path, 1);
	setenv("FDSTORE", "10000", 1);
	setenv("LISTEN_FDNAMES", names, 1);
	export("LISTEN_PID", (unsigned long)getpid());
	export("LISTEN_FDS", plane.n_keep);
	pthread_mutex_unlock(&plane.lock);
	for (; n < FIRST_FD + PLANE_KEPT_MAX; n++)
		close(n);
}

void plane_forget(void)
{
	pthread_mutex_lock(&plane.lock);
	while (plane.n_keep)
		close(plane.keep[--plane.n_keep].fd);
	pthread_mutex_unlock(&plane.lock);
}

struct plane_kept *plane_kept(unsigned int *n)
{
	*n = plane.n_keep;
	return plane.keep;
}

/* ---- the daemon ---- */

static bool on_idle(struct loop *loop)
{
	bool more = plane.idle(loop);

	if (plane.so(plane.arg))
		loop->stop = true;
	return more;
}

static int configure(const char *const *options)
{
	char state[96];
	const char *const always[] = {
		"treekvd",
		"--config=/dev/null",
		"--sandbox=no",
		"--pool=8M",
		"--huge-pages=never",
		"--socket",
		plane.sock,
		"--log-level",
		"error",
		"--state-dir",
		state,
	};
	char *argv[ARGS_MAX + 1] = { NULL };
	int argc = 0;

	snprintf(state, sizeof(state), "%s/state", plane.folder);
	for (size_t i = 0; i < sizeof(always) / sizeof(*always); i++)
		argv[argc++] = (char *)(uintptr_t)always[i];
	for (; options && *options && argc < ARGS_MAX; options++)
		argv[argc++] = (char *)(uintptr_t)*options;
	return config_load(&plane.config, argc, argv);
}

static int start(const char **why)
{
	int r;

	if (plane.kept)
		hand_over();
	treekvd = (struct control){ .leases = 0 }; /* as a new process has it */
	r = service_init();
	if (!r)
		r = control_start(&plane.config, why);
	if (r) {
		service_exit();
		return r;
	}
	CAN(!chmod(plane.sock, 0666)); /* also for processes of other users */
	plane.running = true;
	plane.idle = treekvd.loop.idle;
	treekvd.loop.idle = on_idle;
	return 0;
}

int plane_start(bool kept, const char *const *options, const char **why)
{
	int r;

	for (int fd = 0; fd < PLANE_FDS; fd++)
		plane.was_open[fd] = fcntl(fd, F_GETFD) >= 0;
	plane.kept = kept;
	r = configure(options);
	if (r)
		return r;
	log_set_level((enum log_level)plane.config.log_level);
	if (kept)
		begin_managing();
	r = start(why);
	if (r && kept)
		end_managing();
	if (r)
		config_free(&plane.config);
	return r;
}

void plane_pause(void)
{
	control_stop();
	if (plane.kept)
		await_manager();
	service_exit();
	plane.running = false;
	take_up();
}

int plane_resume(const char **why)
{
	return start(why);
}

void plane_stop(void)
{
	plane_pause();
	if (plane.kept)
		end_managing();
	config_free(&plane.config);
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path);
}

void plane_exit(void)
{
	plane_forget();
	nftw(plane.folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	for (int i = 0; i < CHILDREN; i++) {
		if (plane.child[i])
			plane_kill(plane.child[i]);
		if (plane.stack[i])
			munmap(plane.stack[i], STACK);
	}
}

void plane_until(bool (*so)(void *arg), void *arg)
{
	plane.so = so;
	plane.arg = arg;
	if (so(arg))
		return;
	treekvd.loop.stop = false;
	CAN(!loop_run(&treekvd.loop));
}

static bool always(void *arg)
{
	return --*(int *)arg < 0;
}

/* Twice round: what the first brought in has been done. */
void plane_settle(void)
{
	int rounds = 1;

	plane_until(always, &rounds);
}

/* ---- its clients ---- */

static int reach(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = aside(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", plane.sock);
	if (connect(fd, (const void *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	return fd;
}

int plane_connect(void)
{
	int fd = reach();

	CAN(fd >= 0);
	return fd;
}

/*
 * At the lower end of the child's stack. He shares our memory, which is cheap;
 * not so where ThreadSanitizer would take him for the thread that made him.
 */
#ifdef __SANITIZE_THREAD__
#define CHILD_FLAGS (CLONE_FILES | SIGCHLD)
#else
#define CHILD_FLAGS (CLONE_VM | CLONE_FILES | SIGCHLD)
#endif

struct errand_of_child {
	uid_t uid;
	int result;
	int told;
};

__attribute__((noreturn)) static int live(void *arg)
{
	struct errand_of_child *errand = arg;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (errand->uid &&
	    (syscall(SYS_setresgid, errand->uid, errand->uid, errand->uid) ||
	     syscall(SYS_setresuid, errand->uid, errand->uid, errand->uid)))
		errand->result = -1;
	else
		errand->result = reach();
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* forgotten with the uid */
	__atomic_store_n(&errand->told, 1, __ATOMIC_RELEASE);
	for (;;)
		pause();
}

int plane_connect_from(pid_t *process, uid_t uid)
{
	struct errand_of_child *errand;
	int i = 0;

	while (i < CHILDREN && plane.child[i])
		i++;
	if (i == CHILDREN)
		return -1;
	if (!plane.stack[i])
		plane.stack[i] = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CAN(plane.stack[i] != MAP_FAILED);
	errand = plane.stack[i];
	*errand = (struct errand_of_child){ .uid = uid };
	plane.child[i] = clone(live, (char *)plane.stack[i] + STACK,
			       CHILD_FLAGS, errand);
	CAN(plane.child[i] > 0);
	while (!__atomic_load_n(&errand->told, __ATOMIC_ACQUIRE))
		sched_yield();
	*process = plane.child[i];
	if (errand->result < 0)
		plane_kill(plane.child[i]);
	return errand->result;
}

void plane_kill(pid_t process)
{
	for (int i = 0; i < CHILDREN; i++)
		if (plane.child[i] == process)
			plane.child[i] = 0;
	kill(process, SIGKILL);
	while (waitpid(process, NULL, 0) < 0)
		CAN(errno == EINTR);
}

bool plane_readable(int fd)
{
	struct pollfd at = { .fd = fd, .events = POLLIN };

	return poll(&at, 1, 0) == 1;
}

static bool is_readable(void *arg)
{
	return plane_readable(*(int *)arg);
}

static bool is_writable(void *arg)
{
	struct pollfd at = { .fd = *(int *)arg, .events = POLLIN | POLLOUT };

	return poll(&at, 1, 0) == 1;
}

void plane_write(int fd, const void *bytes, size_t size)
{
	const char *at = bytes;

	while (size) {
		ssize_t n = send(fd, at, size, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			plane_until(is_writable, &fd);
		} else if (n < 0 && errno != EINTR) {
			return; /* it has hung up; who reads will see */
		} else if (n > 0) {
			at += n;
			size -= (size_t)n;
		}
	}
}

void plane_send(int fd, const Treekv__Request *request)
{
	uint32_t size = (uint32_t)treekv__request__get_packed_size(request);
	uint8_t *frame = malloc(FRAME_HEADER + size);

	CAN(frame);
	frame_header(frame, size);
	treekv__request__pack(request, frame + FRAME_HEADER);
	plane_write(fd, frame, FRAME_HEADER + size);
	free(frame);
}

/* Descriptors come with the first byte. */
static bool read_all(int fd, void *to, size_t size, struct plane_reply *ret)
{
	char control[CMSG_SPACE(FRAME_FDS_MAX * sizeof(int))];
	struct cmsghdr *header;
	char *at = to;

	while (size) {
		struct iovec iov = { at, size };
		struct msghdr message = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		ssize_t n;

		plane_until(is_readable, &fd);
		n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return false;
		header = CMSG_FIRSTHDR(&message);
		if (header) {
			ret->n_fds = (unsigned int)((header->cmsg_len -
						     CMSG_LEN(0)) /
						    sizeof(int));
			memcpy(ret->fds, CMSG_DATA(header),
			       ret->n_fds * sizeof(int));
			for (unsigned int i = 0; i < ret->n_fds; i++)
				ret->fds[i] = aside(ret->fds[i]);
		}
		at += n;
		size -= (size_t)n;
	}
	return true;
}

bool plane_read(int fd, struct plane_reply *ret)
{
	uint8_t *body = NULL;
	uint32_t size;

	*ret = (struct plane_reply){ .reply = NULL };
	if (!read_all(fd, &size, sizeof(size), ret))
		return false;
	CAN(size <= FRAME_REPLY_MAX);
	body = malloc(size + 1);
	CAN(body);
	if (read_all(fd, body, size, ret))
		ret->reply = treekv__reply__unpack(NULL, size, body);
	free(body);
	if (!ret->reply)
		plane_reply_free(ret);
	return ret->reply;
}

void plane_reply_free(struct plane_reply *reply)
{
	for (unsigned int i = 0; i < reply->n_fds; i++)
		if (reply->fds[i] >= 0)
			close(reply->fds[i]);
	reply->n_fds = 0;
	if (reply->reply)
		treekv__reply__free_unpacked(reply->reply, NULL);
	reply->reply = NULL;
}

void plane_print_fds(void)
{
	char path[32], to[128];

	for (int fd = 0; fd < PLANE_FDS; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, to, sizeof(to));
		if (n > 0)
			fprintf(stderr, "%d %.*s\n", fd, (int)n, to);
	}
}

/* What is on its way to the manager, or taken by him just now, is nobody's. */
unsigned int plane_open_fds(void)
{
	unsigned int n = 0;

	if (plane.running && plane.kept)
		await_manager();

	for (int fd = 0; fd < PLANE_FDS; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

void plane_sweep(void)
{
	for (int fd = 0; fd < PLANE_FDS; fd++)
		if (!plane.was_open[fd])
			close(fd);
}
