// SPDX-License-Identifier: BSD-2-Clause
/*
 * llama2.c looks through all pairs for the best one, merges it, and starts
 * again: quadratic, hours for a book. Two observations give the same ids fast.
 *
 * A merge yields a token of the vocabulary, so it never spans two neighbouring
 * bytes that stand side by side in no token. The text falls into chunks there
 * (words, with our tokenizer), and merges in one do not touch another.
 *
 * Within a chunk the symbols are a linked list, and a heap has the pairs that
 * could be merged, highest score first, then leftmost. A pair that has changed
 * since is recognised by its union's length when it comes up, and dropped.
 *
 * Symbols that fell back to bytes take no part in merges: their texts in the
 * vocabulary ("<0xE2>") are names.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/run/bpe.h"

#define NONE UINT32_MAX

struct symbol {
	const char *text;
	uint32_t size; /* 0: merged into the one before */
	uint32_t id;
	uint32_t left;
	uint32_t right;
	bool byte;
};

struct pair {
	float score;
	uint32_t left;
	uint32_t size;
	uint32_t id; /* of the union */
};

struct bpe {
	const struct tokenizer *tokenizer;
	struct symbol *symbol;
	uint32_t symbols;
	struct pair *heap;
	uint32_t pairs;
	size_t room; /* symbols, and half the pairs */
	uint32_t *ids;
	size_t count;
	size_t ids_room;
};

static bool before(const struct pair *a, const struct pair *b)
{
	if (a->score != b->score)
		return a->score > b->score;
	return a->left < b->left;
}

static void heap_push(struct bpe *b, struct pair pair)
{
	uint32_t at = b->pairs++;

	for (; at && before(&pair, &b->heap[(at - 1) / 2]); at = (at - 1) / 2)
		b->heap[at] = b->heap[(at - 1) / 2];
	b->heap[at] = pair;
}

static struct pair heap_pop(struct bpe *b)
{
	struct pair top = b->heap[0];
	struct pair last = b->heap[--b->pairs];
	uint32_t at = 0, child;

	while ((child = 2 * at + 1) < b->pairs) {
		if (child + 1 < b->pairs &&
		    before(&b->heap[child + 1], &b->heap[child]))
			child++;
		if (!before(&b->heap[child], &last))
			break;
		b->heap[at] = b->heap[child];
		at = child;
	}
	b->heap[at] = last;
	return top;
}

static void offer(struct bpe *b, uint32_t left)
{
	const struct symbol *s = &b->symbol[left];
	const struct symbol *next;
	struct pair pair = { .left = left };

	if (s->right == NONE)
		return;
	next = &b->symbol[s->right];
	if (s->byte || next->byte)
		return;
	pair.size = s->size + next->size;
	pair.id = vocabulary_find(b->tokenizer, s->text, pair.size);
	if (pair.id == NO_TOKEN)
		return;
	pair.score = b->tokenizer->token[pair.id].score;
	if (pair.score > -1e10f) /* where llama2.c begins its search */
		heap_push(b, pair);
}

static void merge(struct bpe *b, const struct pair *pair)
{
	struct symbol *s = &b->symbol[pair->left];
	struct symbol *next;

	if (!s->size || s->right == NONE)
		return;
	next = &b->symbol[s->right];
	if (s->size + next->size != pair->size)
		return;
	s->id = pair->id;
	s->size = pair->size;
	s->right = next->right;
	next->size = 0;
	if (s->right != NONE)
		b->symbol[s->right].left = pair->left;
	if (s->left != NONE)
		offer(b, s->left);
	offer(b, pair->left);
}

static int add_bytes(struct bpe *b, const char *text, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++) {
		uint32_t id = (uint32_t)(uint8_t)text[i] + 3;

		if (id >= b->tokenizer->vocab) {
			fprintf(stderr,
				"treekv-run: the tokenizer has no token for "
				"byte 0x%02x of the text\n",
				id - 3);
			return -EINVAL;
		}
		b->symbol[b->symbols++] = (struct symbol){
			.text = text + i, .size = 1, .id = id, .byte = true
		};
	}
	return 0;
}

/* llama2.c's idea of a character: a byte and up to 3 continuations. */
static uint32_t character(const char *text, size_t size)
{
	uint32_t n = 1;

	while (n < 4 && n < size && ((uint8_t)text[n] & 0xc0) == 0x80)
		n++;
	return n;
}

