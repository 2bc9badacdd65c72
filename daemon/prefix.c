// SPDX-License-Identifier: BSD-2-Clause
/*
 * A sequence is cut into blocks; each block's hash is seeded with that of the
 * one before, so it stands for everything up to its end. All of these are in
 * one hash table, and one more for the whole, last part of a block included.
 *
 * If a prompt's i-th hash is there, so are all before it. So the deepest one is
 * found by halving (in powers of two): half a dozen probes, whatever the length
 * of the prompt. A
 * collision can make a hash seem to be there which is not, never the other way
 * round; so the search ends at the true depth or beyond, and going down from
 * there, comparing ids, finds it.
 *
 * With thousands of prefixes nearly every probe misses the processor's caches
 * and its TLB. So a bucket tells by itself, with few false alarms, which hashes
 * are in it (marks), and which parts of a block follow one of its blocks and end
 * a sequence (ends); and those buckets that are probed first are asked for as
 * soon as their hashes are known.
 *
 * The table grows a bucket at a time (linear hashing), since a table that is
 * made anew would keep everybody waiting; its memory is reserved and comes into
 * being as it is touched.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "daemon/prefix.h"

#define BUCKETS_MIN	UINT32_C(512)
#define BUCKETS_MAX	(UINT32_C(1) << 22)
#define BLOCK_BYTES	(PREFIX_BLOCK * sizeof(uint32_t))
#define PREFETCH_BLOCKS 4 /* one in as many is probed first */
#define PAGE_BLOCKS	64 /* whose ids fill a page */
#define PATH_BLOCKS	UINT32_C(16384) /* of a prompt that are looked at */

struct prefix_bucket {
	struct prefix_node *first;
	uint32_t marks; /* a bit for each hash in it, and perhaps more */
	uint16_t ends; /* likewise the rests, 0 ..., behind a block in it */
};

struct prefix_node {
	struct prefix_node *next;
	struct prefix_node **link; /* what points here */
	uint64_t hash;
	struct prefix *prefix;
	const uint32_t *ids; /* the prefix's, to be asked for before it */
};

/* What one search has worked out. */
struct search {
	const struct prefixes *all;
	const struct prefix_prompt *prompt;
	uint32_t blocks;
	uint64_t *path; /* hash of the first i blocks */
};

uint64_t prefix_seed(const void *bytes, size_t size)
{
	return XXH3_64bits(bytes, size);
}

static uint64_t hash_block(const struct prefixes *all, uint64_t before,
			   const uint32_t *ids)
{
	return XXH3_64bits_withSeed(ids, BLOCK_BYTES, before) & all->mask;
}

/* Of all of a sequence: its blocks, and what is left. */
static uint64_t hash_whole(const struct prefixes *all, uint64_t before,
			   const uint32_t *ids, size_t n)
{
	return XXH3_64bits_withSeed(ids, n * sizeof(*ids), ~before) & all->mask;
}

/* ---- the table ---- */

