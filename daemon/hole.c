// SPDX-License-Identifier: BSD-2-Clause
/*
 * The table is written by the control thread alone and read by the handler in
 * whichever thread faults; entries are published by their start and never move,
 * so the handler needs no lock. A range is unwatched only when no worker reads
 * it any more.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/hole.h"
#include "daemon/log.h"

#define HOLE_TABLE 65536 /* caches; beyond, a hole is fatal */

struct hole_range {
	uintptr_t start;
	uintptr_t end;
	uintptr_t page;
	bool *holed;
};

static struct hole_range table[HOLE_TABLE];
static unsigned int used; /* entries ever taken */

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;
	unsigned int n = __atomic_load_n(&used, __ATOMIC_ACQUIRE);
	uintptr_t start;

	(void)context;
	for (unsigned int i = 0; i < n; i++) {
		start = __atomic_load_n(&table[i].start, __ATOMIC_ACQUIRE);
		if (!start || at < start || at >= table[i].end)
			continue;
		at &= ~(table[i].page - 1);
		if (mmap((void *)at, table[i].page, PROT_READ,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
				 MAP_NORESERVE,
			 -1, 0) == MAP_FAILED)
			break;
		__atomic_store_n(table[i].holed, true, __ATOMIC_RELEASE);
		return;
	}
	/* Not ours: the same fault again, and the default action. */
	sigaction(signal, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
}

void hole_install(void)
{
	struct sigaction action = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	sigaction(SIGBUS, &action, NULL);
}

void hole_watch(const void *at, uint64_t size, bool huge, bool *holed)
{
	unsigned int i = 0;

	while (i < used && table[i].start)
		i++;
	if (i == HOLE_TABLE) {
		log_warning("hole table full", "ranges=%d", HOLE_TABLE);
		return;
	}
	table[i].end = (uintptr_t)at + size;
	table[i].page = huge ? (uintptr_t)2 << 20 : 4096;
	table[i].holed = holed;
	__atomic_store_n(&table[i].start, (uintptr_t)at, __ATOMIC_RELEASE);
	if (i == used)
		__atomic_store_n(&used, used + 1, __ATOMIC_RELEASE);
}

void hole_unwatch(const void *at)
{
	for (unsigned int i = 0; i < used; i++)
		if (table[i].start == (uintptr_t)at)
			__atomic_store_n(&table[i].start, 0, __ATOMIC_RELEASE);
}
