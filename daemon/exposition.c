// SPDX-License-Identifier: BSD-2-Clause
/*
 * Names follow Prometheus' conventions: a prefix, base units, _total on
 * counters; what the tables have in nanoseconds is given in seconds. The two
 * formats differ in how they call a counter's family, in units, in what they
 * know of info metrics, and in the last line.
 *
 * A bucket's bound is 2^k ns. The value of exactly so many nanoseconds is in
 * the next bucket: it is what is left of a duration that was longer than that.
 *
 * Users are labels, and labels cost the one who stores them, so those who take
 * the most memory are named and the rest are one. Whoever comes to be named or
 * ceases to be takes his share out of the rest or back to it: gauges stand
 * that, counters would not, so there are none.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cache.h"
#include "daemon/config.h"
#include "daemon/control.h"
#include "daemon/exposition.h"
#include "daemon/metrics.h"

#define PREFIX	   "treekvd_"
#define NAME_SIZE  96
#define NANOSECOND UINT64_C(1000000000)

struct family {
	char name[NAME_SIZE]; /* with prefix and unit, without _total */
	const char *unit; /* a base unit, or "" */
	const char *help;
	const char *type;
};

struct page {
	FILE *to;
	enum exposition_format format;
};

struct tenant {
	uid_t uid;
	uint64_t caches;
	uint64_t bytes;
	uint64_t leases;
};

/* ---- what a client wants ---- */

static const char *skip_blanks(const char *text)
{
	while (*text == ' ' || *text == '\t')
		text++;
	return text;
}

/* "q=0.5" among the parameters up to @end, in thousandths. */
static int weight_of(const char *item, const char *end)
{
	const char *at = item;
	double q = 1;

	while ((at = memchr(at, ';', (size_t)(end - at)))) {
		at = skip_blanks(at + 1);
		if ((*at == 'q' || *at == 'Q') && at[1] == '=')
			q = strtod(at + 2, NULL);
	}
	return q > 0 && q <= 1 ? (int)(q * 1000) : 0;
}

static bool is_type(const char *item, const char *end, const char *type)
{
	size_t n = strlen(type);

	return (size_t)(end - item) >= n && !strncasecmp(item, type, n) &&
	       (item + n == end || strchr(" \t;", item[n]));
}

enum exposition_format exposition_choose(const char *accept)
{
	int wanted = 0, text = 0, weight;
	const char *end;

	for (; accept && *accept; accept = *end ? end + 1 : end) {
		accept = skip_blanks(accept);
		end = accept + strcspn(accept, ",");
		weight = weight_of(accept, end);
		if (is_type(accept, end, "application/openmetrics-text"))
			wanted = weight > wanted ? weight : wanted;
		else if (is_type(accept, end, "text/plain"))
			text = weight > text ? weight : text;
	}
	return wanted && wanted >= text ? EXPOSITION_OPENMETRICS :
					  EXPOSITION_TEXT;
}

const char *exposition_type(enum exposition_format format)
{
	switch (format) {
	case EXPOSITION_OPENMETRICS:
		return "application/openmetrics-text; version=1.0.0; "
		       "charset=utf-8";
	case EXPOSITION_TEXT:
		break;
	}
	return "text/plain; version=0.0.4; charset=utf-8";
}

/* ---- families ---- */

static bool is_open(const struct page *page)
{
	return page->format == EXPOSITION_OPENMETRICS;
}

/* "_total" of a counter is its sample's only; and no nanoseconds. */
static void family_name(struct family *f, const char *name, const char *unit)
{
	size_t n = strlen(name);
	char *at;

	if (n > 6 && !strcmp(name + n - 6, "_total"))
		n -= 6;
	snprintf(f->name, sizeof(f->name), PREFIX "%.*s", (int)n, name);
	f->unit = unit;
	if (strcmp(unit, "nanoseconds"))
		return;
	f->unit = "seconds";
	at = strstr(f->name, "_nanoseconds");
	if (at)
		strcpy(at, "_seconds");
}

