/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * DOC: libtreekv, the client library of treekvd
 *
 * A *cache* is one sequence's keys and values: layers x kv_heads x capacity
 * rows of K and of V, in shared memory that the daemon owns and holds at a
 * fixed budget of tokens (TreeKV, IJCAI 2025). A program attaches as its one
 * writer and then runs *steps*:
 *
 *	treekv_step_begin(cache, ids, n, timeout);
 *	for each layer:
 *		treekv_append(cache, layer, k, v);
 *		for each kv head:
 *			treekv_view(cache, layer, head, &view);
 *			... attend over view.slots rows ...
 *			treekv_observe(cache, layer, head, 0, weights, ...);
 *	treekv_commit(cache, n);
 *
 * Other programs may attach as readers meanwhile (TREEKV_READ), who see rows and
 * order as of some commit, whole or not at all:
 *
 *	do {
 *		treekv_read_begin(cache);
 *		... treekv_view(), look at rows ...
 *	} while (treekv_read_end(cache) == -EAGAIN);
 *
 * Nothing between begin and commit allocates, locks, copies rows that exist
 * already or makes a system call. Commit makes one, an eventfd write, once per
 * batch; begin sleeps only when the slack is used up (a *stall*).
 *
 * Errors: functions return 0 (or a count, where said) or a negative errno, and
 * treekv_error() then has a text for people: what was attempted, on what, and
 * what to do.
 *
 * Processes: a lease belongs to the process that opened the cache. A child made
 * by fork() does not inherit it: its mapping of the rows is gone, and it opens
 * connections and caches of its own.
 *
 * Threads: a struct treekv and every cache attached through it may be used by
 * one thread at a time, but for the functions marked "parallel", which
 * different threads may call on different layers or heads of one step.
 */
#ifndef TREEKV_H
#define TREEKV_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TREEKV_VERSION	  "0.1.0"
#define TREEKV_MODEL_SIZE 32
#define TREEKV_NOTE_SIZE  256
#define TREEKV_NAME_MAX	  127
#define TREEKV_NAME_FULL  139 /* as the daemon says it: "@GID/NAME" */
#define TREEKV_FREE	  UINT32_C(0xffffffff) /* rank of a slot that holds nothing */

struct treekv; /* a connection */
struct treekv_cache; /* an attached cache */

enum treekv_dtype {
	TREEKV_F32 = 1,
	TREEKV_F16 = 2,
	TREEKV_BF16 = 3,
};

/* What a full cache gives up; method.md's names. */
enum treekv_policy {
	TREEKV_POLICY_TREEKV = 1, /* Algorithm 1 */
	TREEKV_POLICY_TREEKV_LEFT = 2, /* §5.4: always the older of the two */
	TREEKV_POLICY_TREEKV_SKIP = 3, /* Algorithm 1, line 16 as printed */
	TREEKV_POLICY_STREAMING = 4, /* sinks and the most recent */
	TREEKV_POLICY_H2O = 5, /* the lowest accumulated attention */
	TREEKV_POLICY_TOVA = 6, /* the lowest weight of the last token */
	TREEKV_POLICY_FULL = 7, /* nothing: a step that does not fit fails */
};

/* How a prompt is compressed (§4.2): as a policy would, or by SnapKV. */
enum treekv_prefill_method {
	TREEKV_PREFILL_POLICY = 0, /* as the cache's policy has it */
	TREEKV_PREFILL_TREEKV = 1, /* the walk over blocks, by window scores */
	TREEKV_PREFILL_TREEKV_LEFT = 2, /* §5.4: it takes the older of two */
	TREEKV_PREFILL_TREEKV_SKIP = 3, /* line 16 as printed */
	TREEKV_PREFILL_STREAMING = 4, /* sinks and the most recent */
	TREEKV_PREFILL_H2O = 5, /* the highest attention of all queries */
	TREEKV_PREFILL_TOVA = 6, /* the highest weights of the last query */
	TREEKV_PREFILL_FULL = 7, /* everything: it must fit */
	TREEKV_PREFILL_SNAPKV = 8, /* the highest pooled window scores */
};

