/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Samples in a file, to be looked at another day.
 *
 * A header of 16 bytes: "TKVTOP", two bytes of version, the rest zero. Then
 * frames: a little-endian u32 of bytes that follow the frame's 12, one of bytes
 * that these are when unpacked, one of flags; then a Zstandard frame with its
 * checksum of a packed Sample. Most samples differ little from the one before,
 * which is the dictionary of theirs; a key frame needs none.
 */
#ifndef TREEKV_RECORD_H
#define TREEKV_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "sample.pb-c.h"

#define RECORD_SAMPLE_MAX (64U << 20) /* bytes, unpacked */

struct record_writer;
struct record_reader;

/* What is wrong with a file, and what to do. */
struct record_error {
	char text[512];
};

/**
 * record_create - begin a record
 *
 * Return: 0; -EEXIST something is there: it is left alone; or another negative
 * errno.
 */
int record_create(struct record_writer **ret, const char *path,
		  struct record_error *why);

/*
 * Appends a sample, in one write. Return: 0; -ENOSPC and others: it is not in
 * the file, which ends with the sample before it.
 */
int record_append(struct record_writer *writer, const Treekv__Sample *sample,
		  struct record_error *why);

/* Takes NULL, returns it. */
struct record_writer *record_close(struct record_writer *writer);

/**
 * record_open - read a record
 * @why: what is wrong with it; also set, to what was found at its end, when
 *	the last sample is not whole: else empty
 *
 * Every frame's place is looked up now; what is in it is checked when it is
 * read. Return: 0; -EBADMSG it is no record, -EPROTO of a newer version,
 * -ENODATA it has no sample, or another negative errno.
 */
int record_open(struct record_reader **ret, const char *path,
		struct record_error *why);

size_t record_samples(const struct record_reader *reader);

/**
 * record_read - the sample with this number, from 0 on
 *
 * Return: 0; -EBADMSG it is damaged; -ENOMEM; another negative errno.
 */
int record_read(struct record_reader *reader, size_t i, Treekv__Sample **ret,
		struct record_error *why);

/* Takes NULL, returns it. */
struct record_reader *record_free(struct record_reader *reader);

#endif /* TREEKV_RECORD_H */
