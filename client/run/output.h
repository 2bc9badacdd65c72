/* SPDX-License-Identifier: BSD-2-Clause */
/* A file that an option names: it gets that name when it is complete. */
#ifndef RUN_OUTPUT_H
#define RUN_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

struct output;

/**
 * output_open - begin a file
 * @ret: the output
 * @option: "--record", for messages
 * @path: its name once it is complete; what has it now must be a regular file
 *
 * Return: 0; -EINVAL @path is a directory, a link or a device; another negative
 * errno. The fault is on stderr.
 */
int output_open(struct output **ret, const char *option, const char *path);

/* Appends; a failure shows in output_close(). */
void output_put(struct output *output, const void *bytes, size_t size);

/**
 * output_close - give the file its name, or remove it; frees the output
 * @output: taken to be NULL, too
 * @complete: nothing is kept of one that is not
 *
 * Return: 0; -ECANCELED it was not complete; another negative errno. The fault
 * is on stderr.
 */
int output_close(struct output *output, bool complete);

#endif /* RUN_OUTPUT_H */
