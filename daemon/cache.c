// SPDX-License-Identifier: BSD-2-Clause
/*
 * rows is mapped writable only to write its constants; from then on the daemon
 * reads it through a mapping made from a descriptor opened O_RDONLY, so that
 * the kernel holds us to what design says and freezing finds no writable
 * mapping of ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/cache.h"
#include "daemon/clock.h"
#include "daemon/hole.h"
#include "daemon/log.h"
#include "daemon/ready.h"
#include "daemon/segment.h"
#include "proto/barrier.h"

#define INDEX_HUGE_FROM (UINT64_C(1) << 20)
#define SEALS_ALL	(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)
#define FAULT_IN_STEP	(UINT64_C(2) << 20)

static uint64_t last_cache_id;

static int refuse(struct cache_error *why, int r, const char *what,
		  uint64_t bytes)
{
	const char *out = "";

	if (r == -EMFILE || r == -ENFILE)
		out = "; the daemon is out of descriptors, raise LimitNOFILE";
	else if (r == -ENOMEM || r == -ENOSPC)
		out = "; free memory, or give --pool a smaller size";
	snprintf(why->text, sizeof(why->text), "%s of %llu bytes: %s%s", what,
		 (unsigned long long)bytes, strerror(-r), out);
	return r == -ENOMEM ? -ENOSPC : r;
}

/* The daemon's own mapping of rows, from a descriptor that cannot write. */
static int rows_map(struct cache *cache)
{
	const void *map;
	int r = segment_map_read_only(&map, cache->rows_fd, cache->rows_size);

	if (r)
		return r;
	cache->rows = map;
	hole_watch(map, cache->rows_size, cache->huge, &cache->holed);
	return 0;
}

static int index_make(struct cache *cache, uint64_t bytes,
		      enum config_huge_pages mode, uint32_t *flags)
{
	const struct segment_request request = {
		.label = "treekv-index",
		.bytes = bytes,
		.mode = bytes < INDEX_HUGE_FROM ? HUGE_PAGES_NEVER : mode,
		.seals = F_SEAL_SEAL,
	};
	struct segment segment;
	int r;

	r = segment_new(&segment, &request);
	if (r)
		return r;
	cache->index_fd = segment.fd;
	cache->index = segment.map;
	cache->index_size = segment.size;
	if (segment.huge)
		*flags |= SHM_CACHE_INDEX_HUGE;
	cache->index_ro_fd = segment_reopen(cache->index_fd);
	return cache->index_ro_fd < 0 ? cache->index_ro_fd : 0;
}

/* *ret is a writable mapping, for the constants. */
static int rows_make(struct cache *cache, uint64_t bytes,
		     enum config_huge_pages mode, struct shm_rows **ret)
{
	const struct segment_request request = {
		.label = "treekv-rows",
		.bytes = bytes,
		.mode = mode,
	};
	struct segment segment;
	bool present;
	int r = ready_take(&segment, &request, &present);

	if (r)
		return r;
	cache->rows_fd = segment.fd;
	cache->rows_size = segment.size;
	cache->faulted_in = present ? segment.size : 0;
	cache->huge = segment.huge;
	*ret = segment.map;
	return 0;
}

static uint32_t widest(const struct shm_index *index)
{
	const struct shm_layer *layers =
		(const void *)((const char *)index + index->layers);
	uint32_t slots = 0;

	for (uint32_t l = 0; l < index->spec.layers; l++)
		if (layers[l].slots > slots)
			slots = layers[l].slots;
	return slots;
}

static void format_header(struct cache *cache, struct shm_rows *rows,
			  const struct shm_spec *spec,
			  const struct shm_layer *layers,
			  const struct layout *layout, uint32_t flags)
{
	struct shm_index *index = cache->index;
	struct stat st = { 0 };

	fstat(cache->rows_fd, &st);
	index->index_size = cache->index_size;
	index->rows_size = cache->rows_size;
	index->flags = flags;
	index->created = time(NULL);
	index->last_used = index->created;
	index->mode = cache->mode = ACCESS_MODE_OWN;
	index->rows_uid = NAME_NOBODY;
	memcpy(index->name, cache->name, sizeof(index->name));
	rows->rows_size = cache->rows_size;
	compact_format_header(index, rows, spec, layers, layout, st.st_ino);
	cache->slots = widest(index);
	shm_store_relaxed(&index->armed, 1);
}

void cache_format(struct cache *cache)
{
	compact_format_orders(cache->index);
}

