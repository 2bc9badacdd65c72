// SPDX-License-Identifier: BSD-2-Clause
/*
 * The daemon that wrote an index may have died at any instruction of it, and
 * may have been another build. So nothing is taken on trust: the header must
 * say what its spec implies, and the newest buffer must be one that
 * compact_publish() could have written. The spare one may be torn and is
 * ignored. A pair that fails is neither served nor deleted: its descriptors
 * stay open here and in the manager's store, and the log names them.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/adopt.h"
#include "daemon/log.h"
#include "daemon/segment.h"
#include "proto/barrier.h"

static const struct shm_buffer *newest(const struct shm_index *index)
{
	uint64_t generation = shm_load_relaxed(&index->generation);

	return (const void *)((const char *)index +
			      index->buffer[generation & 1]);
}

static const struct shm_layer *layer_at(const struct shm_index *index,
					uint32_t l)
{
	const struct shm_layer *table =
		(const void *)((const char *)index + index->layers);

	return &table[l];
}

static int check_level(const struct shm_index *index,
		       const struct shm_level *level,
		       const struct shm_layer *layer, const char **why)
{
	*why = "a level of its order does not fit its layer";
	if (level->budget != layer->budget ||
	    level->capacity != layer->capacity ||
	    level->parent_capacity != layer->parent_capacity ||
	    level->n_live > shm_room(&index->spec, level->budget) ||
	    level->n_live < layer->pinned ||
	    (index->spec.policy != SHM_POLICY_FULL &&
	     level->n_live > level->budget))
		return -EBADMSG;
	return 0;
}

static int check_walk(const struct shm_index *index,
		      const struct shm_layer *layer, uint32_t walk,
		      const char **why)
{
	uint32_t selected = layer->budget - shm_kept(&index->spec, layer) -
			    index->spec.recent;

	*why = "a walk is outside of its selected region";
	if (index->spec.policy == SHM_POLICY_FULL || !selected)
		selected = 1;
	return walk < 1 || walk > selected ? -EBADMSG : 0;
}

static int check_layer(const struct shm_index *index, uint32_t l, uint8_t *seen,
		       const char **why)
{
	char *buffer = (char *)(uintptr_t)newest(index);
	const struct shm_level *level =
		&((const struct shm_level *)(void *)(buffer + index->level))[l];
	const uint32_t *walk = (uint32_t *)(void *)(buffer + index->walk) +
			       (size_t)l * index->spec.kv_heads;
	const struct shm_layer *layer = layer_at(index, l);
	struct order order;
	int r;

	r = check_level(index, level, layer, why);
	for (uint32_t h = 0; !r && h < index->spec.kv_heads; h++) {
		r = check_walk(index, layer, walk[h], why);
		if (r)
			break;
		order.order = buffer + layer->order + h * layer->order_stride;
		order.rank = buffer + layer->rank + h * layer->rank_stride;
		order.parent = layer->parent_capacity;
		*why = "an order is no permutation of its slots";
		r = order_check(&order, layer->slots, level->n_live,
				index->spec.entry_size, seen);
	}
	return r;
}

static int check_free(const struct shm_index *index, const char **why)
{
	const struct shm_buffer *buffer = newest(index);
	const struct shm_level *level =
		(const void *)((const char *)buffer + index->level);
	uint64_t free_slots = UINT64_MAX;

	*why = "its free slots are miscounted";
	for (uint32_t l = 0; l < index->spec.layers; l++) {
		uint32_t room = shm_room(&index->spec, level[l].budget);

		if (room - level[l].n_live < free_slots)
			free_slots = room - level[l].n_live;
	}
	return buffer->free == free_slots ? 0 : -EBADMSG;
}

/* What will be appended to a fork goes into slots of its own. */
static int check_own(const struct shm_index *index, const char **why)
{
	const char *base = (const char *)newest(index);
	const struct shm_level *level = (const void *)(base + index->level);
	uint64_t free_slots = newest(index)->free;

	*why = "a fork would append to its parent";
	for (uint32_t l = 0; free_slots && l < index->spec.layers; l++) {
		const struct shm_layer *layer = layer_at(index, l);
		uint64_t last = level[l].n_live + free_slots - 1;

		for (uint32_t h = 0; h < index->spec.kv_heads; h++)
			if (order_entry(base + layer->order +
						h * layer->order_stride,
					index->spec.entry_size,
					(uint32_t)last) <
			    layer->parent_capacity)
				return -EBADMSG;
	}
	return 0;
}