/* What snapkv makes of a token's score and its neighbours'. */
enum treekv_pooling {
	TREEKV_POOLING_HIGHEST = 0,
	TREEKV_POOLING_MEAN = 1,
};

enum treekv_positions {
	TREEKV_POSITIONS_RANK =
		1, /* re-assigned by order in the cache (§5.2) */
	TREEKV_POSITIONS_ORIGINAL = 2, /* the token's own number */
};

/**
 * struct treekv_spec - what a cache is
 * @model: hash of the weights' bytes, never of a file name
 * @layers: number of layers, 1 to 512
 * @kv_heads: KV heads of a layer, 1 to 512
 * @k_row: bytes of one K row: one token, one head, before rotary embedding
 * @v_row: bytes of one V row
 * @dtype: of the elements; the daemon does not look into rows
 * @policy: what a full cache gives up
 * @positions: how the engine numbers rows
 * @budget: tokens held per layer and head, when @budgets is NULL
 * @budgets: @layers budgets, or NULL; not kept after the call
 * @sinks: first tokens that are never evicted
 * @recent: newest tokens that are never evicted
 * @slack: tokens that fit beyond the budget before a step must wait
 * @ids: how many token ids are kept, those of the sequence's first tokens
 * @ttl: seconds that the cache may be idle before it leaves memory, 0: for ever;
 *	of an existing one it stays what it was
 * @mode: of a cache that is made: who may read and write it, as a file's, 0600
 *	or 0640 for example; 0: 0600, and 0660 for a group's
 *
 * All but @slack, @ids, @ttl and @mode are the *fingerprint*: attaching with
 * another one is refused with both sides named. The selected region, m = budget -
 * sinks - recent, is at least 1 for the treekv policies.
 */
struct treekv_spec {
	uint8_t model[TREEKV_MODEL_SIZE];
	uint32_t layers;
	uint32_t kv_heads;
	uint32_t k_row;
	uint32_t v_row;
	enum treekv_dtype dtype;
	enum treekv_policy policy;
	enum treekv_positions positions;
	uint32_t budget;
	const uint32_t *budgets;
	uint32_t sinks;
	uint32_t recent;
	uint32_t slack;
	uint32_t ids;
	uint64_t ttl;
	uint32_t mode;
};

/**
 * struct treekv_span - slots whose rows lie side by side
 * @k: row of the span's first slot; its i-th is at k + i * k_stride
 * @v: likewise
 * @slots: how many
 */
struct treekv_span {
	const void *k;
	const void *v;
	uint32_t slots;
};

/**
 * struct treekv_view - the rows of one (layer, head), to scan densely
 * @k: row of slot 0; slot s is at k + s * k_stride. NULL in a fork, whose rows
 *	are in two places: use @span, which has them for any cache
 * @v: likewise
 * @k_stride: bytes from slot to slot, the spec's k_row
 * @v_stride: likewise
 * @rank: @slots ranks; TREEKV_FREE: the slot holds nothing, give it weight 0
 * @token: @slots token numbers (the original positions)
 * @slots: how many slots there are: the layer's capacity, in a fork its
 *	parent's included
 * @live: how many hold a row, those of the running step included; ranks are
 *	0 to live - 1, oldest first
 * @spans: 1, or 2 in a fork
 * @span: the slots again, span by span: span[0] has the first span[0].slots of
 *	them (in a fork those of its parent), span[1] the rest. Ranks, tokens
 *	and weights are numbered through
 *
 * Valid until the next treekv_step_begin(), treekv_rewind(), commit of fewer
 * tokens than the step has, treekv_prefill_commit(), treekv_settle() or detach. In the
 * rank mode the row of rank r has position r and the newest query position
 * live - 1 (it shares its own key's); with several tokens a step, query j of n
 * has position live - n + j and must not see higher ranks.
 */
struct treekv_view {
	const void *k;
	const void *v;
	size_t k_stride;
	size_t v_stride;
	const uint32_t *rank;
	const uint32_t *token;
	uint32_t slots;
	uint32_t live;
	uint32_t spans;
	struct treekv_span span[2];
};