static void compaction_init(struct cache *cache)
{
	cache->compaction = (struct compaction){
		.index = cache->index,
		.rows = cache->rows,
		.policy = policy_by_id(cache->index->spec.policy),
	};
}

int cache_new(struct cache **ret, const char *name, struct shm_spec *spec,
	      const uint32_t *budgets, const struct layout_fork *fork,
	      enum config_huge_pages huge, struct cache_error *why)
{
	struct cache *cache = calloc(1, sizeof(*cache));
	struct shm_layer *layers = calloc(spec->layers, sizeof(*layers));
	struct layout layout;
	struct shm_rows *rows;
	uint32_t flags = 0;
	int r = -ENOMEM;

	if (cache) { /* what cache_free() goes by */
		cache->rows_fd = cache->index_fd = -1;
		cache->index_ro_fd = cache->rows_ro_fd = -1;
	}
	if (!cache || !layers) {
		snprintf(why->text, sizeof(why->text), "out of memory");
		goto out;
	}
	snprintf(cache->name, sizeof(cache->name), "%s", name);
	layout_init(&layout, layers, spec, budgets, fork);
	r = index_make(cache, layout.index_size, huge, &flags);
	if (r) {
		r = refuse(why, r, "the index", layout.index_size);
		goto out;
	}
	r = rows_make(cache, layout.rows_size, huge, &rows);
	if (r) {
		r = refuse(why, r,
			   huge == HUGE_PAGES_REQUIRE ?
				   "rows in huge pages (--huge-pages require; "
				   "see sysctl vm.nr_hugepages)" :
				   "rows",
			   layout.rows_size);
		goto out;
	}
	if (!cache->huge && huge != HUGE_PAGES_NEVER)
		log_warning("no huge pages",
			    "name=%s bytes=%llu way_out=\"sysctl "
			    "vm.nr_hugepages\"",
			    name, (unsigned long long)cache->rows_size);
	cache->id = ++last_cache_id;
	cache->index->cache_id = cache->id;
	rows->cache_id = cache->id;
	if (cache->huge)
		flags |= SHM_CACHE_HUGE;
	format_header(cache, rows, spec, layers, &layout, flags);
	segment_unmap(rows, cache->rows_size);
	r = rows_map(cache);
	if (r) {
		r = refuse(why, r, "mapping rows", layout.rows_size);
		goto out;
	}
	compaction_init(cache);
	stall_begin(cache, clock_ns());
	*ret = cache;
	cache = NULL;
out:
	free(layers);
	cache_free(cache);
	return r;
}

void cache_mark(struct cache *cache, uint32_t flag, bool set)
{
	uint32_t *flags = &cache->index->flags;

	/* Pairs with the acquire in cache_is_frozen(), and in readers. */
	shm_store32_release(flags, set ? *flags | flag : *flags & ~flag);
}

void cache_set_owner(struct cache *cache, const struct access_what *what,
		     bool shared)
{
	cache->uid = cache->index->uid = what->uid;
	cache->gid = cache->index->gid = what->gid;
	cache->mode = cache->index->mode = what->mode;
	cache->shared = shared;
	cache_mark(cache, SHM_CACHE_SHARED, shared);
}

static void adopt_fields(struct cache *cache, struct shm_index *index,
			 const char *stored)
{
	cache->index_size = index->index_size;
	cache->rows_size = index->rows_size;
	cache->id = index->cache_id;
	cache->uid = index->uid;
	cache->gid = index->gid;
	cache->mode = index->mode;
	cache->shared = index->flags & SHM_CACHE_SHARED;
	cache->huge = index->flags & SHM_CACHE_HUGE;
	cache->ephemeral = index->flags & SHM_CACHE_EPHEMERAL;
	cache->slots = widest(index);
	memcpy(cache->name, index->name, sizeof(cache->name));
	snprintf(cache->stored, sizeof(cache->stored), "%s", stored);
	if (cache->id > last_cache_id)
		last_cache_id = cache->id;
}

/* Its predecessor may have died between the seal and the record. */
static int adopt_frozen(struct cache *cache, const char **why)
{
	bool sealed = cache_is_sealed(cache);

	*why = "it is frozen, but its rows are not sealed";
	if (cache_is_frozen(cache))
		return sealed ? 0 : -EBADMSG;
	if (sealed)
		cache_freeze(cache); /* or it is quarantined */
	return 0;
}

