/* SPDX-License-Identifier: BSD-2-Clause */
/* What the daemon sends, until it is whole. One thread at a time. */
#ifndef TREEKV_INBOX_H
#define TREEKV_INBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/frame.h"

/* A reply as it comes in. */
struct inbox {
	uint8_t *bytes;
	size_t size;
	size_t room;
	int fds[FRAME_FDS_MAX];
	unsigned int n_fds;
};

/* Milliseconds of CLOCK_MONOTONIC, as deadlines are. */
int64_t clock_ms(void);

/**
 * inbox_receive - read one frame, and perhaps more
 * @fd: a stream socket, whose timeout is how long it waits for more bytes
 * @several: others may follow that frame: they are left alone, which takes a
 *	call more
 * @deadline: of clock_ms()
 * @body: set to its length; it begins FRAME_HEADER bytes into the inbox
 *
 * Return: 0, -ETIMEDOUT, -ECONNRESET, -ENOMEM, -EPROTO or -EMSGSIZE of what is
 * no frame, other errors of recvmsg(); no text.
 */
int inbox_receive(struct inbox *inbox, int fd, bool several, int64_t deadline,
		  uint32_t *body);

/* The first @n bytes are done with. What is behind them is the next one's. */
void inbox_consume(struct inbox *inbox, size_t n);

/* Closes the descriptors that nobody has taken. */
void inbox_clear(struct inbox *inbox);

#endif /* TREEKV_INBOX_H */
