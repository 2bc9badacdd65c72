// SPDX-License-Identifier: BSD-2-Clause
/*
 * Written beside its name and renamed when it has the size that its header
 * promises, so that a torn trace never has the name of a whole one. A rename
 * replaces whatever has the name, so it must be nothing or a regular file: not
 * a device, not somebody's link.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/run/record.h"

struct record {
	FILE *file;
	const char *path;
	char *temporary;
	float *row; /* by original position */
	uint32_t steps;
	uint64_t left; /* bytes still to come */
	int error;
};

static void put(struct record *r, const void *bytes, size_t size)
{
	if (r->error)
		return;
	if (fwrite(bytes, 1, size, r->file) != size)
		r->error = errno ? -errno : -EIO;
	r->left -= size;
}

static int report(const struct record *r, const char *what)
{
	fprintf(stderr, "treekv-run: --record %s: %s: %s\n", r->path, what,
		strerror(-r->error));
	return r->error;
}

static void record_free(struct record *r)
{
	if (r->file)
		fclose(r->file);
	if (r->temporary)
		unlink(r->temporary);
	free(r->temporary);
	free(r->row);
	free(r);
}

static int path_check(const char *path)
{
	struct stat st;
	int r;

	if (!lstat(path, &st)) {
		if (S_ISREG(st.st_mode))
			return 0;
		fprintf(stderr,
			"treekv-run: --record %s is %s, and only a regular "
			"file is replaced: give another name\n",
			path,
			S_ISDIR(st.st_mode) ? "a directory" :
			S_ISLNK(st.st_mode) ? "a symbolic link" :
					      "a special file");
		return -EINVAL;
	}
	r = -errno;
	if (r == -ENOENT && *path)
		return 0;
	fprintf(stderr, "treekv-run: --record '%s': %s\n", path, strerror(-r));
	return r;
}

/* mkstemp() gives 0600; what creat() would have given is meant. */
static int set_mode(int fd)
{
	mode_t mask = umask(077);

	umask(mask);
	return fchmod(fd, 0666 & ~mask);
}

int record_open(struct record **ret, const char *path, uint32_t layers,
		uint32_t kv_heads, uint32_t steps)
{
	const uint32_t header[] = { layers, kv_heads, steps };
	size_t size = strlen(path) + sizeof(".XXXXXX");
	struct record *r;
	int fd;

	fd = path_check(path);
	if (fd < 0)
		return fd;
	r = calloc(1, sizeof(*r));
	if (!r) {
		fputs("treekv-run: out of memory\n", stderr);
		return -ENOMEM;
	}
	r->path = path;
	r->steps = steps;
	r->left = 20 + UINT64_C(2) * layers * kv_heads * steps *
			       ((uint64_t)steps + 1);
	r->row = calloc(steps, sizeof(*r->row));
	r->temporary = malloc(size);
	if (!r->row || !r->temporary) {
		free(r->temporary);
		r->temporary = NULL;
		r->error = -ENOMEM;
		goto out;
	}
	snprintf(r->temporary, size, "%s.XXXXXX", path);
	fd = mkstemp(r->temporary);
	if (fd < 0) {
		r->error = -errno;
		free(r->temporary);
		r->temporary = NULL;
		goto out;
	}
	r->file = set_mode(fd) < 0 ? NULL : fdopen(fd, "wb");
	if (!r->file) {
		r->error = -errno;
		close(fd);
		goto out;
	}
	put(r, "TKVTRC1", 8);
	put(r, header, sizeof(header));
	*ret = r;
	return 0;
out:
	report(r, "cannot create it");
	fd = r->error;
	record_free(r);
	return fd;
}

void record_watch(void *arg, uint32_t layer, uint32_t head,
		  const struct treekv_view *view, const float *weights,
		  uint32_t group, size_t stride)
{
	struct record *r = arg;

	(void)layer;
	(void)head;
	if (view->live > r->steps)
		return;
	for (uint32_t s = 0; s < view->slots; s++) {
		float sum = 0;

		if (view->rank[s] == TREEKV_FREE || view->token[s] >= r->steps)
			continue;
		for (uint32_t g = 0; g < group; g++)
			sum += weights[g * stride + s];
		r->row[view->token[s]] = sum / (float)group;
	}
	put(r, r->row, view->live * sizeof(*r->row));
}

int record_close(struct record *r)
{
	int error = 0;

	if (!r)
		return 0;
	if (r->left) {
		fprintf(stderr,
			"treekv-run: --record %s: stopped before the "
			"end, nothing is kept\n",
			r->path);
		error = -ECANCELED;
		goto out;
	}
	if (!r->error && (fflush(r->file) || fsync(fileno(r->file)) ||
			  rename(r->temporary, r->path)))
		r->error = -errno;
	error = r->error;
	if (error < 0) {
		report(r, "cannot write it");
		goto out;
	}
	free(r->temporary);
	r->temporary = NULL;
out:
	record_free(r);
	return error;
}
