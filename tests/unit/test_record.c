// SPDX-License-Identifier: BSD-2-Clause
/* bpf/record.c: what is written comes back, and no file does harm. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "bpf/record.h"
#include "tests/helpers/selfcheck.h"
#include "tests/unit/sample_fixture.h"

#define SAMPLES 150 /* more than two key frames are apart */
#define FLIPS	3000

static char path[64];
static struct record_error why;

static int setup(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "/tmp/test_record.%d", (int)getpid());
	unlink(path);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

/* Sample i: caches come and go, counters rise. */
static Treekv__Sample *make_sample(uint64_t i)
{
	Treekv__Sample *sample = fixture_sample(i * 1000000000);
	char name[16];

	for (uint64_t id = 1 + i / 20; id <= 8 + i / 10; id++) {
		snprintf(name, sizeof(name), "cache-%d", (int)id);
		fixture_cache(sample, id, name)->tail = i * id;
	}
	fixture_metric(sample, "evictions_total", i * 100);
	return sample;
}

static void write_record(uint64_t samples)
{
	struct record_writer *writer;

	unlink(path);
	assert_int_equal(record_create(&writer, path, &why), 0);
	for (uint64_t i = 0; i < samples; i++) {
		Treekv__Sample *sample = make_sample(i);

		assert_int_equal(record_append(writer, sample, &why), 0);
		sample_free(sample);
	}
	record_close(writer);
}

static bool is_same(const Treekv__Sample *a, const Treekv__Sample *b)
{
	size_t n = treekv__sample__get_packed_size(a);
	uint8_t *x = malloc(n), *y = malloc(n);
	bool same = n == treekv__sample__get_packed_size(b);

	if (same) {
		treekv__sample__pack(a, x);
		treekv__sample__pack(b, y);
		same = !memcmp(x, y, n);
	}
	free(x);
	free(y);
	return same;
}

static void assert_sample(struct record_reader *reader, size_t i)
{
	Treekv__Sample *wanted = make_sample(i), *found;

	assert_int_equal(record_read(reader, i, &found, &why), 0);
	assert_true(is_same(found, wanted));
	sample_free(found);
	sample_free(wanted);
}

static void test_what_is_written_comes_back(void **state)
{
	struct record_reader *reader;
	uint64_t random = 1;

	(void)state;
	write_record(SAMPLES);
	assert_int_equal(record_open(&reader, path, &why), 0);
	assert_string_equal(why.text, "");
	assert_int_equal(record_samples(reader), SAMPLES);
	for (size_t i = 0; i < SAMPLES; i++)
		assert_sample(reader, i);
	for (size_t i = SAMPLES; i--;)
		assert_sample(reader, i);
	for (size_t i = 0; i < 300; i++)
		assert_sample(reader, selfcheck_mix(random++) % SAMPLES);
	record_free(reader);
}

static void test_record_is_compact(void **state)
{
	Treekv__Sample *sample = make_sample(0);
	size_t whole = treekv__sample__get_packed_size(sample);
	struct stat st;

	(void)state;
	write_record(SAMPLES);
	assert_int_equal(stat(path, &st), 0);
	assert_true((size_t)st.st_size < whole * SAMPLES / 4);
	assert_int_equal(st.st_mode & 0777, 0600);
	sample_free(sample);
}

static void test_nothing_is_overwritten(void **state)
{
	struct record_writer *writer;
	FILE *file = fopen(path, "w");

	(void)state;
	assert_non_null(file);
	fputs("precious", file);
	fclose(file);
	assert_int_equal(record_create(&writer, path, &why), -EEXIST);
	assert_non_null(strstr(why.text, path));
	assert_non_null(strstr(why.text, "another name"));
}

static void test_no_record_is_said(void **state)
{
	struct record_reader *reader;
	FILE *file;

	(void)state;
	unlink(path);
	assert_int_equal(record_open(&reader, path, &why), -ENOENT);
	assert_non_null(strstr(why.text, path));
	file = fopen(path, "w");
	assert_int_equal(record_open(&reader, path, &why), -EBADMSG);
	fputs("#!/bin/sh\necho this is no record\n", file);
	fclose(file);
	assert_int_equal(record_open(&reader, path, &why), -EBADMSG);
	assert_non_null(strstr(why.text, "is no record of treekv-top"));
	assert_int_equal(record_open(&reader, "/tmp", &why), -EISDIR);
	write_record(0);
	assert_int_equal(record_open(&reader, path, &why), -ENODATA);
	assert_non_null(strstr(why.text, "no sample"));
}

