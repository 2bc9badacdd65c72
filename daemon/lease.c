// SPDX-License-Identifier: BSD-2-Clause
/*
 * A lease that has ended is still known to two rings: ours polls its pidfd, the
 * worker's its doorbell. It is freed when both have let go; the cache does not
 * wait for that and may have its next lease meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/crash.h"
#include "daemon/lease.h"
#include "proto/barrier.h"

#define PIDFS_MAGIC 0x50494446

static void settle_end(struct lease *lease)
{
	if (lease->ended && !lease->dead_polled && !lease->watched)
		lease->over(lease);
}

static void on_death(struct loop_op *op, int res, unsigned int flags)
{
	struct lease *lease = loop_entry(op, struct lease, death);

	(void)flags;
	lease->dead_polled = false;
	if (lease->ended) {
		settle_end(lease);
		return;
	}
	if (res < 0) { /* the poll failed; look at the process itself */
		if (!lease_is_dead(lease->pidfd)) {
			lease->dead_polled = true;
			loop_poll_once(lease->control, lease->pidfd, op);
			return;
		}
	}
	lease->died(lease);
}

static void on_unwatched(struct worker_job *job)
{
	job->lease->watched = false;
	settle_end(job->lease);
}

bool lease_is_dead(int pidfd)
{
	struct pollfd fd = { .fd = pidfd, .events = POLLIN };

	return poll(&fd, 1, 0) == 1 && fd.revents & POLLIN;
}

/*
 * When a process started; 0: cannot tell. The 22nd field of its stat; the 2nd
 * is its name in parentheses, which may hold anything, parentheses included.
 */
static uint64_t start_time(pid_t pid)
{
	unsigned long long start = 0;
	char path[64], text[1024];
	const char *name_end;
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	name_end = strrchr(text, ')');
	if (!name_end ||
	    sscanf(name_end + 1,
		   "%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s"
		   "%llu",
		   &start) != 1)
		return 0;
	return start;
}

/*
 * Tells a process from a later one with its pid: the inode of its pidfd where
 * those are unique (pidfs, Linux 6.9), else when it started; 0: cannot tell.
 */
static uint64_t process_identity(int pidfd, pid_t pid)
{
	struct statfs fs;
	struct stat st;

	if (fstatfs(pidfd, &fs))
		return 0;
	if (fs.f_type != PIDFS_MAGIC)
		return start_time(pid);
	return fstat(pidfd, &st) ? 0 : st.st_ino;
}

/* Watches holder and doorbell, which are set, and makes the cache his. */
static void lease_begin(struct lease *lease, struct cache *cache,
			struct loop *control, void (*died)(struct lease *lease),
			void (*over)(struct lease *lease))
{
	lease->cache = cache;
	lease->control = control;
	lease->died = died;
	lease->over = over;
	lease->death.done = on_death;
	lease->dead_polled = true;
	lease->watched = true;
	loop_poll_once(control, lease->pidfd, &lease->death);
	worker_watch(lease, &lease->watch);
	cache->lease = lease;
}

uint64_t lease_draw(void)
{
	uint64_t number = 0;

	while (!number)
		if (getrandom(&number, sizeof(number), 0) != sizeof(number))
			number = 0;
	return number;
}

/* Takes pidfd over, also when it fails. */
static int lease_alloc(struct lease **ret, int pidfd, pid_t pid, uid_t uid)
{
	struct lease *lease = calloc(1, sizeof(*lease));
	int r;

	if (!lease) {
		close(pidfd);
		return -ENOMEM;
	}
	lease->pidfd = pidfd;
	lease->pid = pid;
	lease->uid = uid;
	/* Rung once: the last writer may have died between commit and ring. */
	lease->bell_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	if (lease->bell_fd < 0) {
		r = -errno;
		lease_free(lease);
		return r;
	}
	*ret = lease;
	return 0;
}

int lease_new(struct lease **ret, struct cache *cache, struct loop *control,
	      pid_t pid, uid_t uid, int pidfd, uint64_t nonce,
	      void (*died)(struct lease *lease),
	      void (*over)(struct lease *lease))
{
	struct shm_index *index = cache->index;
	struct lease *lease;
	int fd, r;

	if (pidfd < 0 || lease_is_dead(pidfd))
		return -ESRCH;
	fd = fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	r = lease_alloc(&lease, fd, pid, uid);
	if (r)
		return r;
	/* An errno that was set is not 0, and r is. */
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
	lease->id = lease_draw();
	lease->nonce = nonce;
	lease_begin(lease, cache, control, died, over);
	crash_at(CRASH_LEASE_BEGUN);
	index->lease_pid = (uint32_t)pid;
	index->lease_uid = uid;
	index->lease_start = process_identity(fd, pid);
	index->lease_nonce = nonce;
	/* The record counts from here on, should the daemon die. */
	shm_store_release(&index->lease_id, lease->id);
	*ret = lease;
	return 0;
}

int lease_restore(struct lease **ret, struct cache *cache, struct loop *control,
		  void (*died)(struct lease *lease),
		  void (*over)(struct lease *lease))
{
	struct shm_index *index = cache->index;
	pid_t pid = (pid_t)index->lease_pid;
	struct lease *lease;
	uint64_t identity;
	int fd, r;

	if (!index->lease_id || pid <= 0)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return -errno;
	identity = process_identity(fd, pid);
	if (lease_is_dead(fd) || (identity && index->lease_start &&
				  identity != index->lease_start)) {
		close(fd);
		return -ESRCH;
	}
	if (!identity && index->lease_start) {
		close(fd);
		return -EAGAIN;
	}
	r = lease_alloc(&lease, fd, pid, index->lease_uid);
	if (r)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): as above */
	lease->id = index->lease_id;
	lease->nonce = index->lease_nonce;
	lease_begin(lease, cache, control, died, over);
	*ret = lease;
	return 0;
}

void lease_end(struct lease *lease)
{
	struct cache *cache = lease->cache;

	lease->ended = true;
	if (cache->lease == lease) {
		cache->lease = NULL;
		shm_store_relaxed(&cache->index->lease_id, 0);
	}
	if (lease->dead_polled)
		loop_cancel(lease->control, &lease->death);
	lease->unwatch.done = on_unwatched;
	worker_unwatch(lease, &lease->unwatch);
}

void lease_free(struct lease *lease)
{
	if (lease->pidfd >= 0)
		close(lease->pidfd);
	if (lease->bell_fd >= 0)
		close(lease->bell_fd);
	free(lease);
}
