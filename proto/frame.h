/* SPDX-License-Identifier: BSD-2-Clause */
/* Framing: a little-endian u32, the length of the body, then the body. */
#ifndef TREEKV_FRAME_H
#define TREEKV_FRAME_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FRAME_HEADER	  4
#define FRAME_REQUEST_MAX (1U << 20) /* bytes of a body, client to daemon */
#define FRAME_REPLY_MAX	  (16U << 20) /* daemon to client */
#define FRAME_FDS_MAX	  4

#define TREEKV_PROTOCOL	      1
#define TREEKV_SOCKET_DEFAULT "/run/treekvd/treekvd.sock"

static inline void frame_header(uint8_t *to, uint32_t length)
{
	memcpy(to, &length, FRAME_HEADER);
}

/**
 * frame_check - is a whole frame there?
 * @bytes: what has come in so far
 * @size: how much that is
 * @max: the cap on a body
 * @body: set to the length of the body when it is
 *
 * Return: 1 when the frame is whole, 0 when more has to come, -EMSGSIZE when
 * its length is over the cap: the stream cannot be read on.
 */
static inline int frame_check(const uint8_t *bytes, size_t size, uint32_t max,
			      uint32_t *body)
{
	uint32_t length;

	if (size < FRAME_HEADER)
		return 0;
	memcpy(&length, bytes, FRAME_HEADER);
	if (length > max)
		return -EMSGSIZE;
	if (size - FRAME_HEADER < length)
		return 0;
	*body = length;
	return 1;
}

#endif /* TREEKV_FRAME_H */