/**
 * struct treekv_prefill - how a prompt is compressed; all 0: the defaults
 * @method: which of its tokens stay
 * @budget: how many may stay, where that is less than a layer's budget; 0: as
 *	many as the budget
 * @block: tokens that stay or leave together (treekv, treekv-left,
 *	treekv-skip); 0: 16
 * @window: last tokens that stay and, but for h2o and tova, whose queries make
 *	up the scores. 0: 32, or half of what the sinks leave of a small budget;
 *	for h2o and tova the spec's recent ones, or half of what the sinks leave
 *	where @budget is less than the layer's, or the policy full
 * @pooling: how snapkv pools
 * @kernel: tokens that it pools over, odd; 0: 7, 1: it does not pool
 *
 * With P tokens, budget c, s sinks, window W, block b: a prompt with P <= c
 * stays whole, whatever the method. Else there stay
 *
 *   treekv...  the sinks, the last W + rem tokens, rem = (P - s - W) mod b,
 *              and what the walk (Algorithm 1) leaves of the blocks between, at
 *              a budget of (c - s - W - rem) / b blocks, rounded down. Where rem
 *              does not fit, its newest tokens stay, and no block does
 *   snapkv     the sinks, the window, and the c - s - W highest pooled scores
 *   h2o, tova  the sinks, the window, as far as it fits, and the highest scores
 *   streaming  the sinks and the c - s last tokens
 *
 * Sinks and window must fit into each layer's budget. Scores: of h2o every
 * query's attention, of tova the last one's, else that of the last W queries.
 * Equal scores: the newer stays.
 */
struct treekv_prefill {
	enum treekv_prefill_method method;
	uint32_t budget;
	uint32_t block;
	uint32_t window;
	enum treekv_pooling pooling;
	uint32_t kernel;
};

/**
 * struct treekv_counters - what an attached cache has been through
 * @tail: tokens committed since the cache was created
 * @held: rows held now, of the deepest layer
 * @generation: of the order in use
 * @compactions: publications since the cache was created
 * @stalls: steps that had to wait for the daemon (settling is no stall)
 * @stall_ns: how long they waited
 * @reconnects: times this handle had to reconnect
 * @attach_ns: what attaching took, from the request to the first view
 * @bytes: of the cache's shared memory
 * @shared_bytes: of its parent's rows, which other forks use as well
 * @huge: rows is in huge pages
 * @created: this attach made the cache
 */
struct treekv_counters {
	uint64_t tail;
	uint64_t held;
	uint64_t generation;
	uint64_t compactions;
	uint64_t stalls;
	uint64_t stall_ns;
	uint64_t reconnects;
	uint64_t attach_ns;
	uint64_t bytes;
	uint64_t shared_bytes;
	int huge;
	int created;
};

/* The text of this thread's last error; "" when there was none. */
const char *treekv_error(void);

/* The name of a policy ("treekv-left"), NULL for a number that is none. */
const char *treekv_policy_name(enum treekv_policy policy);

/* Return: 0, -EINVAL for a name that is none (the text lists them). */
int treekv_policy_parse(enum treekv_policy *ret, const char *name);

/* The same of a prefill method; that of POLICY is "policy". */
const char *treekv_prefill_name(enum treekv_prefill_method method);
int treekv_prefill_parse(enum treekv_prefill_method *ret, const char *name);

/**
 * treekv_connect - connect to the daemon
 * @ret: the connection
 * @socket: path, or NULL: $TREEKV_SOCKET, else /run/treekvd/treekvd.sock
 *
 * Return: 0; -ENOENT or -ECONNREFUSED when no daemon listens there, -EACCES,
 * -EPROTO when daemon and library share no protocol version, -ENAMETOOLONG,
 * -ETIMEDOUT it hangs, -ECONNRESET, -EMFILE, -ENOMEM.
 */
int treekv_connect(struct treekv **ret, const char *socket);

/**
 * treekv_connect_ahead - the same, without waiting for the daemon's greeting
 * @ret: the connection
 * @socket: as there
 *
 * The first call that asks the daemon something is sent along: one round trip
 * less until a cache is attached. What treekv_connect() returns of a daemon
 * that is there (-EPROTO, -ETIMEDOUT, -ECONNRESET), that call returns.
 *
 * Return: 0; as treekv_connect() where no daemon takes the connection.
 */
