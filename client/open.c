// SPDX-License-Identifier: BSD-2-Clause
/*
 * Attaching to a cache that the daemon holds, and staying attached.
 *
 * One request brings three descriptors. Both memfds are mapped and closed: the
 * mappings keep them alive and their inodes are all that is needed later. rows
 * is not inherited by children (two writers otherwise), and neither mapping
 * goes into a core dump, which would be gigabytes of other people's text.
 *
 * A lease belongs to this process, not to the connection. When the daemon is
 * replaced, the mappings stay as they are and only the doorbell is new: the
 * lease is renewed by one request, and the answer must be about the very same
 * inodes. That happens at a step that sees a new epoch, or in a stall, which
 * looks after the connection every 100 ms while it sleeps on generation. Tries
 * are spaced 10 to 500 ms apart, and the sleep between them is on generation as
 * well: a new daemon may compact before we have found it.
 */
#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/cache.h"
#include "client/clock.h"
#include "client/conn.h"
#include "client/lease.h"
#include "client/name.h"
#include "proto/barrier.h"
#include "proto/layout.h"
#include "proto/probe.h"

#define SLICE_MS       100 /* of a stall, between looks at the connection */
#define BACKOFF_MIN_MS 10
#define BACKOFF_MAX_MS 500
#define RENEW_MIN_MS   50 /* a try cut shorter than that would never succeed */
#define RENEW_MAX_MS   1000 /* of a stall, on a daemon that hangs */
#define POPULATE_MAX   (UINT64_C(4) << 20) /* in small pages */
#define OPEN_FLAGS \
	(TREEKV_CREATE | TREEKV_EXCLUSIVE | TREEKV_EPHEMERAL | TREEKV_READ)

static_assert((int)TREEKV_F32 == (int)TREEKV__DTYPE__F32, "protocol");
static_assert((int)TREEKV_F16 == (int)TREEKV__DTYPE__F16, "protocol");
static_assert((int)TREEKV_BF16 == (int)TREEKV__DTYPE__BF16, "protocol");
static_assert((int)TREEKV_POLICY_TREEKV == (int)TREEKV__POLICY__TREEKV, "");
static_assert((int)TREEKV_POLICY_FULL == (int)TREEKV__POLICY__FULL, "");
static_assert((int)TREEKV_POSITIONS_RANK == (int)TREEKV__POSITIONS__RANK, "");
static_assert((int)TREEKV_POSITIONS_ORIGINAL ==
		      (int)TREEKV__POSITIONS__ORIGINAL,
	      "protocol");
static_assert(TREEKV_NAME_MAX == SHM_NAME_MAX, "ABI");
static_assert(TREEKV_NAME_FULL == SHM_NAME_FULL, "ABI");
static_assert(TREEKV_MODEL_SIZE == SHM_MODEL_SIZE, "ABI");

enum {
	GRANT_ROWS,
	GRANT_INDEX,
	GRANT_PARENT, /* of forks only */
	/* and, of writers only, the doorbell, always the last one */
};

/* What the daemon hands out. */
struct grant {
	Treekv__Reply *reply;
	int fds[FRAME_FDS_MAX];
	unsigned int n_fds;
	struct stat rows;
	struct stat index;
	struct stat parent;
};

struct attachment {
	struct treekv_cache cache;
	struct treekv *kv;
	uint64_t lease; /* 0: none */
	uint64_t session; /* of the connection it was got on */
	int doorbell;
	dev_t rows_dev, index_dev;
	ino_t rows_ino, index_ino;
	int backoff_ms;
	int64_t next_try; /* ms */
};

static void grant_free(struct grant *grant)
{
	for (unsigned int i = 0; i < grant->n_fds; i++)
		close(grant->fds[i]);
	if (grant->reply)
		treekv__reply__free_unpacked(grant->reply, NULL);
}

static int check_size(const char *what, int fd, struct stat *st, uint64_t size,
		      uint64_t least)
{
	if (fstat(fd, st))
		return error_set(-errno, "cannot fstat %s: %s", what,
				 strerror(errno));
	if (!S_ISREG(st->st_mode) || (uint64_t)st->st_size != size ||
	    size < least)
		return error_set(-EPROTO,
				 "treekvd sent a descriptor for %s of %lld "
				 "bytes and speaks of %llu; are library and "
				 "daemon of one version?",
				 what, (long long)st->st_size,
				 (unsigned long long)size);
	return 0;
}

