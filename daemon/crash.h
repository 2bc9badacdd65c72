/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fault build (-DTREEKV_FAULTS) kills itself at a point named by
 * TREEKV_CRASH_AT=POINT[:N], the N-th time it comes there, by SIGKILL. So that
 * the successor, which has the same environment, goes on, the file named by
 * TREEKV_CRASH_FUSE must be there and is removed. If that is a FIFO, the thread
 * does not die but stays at that point until somebody opens the other end. In
 * any other build the points are nothing. --print-crash-points lists the table.
 */
#ifndef TREEKVD_CRASH_H
#define TREEKVD_CRASH_H

#define CRASH_POINTS(POINT)                                         \
	POINT(CREATE_MADE, "create-made") /* memfds, not listed */  \
	POINT(CREATE_LISTED, "create-listed")                       \
	POINT(CREATE_SENT, "create-sent") /* to the manager */      \
	POINT(CREATE_KEPT, "create-kept") /* by it, not answered */ \
	POINT(LEASE_BEGUN, "lease-begun") /* not recorded */        \
	POINT(LEASE_RECORDED, "lease-recorded")                     \
	POINT(LEASE_ANSWERED, "lease-answered")                     \
	POINT(LEASE_ENDED, "lease-ended")                           \
	POINT(COMPACT_BEGUN, "compact-begun")                       \
	POINT(COMPACT_TURN, "compact-turn") /* between heads */     \
	POINT(PUBLISH, "publish")                                   \
	POINT(PUBLISHED, "published") /* nobody is woken */         \
	POINT(REST, "rest") /* neither armed nor waiting yet */     \
	POINT(DROP_MARKED, "drop-marked")                           \
	POINT(DROP_UNNAMED, "drop-unnamed")                         \
	POINT(DROP_FORGOTTEN, "drop-forgotten")                     \
	POINT(BREAK_COPIED, "break-copied")                         \
	POINT(BREAK_KEPT, "break-kept")                             \
	POINT(BREAK_PUBLISHED, "break-published")                   \
	POINT(FREEZE_SEALED, "freeze-sealed") /* not on record */   \
	POINT(FREEZE_RECORDED, "freeze-recorded")                   \
	POINT(PARK_BEGUN, "park-begun")                             \
	POINT(PARK_SAVED, "park-saved") /* in memory as well */     \
	POINT(PARK_DROPPED, "park-dropped") /* not forgotten */     \
	POINT(SNAPSHOT_CUT, "snapshot-cut")                         \
	POINT(SNAPSHOT_WRITTEN, "snapshot-written") /* no name */   \
	POINT(SNAPSHOT_RENAMED, "snapshot-renamed")                 \
	POINT(GIVE_BEGUN, "give-begun") /* to another on disk */    \
	POINT(GIVE_LINKED, "give-linked") /* both have a name */    \
	POINT(GIVE_WRITTEN, "give-written") /* his alone is true */ \
	POINT(RESTORE_FILLED, "restore-filled") /* nobody's yet */  \
	POINT(RESTORE_SENT, "restore-sent") /* to the manager */    \
	POINT(RESTORE_KEPT, "restore-kept") /* not answered */      \
	POINT(PREFILL_ASKED, "prefill-asked")                       \
	POINT(PREFILL_TURN, "prefill-turn") /* between heads */     \
	POINT(PREFILL_PUBLISH, "prefill-publish")                   \
	POINT(PREFILL_PUBLISHED, "prefill-published")               \
	POINT(PREFILL_ANSWERED, "prefill-answered")

enum crash_point {
#define CRASH_ENUM(id, name) CRASH_##id,
	CRASH_POINTS(CRASH_ENUM)
#undef CRASH_ENUM
	CRASH_COUNT
};

#ifdef TREEKV_FAULTS
void crash_at(enum crash_point point);
void crash_print_points(void);
#else
static inline void crash_at(enum crash_point point)
{
	(void)point;
}
#endif

#endif /* TREEKVD_CRASH_H */
