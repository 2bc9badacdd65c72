/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One cache as the daemon has it: two memfds, their mappings, whose it is, and
 * the compaction that its worker runs. Made, shown and freed on the control
 * thread; what is marked so belongs to the worker.
 */
#ifndef TREEKVD_CACHE_H
#define TREEKVD_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/access.h"
#include "daemon/compact.h"
#include "daemon/config.h"
#include "daemon/histogram.h"
#include "daemon/errand.h"
#include "daemon/event.h"
#include "daemon/name.h"
#include "daemon/prefix.h"
#include "daemon/park_queue.h"
#include "daemon/service.h"
#include "daemon/stall.h"
#include "daemon/worker.h"
#include "proto/layout.h"
#include "proto/shm.h"

struct creation;
struct lease;

struct cache {
	uint64_t id;
	char name[SHM_NAME_MAX + 1];
	uid_t uid;
	gid_t gid;
	uint32_t mode;
	bool shared; /* its name is in its group's space, not in its owner's */
	bool ephemeral;
	bool huge;
	char stored[SERVICE_NAME_MAX + 1]; /* in the manager's store, or "" */
	bool named; /* found by its name; false: dropped, or being freed */
	int rows_fd;
	int index_fd;
	int index_ro_fd; /* what others get; -1, as index_fd: shed */
	int rows_ro_fd; /* likewise readers and forks, once there are any; -1 */
	uint64_t rows_size;
	uint64_t index_size;
	struct shm_index *index;
	const struct shm_rows *_Atomic rows; /* a worker may exchange them */
	struct lease *lease; /* NULL: nobody writes */
	bool barred; /* but for whom the index names: he cannot be watched */
	struct worker *worker;
	struct cache *next; /* in the store, by age */
	struct cache *prev;
	struct cache *chain; /* in its hash bucket */
	struct worker_job give;
	struct worker_job take_back;
	struct errand errand; /* its orders are made, or its memory given back */
	bool pending; /* made, but not yet safe in the manager's store */
	struct creation *creation; /* that answers once it is; or NULL */
	bool leaving; /* nobody holds it any more, nor will */
	bool given_up; /* take_back is under way, or the errand */
	uint32_t ending; /* leases that are over but not yet freed */
	uint32_t looks; /* of report_kept.c, under way on the worker */
	struct cache *parent; /* a fork's, or NULL */
	uint32_t children; /* forks, dropped ones included: it must stay */
	struct prefix prefix; /* a frozen one's, see lookup.h */
	struct park_node park; /* in the store's queue while it is named */
	bool parking; /* being written to disk, and then to leave */
	bool parked; /* leaving, because it is on disk */
	struct persist *persist; /* its snapshots; NULL: never asked about */
	uint64_t told_compactions; /* to those who follow; see stream.c */
	uint64_t told_evictions;

	/* The worker's. */
	struct compaction compaction;
	bool ready; /* in the worker's list */
	bool running; /* compact_begin() said true */
	uint32_t holds; /* nothing is published: its rows are being read */
	bool holed; /* set by the SIGBUS handler */
	uint64_t faulted_in; /* bytes of rows made present so far */
	uint32_t slots; /* of the widest layer */
	uint64_t rung_at; /* a ring that waits for its publication; 0: none */
	uint64_t begun_at; /* when the compaction that is running began */
	struct histogram took; /* what its compactions took */
	struct stall_look stall;
	struct event_mail mail;
};

/* Whose name it has: see name.h. */
static inline uint64_t cache_space(const struct cache *cache)
{
	return cache->shared ? NAME_GROUP | cache->gid : cache->uid;
}

static inline struct access_what cache_what(const struct cache *cache)
{
	return (struct access_what){ cache->uid, cache->gid, cache->mode };
}

/*
 * Sets or clears a SHM_CACHE_* flag in the index, where the worker and clients
 * read it. Who loads a snapshot has the flags for as long as that takes, and else
 * the control thread.
 */
void cache_mark(struct cache *cache, uint32_t flag, bool set);

/* Makes it somebody's, and records that. */
void cache_set_owner(struct cache *cache, const struct access_what *what,
		     bool shared);

/* Why a cache could not be made. */
struct cache_error {
	char text[320];
};

/**
 * cache_new - make the memfds of a cache and map them; all but the orders is set
 * @spec: checked; its entry_size is set
 * @budgets: spec->layers of them
 * @fork: spec->layers of them, checked; NULL: no fork. A fork's order is still
 *	to be filled in (fork_fill())
 *
 * Return: 0; -ENOSPC no huge pages, or no memory; -EMFILE or -ENFILE no
 * descriptors; -ENOMEM. @why has the text.
 */
int cache_new(struct cache **ret, const char *name, struct shm_spec *spec,
	      const uint32_t *budgets, const struct layout_fork *fork,
	      enum config_huge_pages huge, struct cache_error *why);

/*
 * Makes the orders of a new cache, which nobody may have before, or has been
 * given by a job of its own (restore). Takes as long as the index is large; on
 * any thread.
 */
void cache_format(struct cache *cache);