static int grant_check(struct grant *grant, bool reader)
{
	const Treekv__Attached *attached = grant->reply->attached;
	unsigned int wanted = 2 + !!attached->has_parent_size + !reader;
	int r;

	if (reader != !attached->lease)
		return error_set(-EPROTO,
				 "treekvd answers a %s of cache %s with lease "
				 "%llu; are library and daemon of one version?",
				 reader ? "reader" : "writer", attached->name,
				 (unsigned long long)attached->lease);
	if (grant->n_fds != wanted)
		return error_set(-EMFILE,
				 "%u of %u descriptors of cache %s arrived; is "
				 "this process out of descriptors ('ulimit "
				 "-n')?",
				 grant->n_fds, wanted, attached->name);
	if (strlen(attached->name) > SHM_NAME_FULL)
		return error_set(-EPROTO, "treekvd sent a name of %zu bytes",
				 strlen(attached->name));
	r = check_size("rows", grant->fds[GRANT_ROWS], &grant->rows,
		       attached->rows_size, sizeof(struct shm_rows));
	if (r)
		return r;
	r = check_size("index", grant->fds[GRANT_INDEX], &grant->index,
		       attached->index_size, sizeof(struct shm_index));
	if (r || !attached->has_parent_size)
		return r;
	return check_size("a parent's rows", grant->fds[GRANT_PARENT],
			  &grant->parent, attached->parent_size,
			  sizeof(struct shm_rows));
}

/* @ret: the name as the daemon takes it, "" for none. */
static int check_open(char ret[SHM_NAME_FULL + 1], const char *name,
		      const struct treekv_spec *spec, unsigned int flags)
{
	if (flags & ~(unsigned int)OPEN_FLAGS)
		return error_set(-EINVAL, "unknown flags 0x%x",
				 flags & ~(unsigned int)OPEN_FLAGS);
	if (!(flags & TREEKV_CREATE)) {
		if (flags & ~(unsigned int)TREEKV_READ)
			return error_set(-EINVAL,
					 "TREEKV_EXCLUSIVE and TREEKV_EPHEMERAL"
					 " go with TREEKV_CREATE only");
		if (!name)
			return error_set(-EINVAL, "a cache to attach to needs "
						  "a name");
	} else if (flags & TREEKV_READ) {
		return error_set(-EINVAL, "a reader makes no cache: "
					  "TREEKV_READ goes with nothing else");
	} else if (!spec) {
		return error_set(-EINVAL, "a cache to create needs a spec");
	}
	if (spec && (spec->layers < 1 || spec->layers > SHM_LAYERS_MAX))
		return error_set(-EINVAL, "layers is %u, but must be 1 to %u",
				 spec->layers, SHM_LAYERS_MAX);
	*ret = '\0';
	return name ? name_resolve(ret, name) : 0;
}

void open_fill_spec(Treekv__Spec *to, const struct treekv_spec *from)
{
	const uint32_t *budgets = from->budgets;

	treekv__spec__init(to);
	to->model.data = (uint8_t *)(uintptr_t)from->model;
	to->model.len = sizeof(from->model);
	to->layers = from->layers;
	to->kv_heads = from->kv_heads;
	to->k_row = from->k_row;
	to->v_row = from->v_row;
	to->dtype = (Treekv__Dtype)from->dtype;
	to->policy = (Treekv__Policy)from->policy;
	to->positions = (Treekv__Positions)from->positions;
	to->n_budget = budgets ? from->layers : 1;
	to->budget = (uint32_t *)(uintptr_t)(budgets ? budgets : &from->budget);
	to->sinks = from->sinks;
	to->recent = from->recent;
	to->slack = from->slack;
	to->ids = from->ids;
}