static void put(off_t at, const void *bytes, size_t size)
{
	int fd = open(path, O_WRONLY);

	assert_int_equal(pwrite(fd, bytes, size, at), size);
	close(fd);
}

static void test_newer_version_is_named(void **state)
{
	struct record_reader *reader;

	(void)state;
	write_record(3);
	put(6, "\x02", 1);
	assert_int_equal(record_open(&reader, path, &why), -EPROTO);
	assert_non_null(strstr(why.text, "version 2"));
	put(6, "\x01", 1);
	put(12, "\x01", 1);
	assert_int_equal(record_open(&reader, path, &why), -EBADMSG);
}

/* A recorder that was killed, at whatever byte. */
static void test_torn_end_keeps_what_is_whole(void **state)
{
	struct record_reader *reader;
	size_t last = 0, n;
	struct stat st;
	int r;

	(void)state;
	write_record(5);
	assert_int_equal(stat(path, &st), 0);
	for (off_t size = 16; size < st.st_size; size++) {
		write_record(5);
		assert_int_equal(truncate(path, size), 0);
		r = record_open(&reader, path, &why);
		if (r) {
			assert_int_equal(r, -ENODATA);
			assert_int_equal(last, 0);
			continue;
		}
		n = record_samples(reader);
		assert_true(n >= last && n <= last + 1 && n < 5);
		if (n == last)
			assert_non_null(strstr(why.text, "ends within"));
		last = n;
		for (size_t i = 0; i < n; i++)
			assert_sample(reader, i);
		record_free(reader);
	}
	assert_int_equal(last, 4);
}

/* It may lose samples and must say so; it must never show another one. */
static void test_flipped_bits_are_found(void **state)
{
	struct record_reader *reader;
	uint64_t random = 7, refused = 0;
	struct stat st;
	uint8_t *bytes;
	int fd;

	(void)state;
	write_record(20);
	assert_int_equal(stat(path, &st), 0);
	bytes = malloc((size_t)st.st_size);
	fd = open(path, O_RDWR);
	assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
	for (int i = 0; i < FLIPS; i++) {
		off_t at =
			(off_t)(selfcheck_mix(random++) % (uint64_t)st.st_size);
		uint8_t bit = (uint8_t)(1 << selfcheck_mix(random++) % 8);
		uint8_t flipped = bytes[at] ^ bit;

		assert_int_equal(pwrite(fd, &flipped, 1, at), 1);
		if (record_open(&reader, path, &why)) {
			refused++;
			assert_true(*why.text);
		} else {
			for (size_t s = 0; s < record_samples(reader); s++) {
				Treekv__Sample *found, *wanted;

				if (record_read(reader, s, &found, &why)) {
					refused++;
					assert_true(*why.text);
					continue;
				}
				wanted = make_sample(s);
				assert_true(is_same(found, wanted));
				sample_free(found);
				sample_free(wanted);
			}
			record_free(reader);
		}
		assert_int_equal(pwrite(fd, &bytes[at], 1, at), 1);
	}
	close(fd);
	free(bytes);
	assert_true(refused > FLIPS / 2);
}

/* One sound frame whose sample is not to be believed. */
static void write_lie(Treekv__Sample *lie)
{
	struct record_writer *writer;

	unlink(path);
	assert_int_equal(record_create(&writer, path, &why), 0);
	assert_int_equal(record_append(writer, lie, &why), 0);
	record_close(writer);
	sample_free(lie);
}

static void assert_lie_is_refused(const char *words)
{
	struct record_reader *reader;
	Treekv__Sample *sample;

	assert_int_equal(record_open(&reader, path, &why), 0);
	assert_int_equal(record_read(reader, 0, &sample, &why), -EBADMSG);
	assert_non_null(strstr(why.text, words));
	record_free(reader);
}