int prefixes_init(struct prefixes *all)
{
	void *at = mmap(NULL, BUCKETS_MAX * sizeof(*all->bucket),
			PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return -ENOMEM;
	/* Fewer misses of the TLB; where there is none, nothing is lost. */
	madvise(at, BUCKETS_MAX * sizeof(*all->bucket), MADV_HUGEPAGE);
	*all = (struct prefixes){
		.bucket = at,
		.buckets = BUCKETS_MIN,
		.mask = UINT64_MAX,
	};
	return 0;
}

void prefixes_exit(struct prefixes *all)
{
	if (all->bucket)
		munmap(all->bucket, BUCKETS_MAX * sizeof(*all->bucket));
	*all = (struct prefixes){ 0 };
}

/* Of the next power of two as far as those buckets are in use. */
static uint32_t bucket_index(const struct prefixes *all, uint64_t hash)
{
	uint32_t size = UINT32_C(2) << (31 - __builtin_clz(all->buckets));
	uint32_t at = (uint32_t)(hash & (size - 1));

	return at < all->buckets ? at : at & (size / 2 - 1);
}

static struct prefix_bucket *bucket_of(const struct prefixes *all,
				       uint64_t hash)
{
	return &all->bucket[bucket_index(all, hash)];
}

static void prefetch(const struct prefixes *all, uint64_t hash)
{
	__builtin_prefetch(bucket_of(all, hash));
}

/* By bits that do not choose the bucket. */
static uint32_t mark(uint64_t hash)
{
	return UINT32_C(1) << (hash >> 59);
}

static void link_node(struct prefixes *all, struct prefix_node *node)
{
	struct prefix_bucket *bucket = bucket_of(all, node->hash);

	node->next = bucket->first;
	node->link = &bucket->first;
	if (node->next)
		node->next->link = &node->next;
	bucket->first = node;
	bucket->marks |= mark(node->hash);
}

static void unlink_node(struct prefixes *all, struct prefix_node *node)
{
	struct prefix_bucket *bucket = bucket_of(all, node->hash);

	*node->link = node->next;
	if (node->next)
		node->next->link = node->link;
	if (!bucket->first) { /* else they stay: a chain can be long */
		bucket->marks = 0;
		bucket->ends = 0;
	}
}

/* One more bucket takes its share of the one it is split from. */
static void grow(struct prefixes *all)
{
	uint32_t half = UINT32_C(1) << (31 - __builtin_clz(all->buckets));
	struct prefix_bucket *bucket;
	struct prefix_node *node, *next;

	if (all->buckets == BUCKETS_MAX)
		return;
	bucket = &all->bucket[all->buckets - half];
	node = bucket->first;
	bucket->first = NULL;
	bucket->marks = 0;
	all->bucket[all->buckets++].ends = bucket->ends;
	for (; node; node = next) {
		next = node->next;
		link_node(all, node);
	}
}

static void add_node(struct prefixes *all, struct prefix *prefix,
		     struct prefix_node *node, uint64_t hash)
{
	node->hash = hash;
	node->prefix = prefix;
	node->ids = prefix->ids;
	link_node(all, node);
	if (++all->nodes > all->buckets)
		grow(all);
}

int prefix_add(struct prefixes *all, struct prefix *prefix)
{
	uint64_t blocks = prefix->tokens / PREFIX_BLOCK;
	uint32_t rest = prefix->tokens % PREFIX_BLOCK;
	uint64_t hash = prefix->seed & all->mask;

	prefix->nodes = malloc((blocks + 1) * sizeof(*prefix->nodes));
	if (!prefix->nodes)
		return -ENOMEM;
	for (uint64_t i = 0; i < blocks; i++) {
		hash = hash_block(all, hash, prefix->ids + i * PREFIX_BLOCK);
		add_node(all, prefix, &prefix->nodes[i], hash);
	}
	bucket_of(all, hash)->ends |= (uint16_t)(1 << rest);
	all->briefs += !blocks;
	hash = hash_whole(all, hash, prefix->ids + blocks * PREFIX_BLOCK, rest);
	add_node(all, prefix, &prefix->nodes[blocks], hash);
	return 0;
}

void prefix_remove(struct prefixes *all, struct prefix *prefix)
{
	uint64_t nodes = prefix->tokens / PREFIX_BLOCK + 1;

	if (!prefix->nodes)
		return;
	for (uint64_t i = 0; i < nodes; i++)
		unlink_node(all, &prefix->nodes[i]);
	all->nodes -= (uint32_t)nodes;
	all->briefs -= nodes == 1;
	free(prefix->nodes);
	prefix->nodes = NULL;
}

/* ---- searching ---- */

static bool begins_with(const struct prefix *prefix, const uint32_t *ids,
			uint64_t n)
{
	return prefix->tokens >= n &&
	       !memcmp(prefix->ids, ids, n * sizeof(*ids));
}

/* The node for the first @i blocks (1 ...), or for all of a sequence. */
static bool is_block(const struct prefix_node *node, uint64_t i)
{
	uint64_t at = (uint64_t)(node - node->prefix->nodes);

	return at + 1 == i && at < node->prefix->tokens / PREFIX_BLOCK;
}

static bool is_whole(const struct prefix_node *node)
{
	return node - node->prefix->nodes ==
	       (ptrdiff_t)(node->prefix->tokens / PREFIX_BLOCK);
}

static const struct prefix_node *first_of(const struct prefixes *all,
					  uint64_t hash)
{
	const struct prefix_bucket *bucket = bucket_of(all, hash);
	const struct prefix_node *node = bucket->first;

	if (!(bucket->marks & mark(hash)))
		return NULL;
	while (node && node->hash != hash)
		node = node->next;
	return node;
}

/* Or seems to be. */
static bool is_marked(const struct search *s, uint32_t i)
{
	return bucket_of(s->all, s->path[i])->marks & mark(s->path[i]);
}

/* The seeds differ in practice; the masked hashes of tests need not. */
static bool is_wanted(const struct search *s, const struct prefix *prefix,
		      uint64_t n)
{
	const struct prefix_prompt *prompt = s->prompt;

	return prefix->seed == prompt->seed &&
	       begins_with(prefix, prompt->ids, n) &&
	       (!prompt->may_have || prompt->may_have(prefix, prompt->arg));
}

/* The first line of each of the first pages; the others follow by themselves. */
static void prefetch_ids(const struct prefix_node *node, uint32_t blocks)
{
	const char *ids = (const char *)node->ids;

	for (uint32_t i = 0; i < blocks && i < 4 * PAGE_BLOCKS;
	     i += PAGE_BLOCKS)
		__builtin_prefetch(ids + i * BLOCK_BYTES);
}

static const struct prefix *find_blocks(const struct search *s, uint32_t i)
{
	const struct prefix_node *node = first_of(s->all, s->path[i]);

	for (; node; node = node->next) {
		if (node->hash != s->path[i])
			continue;
		prefetch_ids(node, i);
		if (is_block(node, i) &&
		    is_wanted(s, node->prefix, (uint64_t)i * PREFIX_BLOCK))
			return node->prefix;
	}
	return NULL;
}

/* One that ends @rest tokens behind the first @i blocks. */
static const struct prefix *find_whole(const struct search *s, uint32_t i,
				       uint32_t rest)
{
	uint64_t n = (uint64_t)i * PREFIX_BLOCK + rest;
	uint64_t hash = hash_whole(s->all, s->path[i],
				   s->prompt->ids + (size_t)i * PREFIX_BLOCK,
				   rest);
	const struct prefix_node *node = first_of(s->all, hash);

	for (; node; node = node->next)
		if (node->hash == hash && node->prefix->tokens == n &&
		    is_whole(node) && is_wanted(s, node->prefix, n))
			return node->prefix;
	return NULL;
}

/* The rests that may follow the first @i blocks, as bits. */
static uint32_t ends_behind(const struct search *s, uint32_t i)
{
	if (i)
		return bucket_of(s->all, s->path[i])->ends;
	return s->all->briefs ? UINT16_MAX : 0;
}

/*
 * The longest that ends less than a block behind the first @i, with which
 * @found (or NULL) begins. That one is looked at first: mostly there is no other
 * that could be longer.
 */
static const struct prefix *find_end(const struct search *s, uint32_t i,
				     const struct prefix *found)
{
	const struct prefix_prompt *prompt = s->prompt;
	uint64_t left = prompt->n - (uint64_t)i * PREFIX_BLOCK;
	uint32_t rest = left < PREFIX_BLOCK ? (uint32_t)left + 1 : PREFIX_BLOCK;
	uint32_t ends = ends_behind(s, i), least = 0;
	const struct prefix *end = NULL, *longer = NULL;

	if (found && found->tokens <= prompt->n &&
	    found->tokens / PREFIX_BLOCK == i &&
	    begins_with(found, prompt->ids, found->tokens)) {
		end = found;
		least = found->tokens % PREFIX_BLOCK + 1;
	}
	while (!longer && rest-- > least)
		if (ends & 1U << rest)
			longer = find_whole(s, i, rest);
	return longer ? longer : end;
}

/* At least as deep as anything goes; see the note above. */
static uint32_t depth(const struct search *s)
{
	uint32_t depth = 0;

	for (uint32_t more = PATH_BLOCKS; more; more /= 2)
		if (more <= s->blocks - depth && is_marked(s, depth + more))
			depth += more;
	return depth;
}

static void hash_path(struct search *s)
{
	const uint32_t *ids = s->prompt->ids;

	s->path[0] = s->prompt->seed & s->all->mask;
	for (uint32_t i = 0; i < s->blocks; i++) {
		s->path[i + 1] = hash_block(s->all, s->path[i],
					    ids + (size_t)i * PREFIX_BLOCK);
		if ((i + 1) % PREFETCH_BLOCKS == 0)
			prefetch(s->all, s->path[i + 1]);
	}
}

const struct prefix *prefix_find(const struct prefixes *all,
				 const struct prefix_prompt *prompt,
				 uint64_t *tokens)
{
	static uint64_t path[PATH_BLOCKS + 1]; /* too much for a stack */
	struct search s = { .all = all, .prompt = prompt, .path = path };
	const struct prefix *found = NULL, *end = NULL;
	size_t blocks = prompt->n / PREFIX_BLOCK;
	uint32_t i;

	if (!prompt->n)
		return NULL;
	s.blocks = blocks < PATH_BLOCKS ? (uint32_t)blocks : PATH_BLOCKS;
	hash_path(&s);
	for (i = depth(&s); i && !found; i--)
		found = find_blocks(&s, i);
	i += found != NULL;
	for (;; i--) {
		end = find_end(&s, i, found);
		if (end || !i || (found && found->partial))
			break;
	}
	if (end) {
		*tokens = end->tokens;
		return end;
	}
	if (!found || !found->partial)
		return NULL;
	*tokens = (uint64_t)i * PREFIX_BLOCK;
	return found;
}
