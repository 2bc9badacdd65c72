/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asking a daemon for everything there is. It may be of an older version, go
 * away and come back: a sample says so and the next one tries again.
 */
#ifndef TREEKV_GATHER_H
#define TREEKV_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/view.h"
#include "sample.pb-c.h"

struct gather;

/* Which cache's page is open, and how large its map can be. */
struct gather_detail {
	uint64_t cache; /* 0: none */
	char name[SHM_NAME_FULL + 1];
	uint32_t buckets;
	uint32_t groups;
};

/*
 * @socket: NULL: the default one
 * @ebpf: look from the kernel's side as well
 *
 * Return: NULL: no memory.
 */
struct gather *gather_new(const char *socket, bool ebpf);
struct gather *gather_free(struct gather *gather); /* takes NULL, returns it */

/*
 * All at once; a daemon that does not answer leaves its trouble in it. NULL: no
 * memory.
 */
Treekv__Sample *gather_sample(struct gather *gather);

/*
 * Is eBPF to be attached to the daemon of that sample, and does so; the next one
 * tells what it sees. That takes a second or two.
 */
bool gather_wants(const struct gather *gather, const Treekv__Sample *sample);
void gather_attach(struct gather *gather, const Treekv__Sample *sample);

/* One cache; NULL: none is wanted, or no memory. */
Treekv__SampleDetail *gather_detail(struct gather *gather,
				    const struct gather_detail *wanted);

/**
 * gather_act - do something to a cache, over a connection of its own
 * @text: what came of it
 *
 * Return: 0 or a negative errno.
 */
int gather_act(const char *socket, enum act act, const struct target *object,
	       char *text, size_t size);

#endif /* TREEKV_GATHER_H */
