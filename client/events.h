/* SPDX-License-Identifier: BSD-2-Clause */
/* treekvctl events. */
#ifndef TREEKV_EVENTS_H
#define TREEKV_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

struct treekv;

struct events_options {
	bool follow;
	bool has_last;
	uint32_t last; /* so many of those that are kept come first */
	bool json;
};

/* Return: an exit status; who follows has one when the daemon ends. */
int events_main(struct treekv *kv, const struct events_options *options);

#endif /* TREEKV_EVENTS_H */
