// SPDX-License-Identifier: BSD-2-Clause
/*
 * Open, set constants, load, attach: as much of it as this process may do on
 * this kernel. Tracepoints come with CAP_BPF and CAP_PERFMON; uprobes, which
 * probes are to the kernel, with CAP_SYS_ADMIN. Whatever is refused, the level
 * goes down and one line says why; it is never an error.
 *
 * Every link, program and map is held by a descriptor and by nothing else: they
 * vanish with this process, and the kernel takes its breakpoints out again.
 * Nothing is pinned.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include "bpf/watch_impl.h"

#define WORKER_COMM    "treekvd-worker\n"
#define HOST_PID_NS    0xeffffffc /* inode of the first PID namespace */
#define LOCKDOWN_STATE "/sys/kernel/security/lockdown"

/* Operations that work, rather than wait for somebody. */
#define OPCODE(name) (UINT64_C(1) << IORING_OP_##name)
#define IO_OPCODES                                                           \
	(OPCODE(READ) | OPCODE(READV) | OPCODE(READ_FIXED) | OPCODE(WRITE) | \
	 OPCODE(WRITEV) | OPCODE(WRITE_FIXED) | OPCODE(FSYNC) |              \
	 OPCODE(FALLOCATE) | OPCODE(SEND) | OPCODE(SENDMSG))

static bool has_capability(unsigned int capability)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2] = { 0 };

	if (syscall(SYS_capget, &header, data))
		return false;
	return data[capability / 32].effective >> capability % 32 & 1;
}

static bool may_trace(void)
{
	return has_capability(CAP_SYS_ADMIN) ||
	       (has_capability(CAP_BPF) && has_capability(CAP_PERFMON));
}

static bool is_on_host(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) || st.st_ino == HOST_PID_NS;
}

static bool is_locked_down(void)
{
	FILE *file = fopen(LOCKDOWN_STATE, "re");
	char text[80] = "";

	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file))
		*text = '\0';
	fclose(file);
	return strstr(text, "[confidentiality]") != NULL;
}

static const char *why_refused(int error)
{
	if (!may_trace())
		return "eBPF takes root, or CAP_BPF and CAP_PERFMON";
	if (is_locked_down())
		return "this kernel is locked down (lockdown=confidentiality)";
	if (error == -EPERM || error == -EACCES)
		return "the kernel refuses bpf(2), though not for want of "
		       "capabilities: a seccomp filter or a security module";
	return strerror(-error);
}

int watch_attach(struct watch *w, struct bpf_program *program, pid_t pid,
		 const char *path)
{
	const char *name = bpf_program__name(program);
	const char *probe = strchr(name, '_');
	struct bpf_link **more, *link;
	char provider[16];

	more = realloc(w->link, (w->links + 1) * sizeof(struct bpf_link *));
	if (!more)
		return -ENOMEM;
	w->link = more;
	if (path) {
		snprintf(provider, sizeof(provider), "%.*s",
			 (int)(probe - name), name);
		link = bpf_program__attach_usdt(program, pid, path, provider,
						probe + 1, NULL);
	} else {
		link = bpf_program__attach(program);
	}
	if (!link)
		return -errno;
	w->link[w->links++] = link;
	return 0;
}

static void detach_to(struct watch *w, size_t links)
{
	while (w->links > links)
		bpf_link__destroy(w->link[--w->links]);
}

int watch_attach_all(struct watch *w, const char *provider, pid_t pid,
		     const char *path)
{
	size_t links = w->links, length = strlen(provider);
	struct bpf_program *program;
	int r = 0;

	bpf_object__for_each_program(program, w->bpf->obj) {
		const char *name = bpf_program__name(program);

		if (!r && !strncmp(name, provider, length) &&
		    name[length] == '_')
			r = watch_attach(w, program, pid, path);
	}
	if (r)
		detach_to(w, links);
	return r;
}

static int attach_tracepoints(struct watch *w)
{
	struct bpf_program *program;
	int r = 0;

	bpf_object__for_each_program(program, w->bpf->obj)
		if (!r && bpf_program__autoload(program) &&
		    bpf_program__type(program) == BPF_PROG_TYPE_TRACING)
			r = watch_attach(w, program, -1, NULL);
	return r;
}

/* Turns the programs on whose tracepoints this kernel has. */
static void choose_io(struct watch *w, const struct btf *btf)
{
	struct treekv_bpf *bpf = w->bpf;
	bool req = btf__find_by_name_kind(btf, "btf_trace_io_uring_submit_req",
					  BTF_KIND_TYPEDEF) > 0;
	bool sqe = btf__find_by_name_kind(btf, "btf_trace_io_uring_submit_sqe",
					  BTF_KIND_TYPEDEF) > 0;

	w->io = (req || sqe) &&
		btf__find_by_name_kind(btf, "btf_trace_io_uring_complete",
				       BTF_KIND_TYPEDEF) > 0;
	bpf_program__set_autoload(bpf->progs.io_uring_submit_req, w->io && req);
	bpf_program__set_autoload(bpf->progs.io_uring_submit_sqe,
				  w->io && !req);
	bpf_program__set_autoload(bpf->progs.io_uring_complete, w->io);
}