int treekv_connect_ahead(struct treekv **ret, const char *socket);

/* Closes a connection; its caches must be detached. Takes NULL, returns it. */
struct treekv *treekv_close(struct treekv *kv);

enum treekv_open_flags {
	TREEKV_CREATE = 1 << 0, /* make the cache when there is none */
	TREEKV_EXCLUSIVE = 1 << 1, /* with CREATE: fail when there is one */
	TREEKV_EPHEMERAL = 1 << 2, /* drop it when its writer ends */
	TREEKV_READ = 1 << 3, /* attach as a reader; goes with nothing else */
	TREEKV_EVICT_PREFIX = 1 << 4, /* treekv_fork(): it is not pinned */
	TREEKV_COMPACTED = 1
			   << 5, /* lookups: also of what has been compacted */
};

/**
 * treekv_open - attach to a cache as its writer, making it where asked, or as
 *	a reader
 * @ret: the attached cache
 * @kv: connection, which must outlive the cache
 * @name: 1 to 127 bytes, printable ASCII without blanks or '/', of the caller's
 *	own; with "@GROUP/" before it a group's, with "~USER/" another user's;
 *	or NULL with TREEKV_CREATE: anonymous
 * @spec: what is made; an existing cache must have the same fingerprint
 * @flags: of enum treekv_open_flags
 *
 * One round trip. An existing cache goes on at its last commit: the counters
 * say its tail, treekv_note() has its note. Where the answer is lost, with the
 * daemon or with the connection, the same is asked again for ten seconds, and
 * what was done by then is not done twice.
 *
 * One that is on disk only is restored first, which takes as long as the disk
 * does: the daemon says a few times a second how far it has got, and the call
 * waits until there has been no progress for 10 seconds (-ETIMEDOUT). Restoring
 * goes on then all the same, and a later call finds the cache. Other threads'
 * calls on @kv wait meanwhile; their steps do not.
 *
 * A cache has one writer, and any number of readers beside him, who cannot
 * write: their memory is mapped from descriptors that the kernel does not let
 * them write to. Of the functions that take a cache a reader may call
 * treekv_read_begin(), treekv_read_end(), treekv_view(), treekv_note(), those
 * that tell (name, tail, ids, counters), and treekv_detach(). A cache that is
 * dropped stays readable until he detaches.
 *
 * Return: 0; -ENOENT no such cache, or none that the caller may know of; -EACCES
 * its mode does not let him; -EEXIST it is there (EXCLUSIVE); -EBUSY it
 * has a writer (the text names the process); -EINVAL a bad name or spec;
 * -EMEDIUMTYPE the fingerprint differs (both are named); -ENOSPC the pool or
 * the huge pages are used up (the text has the figures); -EROFS it is frozen (it
 * may be read); -EUCLEAN the cache is quarantined; -EPROTO, -EBADMSG daemon and
 * library do not fit together, or its snapshot is of another version, or
 * damaged (the text names the file);
 * -EMFILE one of them is out of descriptors; -ESRCH the connection was opened
 * by a process that has ended; and what treekv_connect() returns.
 */
int treekv_open(struct treekv_cache **ret, struct treekv *kv, const char *name,
		const struct treekv_spec *spec, unsigned int flags);

/**
 * treekv_detach - let go of a cache; a running step is rewound
 *
 * Takes NULL, returns it. An ephemeral cache is gone afterwards.
 */
struct treekv_cache *treekv_detach(struct treekv_cache *cache);

/**
 * treekv_detach_within - the same, in a hurry
 * @cache: attached, or NULL
 * @timeout_ms: how long the daemon may take to answer; treekv_detach(): 10000
 *
 * A lease whose end the daemon does not confirm in time, here or there, is given
 * back by this process's next treekv_open() at that socket, and ends with the
 * process at the latest.
 */
struct treekv_cache *treekv_detach_within(struct treekv_cache *cache,
					  int timeout_ms);

