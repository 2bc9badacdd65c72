/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What fuzz targets make of their input: numbers, one after the other, zeros
 * when it has ended; or a file of which only the kernel knows.
 */
#ifndef TREEKV_FUZZ_INPUT_H
#define TREEKV_FUZZ_INPUT_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define INPUT_PATH_SIZE 32

struct input {
	const uint8_t *at;
	size_t left;
};

static inline void input_bytes(struct input *input, void *to, size_t size)
{
	size_t n = size < input->left ? size : input->left;

	memset(to, 0, size);
	if (n)
		memcpy(to, input->at, n);
	input->at += n;
	input->left -= n;
}

static inline uint8_t input_8(struct input *input)
{
	uint8_t value;

	input_bytes(input, &value, sizeof(value));
	return value;
}

static inline uint16_t input_16(struct input *input)
{
	uint16_t value;

	input_bytes(input, &value, sizeof(value));
	return value;
}

static inline uint32_t input_32(struct input *input)
{
	uint32_t value;

	input_bytes(input, &value, sizeof(value));
	return value;
}

static inline uint64_t input_64(struct input *input)
{
	uint64_t value;

	input_bytes(input, &value, sizeof(value));
	return value;
}

/* A file of these bytes; its path is put into @path. Return: to be closed. */
static inline int input_file(char path[INPUT_PATH_SIZE], const uint8_t *bytes,
			     size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || (size && write(fd, bytes, size) != (ssize_t)size))
		abort();
	snprintf(path, INPUT_PATH_SIZE, "/proc/self/fd/%d", fd);
	return fd;
}

#endif /* TREEKV_FUZZ_INPUT_H */