static void test_lies_are_refused(void **state)
{
	Treekv__Sample *lie = fixture_sample(0);
	static const uint64_t many[HISTOGRAM_BUCKETS + 1];
	Treekv__CacheInfo *cache;

	(void)state;
	fixture_histogram(lie, "stall", many, HISTOGRAM_BUCKETS + 1);
	write_lie(lie);
	assert_lie_is_refused("too many buckets");

	lie = fixture_sample(0);
	fixture_compactions(fixture_cache(lie, 1, "a"), HISTOGRAM_BUCKETS, 1);
	write_lie(lie);
	assert_lie_is_refused("too many buckets");

	lie = fixture_sample(0);
	fixture_client(lie, 9, "p");
	fixture_client(lie, 9, "p");
	write_lie(lie);
	assert_lie_is_refused("out of order");

	lie = fixture_sample(0);
	cache = fixture_cache(lie, 1, "a");
	cache->tail = 64;
	fixture_detail(lie, cache, 8, 2);
	lie->detail->even->group[1]->n_rows = 7;
	write_lie(lie);
	assert_lie_is_refused("map of kept tokens");

	lie = fixture_sample(0);
	cache = fixture_cache(lie, 1, "a");
	cache->tail = 64;
	fixture_detail(lie, cache, 8, 2);
	lie->detail->by_age->edge[4] = 0;
	write_lie(lie);
	assert_lie_is_refused("map of kept tokens");
}

/* Sizes that a frame claims are bounded before memory is taken for them. */
static void test_claims_are_bounded(void **state)
{
	static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff };
	struct record_reader *reader;
	Treekv__Sample *sample;
	uint32_t size;

	(void)state;
	write_record(2);
	put(16 + 4, huge, 4);
	assert_int_equal(record_open(&reader, path, &why), -EBADMSG);
	write_record(2);
	size = RECORD_SAMPLE_MAX;
	put(16 + 4, &size, 4);
	assert_int_equal(record_open(&reader, path, &why), 0);
	assert_int_equal(record_read(reader, 0, &sample, &why), -EBADMSG);
	record_free(reader);
	write_record(2);
	put(16 + 8, huge, 4);
	assert_int_equal(record_open(&reader, path, &why), -EBADMSG);
	write_record(2);
	put(16 + 8, "\0\0\0\0", 4); /* the first must be a key */
	assert_int_equal(record_open(&reader, path, &why), -EBADMSG);
}

/* It shrinks while it is looked at. */
static void test_vanished_bytes_are_an_error(void **state)
{
	struct record_reader *reader;
	Treekv__Sample *sample;

	(void)state;
	write_record(10);
	assert_int_equal(record_open(&reader, path, &why), 0);
	assert_int_equal(truncate(path, 40), 0);
	assert_int_equal(record_read(reader, 5, &sample, &why), -ENODATA);
	assert_non_null(strstr(why.text, path));
	record_free(reader);
}

/* The file may not grow any further: as a full disk, in the midst of a frame. */
static void test_full_disk_ends_with_a_whole_sample(void **state)
{
	struct rlimit before, limit = { .rlim_cur = 1200 };
	Treekv__Sample *sample;
	struct record_writer *writer;
	struct record_reader *reader;
	size_t written = 0;
	int r = 0;

	(void)state;
	unlink(path);
	assert_int_equal(record_create(&writer, path, &why), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit.rlim_max = before.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	while (!r && written < SAMPLES) {
		sample = make_sample(written);
		r = record_append(writer, sample, &why);
		written += !r;
		sample_free(sample);
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(r, -EFBIG);
	assert_non_null(strstr(why.text, path));
	assert_true(written > 0);
	record_close(writer);
	assert_int_equal(record_open(&reader, path, &why), 0);
	assert_string_equal(why.text, ""); /* nothing is torn */
	assert_int_equal(record_samples(reader), written);
	assert_sample(reader, written - 1);
	record_free(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_written_comes_back),
		cmocka_unit_test(test_record_is_compact),
		cmocka_unit_test(test_nothing_is_overwritten),
		cmocka_unit_test(test_no_record_is_said),
		cmocka_unit_test(test_newer_version_is_named),
		cmocka_unit_test(test_torn_end_keeps_what_is_whole),
		cmocka_unit_test(test_flipped_bits_are_found),
		cmocka_unit_test(test_lies_are_refused),
		cmocka_unit_test(test_claims_are_bounded),
		cmocka_unit_test(test_vanished_bytes_are_an_error),
		cmocka_unit_test(test_full_disk_ends_with_a_whole_sample),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