static int map(void **ret, const char *what, int fd, const struct stat *st,
	       int prot)
{
	bool huge = (uint64_t)st->st_blksize >= LAYOUT_HUGE_PAGE;
	size_t size = (size_t)st->st_size;
	int flags = MAP_SHARED;
	void *at;

	/* A huge page is mapped when it is touched: 1 us, and few are at first. */
	if (!huge && (prot & PROT_WRITE) && size <= POPULATE_MAX)
		flags |= MAP_POPULATE;
	at = mmap(NULL, size, prot, flags, fd, 0);
	if (at == MAP_FAILED)
		return error_set(-errno,
				 "cannot map %s, %zu bytes in %s pages: %s",
				 what, size, huge ? "huge" : "small",
				 strerror(errno));
	if (madvise(at, size, MADV_DONTDUMP) ||
	    ((prot & PROT_WRITE) && madvise(at, size, MADV_DONTFORK))) {
		int r = error_set(-errno, "cannot madvise %s: %s", what,
				  strerror(errno));

		munmap(at, size);
		return r;
	}
	*ret = at;
	return 0;
}

static int check_magic(const struct treekv_cache *cache, uint64_t id)
{
	const struct shm_index *index = cache->index;
	const struct shm_rows *rows = cache->rows;

	assert(index && rows);
	if (index->magic != SHM_INDEX_MAGIC || rows->magic != SHM_ROWS_MAGIC)
		return error_set(-EPROTO,
				 "cache %s: what treekvd handed out is no "
				 "cache's memory",
				 cache->name);
	if (index->version != SHM_VERSION || rows->version != SHM_VERSION)
		return error_set(-EPROTO,
				 "cache %s has memory of ABI version %u, this "
				 "library knows %u; use the library that came "
				 "with the daemon",
				 cache->name, index->version, SHM_VERSION);
	if (index->cache_id != id || rows->cache_id != id)
		return error_set(-EBADMSG,
				 "cache %s: treekvd handed out the memory of "
				 "another cache",
				 cache->name);
	return 0;
}

/* Takes the descriptors that stay open out of the grant. */
static int attachment_fill(struct attachment *a, struct grant *grant)
{
	const Treekv__Attached *attached = grant->reply->attached;
	struct treekv_cache *cache = &a->cache;
	void *at = NULL;
	int r;

	strcpy(cache->name, attached->name);
	r = map(&at, "index", grant->fds[GRANT_INDEX], &grant->index,
		PROT_READ);
	if (r)
		return r;
	cache->index = at;
	cache->index_size = attached->index_size;
	r = map(&at, "rows", grant->fds[GRANT_ROWS], &grant->rows,
		cache->reader ? PROT_READ : PROT_READ | PROT_WRITE);
	if (r)
		return r;
	cache->rows = at;
	cache->rows_size = attached->rows_size;
	a->rows_dev = grant->rows.st_dev;
	a->rows_ino = grant->rows.st_ino;
	cache->rows_inode = grant->rows.st_ino;
	a->index_dev = grant->index.st_dev;
	a->index_ino = grant->index.st_ino;
	if (attached->has_parent_size) {
		r = map(&at, "a parent's rows", grant->fds[GRANT_PARENT],
			&grant->parent, PROT_READ);
		if (r)
			return r;
		cache->parent = at;
		cache->parent_size = attached->parent_size;
	}
	if (!cache->reader)
		a->doorbell = grant->fds[--grant->n_fds];
	return check_magic(cache, attached->cache);
}

/* A doorbell of a dead daemon rings nobody; the next one looks by himself. */
static void attachment_ring(struct treekv_cache *cache)
{
	struct attachment *a = cache->owner;
	uint64_t one = 1;

	if (write(a->doorbell, &one, sizeof(one)) < 0)
		return;
}

static int lose(struct treekv_cache *cache, const char *why)
{
	cache->lost = true;
	return error_set(-ESTALE,
			 "the lease of cache %s is lost: %s; detach and attach "
			 "again",
			 cache->name, why);
}

/* Out of something for the moment, rather than never. */
static bool is_passing(int error)
{
	return error == -EAGAIN || error == -ENOMEM || error == -EMFILE ||
	       error == -ENFILE || error == -ENOSPC || error == -EDQUOT;
}