static int check_frozen(const struct shm_index *index, const char **why)
{
	const struct shm_buffer *buffer = newest(index);

	*why = "it was frozen at a tail that no order has room for";
	if (!(index->flags & SHM_CACHE_FROZEN))
		return 0;
	return index->frozen_tail < buffer->base_tail ||
			       index->frozen_tail - buffer->base_tail >
				       buffer->free ||
			       index->frozen_parity > 1 ?
		       -EBADMSG :
		       0;
}

int adopt_check(const struct shm_index *index, uint64_t rows_inode,
		const char **why)
{
	const struct shm_buffer *buffer = newest(index);
	uint32_t slots = 0;
	uint8_t *seen;
	int r = 0;

	*why = "its newest buffer is not of its generation";
	if (!index->generation || buffer->generation != index->generation ||
	    buffer->rows_inode != rows_inode ||
	    buffer->base_tail > SHM_TAIL_MAX ||
	    shm_commit_tail(buffer->prefill) > buffer->base_tail)
		return -EBADMSG;
	for (uint32_t l = 0; l < index->spec.layers; l++)
		if (layer_at(index, l)->slots > slots)
			slots = layer_at(index, l)->slots;
	seen = malloc(slots);
	*why = "out of memory";
	if (!seen)
		return -ENOMEM;
	for (uint32_t l = 0; !r && l < index->spec.layers; l++)
		r = check_layer(index, l, seen, why);
	free(seen);
	if (!r)
		r = check_free(index, why);
	if (!r && index->parent_id)
		r = check_own(index, why);
	return r ? r : check_frozen(index, why);
}

/* ---- pairing ---- */

struct candidate {
	struct service_fd *from;
	struct stat st;
	uint64_t magic;
	int fork; /* an index that names a parent */
	bool unread; /* what it is cannot be told: not even that it is none */
};

/* Looked at to sort them, and checked later. */
static uint64_t word_at(struct candidate *of, off_t at)
{
	uint64_t word = 0;
	ssize_t n;

	do
		n = pread(of->from->fd, &word, sizeof(word), at);
	while (n < 0 && errno == EINTR);
	of->unread |= n < 0;
	return n == sizeof(word) ? word : 0;
}

static void look_at(struct candidate *at, struct service_fd *fd)
{
	at->from = fd;
	if (fstat(fd->fd, &at->st)) {
		at->unread = true;
	} else if (S_ISREG(at->st.st_mode)) {
		at->magic = word_at(at, 0);
		at->fork = !!word_at(at, offsetof(struct shm_index, parent_id));
	}
}

/*
 * The rows that an index names, by inode; NULL when they are not there. Inodes
 * of huge pages are counted apart. What they hold may be a lie and tells
 * nothing, but that they are no index.
 */
static struct candidate *rows_for(struct candidate *all, size_t n,
				  const struct candidate *at,
				  const struct shm_index *index)
{
	uint64_t inode = newest(index)->rows_inode;
	bool same_kind = !(index->flags & SHM_CACHE_HUGE) ==
			 !(index->flags & SHM_CACHE_INDEX_HUGE);

	for (size_t i = 0; i < n; i++)
		if (all[i].from && all[i].magic != SHM_INDEX_MAGIC &&
		    all[i].st.st_ino == inode &&
		    (all[i].st.st_dev == at->st.st_dev) == same_kind &&
		    (uint64_t)all[i].st.st_size == index->rows_size)
			return &all[i];
	return NULL;
}

static struct shm_index *map_index(const struct candidate *at,
				   struct layout_error *why)
{
	struct shm_index *index;
	void *map;

	if (segment_map(&map, at->from->fd, (uint64_t)at->st.st_size)) {
		strcpy(why->text, "it cannot be mapped");
		return NULL;
	}
	index = map;
	if (layout_check_index(index, (uint64_t)at->st.st_size, why)) {
		munmap(index, (size_t)at->st.st_size);
		return NULL;
	}
	return index;
}

static void damaged(const struct candidate *at, const char *why,
		    struct adopt_counts *counts)
{
	counts->damaged++;
	log_error("cache damaged",
		  "stored_as=%s inode=%llu reason=\"%s\" kept=1",
		  at->from->name, (unsigned long long)at->st.st_ino, why);
}

static void take(struct candidate *at)
{
	at->from->fd = -1;
	at->from = NULL;
}

