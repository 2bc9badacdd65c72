// SPDX-License-Identifier: BSD-2-Clause
/*
 * Lower layers attend broadly and higher ones to a few tokens, so a cache of
 * one size for all is too small here and too large there. Which layer needs
 * what is the model's: "treekvctl replay --stats" shows it, and a file says it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/budget.h"
#include "proto/shm.h"

#define PYRAMID_BETA 20 /* what the last layer selects, of the mean */
#define BLANKS	     " \t\r\n"

struct reason {
	char *text;
	size_t size;
};

__attribute__((format(printf, 2, 3))) static int
refuse(const struct reason *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, why->size, format, args);
	va_end(args);
	return -EINVAL;
}

bool budget_is_named(const char *profile)
{
	return !strcmp(profile, BUDGET_PYRAMID);
}

uint32_t budget_recent(uint32_t budget, uint32_t sinks)
{
	return budget / 2 > sinks ? budget / 2 - sinks : 0;
}

/*
 * Rounded to nearest in the first half; the second is its mirror image, so that
 * the sum is layers x mean.
 */
static void pyramid(uint32_t *budgets, uint32_t layers, uint32_t kept,
		    uint32_t selected)
{
	uint64_t low = selected / PYRAMID_BETA;
	uint64_t high, last = layers - 1;

	if (low < 1 && selected)
		low = 1;
	high = 2 * (uint64_t)selected - low;
	for (uint64_t l = 0; l <= last / 2; l++) {
		uint64_t share = selected;

		if (2 * l < last)
			share = high - ((high - low) * l + last / 2) / last;
		budgets[l] = (uint32_t)(kept + share);
		budgets[last - l] =
			(uint32_t)(kept + 2 * (uint64_t)selected - share);
	}
}

static int load_pyramid(uint32_t *budgets, uint32_t layers,
			struct budget_shape *shape, const struct reason *why)
{
	uint64_t kept;

	if (!shape->recent_given)
		shape->recent = budget_recent(shape->mean, shape->sinks);
	kept = (uint64_t)shape->sinks + shape->recent;
	if (shape->mean < kept + shape->selected_min)
		return refuse(why,
			      "a budget of %u has no room for sinks %u + "
			      "recent %u%s",
			      shape->mean, shape->sinks, shape->recent,
			      shape->selected_min ? " + 1 selected" : "");
	pyramid(budgets, layers, (uint32_t)kept, shape->mean - (uint32_t)kept);
	return 0;
}

/* A budget, and where it stands: what is wrong with it may show later. */
struct entry {
	uint32_t budget;
	unsigned int line;
};

/* Return: 1 the line has an entry, 0 it has none, -EINVAL. */
static int parse_line(uint32_t *ret, char *line, const char *path,
		      unsigned int number, const struct reason *why)
{
	unsigned long long value;
	char *word, *end;

	line[strcspn(line, "#")] = '\0';
	word = line + strspn(line, BLANKS);
	for (end = word + strlen(word); end > word && strchr(BLANKS, end[-1]);)
		*--end = '\0';
	if (!*word)
		return 0;
	errno = 0;
	value = strtoull(word, &end, 10);
	if (*word < '0' || *word > '9' || *end || errno || value < 1 ||
	    value > SHM_CAPACITY_MAX)
		return refuse(why,
			      "%s, line %u: '%.40s' is not a number from 1 "
			      "to %u",
			      path, number, word, SHM_CAPACITY_MAX);
	*ret = (uint32_t)value;
	return 1;
}

static int read_entries(struct entry *entries, uint32_t layers, FILE *file,
			const char *path, const struct reason *why)
{
	unsigned int number = 0;
	char line[256];
	uint32_t n = 0;
	int r;

	while (fgets(line, sizeof(line), file)) {
		struct entry entry = { .line = ++number };

		if (!strchr(line, '\n') && !feof(file))
			return refuse(why,
				      "%s, line %u: '%.40s...' is no line of "
				      "text of %zu bytes at most",
				      path, number, line, sizeof(line) - 2);
		r = parse_line(&entry.budget, line, path, number, why);
		if (r < 0)
			return r;
		if (r && n == layers)
			return refuse(why,
				      "%s, line %u: a budget of %u for layer "
				      "%u, but the model has %u layers",
				      path, number, entry.budget, n, layers);
		if (r)
			entries[n++] = entry;
	}
	if (ferror(file)) {
		refuse(why, "cannot read the budgets %s: %s", path,
		       strerror(errno));
		return -EIO;
	}
	if (n < layers)
		return refuse(why,
			      "%s ends after line %u with %u budgets, but the "
			      "model has %u layers",
			      path, number, n, layers);
	return 0;
}

/* Takes the budgets over; sets what is recent. */
static int check_entries(uint32_t *budgets, const struct entry *entries,
			 uint32_t layers, const char *path,
			 struct budget_shape *shape, const struct reason *why)
{
	uint32_t least = entries[0].budget;

	for (uint32_t l = 1; l < layers; l++)
		least = entries[l].budget < least ? entries[l].budget : least;
	if (!shape->recent_given)
		shape->recent = budget_recent(least, shape->sinks);
	for (uint32_t l = 0; l < layers; l++) {
		uint64_t kept = (uint64_t)shape->sinks + shape->recent;

		if (entries[l].budget < kept + shape->selected_min)
			return refuse(why,
				      "%s, line %u: a budget of %u has no room "
				      "for sinks %u + recent %u%s",
				      path, entries[l].line, entries[l].budget,
				      shape->sinks, shape->recent,
				      shape->selected_min ? " + 1 selected" :
							    "");
		budgets[l] = entries[l].budget;
	}
	return 0;
}

static int load_file(uint32_t *budgets, uint32_t layers, const char *path,
		     struct budget_shape *shape, const struct reason *why)
{
	struct entry *entries = calloc(layers, sizeof(*entries));
	FILE *file = fopen(path, "re");
	int r;

	if (!entries || !file) {
		r = entries ? -errno : -ENOMEM;
		refuse(why, "cannot open the budgets %s: %s", path,
		       strerror(-r));
		goto out;
	}
	r = read_entries(entries, layers, file, path, why);
	if (!r)
		r = check_entries(budgets, entries, layers, path, shape, why);
out:
	if (file)
		fclose(file);
	free(entries);
	return r;
}

int budget_load(uint32_t *budgets, uint32_t layers, const char *profile,
		struct budget_shape *shape, char *why, size_t size)
{
	const struct reason reason = { why, size };

	if (budget_is_named(profile))
		return load_pyramid(budgets, layers, shape, &reason);
	return load_file(budgets, layers, profile, shape, &reason);
}
