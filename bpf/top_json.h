/* SPDX-License-Identifier: BSD-2-Clause */
/* A sample as one JSON object, its caches as 'treekvctl list --json' has them. */
#ifndef TREEKV_TOP_JSON_H
#define TREEKV_TOP_JSON_H

#include <stdio.h>

#include "bpf/rates.h"
#include "sample.pb-c.h"

void top_json(FILE *to, const Treekv__Sample *sample,
	      const struct rates *rates);

#endif /* TREEKV_TOP_JSON_H */
