/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prefill, naively: which tokens of a prompt stay. Written from the method's
 * rules (§4.2, the baselines, the arithmetic of blocks) and the words of
 * treekv.h alone; it shares no code, table or header with the daemon.
 */
#ifndef TREEKV_TESTS_PREFILL_REFERENCE_H
#define TREEKV_TESTS_PREFILL_REFERENCE_H

#include <stdint.h>

struct prefill_reference {
	const char *method; /* "treekv-left", "snapkv" */
	uint32_t tokens;
	uint32_t budget;
	uint32_t sinks;
	uint32_t recent;
	uint32_t window;
	uint32_t block;
	uint32_t kernel;
	int mean;
	const float *score;
};

/*
 * Sets kept[t] for each token of the prompt. @idx: where the walk over the
 * blocks stands, 1-based, 0 when there was none; @room: its budget of blocks.
 * Return: how many stay.
 */
uint32_t prefill_reference(const struct prefill_reference *r, uint8_t *kept,
			   uint32_t *idx, uint32_t *room);

#endif /* TREEKV_TESTS_PREFILL_REFERENCE_H */