static void adopt_words(struct cache *cache)
{
	struct compaction *c = &cache->compaction;

	compaction_init(cache);
	c->fault = cache_check(cache);
	shm_store_relaxed(&cache->index->waiting, 0);
	shm_store_relaxed(&cache->index->armed, 1);
	/* Pairs with the acquire in treekv_step_begin(): reconnect. */
	shm_store_release(&cache->index->epoch, cache->index->epoch + 1);
}

int cache_inherit(struct cache **ret, struct shm_index *index, int index_fd,
		  int rows_fd, const char *stored, struct cache *parent,
		  const char **why)
{
	struct cache *cache = calloc(1, sizeof(*cache));
	int r;

	*why = "out of memory";
	if (!cache)
		return -ENOMEM;
	cache->rows_ro_fd = -1;
	adopt_fields(cache, index, stored);
	cache->rows_fd = rows_fd;
	cache->index_ro_fd = segment_reopen(index_fd);
	r = cache->index_ro_fd < 0 ? cache->index_ro_fd : rows_map(cache);
	*why = "its rows cannot be mapped";
	cache->index = index;
	if (!r)
		r = adopt_frozen(cache, why);
	if (r) {
		cache->rows_fd = -1; /* the caller's still, as the index */
		cache->index_fd = -1;
		cache->index = NULL;
		cache_free(cache);
		return r;
	}
	cache->index_fd = index_fd;
	cache->faulted_in = cache->rows_size;
	cache_set_parent(cache, parent);
	adopt_words(cache);
	stall_begin(cache, 0);
	*ret = cache;
	return 0;
}

void cache_set_parent(struct cache *cache, struct cache *parent)
{
	cache->parent = parent;
	if (parent)
		parent->children++;
}

void cache_unwatch(const struct cache *cache)
{
	if (cache->rows)
		hole_unwatch(cache->rows);
}

void cache_release(struct cache *cache)
{
	if (cache->rows)
		segment_unmap(cache->rows, cache->rows_size);
	if (cache->index)
		segment_unmap(cache->index, cache->index_size);
	if (cache->rows_fd >= 0)
		close(cache->rows_fd);
	if (cache->index_fd >= 0)
		close(cache->index_fd);
	if (cache->index_ro_fd >= 0)
		close(cache->index_ro_fd);
	cache_rows_moved(cache);
	cache->rows = NULL;
	cache->index = NULL;
	cache->rows_fd = cache->index_fd = cache->index_ro_fd = -1;
}

struct cache *cache_free(struct cache *cache)
{
	if (!cache)
		return NULL;
	cache_unwatch(cache);
	cache_release(cache);
	free(cache->persist);
	free(cache);
	return NULL;
}

int cache_rows_new(struct cache_rows *ret, struct cache *cache,
		   struct cache_error *why)
{
	const struct segment_request request = {
		.label = "treekv-rows",
		.bytes = cache->rows_size,
		.mode = cache->huge ? HUGE_PAGES_REQUIRE : HUGE_PAGES_NEVER,
	};
	struct segment segment;
	const void *map;
	struct stat st;
	int r;

	*ret = (struct cache_rows){ .fd = -1, .size = cache->rows_size };
	r = segment_new(&segment, &request);
	if (!r) {
		ret->fd = segment.fd;
		ret->writable = segment.map;
		r = segment_map_read_only(&map, ret->fd, ret->size);
	}
	if (!r) {
		ret->rows = map;
		hole_watch(map, ret->size, cache->huge, &cache->holed);
		r = fstat(ret->fd, &st) ? -errno : 0;
	}
	if (r) {
		r = refuse(why, r, "second rows", cache->rows_size);
		cache_rows_unwatch(ret);
		cache_rows_release(ret);
		return r;
	}
	ret->inode = st.st_ino;
	return 0;
}

void cache_rows_unwatch(const struct cache_rows *rows)
{
	if (rows->rows)
		hole_unwatch(rows->rows);
}

void cache_rows_release(struct cache_rows *rows)
{
	if (rows->writable)
		segment_unmap(rows->writable, rows->size);
	if (rows->rows)
		segment_unmap(rows->rows, rows->size);
	if (rows->fd >= 0)
		close(rows->fd);
	*rows = (struct cache_rows){ .fd = -1 };
}

void cache_rows_swap(struct cache *cache, struct cache_rows *rows)
{
	struct cache_rows old = {
		.fd = cache->rows_fd,
		.rows = cache->rows,
		.size = cache->rows_size,
	};

	if (rows->writable)
		segment_unmap(rows->writable, rows->size);
	cache->rows_fd = rows->fd;
	atomic_store_explicit(&cache->rows, rows->rows, memory_order_release);
	__atomic_store_n(&cache->holed, false, __ATOMIC_RELEASE);
	*rows = old;
}

