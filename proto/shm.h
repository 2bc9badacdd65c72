/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ABI of a cache: two memfds, every byte of which has exactly one writer.
 *
 *   rows   written by the writer (an inference process). K and V rows, two
 *          scores, since and token per row, the ids of the first tokens, and
 *          the words head, commit, seen, note[2]. The daemon fills in the
 *          constants of struct shm_rows before it hands the memfd out and
 *          writes nothing afterwards.
 *   index  written by the daemon. The spec, the table of layers, epoch,
 *          generation, armed, waiting, counters and two buffers, each with an
 *          order and a rank for every (layer, head). Generation g is in buffer
 *          g & 1.
 *
 * Offsets count bytes from the start of a memfd (or of a buffer, where said)
 * and are the same for every process; there is no pointer in shared memory.
 * All integers are little-endian, as all machines are that this runs on.
 *
 * A slot numbers a row within one (layer, head). Rows of one head lie side by
 * side, so an attention kernel scans 0 <= slot < capacity densely and learns
 * each row's place from rank[slot].
 *
 * In a fork (parent_capacity != 0) slots are numbered through: first those of
 * the parent's rows, 0 <= slot < parent_capacity, then the own ones. So a slot
 * is at once the index into every array by slot, whosever it is, and policies,
 * orders and scores need not know of forks; no bit of an entry is spent on it.
 * Only K and V lie in two places: a parent's row is where it is in the
 * parent's rows (layout_parent() says where), an own one is row number slot -
 * parent_capacity of the own K and V. A parent's slot that is not live never
 * becomes so again: in an order those come last, behind the free ones.
 *
 * Beside what design asks of a row there is its token: the number of the token
 * it belongs to. since is no substitute after a prefill, where it is raised to
 * the start of the window, and whoever keeps original positions needs it.
 */
#ifndef TREEKV_SHM_H
#define TREEKV_SHM_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define SHM_ROWS_MAGIC	UINT64_C(0x3153574f52564b54) /* "TKVROWS1" */
#define SHM_INDEX_MAGIC UINT64_C(0x3158444e49564b54) /* "TKVINDX1" */
#define SHM_VERSION	1

#define SHM_LINE       128 /* one hot word each: a pair of cache lines */
#define SHM_NOTE_SIZE  256
#define SHM_NAME_MAX   127
#define SHM_NAME_FULL  (SHM_NAME_MAX + 12) /* with "@4294967295/" before it */
#define SHM_MODEL_SIZE 32

#define SHM_LAYERS_MAX	 512
#define SHM_KV_HEADS_MAX 512
#define SHM_ROW_MAX	 65536 /* bytes of one K or V row */
#define SHM_CAPACITY_MAX (1U << 24) /* rows of one (layer, head) */
#define SHM_IDS_MAX	 (1U << 28)
#define SHM_TAIL_MAX	 UINT64_C(0xfffffffe) /* tokens: since and token are u32 */

/* Entries are u16 up to this many slots, u32 beyond. */
#define SHM_ENTRY16_MAX 32767
#define SHM_FREE16	UINT16_C(0xffff) /* rank of a free slot */
#define SHM_FREE32	UINT32_C(0xffffffff)

enum shm_dtype {
	SHM_DTYPE_F32 = 1,
	SHM_DTYPE_F16 = 2,
	SHM_DTYPE_BF16 = 3,
};

enum shm_policy {
	SHM_POLICY_TREEKV = 1,
	SHM_POLICY_TREEKV_LEFT = 2,
	SHM_POLICY_TREEKV_SKIP = 3,
	SHM_POLICY_STREAMING = 4,
	SHM_POLICY_H2O = 5,
	SHM_POLICY_TOVA = 6,
	SHM_POLICY_FULL = 7,
};

enum shm_positions {
	SHM_POSITIONS_RANK = 1, /* the k-th row of the cache is at k */
	SHM_POSITIONS_ORIGINAL = 2, /* a row stays at its token's number */
};

/*
 * What a cache is. Everything but slack and ids, together with the budgets in
 * the table of layers, is its fingerprint.
 */
