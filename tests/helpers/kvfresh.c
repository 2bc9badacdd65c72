// SPDX-License-Identifier: BSD-2-Clause
/*
 * What was in a new cache's memory before: kvfresh fill|look NAME [options]. Both
 * make a cache and drop it with their end. "fill" leaves a pattern in all of its
 * rows; "look" reads all of them, and the rest of the memfd, before anything is
 * written there, and says "zero SIZE PAGES" or where there is something.
 *
 * Options are those of the cache (spec_options.h). Exit status: 0; 1 there was
 * something; 2 usage; 3 the library refused.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "client/cache.h"
#include "tests/helpers/spec_options.h"

#define PATTERN 0x5a

/* Return: where there is something, or the size of all of it. */
static uint64_t find_something(const struct treekv_cache *cache)
{
	const volatile uint8_t *bytes = (const void *)cache->rows;
	uint64_t at = offsetof(struct shm_rows, commit);

	/* In between is what the library itself has counted by now. */
	while (at < cache->rows_size && !bytes[at])
		if (++at == offsetof(struct shm_rows, seen))
			at = offsetof(struct shm_rows, note);
	return at;
}

static int look(const struct treekv_cache *cache)
{
	uint64_t at = find_something(cache);

	if (at < cache->rows_size) {
		printf("%#x at %llu of %llu\n",
		       ((const uint8_t *)cache->rows)[at],
		       (unsigned long long)at,
		       (unsigned long long)cache->rows_size);
		return 1;
	}
	printf("zero %llu %s\n", (unsigned long long)cache->rows_size,
	       cache->index->flags & SHM_CACHE_HUGE ? "huge" : "small");
	return 0;
}

int main(int argc, char **argv)
{
	struct treekv_spec spec = spec_default();
	static struct treekv_cache *cache; /* until the end: no leaks */
	static struct treekv *kv;
	bool fills;

	if (argc < 3 || argc % 2 == 0)
		return 2;
	fills = !strcmp(argv[1], "fill");
	for (int i = 3; i < argc; i += 2)
		if (!spec_option(&spec, argv[i], argv[i + 1]))
			return 2;
	if (treekv_connect(&kv, NULL) ||
	    treekv_open(&cache, kv, argv[2], &spec,
			TREEKV_CREATE | TREEKV_EXCLUSIVE | TREEKV_EPHEMERAL)) {
		fprintf(stderr, "kvfresh: %s\n", treekv_error());
		return 3;
	}
	if (!fills)
		return look(cache);
	memset(cache->rows->note, PATTERN,
	       cache->rows_size - offsetof(struct shm_rows, note));
	puts("filled");
	return 0;
}
