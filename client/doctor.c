// SPDX-License-Identifier: BSD-2-Clause
/*
 * Everything is tried rather than looked up, as far as trying is harmless: a
 * ring is set up, memfds are made and sealed. What refuses an io_uring is told
 * apart by the sysctl and by whether this process runs under a seccomp filter,
 * since errno says EPERM or ENOSYS for several reasons.
 *
 * "fail" is for what treekvd cannot do without; "warn" for what it does worse
 * without. A daemon that does not answer is a warning: nothing here needs one.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "client/conn.h"
#include "client/doctor.h"
#include "client/json.h"

#define HUGE_PAGE      (2UL << 20)
#define NOFILE_WANTED  4096 /* three descriptors a cache, and then some */
#define MEMLOCK_WANTED (64UL << 20) /* registered staging memory */

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

enum state {
	STATE_OK,
	STATE_WARN,
	STATE_FAIL,
};

static const char *const state_names[] = {
	[STATE_OK] = "ok",
	[STATE_WARN] = "warn",
	[STATE_FAIL] = "fail",
};

static const char *const state_colours[] = {
	[STATE_OK] = "\033[32m",
	[STATE_WARN] = "\033[33m",
	[STATE_FAIL] = "\033[31m",
};

struct finding {
	enum state state;
	char detail[512];
	char fix[512]; /* "": nothing to do */
};

struct patient {
	struct treekv *kv; /* NULL: no daemon */
	struct ucred daemon;
	char why[512]; /* there is none */
};

__attribute__((format(printf, 3, 4))) static void
find(struct finding *finding, enum state state, const char *format, ...)
{
	va_list args;

	finding->state = state;
	va_start(args, format);
	vsnprintf(finding->detail, sizeof(finding->detail), format, args);
	va_end(args);
}

__attribute__((format(printf, 2, 3))) static void
advise(struct finding *finding, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(finding->fix, sizeof(finding->fix), format, args);
	va_end(args);
}

/* The number after @key in a file of "key: value" lines or alone; else -1. */
static long read_number(const char *path, const char *key)
{
	FILE *from = fopen(path, "re");
	char line[256];
	long value = -1;

	if (!from)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), from)) {
		if (!strncmp(line, key, strlen(key)))
			value = strtol(line + strlen(key), NULL, 10);
	}
	fclose(from);
	return value;
}

static void check_kernel(const struct patient *patient, struct finding *to)
{
	unsigned int major = 0, minor = 0;
	struct utsname name;

	(void)patient;
	uname(&name);
	sscanf(name.release, "%u.%u", &major, &minor);
	find(to, STATE_OK, "Linux %s, %s", name.release, name.machine);
	if (major >= 6)
		return;
	to->state = STATE_FAIL;
	advise(to, "treekvd needs multishot receive, which came with Linux "
		   "6.0: use a newer kernel (Debian 12 has 6.1)");
}

/* Who refused, as far as it can be told. */
static void blame_uring(struct finding *to, int error)
{
	long disabled = read_number("/proc/sys/kernel/io_uring_disabled", "");
	long seccomp = read_number("/proc/self/status", "Seccomp:");

	find(to, STATE_FAIL, "io_uring_setup: %s%s%s", strerror(error),
	     disabled > 0 ? "; kernel.io_uring_disabled is set" : "",
	     seccomp > 0 ? "; a seccomp filter is in force" : "");
	if (disabled > 0)
		advise(to, "sysctl kernel.io_uring_disabled=0 (it is %ld%s)",
		       disabled,
		       disabled == 1 ? ": only for CAP_SYS_ADMIN and the "
				       "group kernel.io_uring_group" :
				       "");
	else if (error == ENOMEM)
		advise(to, "raise the limit on locked memory ('ulimit -l')");
	else if (error == EMFILE || error == ENFILE)
		advise(to, "raise the limit on descriptors ('ulimit -n')");
	else if (seccomp > 0)
		advise(to, "let the container's seccomp profile allow "
			   "io_uring_setup, io_uring_enter and "
			   "io_uring_register (docker: --security-opt "
			   "seccomp=PROFILE)");
	else
		advise(to, "use a kernel with CONFIG_IO_URING");
}

static void check_uring(const struct patient *patient, struct finding *to)
{
	struct io_uring ring;
	int r = io_uring_queue_init(4, &ring, 0);

	(void)patient;
	if (r < 0) {
		blame_uring(to, -r);
		return;
	}
	find(to, STATE_OK, "a ring can be set up");
	io_uring_queue_exit(&ring);
}