static void put_family(const struct page *page, const struct family *f)
{
	bool counter = !strcmp(f->type, "counter");
	const char *total = counter && !is_open(page) ? "_total" : "";

	fprintf(page->to, "# HELP %s%s %s.\n", f->name, total, f->help);
	fprintf(page->to, "# TYPE %s%s %s\n", f->name, total, f->type);
	if (is_open(page) && *f->unit)
		fprintf(page->to, "# UNIT %s %s\n", f->name, f->unit);
}

static void put_seconds(const struct page *page, uint64_t ns)
{
	fprintf(page->to, "%" PRIu64 ".%09" PRIu64 "\n", ns / NANOSECOND,
		ns % NANOSECOND);
}

static void put_metric(const struct page *page, const struct metric *metric,
		       const struct control *control)
{
	struct family f = { .help = metric->help,
			    .type = metric->counter ? "counter" : "gauge" };

	family_name(&f, metric->name, metric->unit);
	put_family(page, &f);
	fprintf(page->to, "%s%s ", f.name, metric->counter ? "_total" : "");
	if (f.unit == metric->unit)
		fprintf(page->to, "%" PRIu64 "\n", metric->read(control));
	else
		put_seconds(page, metric->read(control));
}

static void put_version(const struct page *page)
{
	struct family f = { .name = PREFIX "build_info",
			    .unit = "",
			    .help = "The daemon's version",
			    .type = "gauge" };

	if (is_open(page)) {
		strcpy(f.name, PREFIX "build");
		f.type = "info";
	}
	put_family(page, &f);
	fprintf(page->to, PREFIX "build_info{version=\"%s\"} 1\n",
		TREEKVD_VERSION);
}

/* ---- histograms ---- */

/* "{type="attach",le="0.004"}", or what of it there is. */
static void put_labels(const struct page *page, const char *type,
		       const char *le)
{
	if (!type && !le)
		return;
	fputc('{', page->to);
	if (type)
		fprintf(page->to, "type=\"%s\"%s", type, le ? "," : "");
	if (le)
		fprintf(page->to, "le=\"%s\"", le);
	fputc('}', page->to);
}

static void put_bucket(const struct page *page, const struct family *f,
		       const char *type, const char *le, uint64_t n)
{
	fprintf(page->to, "%s_bucket", f->name);
	put_labels(page, type, le);
	fprintf(page->to, " %" PRIu64 "\n", n);
}

static void put_histogram(const struct page *page, const struct family *f,
			  const struct histogram_row *row,
			  const struct histogram *sum)
{
	unsigned int i = 0;
	uint64_t n = 0;
	char le[32];

	for (unsigned int k = row->low; k <= row->high; k += row->step) {
		while (i < k)
			n += sum->bucket[i++];
		snprintf(le, sizeof(le), "%.12g",
			 (double)(UINT64_C(1) << k) / (double)NANOSECOND);
		put_bucket(page, f, row->type, le, n);
	}
	n = histogram_count(sum);
	put_bucket(page, f, row->type, "+Inf", n);
	fprintf(page->to, "%s_sum", f->name);
	put_labels(page, row->type, NULL);
	fputc(' ', page->to);
	put_seconds(page, sum->sum);
	fprintf(page->to, "%s_count", f->name);
	put_labels(page, row->type, NULL);
	fprintf(page->to, " %" PRIu64 "\n", n);
}

/* The rows of a family stand side by side. */
static void put_histograms(const struct page *page,
			   const struct control *control)
{
	struct family f = { .unit = "seconds", .type = "histogram" };
	const char *last = "";
	struct histogram sum;

	for (unsigned int i = 0; i < HISTOGRAMS; i++) {
		const struct histogram_row *row = &histogram_rows[i];

		if (strcmp(row->family, last)) {
			snprintf(f.name, sizeof(f.name), PREFIX "%s_seconds",
				 row->family);
			f.help = row->help;
			put_family(page, &f);
		}
		last = row->family;
		metrics_histogram(control, i, &sum);
		put_histogram(page, &f, row, &sum);
	}
}

