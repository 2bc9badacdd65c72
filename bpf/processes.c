// SPDX-License-Identifier: BSD-2-Clause
/*
 * A process is remembered for a while only: it may execute another program, and
 * its number goes to somebody else one day.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf/processes.h"
#include "bpf/sample.h"
#include "client/show.h"

#define LINE_MAX_SIZE 256
#define REMEMBER_NS   UINT64_C(60000000000)

struct named {
	uint32_t number; /* a pid or uid */
	uint64_t read; /* when, CLOCK_MONOTONIC */
	char *name;
};

struct names {
	struct named *at; /* by number */
	size_t n;
};

struct processes {
	struct names commands;
	struct names owners;
};

struct processes *processes_new(void)
{
	return calloc(1, sizeof(struct processes));
}

static void names_free(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->at[i].name);
	free(names->at);
}

struct processes *processes_free(struct processes *processes)
{
	if (!processes)
		return NULL;
	names_free(&processes->commands);
	names_free(&processes->owners);
	free(processes);
	return NULL;
}

static ssize_t read_file(char *to, size_t size, uint32_t pid, const char *what)
{
	char path[48];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/%s", pid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, to, size - 1);
	close(fd);
	return n;
}

/* Its arguments, a blank apart; the bare name of one that shows none. */
static char *read_command(uint32_t pid)
{
	char line[LINE_MAX_SIZE] = "";
	ssize_t n = read_file(line, sizeof(line), pid, "cmdline");

	for (ssize_t i = 0; i < n; i++)
		if (!line[i])
			line[i] = ' ';
	if (n <= 0)
		n = read_file(line, sizeof(line), pid, "comm");
	if (n < 0)
		n = 0;
	while (n && (line[n - 1] == ' ' || line[n - 1] == '\n'))
		n--;
	line[n] = '\0';
	return strdup(line);
}

static char *read_owner(uint32_t uid)
{
	char name[LINE_MAX_SIZE];

	show_owner(name, sizeof(name), uid);
	return strdup(name);
}

static int compare_numbers(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Sorts, and leaves each number once. Return: how many there are then. */
static size_t unique(uint32_t *numbers, size_t n)
{
	size_t to = 0;

	qsort(numbers, n, sizeof(*numbers), compare_numbers);
	for (size_t i = 0; i < n; i++)
		if (!to || numbers[to - 1] != numbers[i])
			numbers[to++] = numbers[i];
	return to;
}

/*
 * Makes @names be of these numbers: what is known and not too old is kept, the
 * rest is read. Both are sorted.
 */
static int names_update(struct names *names, const uint32_t *numbers, size_t n,
			uint64_t now, uint64_t remember,
			char *(*read_name)(uint32_t number))
{
	struct named *at = calloc(n + 1, sizeof(*at));
	size_t old = 0;

	if (!at)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		while (old < names->n && names->at[old].number < numbers[i])
			old++;
		if (old < names->n && names->at[old].number == numbers[i] &&
		    names->at[old].name &&
		    now - names->at[old].read < remember) {
			at[i] = names->at[old];
			names->at[old].name = NULL;
			continue;
		}
		at[i] = (struct named){ numbers[i], now,
					read_name(numbers[i]) };
	}
	names_free(names);
	*names = (struct names){ at, n };
	return 0;
}

/* ---- into a sample ---- */

static int add_commands(Treekv__Sample *sample, const struct names *names)
{
	sample->command = calloc(names->n + 1, sizeof(*sample->command));
	if (!sample->command)
		return -ENOMEM;
	for (size_t i = 0; i < names->n; i++) {
		Treekv__SampleCommand *to;

		if (!names->at[i].name || !names->at[i].name[0])
			continue;
		to = malloc(sizeof(*to));
		if (!to)
			return -ENOMEM;
		treekv__sample_command__init(to);
		sample->command[sample->n_command++] = to;
		to->pid = names->at[i].number;
		to->line = strdup(names->at[i].name);
		if (!to->line)
			return -ENOMEM;
	}
	return 0;
}

static int add_owners(Treekv__Sample *sample, const struct names *names)
{
	sample->owner = calloc(names->n + 1, sizeof(*sample->owner));
	if (!sample->owner)
		return -ENOMEM;
	for (size_t i = 0; i < names->n; i++) {
		Treekv__SampleOwner *to;

		if (!names->at[i].name)
			continue;
		to = malloc(sizeof(*to));
		if (!to)
			return -ENOMEM;
		treekv__sample_owner__init(to);
		sample->owner[sample->n_owner++] = to;
		to->uid = names->at[i].number;
		to->name = strdup(names->at[i].name);
		if (!to->name)
			return -ENOMEM;
	}
	return 0;
}

static int describe(struct processes *processes, Treekv__Sample *sample,
		    uint32_t *numbers)
{
	size_t n = 0;
	int r;

	for (size_t i = 0; i < sample_caches(sample); i++)
		if (sample->list->cache[i]->has_writer_pid)
			numbers[n++] = sample->list->cache[i]->writer_pid;
	for (size_t i = 0; i < sample_clients(sample); i++)
		numbers[n++] = sample->clients->client[i]->pid;
	n = unique(numbers, n);
	r = names_update(&processes->commands, numbers, n, sample->clock,
			 REMEMBER_NS, read_command);
	if (r)
		return r;
	n = 0;
	for (size_t i = 0; i < sample_caches(sample); i++)
		numbers[n++] = sample->list->cache[i]->uid;
	for (size_t i = 0; i < sample_clients(sample); i++)
		numbers[n++] = sample->clients->client[i]->uid;
	n = unique(numbers, n);
	r = names_update(&processes->owners, numbers, n, sample->clock,
			 UINT64_MAX, read_owner);
	if (!r)
		r = add_commands(sample, &processes->commands);
	return r ? r : add_owners(sample, &processes->owners);
}

int processes_describe(struct processes *processes, Treekv__Sample *sample)
{
	size_t most = sample_caches(sample) + sample_clients(sample);
	uint32_t *numbers = calloc(most + 1, sizeof(*numbers));
	int r;

	if (!numbers)
		return -ENOMEM;
	r = describe(processes, sample, numbers);
	free(numbers);
	return r;
}