/**
 * treekv_freeze - make a cache immutable, and let go of it
 * @cache: attached as its writer; a running step is rewound
 *
 * From here on nobody writes it: the kernel refuses to map its rows writable.
 * It may be read, and forked, by any number of processes. It is detached
 * whatever comes of this; when it was not frozen, it is a cache like any other.
 *
 * Return: 0; -EINVAL it is ephemeral; -EBUSY it is being moved, or somebody
 * else writes it by now; -ENOSPC another process has its rows mapped writable
 * and there is no room for a copy; -EROFS a reader's; -EUCLEAN; and what
 * treekv_connect() returns.
 */
int treekv_freeze(struct treekv_cache *cache);

/**
 * treekv_fork - make a cache that begins with the rows of a frozen one
 * @ret: the fork, attached as its writer
 * @kv: connection, which must outlive it
 * @name: of the fork, or NULL: anonymous
 * @parent: name of a frozen cache that is no fork itself
 * @tokens: how many of the parent's first tokens it begins with; 0: all. Fewer
 *	only where the parent holds every token it has seen
 * @spec: of the fork; model, shape, dtype and positions are the parent's, the
 *	rest need not be. The budgets include the prefix. NULL: the parent's
 * @flags: TREEKV_EPHEMERAL, TREEKV_EVICT_PREFIX
 *
 * No row is copied: the fork's views have two spans, the parent's rows, which
 * all its forks share, and its own. Its order is its own: it is compacted like
 * any other, and the parent stays as it is. The prefix is pinned, which means
 * never evicted, and rows of its own are budget - prefix + slack. With
 * TREEKV_EVICT_PREFIX all of its rows may be evicted, as if it had read the
 * prefix itself, and it has budget + slack rows of its own.
 *
 * It goes on at the tail @tokens, with the parent's note if that is all of it.
 * The scores of the prefix are carried over where that is all of it and both
 * policies keep the same; else they begin with the fork. It has the ids of the
 * prefix as far as the parent has.
 *
 * The parent can be dropped; its memory stays until its last fork is gone. A
 * fork cannot be frozen: fork its parent again.
 *
 * Return: 0; -ENOENT there is no such parent; -EBUSY it is not frozen; -EEXIST
 * there is a cache of that name; -EMEDIUMTYPE rows of @spec are not those of
 * the parent (both are named); -EINVAL @tokens, or the prefix does not fit into
 * a budget; and what treekv_open() returns.
 */
int treekv_fork(struct treekv_cache **ret, struct treekv *kv, const char *name,
		const char *parent, uint64_t tokens,
		const struct treekv_spec *spec, unsigned int flags);

/**
 * struct treekv_prefix - a frozen cache that begins as a prompt does
 * @name: its name
 * @tokens: of the prompt, that it begins with
 * @tail: tokens that it has seen
 * @compacted: it does not hold all of them: to go on with it is to go on with
 *	what its policy has kept. Else its rows are those that any cache has for
 *	these tokens
 * @scores: a fork of all of it goes on with its scores; else they begin with the
 *	fork, which matters where its prefix may be evicted
 */
struct treekv_prefix {
	char name[TREEKV_NAME_FULL + 1];
	uint64_t tokens;
	uint64_t tail;
	int compacted;
	int scores;
};

/**
 * treekv_lookup - find what a prompt can begin with
 * @kv: connection
 * @ret: what was found
 * @spec: of the cache that the prompt is for
 * @ids: of the prompt
 * @n: how many, up to 250,000
 * @flags: 0 or TREEKV_COMPACTED
 *
 * One round trip. Of the caller's frozen caches whose ids were all kept (the
 * spec's ids): the longest that begins as the prompt does. Of one that holds
 * every token's row, that may be the first tokens, in blocks of 16; its model,
 * shape, dtype and positions must be @spec's, its policy and budgets need not.
 * With TREEKV_COMPACTED also one that has given up rows, if all of its tokens
 * begin the prompt and its whole fingerprint is @spec's.
 *
 * For going on, the prompt's last token must be fed, whatever was found: its
 * logits are not kept. So look up @n - 1 ids of n.
 *
 * Return: 0; -ENOENT nothing begins so (no error as such, and no text); -EINVAL
 * @spec, @n, @flags; and what treekv_connect() returns.
 */