/* ---- users ---- */

static int by_uid(const void *a, const void *b)
{
	const struct tenant *x = a, *y = b;

	return (x->uid > y->uid) - (x->uid < y->uid);
}

/* The most memory first; of two that take the same, always the same one. */
static int by_bytes(const void *a, const void *b)
{
	const struct tenant *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return by_uid(a, b);
}

static void tenant_add(struct tenant *to, const struct tenant *from)
{
	to->caches += from->caches;
	to->bytes += from->bytes;
	to->leases += from->leases;
}

/* One for each user who has caches. Return: how many, -ENOMEM. */
static int tenants_new(struct tenant **ret, const struct control *control)
{
	struct tenant *all = calloc(control->store.caches + 1, sizeof(*all));
	size_t n = 0, users = 0;

	if (!all)
		return -ENOMEM;
	for (const struct cache *c = control->store.first; c; c = c->next)
		all[n++] = (struct tenant){ .uid = c->uid,
					    .caches = 1,
					    .bytes = cache_bytes(c),
					    .leases = c->lease != NULL };
	qsort(all, n, sizeof(*all), by_uid);
	for (size_t i = 0; i < n; i++)
		if (users && all[users - 1].uid == all[i].uid)
			tenant_add(&all[users - 1], &all[i]);
		else
			all[users++] = all[i];
	qsort(all, users, sizeof(*all), by_bytes);
	*ret = all;
	return (int)users;
}

static const struct {
	const char *name;
	const char *unit;
	const char *help;
	size_t offset;
} tenant_rows[] = {
	{ "tenant_caches", "", "Caches of a user",
	  offsetof(struct tenant, caches) },
	{ "tenant_pool_used_bytes", "bytes", "What the caches of a user take",
	  offsetof(struct tenant, bytes) },
	{ "tenant_leases", "", "Caches of a user that a process is writing",
	  offsetof(struct tenant, leases) },
};

static uint64_t tenant_value(const struct tenant *tenant, size_t offset)
{
	return *(const uint64_t *)(const void *)((const char *)tenant + offset);
}

static int put_tenants(const struct page *page, const struct control *control,
		       uint32_t most)
{
	struct tenant *all, other = { 0 };
	int n = tenants_new(&all, control);
	uint32_t named;

	if (n < 0)
		return n;
	named = (uint32_t)n < most ? (uint32_t)n : most;
	for (uint32_t i = named; i < (uint32_t)n; i++)
		tenant_add(&other, &all[i]);
	for (size_t r = 0; r < sizeof(tenant_rows) / sizeof(*tenant_rows);
	     r++) {
		struct family f = { .help = tenant_rows[r].help,
				    .type = "gauge" };
		size_t offset = tenant_rows[r].offset;

		family_name(&f, tenant_rows[r].name, tenant_rows[r].unit);
		put_family(page, &f);
		for (uint32_t i = 0; i < named; i++)
			fprintf(page->to, "%s{uid=\"%u\"} %" PRIu64 "\n",
				f.name, all[i].uid,
				tenant_value(&all[i], offset));
		fprintf(page->to, "%s{uid=\"other\"} %" PRIu64 "\n", f.name,
			tenant_value(&other, offset));
	}
	free(all);
	return 0;
}

int exposition_new(char **ret, size_t *size, const struct control *control,
		   enum exposition_format format, uint32_t tenants)
{
	struct page page = { .format = format };
	char *text = NULL;
	int r;

	page.to = open_memstream(&text, size);
	if (!page.to)
		return -ENOMEM;
	put_version(&page);
	for (size_t i = 0; i < metrics_count; i++)
		put_metric(&page, &metrics[i], control);
	put_histograms(&page, control);
	r = put_tenants(&page, control, tenants);
	if (is_open(&page))
		fputs("# EOF\n", page.to);
	if (ferror(page.to))
		r = -ENOMEM;
	if (fclose(page.to))
		r = -ENOMEM;
	if (r)
		free(text);
	else
		*ret = text;
	return r;
}
