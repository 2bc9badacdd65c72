/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls that fail when they are told to: the nth of a group, once, in a thread
 * that has said that its calls count, or is in the daemon's loop.
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
	FAULT_ADVISE, /* on memory */
	FAULT_SLEEP, /* on a word */
	FAULT_PART, /* of a stream: less is sent, or received */
	FAULT_PASSED, /* no more than one descriptor arrives */
	FAULT_DISK, /* an operation in a ring on files */
	FAULT_SHORT, /* it moves less than it was to */
	FAULT_NET, /* one on a connection */
	FAULT_GROUPS,
};

struct fault {
	const char *name;
	enum fault_group group;
	int error;
};

/* rings.c: completions can be made to fail, as of Linux 6.10. */
bool fault_completions(void);

/* From now on the nth call of the group fails, from 1 on. */
void fault_arm(const struct fault *fault, unsigned int nth);

/* Return: whether there was an nth call. */
bool fault_disarm(void);

/* What this thread calls counts, or no longer. Return: whether it did. */
bool fault_count_here(bool yes);

/* Of this thread, as long as it has counted: calls, and what is allocated. */
unsigned int fault_calls(enum fault_group group);
long fault_allocated(void);

/* Memory that no fault takes away and nobody counts. */
void *fault_spare_calloc(size_t n, size_t size);
void fault_spare_free(void *at);

#endif /* TREEKV_FAULT_H */