/* What was stored together with a damaged index is not given up either. */
static void take_namesakes(struct candidate *all, size_t n,
			   const struct candidate *at)
{
	const char *name = at->from->name;

	for (size_t i = 0; i < n; i++)
		if (&all[i] != at && all[i].from &&
		    !strcmp(all[i].from->name, name))
			take(&all[i]);
}

/* Is this the one that the fork's slots are of? */
static bool fits(const struct cache *parent, const struct shm_index *index)
{
	const struct shm_index *of = parent->index;
	const struct shm_spec *a = &of->spec, *b = &index->spec;

	if (!cache_is_frozen(parent) || of->parent_id ||
	    cache_rows_inode(parent) != index->parent_inode ||
	    a->layers != b->layers || a->kv_heads != b->kv_heads ||
	    a->k_row != b->k_row || a->v_row != b->v_row ||
	    a->ids != index->parent_ids)
		return false;
	for (uint32_t l = 0; l < a->layers; l++)
		if (layer_at(of, l)->capacity !=
		    layer_at(index, l)->parent_capacity)
			return false;
	return true;
}

/* Return: 0, and *ret is the parent or NULL for no fork; -EBADMSG. */
static int find_parent(struct cache **ret, const struct shm_index *index,
		       struct cache *(*find)(uint64_t id), const char **why)
{
	struct cache *parent = NULL;

	if (index->parent_id)
		parent = find(index->parent_id);
	*why = "the parent that it is a fork of is not there";
	if (index->parent_id && (!parent || !fits(parent, index)))
		return -EBADMSG;
	*ret = parent;
	return 0;
}

static void adopt_one(struct candidate *all, size_t n, struct candidate *at,
		      void (*adopted)(struct cache *cache),
		      struct cache *(*find)(uint64_t id),
		      struct adopt_counts *counts)
{
	struct layout_error error = { .text = "out of memory" };
	struct shm_index *index = map_index(at, &error);
	struct cache *cache, *parent;
	struct candidate *rows;
	const char *why;

	if (!index) {
		damaged(at, error.text, counts);
		take_namesakes(all, n, at);
		take(at); /* stays open, and in the store */
		return;
	}
	rows = rows_for(all, n, at, index);
	/* While a lease is broken there are two pairs: the index says which. */
	if (!rows || strcmp(rows->from->name, at->from->name)) {
		munmap(index, (size_t)at->st.st_size);
		return; /* unpaired: given up with the rest */
	}
	if (adopt_check(index, rows->st.st_ino, &why) ||
	    find_parent(&parent, index, find, &why) ||
	    cache_inherit(&cache, index, at->from->fd, rows->from->fd,
			  at->from->name, parent, &why)) {
		munmap(index, (size_t)at->st.st_size);
		damaged(at, why, counts);
		take(rows);
		take(at);
		return;
	}
	take(rows);
	take(at);
	counts->sound += cache_fault(cache) == COMPACT_SOUND;
	counts->quarantined += cache_fault(cache) != COMPACT_SOUND;
	adopted(cache);
}

void adopt_all(struct service_fd *fds, size_t n,
	       void (*adopted)(struct cache *cache),
	       struct cache *(*find)(uint64_t id), struct adopt_counts *ret)
{
	struct candidate *all = calloc(n + 1, sizeof(*all));

	*ret = (struct adopt_counts){ 0 };
	if (!all) {
		log_error("nothing adopted", "error=\"out of memory\"");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (fds[i].fd >= 0)
			look_at(&all[i], &fds[i]);
	}
	for (size_t i = 0; i < n; i++)
		if (all[i].from && all[i].unread) {
			damaged(&all[i], "it cannot be read", ret);
			take_namesakes(all, n, &all[i]);
			take(&all[i]);
		}
	for (int forks = 0; forks < 2; forks++)
		for (size_t i = 0; i < n; i++)
			if (all[i].from && all[i].magic == SHM_INDEX_MAGIC &&
			    all[i].fork == forks)
				adopt_one(all, n, &all[i], adopted, find, ret);
	for (size_t i = 0; i < n; i++) {
		if (!all[i].from)
			continue;
		log_warning("descriptor given up",
			    "stored_as=%s inode=%llu reason=\"unpaired\"",
			    fds[i].name, (unsigned long long)all[i].st.st_ino);
		ret->unpaired++;
		service_forget(fds[i].name);
		close(fds[i].fd);
		fds[i].fd = -1;
	}
	free(all);
}
