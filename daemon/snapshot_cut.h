/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The moment of a snapshot: everything of a cache that does not stay as it is
 * while the rows are being read, copied at one commit. Pure but for the memory
 * it takes; the cache's worker calls it.
 */
#ifndef TREEKVD_SNAPSHOT_CUT_H
#define TREEKVD_SNAPSHOT_CUT_H

#include "daemon/snapshot_format.h"

struct snapshot_cut {
	struct snapshot_info *info; /* planned; without owner and times */
	void *memory[SNAPSHOT_ROWS]; /* the sections before that */
	uint64_t limit; /* rows are intact while head is not beyond */
	uint64_t rows_inode;
};

/**
 * snapshot_cut_init - room for the cuts of one cache
 *
 * Return: 0, -ENOMEM, -EOPNOTSUPP a fork.
 */
int snapshot_cut_init(struct snapshot_cut *cut, const struct shm_index *index);
void snapshot_cut_exit(struct snapshot_cut *cut);

/**
 * snapshot_cut_take - copy order, walk, committed scores and note
 *
 * Return: 0; -EAGAIN the writer committed meanwhile: again; -EUCLEAN his words
 * are lies.
 */
int snapshot_cut_take(struct snapshot_cut *cut, const struct shm_index *index,
		      const struct shm_rows *rows);

/* Were the rows that have been read until now those of the cut? */
bool snapshot_cut_holds(const struct snapshot_cut *cut,
			const struct shm_index *index,
			const struct shm_rows *rows);

#endif /* TREEKVD_SNAPSHOT_CUT_H */
