/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file that a snapshot is: what it takes to make the very same cache again,
 * as it stood at one commit. Pure: no I/O, so that hostile headers can be
 * thrown at it by the thousand.
 *
 * A header of one page, then the sections, each from a page's start and padded
 * with zeroes to a whole number of pages. Every byte of the file is covered by
 * an XXH3-64: the header's own, or that of a section, padding included. The
 * sizes of all sections follow from the header and the table of layers; what
 * the header says of them is compared with that, never relied upon.
 *
 * Of each head only the slots up to the highest live one are kept (used): a
 * cache that has never been full is short. Where they lie is kept in whole
 * pages of the rows memfd, as they are, padding between heads and all, so that
 * a disk can write and read them without the bytes being moved once more: the
 * file is as aligned as the memory. Hence it depends on how rows are laid out,
 * and the header has a hash of that as well. struct shm_rows, in the first
 * page, is zeroes.
 */
#ifndef TREEKVD_SNAPSHOT_FORMAT_H
#define TREEKVD_SNAPSHOT_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/access.h"
#include "daemon/name.h"
#include "proto/shm.h"

#define SNAPSHOT_MAGIC	 UINT64_C(0x3150414e53564b54) /* "TKVSNAP1" */
#define SNAPSHOT_VERSION 3
#define SNAPSHOT_PAGE	 UINT64_C(4096)
#define SNAPSHOT_FLAGS                                               \
	(SHM_CACHE_FROZEN | SHM_CACHE_PINNED | SHM_CACHE_ANONYMOUS | \
	 SHM_CACHE_SHARED)

enum snapshot_section {
	SNAPSHOT_LAYERS, /* struct snapshot_layer[layers] */
	SNAPSHOT_WALKS, /* uint32_t[layers][kv_heads] */
	SNAPSHOT_ORDERS, /* a head: entry[capacity] */
	SNAPSHOT_SCORES, /* a head: float[used], of the committed half */
	SNAPSHOT_ROWS, /* pages with ids, K, V, since, token of what is used */
	SNAPSHOT_SECTIONS,
};

struct snapshot_part {
	uint64_t at; /* in the file */
	uint64_t size; /* padded to pages */
	uint64_t hash;
};

struct snapshot_layer {
	uint32_t budget;
	uint32_t capacity;
	uint32_t n_live; /* at base_tail */
	uint32_t used; /* slots kept */
};

struct snapshot_header {
	uint64_t magic;
	uint32_t version;
	uint32_t header_size;
	uint64_t hash; /* of the page, with this word 0 */
	uint64_t file_size;
	uint64_t layout; /* hash of where everything lies in rows */
	uint64_t taken; /* seconds since 1970 */
	struct shm_spec spec;
	uint32_t uid;
	uint32_t gid;
	uint32_t mode;
	uint32_t flags; /* enum shm_cache_flags; none that are about memory */
	char name[SHM_NAME_MAX + 1];
	uint64_t tail;
	uint64_t parity;
	uint64_t generation;
	uint64_t base_tail;
	uint64_t created;
	uint64_t last_used;
	uint64_t compactions;
	uint64_t evictions;
	uint64_t ttl;
	uint8_t note[SHM_NOTE_SIZE];
	struct snapshot_part part[SNAPSHOT_SECTIONS];
};

static_assert(sizeof(struct snapshot_header) == 720, "file format");
static_assert(sizeof(struct snapshot_layer) == 16, "file format");

/* A header and its table of layers. */
struct snapshot_info {
	struct snapshot_header header;
	struct snapshot_layer layers[];
};

struct snapshot_info *snapshot_info_new(uint32_t layers); /* zeroed, or NULL */

/* Whose name it has (name.h), and who may do what with it. */
static inline uint64_t snapshot_space(const struct snapshot_header *header)
{
	/* Of a header that has been read: snapshot_look() says so by 0. */
	/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult) */
	return header->flags & SHM_CACHE_SHARED ? NAME_GROUP | header->gid :
						  header->uid;
}

static inline struct access_what
snapshot_what(const struct snapshot_header *header)
{
	return (struct access_what){ header->uid, header->gid, header->mode };
}

/* Why a file is refused. */
struct snapshot_error {
	char text[512];
};

/**
 * snapshot_plan - fill in where the sections are, layout and file_size
 * @layers: of the cache
 * @ids: their offset in its rows
 */
void snapshot_plan(struct snapshot_info *info, const struct shm_layer *layers,
		   uint64_t ids);

/* Writes the header's page, hash included. */
void snapshot_seal(void *page, const struct snapshot_header *header);

/**
 * snapshot_header_check - is this page the header of a snapshot?
 * @page: SNAPSHOT_PAGE bytes
 * @file_size: of the file it was read from
 * @why: set when it is not
 *
 * Return: 0, -EPROTO another version, -EBADMSG anything else.
 */
int snapshot_header_check(struct snapshot_header *ret, const void *page,
			  uint64_t file_size, struct snapshot_error *why);

/**
 * snapshot_info_check - do header and layers make a cache that can be?
 * @info: header passed snapshot_header_check()
 *
 * Return: 0, -EBADMSG, -ENOMEM.
 */
int snapshot_info_check(const struct snapshot_info *info,
			struct snapshot_error *why);

/* As much of a file as tells what it is: header and layers. */
#define SNAPSHOT_LOOK \
	(SNAPSHOT_PAGE + SHM_LAYERS_MAX * sizeof(struct snapshot_layer))

static_assert(SNAPSHOT_LOOK % SNAPSHOT_PAGE == 0, "layers are padded to pages");

/**
 * snapshot_look - header and layers, checked
 * @ret: to be freed by free()
 * @bytes: the first @size of a file, SNAPSHOT_LOOK or all of them
 * @file_size: all
 * @space: whose name it has to have (name.h)
 *
 * Return: 0, -EPROTO another version, -EBADMSG damaged or foreign, -ENOMEM.
 */
int snapshot_look(struct snapshot_info **ret, const void *bytes, uint64_t size,
		  uint64_t file_size, uint64_t space, const char *name,
		  struct snapshot_error *why);

const char *snapshot_section_name(unsigned int section);

/* XXH3-64 of @size bytes. */
uint64_t snapshot_hash(const void *bytes, uint64_t size);

/* ---- the sections' bytes, from first to last ---- */

/* Where they come from or go to. */
struct snapshot_shape {
	const struct snapshot_info *info;
	const struct shm_layer *layers; /* of the cache */
	uint64_t ids; /* offset in rows */
	void *memory[SNAPSHOT_ROWS]; /* the sections before SNAPSHOT_ROWS */
};

struct snapshot_cursor {
	unsigned int section;
	uint64_t done; /* bytes of that section */
	uint64_t piece; /* of rows: the next array of a head to look at */
	uint64_t at, end; /* of rows: pages that are left of those before it */
};

/* A run of bytes: memory, or else pages of rows, or else padding. */
struct snapshot_run {
	unsigned int section;
	uint8_t *memory;
	uint64_t rows_at; /* 0: the page of struct shm_rows, by itself */
	uint64_t size;
	bool in_rows;
};

/* The next run of @max bytes at most. Return: false at the end. */
bool snapshot_next(const struct snapshot_shape *shape,
		   struct snapshot_cursor *cursor, uint64_t max,
		   struct snapshot_run *ret);

/* Bytes of a section before SNAPSHOT_ROWS without its padding. */
uint64_t snapshot_payload(const struct snapshot_info *info,
			  unsigned int section);

#endif /* TREEKVD_SNAPSHOT_FORMAT_H */