static int ask_again(struct attachment *a, struct grant *grant, int timeout_ms)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Attach attach = TREEKV__ATTACH__INIT;
	int r;

	attach.name = a->cache.name;
	attach.has_renew = 1;
	attach.renew = a->lease;
	request.body_case = TREEKV__REQUEST__BODY_ATTACH;
	request.attach = &attach;
	r = conn_call_within(a->kv, timeout_ms, &request, &grant->reply,
			     grant->fds, &grant->n_fds);
	if (r)
		return conn_answered() && !is_passing(r) ?
			       lose(&a->cache, treekv_error()) :
			       (r == -EPROTO ? r : -EAGAIN);
	r = grant_check(grant, false);
	return is_passing(r) ? -EAGAIN : r;
}

static int take_over(struct attachment *a, struct grant *grant)
{
	if (grant->rows.st_ino != a->rows_ino ||
	    grant->rows.st_dev != a->rows_dev ||
	    grant->index.st_ino != a->index_ino ||
	    grant->index.st_dev != a->index_dev)
		return lose(&a->cache, "its memory is another one by now");
	close(a->doorbell);
	a->doorbell = grant->fds[--grant->n_fds];
	a->lease = grant->reply->attached->lease;
	a->session = conn_session();
	++a->cache.reconnects;
	PROBE(libtreekv, reconnect, a->cache.index->cache_id, a->cache.name,
	      a->lease, a->cache.reconnects);
	return 0;
}

static void put_off(struct attachment *a)
{
	int twice = a->backoff_ms * 2;

	a->next_try = now_ms() + a->backoff_ms;
	a->backoff_ms = twice < BACKOFF_MAX_MS ? twice : BACKOFF_MAX_MS;
}

/* Return: 0, -EAGAIN later, -ESTALE, -EPROTO. */
static int attachment_renew(struct attachment *a, int timeout_ms)
{
	uint64_t epoch = shm_load_acquire(&a->cache.index->epoch);
	struct grant grant = { 0 };
	int r, alive;

	if (a->cache.lost)
		return lose(&a->cache, "that was found before");
	alive = conn_alive(a->kv, a->session);
	if (alive < 0) {
		put_off(a);
		return error_set(-EAGAIN,
				 "cache %s: another thread waits for treekvd",
				 a->cache.name);
	}
	if (!alive) {
		if (now_ms() < a->next_try)
			return error_set(-EAGAIN,
					 "cache %s: treekvd is away; it is "
					 "tried again in a moment",
					 a->cache.name);
		r = ask_again(a, &grant, timeout_ms);
		if (!r)
			r = take_over(a, &grant);
		grant_free(&grant);
		if (r == -EAGAIN)
			put_off(a);
		if (r)
			return r;
		attachment_ring(&a->cache);
	}
	a->backoff_ms = BACKOFF_MIN_MS;
	a->cache.epoch = epoch;
	return 0;
}

int open_reconnect(struct treekv_cache *cache, int timeout_ms)
{
	if (timeout_ms < RENEW_MIN_MS)
		timeout_ms = RENEW_MIN_MS;
	if (timeout_ms > RENEW_MAX_MS)
		timeout_ms = RENEW_MAX_MS;
	return attachment_renew(cache->owner, timeout_ms);
}

static void attachment_epoch(struct treekv_cache *cache)
{
	open_reconnect(cache, RENEW_MIN_MS);
}

/* Little-endian: the low half of generation is where the word is. */
static void sleep_on(const uint64_t *generation, uint64_t value, int64_t ms)
{
	struct timespec time = { .tv_sec = ms / 1000,
				 .tv_nsec = ms % 1000 * 1000000 };

	syscall(SYS_futex, generation, FUTEX_WAIT, (uint32_t)value, &time, NULL,
		0);
}

static int attachment_wait(struct treekv_cache *cache, uint64_t generation,
			   int timeout_ms)
{
	int64_t deadline = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
	struct attachment *a = cache->owner;
	int64_t slice = SLICE_MS, now;
	int r = open_reconnect(cache,
			       timeout_ms < 0 ? RENEW_MAX_MS : timeout_ms);

	now = now_ms();
	if (r == -EAGAIN)
		slice = a->next_try - now;
	else if (r)
		return r;
	if (slice > deadline - now)
		slice = deadline - now;
	if (slice > 0)
		sleep_on(&cache->index->generation, generation, slice);
	return 0;
}