static int add_characters(struct bpe *b, const char *text, size_t size)
{
	int r = 0;

	b->symbols = 0;
	for (size_t at = 0; !r && at < size;) {
		uint32_t n = character(text + at, size - at);
		uint32_t id = vocabulary_find(b->tokenizer, text + at, n);

		if (id == NO_TOKEN)
			r = add_bytes(b, text + at, n);
		else
			b->symbol[b->symbols++] = (struct symbol){
				.text = text + at, .size = n, .id = id
			};
		at += n;
	}
	return r;
}

static int grow(void *array, size_t *room, size_t want, size_t size)
{
	void **at = array;
	size_t n = *room ? *room : 256;
	void *more;

	if (want <= *room)
		return 0;
	while (n < want)
		n *= 2;
	more = realloc(*at, n * size);
	if (!more) {
		fputs("treekv-run: out of memory\n", stderr);
		return -ENOMEM;
	}
	*at = more;
	*room = n;
	return 0;
}

/* Every merge offers two pairs at most, and every symbol one to begin with. */
static int make_room(struct bpe *b, size_t size)
{
	size_t room = b->room;
	int r;

	r = grow(&b->symbol, &room, size, sizeof(*b->symbol));
	if (!r)
		r = grow(&b->heap, &b->room, size, 3 * sizeof(*b->heap));
	if (!r)
		r = grow(&b->ids, &b->ids_room, b->count + size,
			 sizeof(*b->ids));
	return r;
}

static int encode_chunk(struct bpe *b, const char *text, size_t size)
{
	int r;

	if (size > UINT32_MAX / 4)
		return -ENOMEM;
	r = make_room(b, size);
	if (!r)
		r = add_characters(b, text, size);
	if (r < 0)
		return r;
	b->pairs = 0;
	for (uint32_t i = 0; i < b->symbols; i++) {
		b->symbol[i].left = i ? i - 1 : NONE;
		b->symbol[i].right = i + 1 < b->symbols ? i + 1 : NONE;
	}
	for (uint32_t i = 0; i < b->symbols; i++)
		offer(b, i);
	while (b->pairs) {
		struct pair pair = heap_pop(b);

		merge(b, &pair);
	}
	for (uint32_t i = 0; i < b->symbols; i++)
		if (b->symbol[i].size)
			b->ids[b->count++] = b->symbol[i].id;
	return 0;
}

/* Where the first chunk of a text ends. */
static size_t chunk(const struct tokenizer *t, const char *text, size_t size)
{
	size_t at = 1;

	for (; at < size; at++) {
		unsigned int pair = (unsigned int)(uint8_t)text[at - 1] << 8 |
				    (uint8_t)text[at];

		if ((text[at] & 0xc0) == 0x80)
			continue;
		if (!(t->joined[pair / 8] >> pair % 8 & 1))
			break;
	}
	return at;
}

static int encode(struct bpe *b, const char *text, size_t size, size_t limit)
{
	int r = 0;

	for (size_t at = 0; !r && at < size && b->count < limit;) {
		size_t n = chunk(b->tokenizer, text + at, size - at);

		r = encode_chunk(b, text + at, n);
		at += n;
	}
	return r;
}

int tokenizer_encode(const struct tokenizer *t, uint32_t **ret, size_t *count,
		     const char *text, size_t size, bool begin, size_t limit)
{
	bool blank = begin && size;
	struct bpe b = { .tokenizer = t };
	char *copy = NULL;
	int r;

	r = make_room(&b, 1);
	if (!r && begin)
		b.ids[b.count++] = TOKENIZER_BOS;
	if (!r && blank && vocabulary_find(t, " ", 1) != NO_TOKEN) {
		copy = malloc(size + 1);
		if (!copy) {
			fputs("treekv-run: out of memory\n", stderr);
			r = -ENOMEM;
			goto out;
		}
		copy[0] = ' ';
		memcpy(copy + 1, text, size);
		text = copy;
		size++;
	}
	if (!r)
		r = encode(&b, text, size, limit);
	if (r < 0)
		goto out;
	*ret = b.ids;
	*count = b.count < limit ? b.count : limit;
	b.ids = NULL;
out:
	free(copy);
	free(b.ids);
	free(b.heap);
	free(b.symbol);
	return r;
}
