/* SPDX-License-Identifier: BSD-2-Clause */
/* Replies as they come in: bytes, and descriptors beside them. */
#ifndef TREEKV_INBOX_H
#define TREEKV_INBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/frame.h"
#include "treekv.pb-c.h"

struct inbox {
	uint8_t *bytes;
	size_t size;
	size_t room;
	int fds[FRAME_FDS_MAX];
	unsigned int n_fds;
};

/* Closes what nobody has taken. */
void inbox_clear(struct inbox *inbox);

/**
 * inbox_receive - read one frame
 * @fd: the socket, whose own timeout bounds each wait
 * @several: others follow it, which are to be left alone: that takes a call
 *	more; else more may be read
 * @deadline: now_ms() from which on it is -ETIMEDOUT
 * @body: set to its length
 *
 * Return: 0, -ETIMEDOUT, -ECONNRESET, -EPROTO, -ENOMEM, ...; no text is set.
 */
int inbox_receive(struct inbox *inbox, int fd, bool several, int64_t deadline,
		  uint32_t *body);

/* The frame as a message. Return: 0, -EPROTO, -ENOMEM. */
int inbox_unpack(Treekv__Reply **ret, const struct inbox *inbox, uint32_t body);

/* What is behind it is the next one's. */
void inbox_consume(struct inbox *inbox, uint32_t body);

#endif /* TREEKV_INBOX_H */