static int ask_prefill(struct attachment *a, const struct cache_prompt *prompt,
		       int timeout_ms)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Prefill prefill = TREEKV__PREFILL__INIT;
	Treekv__Reply *reply;
	int r;

	prefill.lease = a->lease;
	prefill.tail = prompt->tail;
	prefill.n_live = prefill.n_walk = a->cache.spec.layers;
	prefill.live = prompt->live;
	prefill.walk = prompt->walk;
	request.body_case = TREEKV__REQUEST__BODY_PREFILL;
	request.prefill = &prefill;
	r = conn_call_within(a->kv, timeout_ms, &request, &reply, NULL, NULL);
	if (!r)
		treekv__reply__free_unpacked(reply, NULL);
	return r;
}

/*
 * Asks until there is an answer. Whether a request that was cut off was heard
 * is all the same: the lease outlives the connection and the daemon, and asking
 * twice is as asking once.
 */
static int attachment_prefill(struct treekv_cache *cache,
			      const struct cache_prompt *prompt, int timeout_ms)
{
	int64_t deadline = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
	int64_t left = timeout_ms < 0 ? CONN_TIMEOUT_MS : timeout_ms;
	struct attachment *a = cache->owner;
	int backoff_ms = BACKOFF_MIN_MS;
	int r;

	for (;;) {
		left = left < CONN_TIMEOUT_MS ? left : CONN_TIMEOUT_MS;
		r = ask_prefill(a, prompt,
				left < RENEW_MIN_MS ? RENEW_MIN_MS : (int)left);
		if (!r)
			return 0;
		if (conn_answered() && r != -EBUSY && !is_passing(r))
			return r == -ESTALE ? lose(cache, treekv_error()) : r;
		left = deadline - now_ms();
		if (left <= 0)
			return error_set(-ETIMEDOUT,
					 "cache %s: treekvd has not committed "
					 "the prompt within %d ms: %s",
					 cache->name, timeout_ms,
					 treekv_error());
		sleep_on(&cache->index->generation,
			 shm_load_relaxed(&cache->index->generation),
			 backoff_ms < left ? backoff_ms : left);
		backoff_ms *= 2;
		if (backoff_ms > BACKOFF_MAX_MS)
			backoff_ms = BACKOFF_MAX_MS;
	}
}

/* Unmaps first: whoever gets the cache next must be its only writer. */
static void attachment_release(struct treekv_cache *cache, int timeout_ms)
{
	struct attachment *a = cache->owner;

	if (cache->rows)
		munmap(cache->rows, cache->rows_size);
	if (cache->index)
		munmap((void *)(uintptr_t)cache->index, cache->index_size);
	if (cache->parent)
		munmap((void *)(uintptr_t)cache->parent, cache->parent_size);
	if (a->lease && !cache->lost)
		lease_release(a->kv, a->lease, 0, timeout_ms);
	if (a->doorbell >= 0)
		close(a->doorbell);
	free(a);
}

static int attachment_freeze(struct treekv_cache *cache)
{
	struct attachment *a = cache->owner;
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Freeze freeze = TREEKV__FREEZE__INIT;
	Treekv__Reply *reply;
	int r;

	munmap(cache->rows, cache->rows_size);
	cache->rows = NULL;
	freeze.name = cache->name;
	freeze.has_lease = 1;
	freeze.lease = a->lease;
	request.body_case = TREEKV__REQUEST__BODY_FREEZE;
	request.freeze = &freeze;
	r = conn_call(a->kv, &request, &reply, NULL, NULL);
	if (r)
		return r;
	treekv__reply__free_unpacked(reply, NULL);
	a->lease = 0; /* it went with that */
	return 0;
}

static const struct cache_ops attachment_ops = {
	.ring = attachment_ring,
	.wait = attachment_wait,
	.renew = attachment_epoch,
	.prefill = attachment_prefill,
	.freeze = attachment_freeze,
	.release = attachment_release,
};

static struct attachment *attachment_new(struct treekv *kv)
{
	struct attachment *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->cache.ops = &attachment_ops;
	a->cache.owner = a;
	a->kv = kv;
	a->doorbell = -1;
	a->backoff_ms = BACKOFF_MIN_MS;
	return a;
}

