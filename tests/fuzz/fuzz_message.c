// SPDX-License-Identifier: BSD-2-Clause
/* A client's bytes: framing, then unpacking under the arena's cap. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "daemon/arena.h"
#include "daemon/spec.h"
#include "proto/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void look_at(const Treekv__Request *request)
{
	uint32_t budgets[SHM_LAYERS_MAX];
	struct shm_spec spec;
	char why[256];

	if (request->body_case == TREEKV__REQUEST__BODY_CREATE)
		spec_load(&spec, budgets, request->create->spec, why,
			  sizeof(why));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct arena arena;
	Treekv__Request *request;
	uint32_t body;

	if (!arena.base && arena_init(&arena))
		abort();
	while (frame_check(bytes, size, FRAME_REQUEST_MAX, &body) == 1) {
		bytes += FRAME_HEADER;
		size -= FRAME_HEADER;
		arena_reset(&arena);
		request =
			treekv__request__unpack(&arena.allocator, body, bytes);
		if (request)
			look_at(request);
		bytes += body;
		size -= body;
	}
	return 0;
}