uint64_t cache_bytes_wanted(struct shm_spec *spec, const uint32_t *budgets,
			    const struct layout_fork *fork,
			    enum config_huge_pages huge)
{
	struct shm_layer *layers = calloc(spec->layers, sizeof(*layers));
	struct layout layout;

	if (!layers)
		return UINT64_MAX;
	layout_init(&layout, layers, spec, budgets, fork);
	free(layers);
	return layout_round(layout.rows_size, huge != HUGE_PAGES_NEVER) +
	       layout_round(layout.index_size,
			    huge != HUGE_PAGES_NEVER &&
				    layout.index_size >= INDEX_HUGE_FROM);
}

uint64_t cache_bytes(const struct cache *cache)
{
	return cache->rows_size + cache->index_size;
}

static const struct shm_buffer *newest(const struct cache *cache)
{
	uint64_t generation = shm_load_acquire(&cache->index->generation);

	return (const void *)((const char *)cache->index +
			      cache->index->buffer[generation & 1]);
}

bool cache_is_frozen(const struct cache *cache)
{
	/* Pairs with the release in cache_mark(). */
	return shm_load32_acquire(&cache->index->flags) & SHM_CACHE_FROZEN;
}

/* The word, as the writer has left it, or the record of it. */
static uint64_t load_commit(const struct cache *cache)
{
	const struct shm_index *index = cache->index;

	if (cache_is_frozen(cache))
		return shm_commit_pack(index->frozen_tail,
				       index->frozen_parity & 1);
	/* Pairs with the release in treekv_commit(). */
	return shm_load_acquire(&cache->rows->commit);
}

bool cache_is_sealed(const struct cache *cache)
{
	int seals = fcntl(cache->rows_fd, F_GET_SEALS);

	return seals >= 0 && seals & F_SEAL_WRITE;
}

int cache_seal(struct cache *cache)
{
	if (cache_is_sealed(cache))
		return 0;
	return fcntl(cache->rows_fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) ?
		       -errno :
		       0;
}

int cache_freeze(struct cache *cache)
{
	struct shm_index *index = cache->index;
	uint64_t commit;

	if (cache_is_frozen(cache))
		return 0;
	if (cache_check(cache))
		return -EUCLEAN;
	commit = cache_commit(cache);
	index->frozen_tail = shm_commit_tail(commit);
	index->frozen_parity = shm_commit_parity(commit);
	shm_store_relaxed(&index->last_used, time(NULL));
	cache_mark(cache, SHM_CACHE_FROZEN, true);
	return 0;
}

int cache_rows_read_only(struct cache *cache)
{
	if (cache->index_ro_fd < 0)
		return cache->rows_fd; /* cache_shed() has seen to it */
	if (cache->rows_ro_fd < 0)
		cache->rows_ro_fd = segment_reopen(cache->rows_fd);
	return cache->rows_ro_fd;
}

/*
 * rows_fd keeps its number, and is another descriptor from one moment to the
 * next: the worker may be using it.
 */
void cache_shed(struct cache *cache)
{
	int fd = cache_rows_read_only(cache);

	if (fd < 0 || fd == cache->rows_fd ||
	    dup3(fd, cache->rows_fd, O_CLOEXEC) < 0)
		return; /* then it keeps what it has */
	cache_rows_moved(cache);
	if (cache->index_fd >= 0)
		close(cache->index_fd);
	if (cache->index_ro_fd >= 0)
		close(cache->index_ro_fd);
	cache->index_fd = cache->index_ro_fd = -1;
}

static int write_all(int fd, const void *bytes, uint64_t size)
{
	const char *at = bytes;

	while (size) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		at += n;
		size -= (uint64_t)n;
	}
	return 0;
}