int open_granted(struct treekv_cache **ret, struct treekv *kv,
		 Treekv__Request *request, uint64_t nonce, bool reader,
		 struct treekv_prefix *prefix)
{
	int64_t started = now_ns();
	struct grant grant = { 0 };
	struct attachment *a;
	int r;

	a = attachment_new(kv);
	if (!a)
		return error_set(-ENOMEM, "no memory for a cache");
	r = lease_settle(kv);
	if (!r)
		r = conn_call(kv, request, &grant.reply, grant.fds,
			      &grant.n_fds);
	if (r && !reader && conn_in_doubt())
		lease_release(kv, 0, nonce, 0);
	if (r)
		goto out;
	a->cache.reader = reader;
	a->lease = grant.reply->attached->lease;
	a->session = conn_session();
	r = grant_check(&grant, reader);
	if (!r)
		r = attachment_fill(a, &grant);
	if (!r)
		r = cache_init(&a->cache);
	if (r)
		goto out;
	a->cache.created = grant.reply->attached->created;
	a->cache.attach_ns = (uint64_t)(now_ns() - started);
	if (prefix)
		open_fill_prefix(prefix, grant.reply->attached->prefix);
	*ret = &a->cache;
out:
	grant_free(&grant);
	if (r)
		attachment_release(&a->cache, CONN_TIMEOUT_MS);
	return r;
}

int treekv_open(struct treekv_cache **ret, struct treekv *kv, const char *name,
		const struct treekv_spec *spec, unsigned int flags)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Create create = TREEKV__CREATE__INIT;
	Treekv__Attach attach = TREEKV__ATTACH__INIT;
	uint64_t nonce = lease_nonce();
	char full[SHM_NAME_FULL + 1];
	Treekv__Spec wanted;
	int r;

	r = check_open(full, name, spec, flags);
	if (r)
		return r;
	if (spec)
		open_fill_spec(&wanted, spec);
	if (flags & TREEKV_CREATE) {
		assert(spec);
		create.name = full;
		create.spec = &wanted;
		create.has_attach_existing = 1;
		create.attach_existing = !(flags & TREEKV_EXCLUSIVE);
		create.has_ephemeral = 1;
		create.ephemeral = !!(flags & TREEKV_EPHEMERAL);
		create.has_ttl = spec->ttl != 0;
		create.ttl = spec->ttl;
		create.has_nonce = 1;
		create.nonce = nonce;
		create.has_progress = create.progress = 1;
		create.has_mode = spec->mode != 0;
		create.mode = spec->mode;
		request.body_case = TREEKV__REQUEST__BODY_CREATE;
		request.create = &create;
	} else {
		attach.name = full;
		attach.spec = spec ? &wanted : NULL;
		attach.has_nonce = 1;
		attach.nonce = nonce;
		attach.has_progress = attach.progress = 1;
		attach.has_read = !!(flags & TREEKV_READ);
		attach.read = attach.has_read;
		request.body_case = TREEKV__REQUEST__BODY_ATTACH;
		request.attach = &attach;
	}
	return open_granted(ret, kv, &request, nonce, flags & TREEKV_READ,
			    NULL);
}

struct treekv_cache *treekv_detach_within(struct treekv_cache *cache,
					  int timeout_ms)
{
	if (!cache)
		return NULL;
	cache_tell_progress(cache, true);
	cache_exit(cache);
	cache->ops->release(cache, timeout_ms);
	return NULL;
}

struct treekv_cache *treekv_detach(struct treekv_cache *cache)
{
	return treekv_detach_within(cache, CONN_TIMEOUT_MS);
}

static int check_freeze(struct treekv_cache *cache)
{
	if (cache->reader)
		return error_set(-EROFS,
				 "cache %s is not frozen: it was attached for "
				 "reading",
				 cache->name);
	if (!cache->ops->freeze)
		return error_set(-EOPNOTSUPP,
				 "cache %s is not frozen: there is no daemon "
				 "that keeps it",
				 cache->name);
	return 0;
}

int treekv_freeze(struct treekv_cache *cache)
{
	int r = check_freeze(cache);

	cache_exit(cache);
	if (!r)
		r = cache->ops->freeze(cache);
	cache->ops->release(cache, CONN_TIMEOUT_MS);
	return r;
}