int treekv_lookup(struct treekv *kv, struct treekv_prefix *ret,
		  const struct treekv_spec *spec, const uint32_t *ids, size_t n,
		  unsigned int flags);

/**
 * treekv_fork_prefix - fork what a prompt can begin with
 * @ret: as for treekv_fork(), as @kv and @name
 * @prefix: set to what it begins with; may be NULL
 * @spec: of the fork
 * @ids: of the prompt, as for treekv_lookup(), as @n
 * @flags: TREEKV_EPHEMERAL, TREEKV_EVICT_PREFIX, TREEKV_COMPACTED
 *
 * treekv_lookup() and treekv_fork() in one round trip, but for what does not fit
 * into a budget: of an exact cache no more than that is taken, and a compacted
 * one not without TREEKV_EVICT_PREFIX. The fork's tail says how many of the
 * prompt's tokens need not be fed.
 *
 * Return: as treekv_fork(); -ENOENT nothing begins so.
 */
int treekv_fork_prefix(struct treekv_cache **ret, struct treekv_prefix *prefix,
		       struct treekv *kv, const char *name,
		       const struct treekv_spec *spec, const uint32_t *ids,
		       size_t n, unsigned int flags);

/**
 * treekv_read_begin - look at the cache as it stands at its last commit
 * @cache: attached with TREEKV_READ; a read that is under way is given up
 *
 * Copies the order of every (layer, head) and the note. Makes no system call
 * and never waits for the writer, who goes on meanwhile.
 *
 * Return: 0; -EAGAIN the writer was too quick (many tries were made), call
 * again; -ESTALE the cache's memory is another one by now, since its lease was
 * broken or it was frozen: detach and attach again; -EINVAL a writer's cache;
 * -EUCLEAN the cache is damaged.
 */
int treekv_read_begin(struct treekv_cache *cache);

/**
 * treekv_read_end - was what has been read since treekv_read_begin() whole?
 * @cache: in a read
 *
 * The rows that the views have shown stay intact while the writer appends up to
 * the room that he had left under their order, then he uses their slots again.
 * Whoever copies out rows or sums over them may use the result once this has
 * returned 0. May be called several times in a read; the views stay valid.
 *
 * Return: 0: all rows looked at were those of one commit; -EAGAIN they may not
 * have been: forget what was read and begin again; -EINVAL no read.
 */
int treekv_read_end(struct treekv_cache *cache);

/**
 * treekv_step_begin - begin a step of n tokens
 * @cache: no step is running
 * @ids: n token ids, or NULL: 0 is recorded
 * @n: tokens to append, 1 to slack; all but committed ones vanish
 * @timeout_ms: how long it may wait for the daemon when no room is left;
 *	-1: for ever
 *
 * Uses the newest order that the daemon has published. After -ETIMEDOUT it may
 * be called again: the stall goes on and is counted once, its time in full.
 *
 * Return: 0; -ENOSPC policy full and no room; -ETIMEDOUT; -ESTALE the lease is
 * lost, detach; -EUCLEAN the cache is quarantined; -EPROTO the daemon that is
 * there now is of another version; -EINVAL n; -EBUSY a step is running;
 * -EOVERFLOW the sequence has reached 2^32 - 2 tokens.
 */
int treekv_step_begin(struct treekv_cache *cache, const uint32_t *ids,
		      uint32_t n, int timeout_ms);

/**
 * treekv_append - write the step's rows of one layer; parallel over layers
 * @cache: in a step
 * @layer: 0-based
 * @k: [n][kv_heads][k_row bytes], before rotary embedding
 * @v: [n][kv_heads][v_row bytes]
 *
 * Return: 0; -EINVAL layer, or no step, or this layer has been appended;
 * -ESTALE the lease was broken meanwhile, detach.
 */
int treekv_append(struct treekv_cache *cache, uint32_t layer, const void *k,
		  const void *v);

/**
 * treekv_append_at - where to write the step's rows of one layer, uncopied
 * @cache: in a step
 * @layer: 0-based
 * @k: set to n * kv_heads addresses, token by token
 * @v: likewise
 *
 * Instead of treekv_append(). The rows must be written before the commit.
 * Return: as treekv_append().
 */