static const struct {
	int code;
	const char *name;
} opcodes[] = {
	{ IORING_OP_POLL_ADD, "POLL_ADD" },
	{ IORING_OP_ACCEPT, "ACCEPT" },
	{ IORING_OP_RECV, "RECV" },
	{ IORING_OP_SENDMSG, "SENDMSG" },
	{ IORING_OP_TIMEOUT, "TIMEOUT" },
	{ IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL" },
	{ IORING_OP_MSG_RING, "MSG_RING" },
	{ IORING_OP_READ, "READ" },
	{ IORING_OP_WRITE, "WRITE" },
	{ IORING_OP_WRITE_FIXED, "WRITE_FIXED" },
	{ IORING_OP_FSYNC, "FSYNC" },
};

static void check_opcodes(const struct patient *patient, struct finding *to)
{
	struct io_uring_probe *probe = io_uring_get_probe();
	char missing[256] = "";

	(void)patient;
	if (!probe) {
		find(to, STATE_FAIL, "no ring to ask for its opcodes");
		advise(to, "see io_uring above");
		return;
	}
	for (size_t i = 0; i < sizeof(opcodes) / sizeof(*opcodes); i++) {
		if (io_uring_opcode_supported(probe, opcodes[i].code))
			continue;
		strcat(missing, " ");
		strcat(missing, opcodes[i].name);
	}
	if (missing[0]) {
		find(to, STATE_FAIL, "not in this kernel:%s", missing);
		advise(to, "use Linux 6.1 or newer");
	} else {
		find(to, STATE_OK, "all that treekvd uses, up to %d",
		     probe->last_op);
	}
	io_uring_free_probe(probe);
}

/* Takes one huge page and gives it back. Return: 0 or an errno. */
static int try_huge(void)
{
	int fd = memfd_create("doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING |
						MFD_HUGETLB | MFD_HUGE_2MB);
	void *at = MAP_FAILED;
	int r = 0;

	if (fd < 0)
		return errno;
	if (ftruncate(fd, HUGE_PAGE) == 0)
		at = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			  fd, 0);
	if (at == MAP_FAILED)
		r = errno;
	else
		munmap(at, HUGE_PAGE);
	close(fd);
	return r;
}

static void check_huge(const struct patient *patient, struct finding *to)
{
	long total = read_number("/proc/meminfo", "HugePages_Total:");
	long free_pages = read_number("/proc/meminfo", "HugePages_Free:");
	int r = try_huge();

	(void)patient;
	if (!r) {
		find(to, STATE_OK, "%ld of %ld huge pages of 2 MiB are free",
		     free_pages, total);
		return;
	}
	find(to, STATE_WARN,
	     "no huge page to be had (%s): %ld of %ld are free; caches come "
	     "in small pages and attach slower",
	     strerror(r), free_pages, total);
	advise(to, "'treekvctl hugepages' says how many the pool needs and how "
		   "to get them");
}

