// SPDX-License-Identifier: BSD-2-Clause
/*
 * What is written goes to a temporary file beside the one that is meant, which
 * takes its name at the end: a run that is cut short leaves the file of an
 * earlier one as it was. Only regular files are replaced; a rename would put
 * one in the place of a device or a link, which nobody meant.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/run/output.h"

struct output {
	FILE *file;
	const char *option;
	const char *path;
	char *temporary;
	int error;
};

void output_put(struct output *o, const void *bytes, size_t size)
{
	if (!o->error && fwrite(bytes, 1, size, o->file) != size)
		o->error = errno ? -errno : -EIO;
}

static int report(const struct output *o, const char *what)
{
	fprintf(stderr, "treekv-run: %s %s: %s: %s\n", o->option, o->path, what,
		strerror(-o->error));
	return o->error;
}

static void output_free(struct output *o)
{
	if (o->file)
		fclose(o->file);
	if (o->temporary)
		unlink(o->temporary);
	free(o->temporary);
	free(o);
}

static int path_check(const char *option, const char *path)
{
	struct stat st;
	int r;

	if (!lstat(path, &st)) {
		if (S_ISREG(st.st_mode))
			return 0;
		fprintf(stderr,
			"treekv-run: %s %s is %s, and only a regular "
			"file is replaced: give another name\n",
			option, path,
			S_ISDIR(st.st_mode) ? "a directory" :
			S_ISLNK(st.st_mode) ? "a symbolic link" :
					      "a special file");
		return -EINVAL;
	}
	r = -errno;
	if (r == -ENOENT && *path)
		return 0;
	fprintf(stderr, "treekv-run: %s '%s': %s\n", option, path,
		strerror(-r));
	return r;
}

/* mkstemp() gives 0600; what creat() would have given is meant. */
static int set_mode(int fd)
{
	mode_t mask = umask(077);

	umask(mask);
	return fchmod(fd, 0666 & ~mask);
}

static int open_temporary(struct output *o)
{
	size_t size = strlen(o->path) + sizeof(".XXXXXX");
	char *name = malloc(size);
	int fd;

	if (!name)
		return -ENOMEM;
	snprintf(name, size, "%s.XXXXXX", o->path);
	fd = mkstemp(name);
	if (fd < 0) {
		fd = -errno;
		free(name);
		return fd;
	}
	o->temporary = name;
	o->file = set_mode(fd) < 0 ? NULL : fdopen(fd, "wb");
	if (o->file)
		return 0;
	o->error = -errno;
	close(fd);
	return o->error;
}

int output_open(struct output **ret, const char *option, const char *path)
{
	struct output *o;
	int r;

	r = path_check(option, path);
	if (r < 0)
		return r;
	o = calloc(1, sizeof(*o));
	if (!o) {
		fputs("treekv-run: out of memory\n", stderr);
		return -ENOMEM;
	}
	o->option = option;
	o->path = path;
	r = open_temporary(o);
	if (!r) {
		*ret = o;
		return 0;
	}
	o->error = r;
	report(o, "cannot create it");
	output_free(o);
	return r;
}

int output_close(struct output *o, bool complete)
{
	int r;

	if (!o)
		return 0;
	if (!complete) {
		fprintf(stderr,
			"treekv-run: %s %s: stopped before the "
			"end, nothing is kept\n",
			o->option, o->path);
		output_free(o);
		return -ECANCELED;
	}
	if (!o->error && (fflush(o->file) || fsync(fileno(o->file)) ||
			  rename(o->temporary, o->path)))
		o->error = -errno;
	r = o->error;
	if (r < 0) {
		report(o, "cannot write it");
	} else {
		free(o->temporary);
		o->temporary = NULL;
	}
	output_free(o);
	return r;
}