/**
 * cache_inherit - make a cache of what a predecessor left
 * @index: a writable mapping, passed adopt_check(); the cache's on success
 * @index_fd: the cache's on success, as @rows_fd
 * @stored: the name under which the manager keeps them
 * @parent: a fork's, which has been inherited already; else NULL
 * @why: on failure set to the reason
 *
 * Raises its epoch. A writer whose words are lies leaves it quarantined.
 * Return: 0 or a negative errno.
 */
int cache_inherit(struct cache **ret, struct shm_index *index, int index_fd,
		  int rows_fd, const char *stored, struct cache *parent,
		  const char **why);

/* A second rows memfd of a cache, while its lease is being broken. */
struct cache_rows {
	int fd;
	struct shm_rows *writable; /* NULL once it is full */
	const struct shm_rows *rows;
	uint64_t size;
	uint64_t inode;
};

/**
 * cache_rows_new - make empty rows of the size and kind that a cache has
 *
 * Return: 0, or as cache_new().
 */
int cache_rows_new(struct cache_rows *ret, struct cache *cache,
		   struct cache_error *why);

/* As cache_unwatch() and cache_release(). */
void cache_rows_unwatch(const struct cache_rows *rows);
void cache_rows_release(struct cache_rows *rows);

/*
 * On the cache's worker: they are the cache's from now on, and its old ones are
 * in @rows.
 */
void cache_rows_swap(struct cache *cache, struct cache_rows *rows);

/* It is a fork of @parent, which stays until that is over; NULL: it is none. */
void cache_set_parent(struct cache *cache, struct cache *parent);

/*
 * A cache goes in three steps when no worker knows it any more; cache_free()
 * does what is left. Holes in it are ours no longer: on the control thread. Its
 * memory is unmapped and closed, which takes as long as it is large: on any
 * thread.
 */
void cache_unwatch(const struct cache *cache);
void cache_release(struct cache *cache);

/* Takes NULL, returns it. */
struct cache *cache_free(struct cache *cache);

/* What a cache of this spec will take, in pages of the better kind. */
uint64_t cache_bytes_wanted(struct shm_spec *spec, const uint32_t *budgets,
			    const struct layout_fork *fork,
			    enum config_huge_pages huge);

uint64_t cache_bytes(const struct cache *cache);

/* No lease, no compaction: the rows are sealed. */
bool cache_is_frozen(const struct cache *cache);

/* Are the rows sealed against everybody's writing? */
bool cache_is_sealed(const struct cache *cache);

/**
 * cache_seal - have the kernel see to it that nobody writes the rows again
 *
 * May take 160 ms where somebody has pinned pages. Return: 0; -EBUSY somebody
 * has them mapped writable; another negative errno.
 */
int cache_seal(struct cache *cache);

/*
 * Records what the sealed rows' words say, once and for all: it is frozen. On
 * the control thread. Return: 0, or -EUCLEAN: they are lies.
 */
int cache_freeze(struct cache *cache);

/* A descriptor of rows that cannot write, the cache's. Or an errno. */
int cache_rows_read_only(struct cache *cache);

/**
 * cache_shed - close the descriptors that a frozen cache need not have
 *
 * All but one that reads rows: there may be thousands, most of which nobody
 * looks at. The mappings stay, as does what the service manager keeps.
 */
void cache_shed(struct cache *cache);

/**
 * cache_index_copy - a read-only descriptor of a copy of index
 *
 * For one that has been shed: neither changes any more. Return: it, the
 * caller's to close, or a negative errno.
 */
int cache_index_copy(const struct cache *cache);

/* On the control thread, after cache_rows_swap(): that was of the old ones. */
void cache_rows_moved(struct cache *cache);

/* The inode of its rows, as its newest order names it. */
uint64_t cache_rows_inode(const struct cache *cache);

/* Does every layer hold every token? Of a frozen cache. */
bool cache_is_exact(const struct cache *cache);

/* Makes the next piece of rows present. Return: true while there is more. */
bool cache_fault_in(struct cache *cache);

/* A consistent look at the newest order's head; for list and inspect. */
struct cache_look {
	uint64_t tail;
	uint64_t generation;
	uint64_t base_tail;
	uint64_t free;
	uint32_t held; /* of the deepest layer */
	uint32_t capacity;
};
void cache_look(const struct cache *cache, struct cache_look *ret);

/* The levels and walks of the newest order. */
const struct shm_level *cache_levels(const struct cache *cache);
const uint32_t *cache_walks(const struct cache *cache, uint32_t layer);

/* The writer's word, but a step stalls once at most. */
uint64_t cache_stalls(const struct cache *cache);

/* Entries of one head in the newest order. */
const void *cache_order(const struct cache *cache, uint32_t layer,
			uint32_t head);

/*
 * What a commit word says under the newest order; and the writer's, or what was
 * recorded of it when the cache was frozen.
 */
uint64_t cache_commit_under(const struct cache *cache, uint64_t word);
uint64_t cache_commit(const struct cache *cache);

/* Is that word, just loaded, one of an honest writer? On the cache's worker. */
enum compact_fault cache_check_word(const struct cache *cache, uint64_t word);

/* 0, or why the cache is quarantined. */
enum compact_fault cache_fault(const struct cache *cache);

/* The same, after a look at the writer's words; for a cache without a lease. */
enum compact_fault cache_check(struct cache *cache);

#endif /* TREEKVD_CACHE_H */
