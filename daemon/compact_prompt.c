// SPDX-License-Identifier: BSD-2-Clause
/*
 * A prompt becomes the content of an empty cache (§4.2 of the paper ends here).
 *
 * The writer has put each head's survivors, oldest first, into the slots that
 * its order's first entries name. All of them are free, since nothing has been
 * committed, so nobody reads them, head need not rise, and a writer who dies
 * leaves an empty cache. Then he asks, and does nothing until he is answered.
 * The order's entries stay as they are; what is new is that the first n are
 * live, that the tail they speak of is the prompt's, and prefill, which stands
 * in for the writer's commit until he has stored one himself: see
 * shm_commit_under(). So the store of generation is the commit. A daemon that
 * dies before it leaves an empty cache, one that dies after it a full one, and
 * the writer, who cannot tell, asks again and learns that it is done; if he
 * dies too, his successor finds the one or the other. The grace period is the
 * usual one: the writer has seen the published order, so the spare buffer is
 * ours, and tests/model/prefill.pml checks all of this.
 *
 * Which tokens survived is the writer's word, about his own cache. That they
 * are the prompt's and in its order is checked, for a mistake is found here
 * more easily than by what a model says.
 */
#include "daemon/compact_impl.h"
#include "proto/barrier.h"

const char *compact_prompt_text(enum compact_prompt_answer answer)
{
	switch (answer) {
	case COMPACT_PROMPT_SOUND:
	case COMPACT_PROMPT_DONE:
		break;
	case COMPACT_PROMPT_TAIL:
		return "a prompt has 1 to 4294967294 tokens";
	case COMPACT_PROMPT_LIVE:
		return "a layer's survivors are more than its budget or than "
		       "the prompt, or its walk is outside of the selected "
		       "region";
	case COMPACT_PROMPT_TOKENS:
		return "the tokens of a head do not rise, or are not the "
		       "prompt's";
	case COMPACT_PROMPT_USED:
		return "it is not empty; only an empty cache takes a prompt as "
		       "a whole";
	case COMPACT_PROMPT_GRACE:
		return "the rows were written under an order that is no longer "
		       "the newest";
	case COMPACT_PROMPT_FAULT:
		return "its writer's words are damaged";
	}
	return "done";
}

/* What adopt_check() will ask of the levels and walks that come of it. */
static bool is_level(const struct shm_index *index, uint32_t l,
		     const struct compact_prompt *prompt)
{
	const struct shm_layer *layer = layer_of(index, l);
	uint32_t selected =
		layer->budget - index->spec.sinks - index->spec.recent;

	if (index->spec.policy == SHM_POLICY_FULL || !selected)
		selected = 1;
	return prompt->live[l] >= 1 && prompt->live[l] <= layer->budget &&
	       prompt->live[l] <= prompt->tail && prompt->walk[l] >= 1 &&
	       prompt->walk[l] <= selected;
}

/* A repeated request: the answer to the first one was lost. */
static bool is_done(const struct compaction *c, uint64_t commit,
		    const struct compact_prompt *prompt)
{
	const struct shm_buffer *buffer = buffer_of(c->index, c->generation);
	const struct shm_level *level = levels_of(c->index, buffer);

	if (shm_commit_tail(buffer->prefill) != prompt->tail ||
	    buffer->base_tail != prompt->tail ||
	    shm_commit_tail(commit) != prompt->tail)
		return false;
	for (uint32_t l = 0; l < c->index->spec.layers; l++)
		if (level[l].n_live != prompt->live[l])
			return false;
	return true;
}

enum compact_prompt_answer
compact_prompt_begin(struct compaction *c, const struct compact_prompt *prompt)
{
	uint64_t commit;

	if (!prompt->tail || prompt->tail > SHM_TAIL_MAX)
		return COMPACT_PROMPT_TAIL;
	for (uint32_t l = 0; l < c->index->spec.layers; l++)
		if (!is_level(c->index, l, prompt))
			return COMPACT_PROMPT_LIVE;
	c->generation = shm_load_relaxed(&c->index->generation);
	commit = compact_load_commit(c);
	if (c->fault)
		return COMPACT_PROMPT_FAULT;
	if (is_done(c, commit, prompt))
		return COMPACT_PROMPT_DONE;
	if (shm_commit_tail(commit))
		return COMPACT_PROMPT_USED;
	/* Pairs with the release in the writer's adopt(). */
	if (shm_load_acquire(&c->rows->seen) != c->generation)
		return COMPACT_PROMPT_GRACE;
	c->layer = 0;
	c->head = 0;
	c->evicted = 0;
	return COMPACT_PROMPT_SOUND;
}

/* The tokens in the first @n slots rise and lie below @tail. */
static bool tokens_check(const void *order, uint32_t entry_size,
			 const uint32_t *token, uint32_t n, uint64_t tail)
{
	uint32_t last = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t slot = order_entry(order, entry_size, i);
		uint32_t at = shm_load32_relaxed(&token[slot]);

		if (at >= tail || (i && at <= last))
			return false;
		last = at;
	}
	return true;
}

static bool make_head(struct compaction *c, const struct shm_layer *layer,
		      const struct compact_prompt *prompt)
{
	struct shm_buffer *from = buffer_of(c->index, c->generation);
	struct shm_buffer *to = buffer_of(c->index, c->generation + 1);
	struct order old = order_of(from, layer, c->head);
	struct order new = order_of(to, layer, c->head);
	uint32_t entry_size = c->index->spec.entry_size;
	const char *token = (const char *)c->rows + layer->token +
			    c->head * layer->token_stride;

	if (!tokens_check(old.order, entry_size, (const void *)token,
			  prompt->live[c->layer], prompt->tail))
		return false;
	order_reveal(&new, &old, layer->slots, prompt->live[c->layer],
		     entry_size);
	walks_of(c->index, to, c->layer)[c->head] = prompt->walk[c->layer];
	return true;
}

enum compact_prompt_answer
compact_prompt_heads(struct compaction *c, const struct compact_prompt *prompt,
		     uint32_t heads, bool *more)
{
	const struct shm_buffer *from = buffer_of(c->index, c->generation);
	const struct shm_buffer *to = buffer_of(c->index, c->generation + 1);
	const struct shm_layer *layer = layer_of(c->index, c->layer);
	struct shm_level *level;

	for (; heads && c->head < c->index->spec.kv_heads; heads--, c->head++)
		if (!make_head(c, layer, prompt))
			return COMPACT_PROMPT_TOKENS;
	if (c->head == c->index->spec.kv_heads) {
		level = &levels_of(c->index, to)[c->layer];
		*level = levels_of(c->index, from)[c->layer];
		level->n_live = prompt->live[c->layer];
		c->layer++;
		c->head = 0;
	}
	*more = c->layer < c->index->spec.layers;
	return COMPACT_PROMPT_SOUND;
}

void compact_prompt_publish(struct compaction *c,
			    const struct compact_prompt *prompt)
{
	uint64_t commit = shm_load_relaxed(&c->rows->commit);

	c->tail = prompt->tail;
	/* The note that belongs to it is in the half not yet committed. */
	compact_finish(c, buffer_of(c->index, c->generation)->rows_inode,
		       shm_commit_pack(prompt->tail,
				       !shm_commit_parity(commit)));
}