struct shm_spec {
	uint8_t model[SHM_MODEL_SIZE]; /* hash of the weights' bytes */
	uint32_t layers;
	uint32_t kv_heads;
	uint32_t k_row; /* bytes */
	uint32_t v_row;
	uint32_t dtype;
	uint32_t policy;
	uint32_t positions;
	uint32_t sinks;
	uint32_t recent;
	uint32_t slack;
	uint32_t ids; /* token ids kept: those of the first tokens */
	uint32_t entry_size; /* 2 or 4 */
};

/* One layer: constant from creation on. Strides are from head to head. */
struct shm_layer {
	uint32_t budget;
	uint32_t capacity; /* own slots: room, less what is pinned */
	uint32_t parent_capacity; /* slots in the parent's rows, 0: no fork */
	uint32_t slots; /* capacity + parent_capacity */
	uint32_t pinned; /* the first ranks, of the parent, that stay */
	uint32_t reserved;
	uint64_t k, k_stride; /* in rows: K of the first own slot, head 0 */
	uint64_t v, v_stride;
	uint64_t score, score_stride; /* in rows: float[2][slots], padded */
	uint64_t score_pad; /* from score[0] to score[1] of a head */
	uint64_t since, since_stride; /* in rows: uint32_t[slots] */
	uint64_t token, token_stride; /* in rows: uint32_t[slots] */
	uint64_t order, order_stride; /* in a buffer: entry[slots] */
	uint64_t rank, rank_stride; /* in a buffer: entry[slots] */
};

/* The head of a buffer, then its levels, walks, orders and ranks. */
struct shm_buffer {
	uint64_t generation;
	uint64_t base_tail; /* the tail its order speaks of */
	uint64_t free; /* tokens that fit beyond base_tail, in every head */
	uint64_t ring_at; /* the tail from which the writer rings */
	uint64_t rows_inode;
	uint64_t rows_epoch; /* raised when rows was copied to a new memfd */
	uint64_t prefill; /* 0, or a packed commit: shm_commit_under() */
	uint64_t reserved[9];
};

/* Per layer in a buffer. */
struct shm_level {
	uint32_t n_live; /* rows held at base_tail */
	uint32_t budget;
	uint32_t capacity;
	uint32_t parent_capacity;
};

enum shm_cache_flags {
	SHM_CACHE_EPHEMERAL = 1 << 0, /* dropped when its lease ends */
	SHM_CACHE_FROZEN = 1 << 1, /* rows is sealed, its words do not count */
	SHM_CACHE_EVICT_PREFIX = 1 << 2, /* a fork, nothing of it is pinned */
	SHM_CACHE_HUGE = 1 << 3, /* rows is in huge pages */
	SHM_CACHE_INDEX_HUGE = 1 << 4,
	SHM_CACHE_DROPPED = 1 << 5, /* it has no name any more */
	SHM_CACHE_PINNED = 1 << 6, /* it stays in memory */
	SHM_CACHE_ANONYMOUS = 1 << 7, /* the daemon has named it */
	SHM_CACHE_PARKED = 1 << 8, /* it goes on elsewhere, from disk */
	SHM_CACHE_SHARED = 1 << 9, /* its group's name, not its owner's */
};

struct shm_index {
	/* Constants, but for what leases and freezing change. */
	uint64_t magic;
	uint32_t version;
	uint32_t header_size;
	uint64_t index_size; /* of the memfd */
	uint64_t rows_size;
	uint64_t cache_id;
	uint64_t created; /* seconds since 1970 */
	uint64_t layers; /* offset of struct shm_layer[spec.layers] */
	uint64_t buffer[2]; /* offsets */
	uint64_t buffer_size;
	uint64_t level; /* in a buffer: struct shm_level[layers] */
	uint64_t walk; /* in a buffer: uint32_t[layers][kv_heads], 1-based */
	uint64_t ids; /* in rows: uint32_t[spec.ids] */
	struct shm_spec spec;
	uint32_t flags;
	uint32_t uid;
	uint32_t gid;
	uint32_t mode;
	char name[SHM_NAME_MAX + 1];
	uint64_t parent_id; /* 0: no fork */
	uint64_t parent_inode; /* of its rows */
	uint64_t frozen_tail; /* with FROZEN: instead of commit */
	uint64_t lease_id; /* 0: nobody writes */
	uint64_t lease_start; /* tells the process from a later one of its pid */
	uint32_t lease_pid;
	uint32_t lease_uid;
	uint64_t lease_nonce; /* of the request that got the lease, or 0 */
	uint64_t create_nonce; /* of the one that made the cache, or 0 */
	uint64_t snapshot_mark; /* tells what the latest snapshot holds */
	uint64_t snapshot_taken; /* seconds since 1970; 0: never */
	uint64_t ttl; /* seconds that it may be idle; 0: for ever */
	uint64_t frozen_parity; /* with FROZEN: that of commit */
	uint32_t parent_ids; /* spec.ids of the parent */
	uint32_t rows_uid; /* who has had rows writable; UINT32_MAX: nobody */
	uint8_t reserved[3456 - 432];