int cache_index_copy(const struct cache *cache)
{
	int fd, r;

	fd = memfd_create("treekv-index", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	r = fchmod(fd, 0600) ? -errno : 0;
	if (!r)
		r = write_all(fd, cache->index, cache->index_size);
	if (!r && fcntl(fd, F_ADD_SEALS, SEALS_ALL))
		r = -errno;
	if (!r)
		r = segment_reopen(fd);
	close(fd);
	return r;
}

void cache_rows_moved(struct cache *cache)
{
	if (cache->rows_ro_fd >= 0)
		close(cache->rows_ro_fd);
	cache->rows_ro_fd = -1;
}

uint64_t cache_rows_inode(const struct cache *cache)
{
	return newest(cache)->rows_inode;
}

bool cache_is_exact(const struct cache *cache)
{
	const struct shm_level *level = cache_levels(cache);

	for (uint32_t l = 0; l < cache->index->spec.layers; l++)
		if (level[l].n_live != cache->index->frozen_tail)
			return false;
	return true;
}

bool cache_fault_in(struct cache *cache)
{
	uint64_t left = cache->rows_size - cache->faulted_in;
	uint64_t n = left < FAULT_IN_STEP ? left : FAULT_IN_STEP;

	if (cache_is_frozen(cache))
		return false; /* what it lacks it will never need */
	if (n && fallocate(cache->rows_fd, 0, cache->faulted_in, n)) {
		log_warning("rows not made present",
			    "name=%s at=%llu error=\"%s\"", cache->name,
			    (unsigned long long)cache->faulted_in,
			    strerror(errno));
		return false;
	}
	cache->faulted_in += n;
	return cache->faulted_in < cache->rows_size;
}

const struct shm_level *cache_levels(const struct cache *cache)
{
	return (const void *)((const char *)newest(cache) +
			      cache->index->level);
}

const uint32_t *cache_walks(const struct cache *cache, uint32_t layer)
{
	const uint32_t *walk = (const void *)((const char *)newest(cache) +
					      cache->index->walk);

	return walk + (size_t)layer * cache->index->spec.kv_heads;
}

const void *cache_order(const struct cache *cache, uint32_t layer,
			uint32_t head)
{
	const struct shm_layer *at = (const void *)((const char *)cache->index +
						    cache->index->layers);

	return (const char *)newest(cache) + at[layer].order +
	       head * at[layer].order_stride;
}

/* Of one buffer, which its worker may be rewriting by now. */
static void look_once(const struct cache *cache,
		      const struct shm_buffer *buffer, struct cache_look *ret)
{
	const struct shm_level *level =
		(const void *)((const char *)buffer + cache->index->level);
	uint64_t commit = load_commit(cache), since;

	commit = shm_commit_under(commit, shm_load_relaxed(&buffer->prefill));
	*ret = (struct cache_look){
		.tail = shm_commit_tail(commit),
		.generation = shm_load_relaxed(&buffer->generation),
		.base_tail = shm_load_relaxed(&buffer->base_tail),
		.free = shm_load_relaxed(&buffer->free),
	};
	since = ret->tail > ret->base_tail ? ret->tail - ret->base_tail : 0;
	since = since < ret->free ? since : ret->free;
	for (uint32_t l = 0; l < cache->index->spec.layers; l++) {
		uint32_t n_live = shm_load32_relaxed(&level[l].n_live);
		uint32_t capacity = shm_load32_relaxed(&level[l].capacity);

		if (n_live + since > ret->held)
			ret->held = n_live + (uint32_t)since;
		if (capacity > ret->capacity)
			ret->capacity = capacity;
	}
}

void cache_look(const struct cache *cache, struct cache_look *ret)
{
	const struct shm_buffer *buffer;

	do {
		buffer = newest(cache);
		look_once(cache, buffer, ret);
		shm_load_barrier();
	} while (buffer != newest(cache));
}

uint64_t cache_commit_under(const struct cache *cache, uint64_t word)
{
	return shm_commit_under(word,
				shm_load_relaxed(&newest(cache)->prefill));
}

uint64_t cache_commit(const struct cache *cache)
{
	return cache_commit_under(cache, load_commit(cache));
}

uint64_t cache_stalls(const struct cache *cache)
{
	uint64_t stalls = shm_load_relaxed(&cache->rows->stalls);
	uint64_t tail = shm_commit_tail(cache_commit(cache));

	tail = tail < SHM_TAIL_MAX ? tail : 0;
	return stalls <= tail ? stalls : tail;
}

enum compact_fault cache_check_word(const struct cache *cache, uint64_t word)
{
	return compact_check_word(newest(cache), cache->rows, word);
}

enum compact_fault cache_fault(const struct cache *cache)
{
	return shm_load_relaxed(&cache->index->quarantined);
}

enum compact_fault cache_check(struct cache *cache)
{
	enum compact_fault fault = cache_fault(cache);

	if (fault || cache_is_frozen(cache))
		return fault;
	fault = compact_check(cache->index, cache->rows);
	if (fault)
		shm_store_release(&cache->index->quarantined, fault);
	return fault;
}