static void note_worker(struct watch *w, pid_t daemon, const char *task)
{
	struct table_worker worker = { 0 };
	char path[64], comm[32] = "";
	uint32_t tid = (uint32_t)atoi(task);
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%u/comm", daemon, tid);
	file = fopen(path, "re");
	if (!file)
		return;
	if (fgets(comm, sizeof(comm), file) && !strcmp(comm, WORKER_COMM) &&
	    !bpf_map__update_elem(w->bpf->maps.workers, &tid, sizeof(tid),
				  &worker, sizeof(worker), BPF_ANY))
		w->workers++;
	fclose(file);
}

static void note_workers(struct watch *w, pid_t daemon)
{
	char path[32];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", daemon);
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (*entry->d_name != '.')
			note_worker(w, daemon, entry->d_name);
	closedir(dir);
}

/* Programs and tables are in the kernel, nothing is attached. */
static const char *load(struct watch *w, pid_t daemon)
{
	struct btf *btf;
	int r;

	if (watch_is_gone(daemon))
		return "treekvd has ended";
	if (!may_trace())
		return why_refused(-EPERM);
	if (!is_on_host())
		return "this is a PID namespace of its own, and the kernel "
		       "numbers processes by the host's";
	btf = btf__load_vmlinux_btf();
	if (!btf)
		return "this kernel has no BTF (/sys/kernel/btf/vmlinux)";
	w->bpf = treekv_bpf__open();
	if (w->bpf)
		choose_io(w, btf);
	btf__free(btf);
	if (!w->bpf)
		return strerror(errno);
	w->bpf->rodata->daemon_tgid = (uint32_t)daemon;
	w->bpf->rodata->io_opcodes = IO_OPCODES;
	r = treekv_bpf__load(w->bpf);
	return r ? why_refused(r) : NULL;
}

/* Return: NULL, or why there are no probes. */
static const char *attach_probes(struct watch *w,
				 const struct watch_target *target)
{
	char path[32];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/exe", target->daemon);
	r = watch_attach_all(w, "treekvd", target->daemon, path);
	switch (r) {
	case 0:
		break;
	case -ENOENT:
		return "this treekvd has none (it was built without "
		       "<sys/sdt.h>)";
	case -EPERM:
	case -EACCES:
		return has_capability(CAP_SYS_ADMIN) ?
			       "the kernel refuses perf_event_open(2): a "
			       "seccomp filter or a security module" :
			       "they take root (CAP_SYS_ADMIN)";
	default:
		return strerror(-r);
	}
	w->level = WATCH_FULL;
	watch_look_beside(w, target->daemon);
	watch_follow(w, target->process, target->processes);
	return NULL;
}

static void unload(struct watch *w)
{
	detach_to(w, 0);
	if (w->bpf)
		treekv_bpf__destroy(w->bpf);
	w->bpf = NULL;
	w->level = WATCH_NONE;
	w->io = false;
	w->workers = 0;
}

static void start(struct watch *w, const struct watch_target *target, char *why,
		  size_t size)
{
	const char *reason = load(w, target->daemon);
	const char *io;
	int r;

	if (!reason) {
		note_workers(w, target->daemon);
		r = attach_tracepoints(w);
		reason = r ? why_refused(r) : NULL;
	}
	if (reason) {
		unload(w);
		snprintf(why, size,
			 "no eBPF, only the daemon's own counters: %s", reason);
		return;
	}
	w->level = WATCH_TRACEPOINTS;
	io = w->io ? " and io_uring" : " (no io_uring: not in this kernel)";
	reason = attach_probes(w, target);
	if (reason)
		snprintf(why, size,
			 "eBPF: scheduler%s; no probes, but the daemon's own "
			 "counters: %s",
			 io, reason);
	else
		snprintf(why, size, "eBPF: probes, scheduler%s", io);
}

int watch_new(struct watch **ret, const struct watch_target *target, char *why,
	      size_t size)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	libbpf_set_print(NULL); /* what fails is said by why */
	start(w, target, why, size);
	*ret = w;
	return 0;
}

struct watch *watch_free(struct watch *w)
{
	if (!w)
		return NULL;
	unload(w);
	free(w->link);
	free(w->file);
	free(w->followed);
	free(w);
	return NULL;
}

enum watch_level watch_level(const struct watch *w)
{
	return w->level;
}

bool watch_has(const struct watch *w, enum watch_histogram histogram)
{
	switch (histogram) {
	case WATCH_RUN_DELAY:
		return w->workers > 0;
	case WATCH_IO_URING:
		return w->io;
	case WATCH_COMPACTION:
	case WATCH_PUBLICATION:
	case WATCH_STALL:
	case WATCH_REQUEST:
	case WATCH_HISTOGRAMS:
		break;
	}
	return w->level == WATCH_FULL && watch_histogram_name(histogram);
}
