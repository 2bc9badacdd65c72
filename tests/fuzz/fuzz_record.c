// SPDX-License-Identifier: BSD-2-Clause
/* A record of treekv-top: its frames are looked up, then read to and fro. */
#include <stdint.h>

#include "bpf/record.h"
#include "bpf/sample.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void read_one(struct record_reader *reader, size_t i)
{
	Treekv__Sample *sample;
	struct record_error why;

	if (!record_read(reader, i, &sample, &why))
		sample_free(sample);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct record_reader *reader;
	struct record_error why;
	char path[INPUT_PATH_SIZE];
	int fd = input_file(path, bytes, size);

	if (!record_open(&reader, path, &why)) {
		size_t n = record_samples(reader);

		for (size_t i = 0; i < n && i < 64; i++)
			read_one(reader, i);
		for (size_t i = 0; i < 8; i++)
			read_one(reader, (n - 1) * (7 - i) / 7);
		/* It may become shorter while it is being looked at. */
		if (ftruncate(fd, (off_t)size / 2))
			abort();
		read_one(reader, n - 1);
		record_free(reader);
	}
	close(fd);
	return 0;
}