int treekv_append_at(struct treekv_cache *cache, uint32_t layer, void **k,
		     void **v);

/**
 * treekv_view - the rows of one (layer, head); parallel over heads
 *
 * In a step the layer must have been appended; outside of one the view shows
 * what is committed. A reader's shows the commit that treekv_read_begin() found,
 * until it is called again. Return: 0; -EINVAL layer, head, not yet appended,
 * or a reader who has begun no read; -ESTALE.
 */
int treekv_view(struct treekv_cache *cache, uint32_t layer, uint32_t head,
		struct treekv_view *ret);

/**
 * treekv_observe - tell what attention a query token paid; parallel over heads
 * @cache: in a step; the layer has been appended
 * @layer: 0-based
 * @head: KV head
 * @token: which of the step's n tokens asked, each at most once and in order
 * @weights: [group][stride] softmax weights by slot, view.slots of each row
 *	are read; what free slots have does not matter
 * @group: query heads that share the KV head; their mean counts (paper silent)
 * @stride: floats from one query head's weights to the next one's
 *
 * Adds to S (§4.1), or replaces it (tova); policies that use no scores ignore
 * it. Observe only tokens that will be committed. A head that nobody observes
 * in a step keeps its scores.
 *
 * Return: 0; -EINVAL an argument is out of range or out of turn.
 */
int treekv_observe(struct treekv_cache *cache, uint32_t layer, uint32_t head,
		   uint32_t token, const float *weights, uint32_t group,
		   size_t stride);

/**
 * treekv_note - 256 bytes that are committed together with the tokens
 *
 * In a step or a prefill: those of the coming commit, to write; they begin as a
 * copy of the last commit's. Outside: those of the last commit, to read only; a
 * reader's copy of them, since treekv_read_begin().
 */
void *treekv_note(struct treekv_cache *cache);

/**
 * treekv_commit - make the first m tokens of the step permanent
 * @cache: in a step, every layer appended
 * @m: 0 to n, and at least as many as were observed
 *
 * From here on they survive the death of this process.
 *
 * Return: 0; -EINVAL m, no step, or a layer that was not appended (named);
 * -ESTALE.
 */
int treekv_commit(struct treekv_cache *cache, uint32_t m);

/**
 * treekv_rewind - forget the step's last tokens
 * @cache: in a step
 * @tokens: how many, at most those that were not observed; all n of them end
 *	the step
 *
 * Return: 0; -EOPNOTSUPP @tokens reaches into what is committed; -EINVAL they
 * were observed.
 */
int treekv_rewind(struct treekv_cache *cache, uint32_t tokens);

/**
 * treekv_prefill_begin - take a whole prompt into an empty cache (§4.2)
 * @cache: of tail 0, no step is running
 * @how: NULL: the defaults; not kept after the call
 * @ids: n token ids, or NULL: 0 is recorded
 * @n: tokens of the prompt, far more than the cache holds if need be
 *
 * The engine then computes the prompt layer by layer, every token attending to
 * all before it, and for each layer and KV head hands over the attention of
 * the last queries, then keys and values:
 *
 *	treekv_prefill_begin(cache, &how, ids, n);
 *	for each layer:
 *		for each kv head:
 *			for the last treekv_prefill_queries(cache) queries:
 *				treekv_prefill_observe(cache, layer, head, ...);
 *			treekv_prefill_head(cache, layer, head, k, ..., v, ...);
 *	treekv_prefill_commit(cache, timeout);
 *
 * What survives is copied to its slots at once, and memory goes by one layer's
 * sums of attention. Until the commit the cache stands as it was: empty.
 * Decoding goes on by steps. A surviving token's S is its attention summed over
 * those queries, its C the number of them that saw it: since = max(token, P -
 * queries). In the rank mode the first survivor has position 0; the step after
 * it has the query position live - 1 as ever.
 *
 * Return: 0; -ENOTEMPTY the cache has seen tokens; -EINVAL n, or sinks and
 * window do not fit; -ENOSPC method full and n exceeds a budget; -EBUSY a step
 * or a prefill is running; -ESTALE; -EUCLEAN; -ENOMEM.
 */
