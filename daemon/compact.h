/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The daemon's side of the order protocol, on the mappings of one cache: laying
 * an index out, and compacting layer by layer into the spare buffer. Pure: who
 * runs it, when, and who is woken afterwards is the worker's affair.
 */
#ifndef TREEKVD_COMPACT_H
#define TREEKVD_COMPACT_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/order.h"
#include "proto/layout.h"
#include "proto/shm.h"

/* What the other side's words are found to be at fault with. */
enum compact_fault {
	COMPACT_SOUND,
	COMPACT_FAULT_COMMIT, /* the tail is outside of what fits */
	COMPACT_FAULT_HEAD, /* head is behind the tail, or beyond all slots */
	COMPACT_FAULT_SEEN, /* a generation that was never published */
	COMPACT_FAULT_HOLE, /* pages of rows were punched out */
	COMPACT_FAULT_ROWS, /* the constants of rows are not what they were */
};

const char *compact_fault_text(enum compact_fault fault);

struct compaction {
	struct shm_index *index;
	const struct shm_rows *rows;
	const struct policy *policy;
	const struct order_scratch *scratch;
	uint64_t generation; /* the published one; the next is being made */
	uint64_t tail; /* that the next one speaks of */
	uint32_t layer; /* the next to do: this one's */
	uint32_t head;
	uint32_t evicted; /* of the deepest layer */
	enum compact_fault fault;
};

/**
 * compact_format - lay out an index and the constants of its rows
 * @index: zeroed, layout.index_size bytes at least; name, ids, owner and flags
 *	are the caller's, afterwards
 * @rows: zeroed
 * @spec: checked
 * @rows_inode: recorded in the buffers
 *
 * Publishes generation 1: every slot free.
 */
void compact_format(struct shm_index *index, struct shm_rows *rows,
		    const struct shm_spec *spec, const struct shm_layer *layers,
		    const struct layout *layout, uint64_t rows_inode);

/*
 * The same in two parts: all but the orders, which takes no time to speak of,
 * and the orders, which take as long as the index is large. In between nobody
 * else may have it; compact_resume() does without the second part.
 */
void compact_format_header(struct shm_index *index, struct shm_rows *rows,
			   const struct shm_spec *spec,
			   const struct shm_layer *layers,
			   const struct layout *layout, uint64_t rows_inode);
void compact_format_orders(struct shm_index *index);

/*
 * Are the constants of the daemon's rows still there, and the writer's words
 * within the bounds of the newest order?
 */
enum compact_fault compact_check(const struct shm_index *index,
				 const struct shm_rows *rows);

/*
 * The same of @word, which was loaded from commit, and of head. On the thread
 * that publishes, or while nobody writes: @newest stays that.
 */
enum compact_fault compact_check_word(const struct shm_buffer *newest,
				      const struct shm_rows *rows,
				      uint64_t word);

/**
 * compact_resume - go on from a kept order instead of an empty one
 * @index: formatted, in nobody's hands yet; in the buffer of @generation the
 *	levels' n_live, the walks and the orders have been filled in
 *
 * Makes ranks and head of that buffer and publishes it. What was filled in is
 * the caller's to check, but for entries that are no slots.
 *
 * Return: 0 or -EBADMSG.
 */
int compact_resume(struct shm_index *index, uint64_t generation,
		   uint64_t base_tail);

/**
 * compact_begin - begin a compaction where one is due
 * @c: index and rows set
 *
 * Return: true when some layer holds more than its budget and the spare buffer
 * is free. False otherwise; c->fault then says whether the writer lied.
 */
bool compact_begin(struct compaction *c);

/*
 * Does up to @heads heads, and no more than what is left of the layer. Return:
 * true while there are more. A lie stops it.
 */
bool compact_heads(struct compaction *c, uint32_t heads);

/* Makes the finished spare buffer the order. */
void compact_publish(struct compaction *c);

/**
 * compact_move - publish an order that speaks of other rows
 * @c: no compaction is under way
 * @rows: those it has, or a sound copy of what the newest order and the commit
 *	name, in the same slots; c->rows from now on
 * @inode: of their memfd
 *
 * Does not wait for the writer to leave the spare buffer: there is none, or he
 * is locked out by the new inode, whatever he reads. Nothing is published where
 * the words lie, and c->fault says so.
 */
void compact_move(struct compaction *c, const struct shm_rows *rows,
		  uint64_t inode);

/**
 * struct compact_prompt - what a writer says of a prompt that he has put into
 *	an empty cache: copied, not yet believed
 * @tail: tokens of the prompt
 * @live: [layers] how many of them stay, in every head of the layer. The i-th,
 *	by age, is in the slot that the i-th entry of the head's order names
 * @walk: [layers] where decoding's walk begins
 */
struct compact_prompt {
	uint64_t tail;
	const uint32_t *live;
	const uint32_t *walk;
};

/* What is to be said to a writer who wants a prompt committed. */
enum compact_prompt_answer {
	COMPACT_PROMPT_SOUND, /* so far */
	COMPACT_PROMPT_DONE, /* this very prompt has been published */
	COMPACT_PROMPT_TAIL, /* more tokens than a sequence can have, or none */
	COMPACT_PROMPT_LIVE, /* a layer's count or walk is out of bounds */
	COMPACT_PROMPT_TOKENS, /* a head's tokens do not rise below the tail */
	COMPACT_PROMPT_USED, /* tokens have been committed already */
	COMPACT_PROMPT_GRACE, /* another order is published than he uses */
	COMPACT_PROMPT_FAULT, /* c->fault */
};

const char *compact_prompt_text(enum compact_prompt_answer answer);

/**
 * compact_prompt_begin - may this prompt become the cache's content?
 * @c: no compaction is under way
 *
 * If SOUND, compact_prompt_heads() follows, then compact_prompt_publish(); the
 * writer waits for the answer meanwhile.
 */
enum compact_prompt_answer
compact_prompt_begin(struct compaction *c, const struct compact_prompt *prompt);

/*
 * Checks and makes the orders of up to @heads heads, and no more than what is
 * left of the layer, in the spare buffer. *more is set while there are others.
 */
enum compact_prompt_answer
compact_prompt_heads(struct compaction *c, const struct compact_prompt *prompt,
		     uint32_t heads, bool *more);

/* Makes the prompt the content of the cache, all of it at once. */
void compact_prompt_publish(struct compaction *c,
			    const struct compact_prompt *prompt);

/* Is the writer still on the generation before the published one? */
bool compact_in_grace(const struct compaction *c);

/* Steps the writer has left before it stalls; 0 for one that lies. */
uint64_t compact_slack_left(const struct compaction *c);

/* The writer has passed the mark from which it rings. */
bool compact_due(const struct compaction *c);

#endif /* TREEKVD_COMPACT_H */