/* Return: 0, or an errno and in *what the step that failed. */
static int try_seals(const char **what)
{
	int seals = F_SEAL_SHRINK | F_SEAL_GROW;
	char path[64];
	int fd, again, r = 0;

	*what = "memfd_create";
	fd = memfd_create("doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return errno;
	*what = "F_ADD_SEALS";
	if (ftruncate(fd, 4096) || fcntl(fd, F_ADD_SEALS, seals)) {
		r = errno;
		goto out;
	}
	*what = "reopening read-only through /proc";
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	if (again < 0)
		r = errno;
	else
		close(again);
out:
	close(fd);
	return r;
}

static void check_seals(const struct patient *patient, struct finding *to)
{
	const char *what;
	int r = try_seals(&what);

	(void)patient;
	if (!r) {
		find(to, STATE_OK,
		     "memfds can be sealed and reopened "
		     "read-only");
		return;
	}
	find(to, STATE_FAIL, "%s: %s", what, strerror(r));
	advise(to, "mount /proc, and allow memfd_create and fcntl in the "
		   "container's seccomp profile");
}

/* The daemon's limit where we may see it, else our own; says whose. */
static const char *get_limit(const struct patient *patient, int resource,
			     struct rlimit *limit)
{
	if (patient->kv && !prlimit(patient->daemon.pid, resource, NULL, limit))
		return "the daemon's";
	getrlimit(resource, limit);
	return "here";
}

static void check_memlock(const struct patient *patient, struct finding *to)
{
	struct rlimit limit;
	const char *whose = get_limit(patient, RLIMIT_MEMLOCK, &limit);

	if (limit.rlim_cur == RLIM_INFINITY) {
		find(to, STATE_OK, "locked memory (%s): unlimited", whose);
		return;
	}
	find(to, limit.rlim_cur < MEMLOCK_WANTED ? STATE_WARN : STATE_OK,
	     "locked memory (%s): %llu KiB", whose,
	     (unsigned long long)limit.rlim_cur / 1024);
	if (to->state != STATE_OK)
		advise(to, "LimitMEMLOCK=infinity in the unit, or 'ulimit -l "
			   "unlimited': snapshots register their staging "
			   "memory");
}

static void check_nofile(const struct patient *patient, struct finding *to)
{
	struct rlimit limit;
	const char *whose = get_limit(patient, RLIMIT_NOFILE, &limit);

	find(to, limit.rlim_cur < NOFILE_WANTED ? STATE_WARN : STATE_OK,
	     "descriptors (%s): %llu, at most %llu", whose,
	     (unsigned long long)limit.rlim_cur,
	     (unsigned long long)limit.rlim_max);
	if (to->state != STATE_OK)
		advise(to, "LimitNOFILE=65536 in the unit, or 'ulimit -n "
			   "65536': a cache takes three in the daemon");
}

static void check_btf(const struct patient *patient, struct finding *to)
{
	(void)patient;
	if (!access("/sys/kernel/btf/vmlinux", R_OK)) {
		find(to, STATE_OK, "/sys/kernel/btf/vmlinux is there");
		return;
	}
	find(to, STATE_WARN,
	     "/sys/kernel/btf/vmlinux: %s; treekv-top cannot "
	     "load its programs",
	     strerror(errno));
	advise(to, "use a kernel with CONFIG_DEBUG_INFO_BTF, and mount /sys");
}

static void check_daemon(const struct patient *patient, struct finding *to)
{
	if (patient->kv)
		find(to, STATE_OK, "%s, pid %d, answers at %s",
		     patient->kv->daemon, (int)patient->kv->daemon_pid,
		     patient->kv->address.sun_path);
	else
		find(to, STATE_WARN, "%s", patient->why);
}

static void check_trust(const struct patient *patient, struct finding *to)
{
	static const char boundary[] =
		"the boundary is the uid: processes of the daemon's own uid "
		"are guarded against mistakes only";

	if (!patient->kv || patient->daemon.uid != geteuid()) {
		find(to, STATE_OK, "%s", boundary);
		return;
	}
	find(to, STATE_WARN, "%s, and this process has that uid (%u)", boundary,
	     patient->daemon.uid);
	advise(to, "run the daemon as a user of its own (the unit does: "
		   "treekv), and engines as others");
}

static const struct check {
	const char *name;
	void (*check)(const struct patient *patient, struct finding *to);
} checks[] = {
	{ "kernel", check_kernel },   { "io_uring", check_uring },
	{ "opcodes", check_opcodes }, { "huge-pages", check_huge },
	{ "sealing", check_seals },   { "memlock", check_memlock },
	{ "nofile", check_nofile },   { "btf", check_btf },
	{ "daemon", check_daemon },   { "trust", check_trust },
};

static void print_json(struct json *json, const char *name,
		       const struct finding *finding)
{
	json_open(json, NULL, '{');
	json_string(json, "check", name);
	json_string(json, "state", state_names[finding->state]);
	json_string(json, "detail", finding->detail);
	if (finding->fix[0])
		json_string(json, "fix", finding->fix);
	else
		json_null(json, "fix");
	json_close(json, '}');
}

static void print_line(const char *name, const struct finding *finding)
{
	const char *no_colour = getenv("NO_COLOR");
	bool colours = isatty(STDOUT_FILENO) && !(no_colour && no_colour[0]);

	printf("%s%-4s%s  %-10s  %s\n",
	       colours ? state_colours[finding->state] : "",
	       state_names[finding->state], colours ? "\033[0m" : "", name,
	       finding->detail);
	if (finding->fix[0])
		printf("%-18s-> %s\n", "", finding->fix);
}

/*
 * The kernel names who called listen(), and under socket activation that is
 * systemd: then the daemon says its pid itself, and /proc whose process it is.
 */
static void identify(struct patient *patient)
{
	socklen_t size = sizeof(patient->daemon);
	struct stat st;
	char path[32];

	if (getsockopt(patient->kv->fd, SOL_SOCKET, SO_PEERCRED,
		       &patient->daemon, &size) == 0 &&
	    patient->daemon.pid == patient->kv->daemon_pid)
		return;
	patient->daemon = (struct ucred){ .pid = patient->kv->daemon_pid,
					  .uid = (uid_t)-1 };
	snprintf(path, sizeof(path), "/proc/%d", (int)patient->daemon.pid);
	if (!stat(path, &st))
		patient->daemon.uid = st.st_uid;
}

static void meet(struct patient *patient, const char *socket)
{
	if (treekv_connect(&patient->kv, socket))
		snprintf(patient->why, sizeof(patient->why), "%s",
			 treekv_error());
	else
		identify(patient);
}

int doctor_main(const char *socket, bool json)
{
	struct patient patient = { 0 };
	struct json out = { .to = stdout };
	bool failed = false;

	meet(&patient, socket);
	if (json)
		json_open(&out, NULL, '[');
	for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
		struct finding finding = { 0 };

		checks[i].check(&patient, &finding);
		failed |= finding.state == STATE_FAIL;
		if (json)
			print_json(&out, checks[i].name, &finding);
		else
			print_line(checks[i].name, &finding);
	}
	if (json) {
		json_close(&out, ']');
		putchar('\n');
	}
	treekv_close(patient.kv);
	return failed;
}