int treekv_prefill_begin(struct treekv_cache *cache,
			 const struct treekv_prefill *how, const uint32_t *ids,
			 uint32_t n);

/**
 * treekv_prefill_queries - whose attention the running prefill wants
 *
 * Return: how many of the prompt's last queries; 0: nobody's.
 */
uint32_t treekv_prefill_queries(const struct treekv_cache *cache);

/**
 * treekv_prefill_observe - tell what attention a query paid; parallel over
 *	heads
 * @cache: in a prefill
 * @layer: 0-based
 * @head: KV head, of one layer at a time
 * @query: which token of the prompt asked, each at most once and in order;
 *	those that do not count are ignored
 * @weights: [group][stride] softmax weights by token, query + 1 of each row
 *	are read
 * @group: query heads that share the KV head; their mean counts
 * @stride: floats from one query head's weights to the next one's
 *
 * Who has the sum over the queries that count at hand hands it over as that of
 * the last one, n - 1. Return: 0; -EINVAL an argument is out of range or turn.
 */
int treekv_prefill_observe(struct treekv_cache *cache, uint32_t layer,
			   uint32_t head, uint32_t query, const float *weights,
			   uint32_t group, size_t stride);

/**
 * treekv_prefill_head - hand over one head's keys and values; parallel over
 *	heads
 * @cache: in a prefill; the head has been observed, if it is to be
 * @layer: 0-based
 * @head: KV head, each once
 * @k: the row of token 0, before rotary embedding; that of token t is at k +
 *	t * k_stride
 * @k_stride: bytes from token to token
 * @v: likewise
 * @v_stride: likewise
 *
 * Chooses the tokens that stay and copies their rows. Return: 0; -EINVAL an
 * argument is out of range or turn, or nobody observed the head; -ENOMEM;
 * -ESTALE.
 */
int treekv_prefill_head(struct treekv_cache *cache, uint32_t layer,
			uint32_t head, const void *k, size_t k_stride,
			const void *v, size_t v_stride);

/**
 * treekv_prefill_commit - make the prompt the cache's content, all at once
 * @cache: in a prefill, every head handed over
 * @timeout_ms: how long it may wait for the daemon, a new one included; -1:
 *	for ever
 *
 * The note is committed with it. One request to the daemon, repeated when its
 * answer does not come: twice is once.
 *
 * Return: 0; -ETIMEDOUT no answer came in time: commit again, or detach;
 * -EINVAL a head was not handed over (named), or the daemon found its tokens
 * out of order; -ESTALE; -EUCLEAN; -EPROTO the daemon knows no prefill.
 */
int treekv_prefill_commit(struct treekv_cache *cache, int timeout_ms);

/**
 * treekv_prefill_abort - give a prefill up; the cache is empty as before
 *
 * Return: 0, also when none was running; -EINPROGRESS the daemon was asked to
 * commit it and has not answered: commit it again, or detach.
 */
int treekv_prefill_abort(struct treekv_cache *cache);

/**
 * treekv_settle - wait until no more than the budget is held (lockstep)
 * @cache: no step is running
 * @timeout_ms: -1: for ever
 *
 * With slack 1 and a call after each commit, steps follow Algorithm 1 to the
 * bit. Waiting here is no stall. Return: 0, -ETIMEDOUT, -ESTALE, -EUCLEAN,
 * -EPROTO, -EBUSY.
 */
int treekv_settle(struct treekv_cache *cache, int timeout_ms);

/* The cache's name, the daemon's choice for an anonymous one. */
const char *treekv_name(const struct treekv_cache *cache);

/*
 * Tokens committed since the cache was created; for a reader, those that
 * treekv_read_begin() found, 0 before its first success.
 */
uint64_t treekv_tail(const struct treekv_cache *cache);

/**
 * treekv_ids - the ids of the sequence's first tokens
 * @cache: attached
 * @ret: set to them, valid until detach
 *
 * Return: how many are kept, the lesser of the tail and the spec's ids.
 */
uint64_t treekv_ids(const struct treekv_cache *cache, const uint32_t **ret);

void treekv_counters(const struct treekv_cache *cache,
		     struct treekv_counters *ret);

#ifdef __cplusplus
}
#endif

#endif /* TREEKV_H */