	/* Words that change; one line each. */
	_Alignas(SHM_LINE) uint64_t generation; /* FUTEX_WAIT: its low half */
	_Alignas(SHM_LINE) uint64_t epoch; /* raised by each new daemon */
	_Alignas(SHM_LINE) uint64_t armed; /* ring: nobody is looking */
	_Alignas(SHM_LINE) uint64_t waiting; /* ring once seen is stored */
	_Alignas(SHM_LINE) uint64_t compactions; /* publications */
	uint64_t evictions; /* tokens taken out, of the deepest layer */
	uint64_t last_used; /* seconds since 1970 */
	uint64_t quarantined; /* 0: sound */
};

/* What the writer keeps beside the rows. */
struct shm_rows {
	/* Constants, written by the daemon before anybody else maps this. */
	uint64_t magic;
	uint32_t version;
	uint32_t header_size;
	uint64_t cache_id;
	uint64_t rows_size;

	_Alignas(SHM_LINE) uint64_t commit; /* tail << 1 | parity */
	_Alignas(SHM_LINE) uint64_t head; /* slots up to here may be dirty */
	_Alignas(SHM_LINE) uint64_t seen; /* the generation in use */
	_Alignas(SHM_LINE) uint64_t stalls;
	uint64_t stall_ns;
	uint64_t adoptions;
	uint64_t rings;
	_Alignas(SHM_LINE) uint8_t note[2][SHM_NOTE_SIZE];
};

static_assert(sizeof(struct shm_spec) == 80, "ABI");
static_assert(sizeof(struct shm_layer) == 144, "ABI");
static_assert(sizeof(struct shm_buffer) == 128, "ABI");
static_assert(sizeof(struct shm_level) == 16, "ABI");
static_assert(offsetof(struct shm_index, generation) == 3456, "ABI");
static_assert(sizeof(struct shm_index) == 4096, "ABI");
static_assert(offsetof(struct shm_rows, commit) == 128, "ABI");
static_assert(offsetof(struct shm_rows, head) == 256, "ABI");
static_assert(offsetof(struct shm_rows, seen) == 384, "ABI");
static_assert(offsetof(struct shm_rows, note) == 640, "ABI");
static_assert(sizeof(struct shm_rows) == 1152, "ABI");
static_assert(SHM_CAPACITY_MAX < SHM_FREE32, "a rank fits an entry");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian ABI");

/* Rows of one head that there is room for: the slack is beyond the budget. */
static inline uint32_t shm_room(const struct shm_spec *spec, uint32_t budget)
{
	return spec->policy == SHM_POLICY_FULL ? budget : budget + spec->slack;
}

/* Ranks below this one are never evicted. */
static inline uint32_t shm_kept(const struct shm_spec *spec,
				const struct shm_layer *layer)
{
	return layer->pinned > spec->sinks ? layer->pinned : spec->sinks;
}

static inline uint64_t shm_commit_tail(uint64_t commit)
{
	return commit >> 1;
}

static inline unsigned int shm_commit_parity(uint64_t commit)
{
	return commit & 1;
}

static inline uint64_t shm_commit_pack(uint64_t tail, unsigned int parity)
{
	return tail << 1 | parity;
}

/*
 * What the word commit stands for under an order with that prefill. A prompt is
 * committed by the publication of the order that names its survivors: one
 * store, the daemon's. The writer's own word follows when he takes that order
 * into use, or his successor's does; until then the order's counts. Whoever
 * reads commit reads it through this, with the prefill of the very buffer whose
 * base_tail it is compared with.
 */
static inline uint64_t shm_commit_under(uint64_t commit, uint64_t prefill)
{
	return shm_commit_tail(commit) < shm_commit_tail(prefill) ? prefill :
								    commit;
}

#endif /* TREEKV_SHM_H */
