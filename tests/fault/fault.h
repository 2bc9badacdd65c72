/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls that fail when they are told to: the nth of a group, once, in a thread
 * that is in the daemon's loop, or has said that its calls count.
 */
#ifndef TREEKV_FAULT_H
#define TREEKV_FAULT_H

#include <stdbool.h>
#include <stddef.h>

enum fault_group {
	FAULT_ALLOC,
	FAULT_OPEN, /* whatever makes a descriptor */
	FAULT_MAP,
	FAULT_SIZE, /* of a file */
	FAULT_CONTROL, /* fcntl(): descriptors, seals */
	FAULT_READ,
	FAULT_WRITE,
	FAULT_LOOK, /* at a descriptor */
	FAULT_NAME, /* in a folder */
	FAULT_THREAD,
	FAULT_RING, /* its set-up, and what is registered */
	FAULT_SUBMIT,
	FAULT_DISK, /* an operation in a ring on files */
	FAULT_SHORT, /* it moves less than it was to */
	FAULT_NET, /* one on a connection */
};

struct fault {
	const char *name;
	enum fault_group group;
	int error;
};

extern const struct fault faults[];
extern const size_t faults_count;

/* Completions can be made to fail: the kernel knows how to (Linux 6.10). */
bool fault_completions(void);

/* From now on the nth call of the group fails, from 1 on. */
void fault_arm(const struct fault *fault, unsigned int nth);

/* Return: whether there was an nth call. */
bool fault_disarm(void);

/* What this thread calls counts, or no longer. */
void fault_count_here(bool yes);

#endif /* TREEKV_FAULT_H */
