// SPDX-License-Identifier: BSD-2-Clause
/* Files that are not what they ought to be are named and left alone. */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fixture.h"
#include "tests/unit/snapshot_fixture.h"

static void test_every_byte_of_the_header_counts(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct snapshot_header header;
	struct snapshot_error why;
	struct file file;

	(void)state;
	bed_save_one(&spec, "header");
	file = file_read("header");
	assert_int_equal(
		snapshot_header_check(&header, file.bytes, file.size, &why), 0);
	for (size_t at = 0; at < SNAPSHOT_PAGE; at++)
		for (int bit = 0; bit < 8; bit += 7) {
			file.bytes[at] ^= 1 << bit;
			assert_true(snapshot_header_check(&header, file.bytes,
							  file.size, &why) < 0);
			file.bytes[at] ^= 1 << bit;
		}
	free(file.bytes);
}

static void assert_flip_is_refused(struct file *file, size_t at,
				   const struct treekv_spec *spec,
				   const char *section)
{
	struct snapshot_error why;
	struct bed *bed = NULL;

	file->bytes[at] ^= 0x10;
	file_write(file, file->size);
	assert_int_equal(bed_load_file(&bed, spec, "flip", &why), -EBADMSG);
	assert_non_null(strstr(why.text, section));
	file->bytes[at] ^= 0x10;
}

static void test_flips_in_every_section_are_refused(void **state)
{
	struct treekv_spec spec = fixture_spec();
	const struct snapshot_header *header;
	uint64_t random = 1;
	struct file file;

	(void)state;
	bed_save_one(&spec, "flip");
	file = file_read("flip");
	header = (const void *)file.bytes;
	for (unsigned int s = 0; s < SNAPSHOT_SECTIONS; s++) {
		const struct snapshot_part *part = &header->part[s];
		const char *name = snapshot_section_name(s);

		assert_true(part->size > 0);
		assert_flip_is_refused(&file, part->at, &spec, name);
		assert_flip_is_refused(&file, part->at + part->size - 1, &spec,
				       name);
		for (int i = 0; i < 8; i++) {
			random = selfcheck_mix(random);
			assert_flip_is_refused(&file,
					       part->at + random % part->size,
					       &spec, name);
		}
	}
	file_write(&file, file.size);
	bed_free(bed_load(&spec, "flip"));
	free(file.bytes);
}

static void test_truncations_are_refused(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct snapshot_error why;
	struct bed *bed = NULL;
	struct file file;

	(void)state;
	bed_save_one(&spec, "cut-off");
	file = file_read("cut-off");
	for (size_t size = 0; size < file.size; size += SNAPSHOT_PAGE)
		for (size_t more = 0; more < 2; more++) {
			file_write(&file, size + more);
			assert_int_equal(bed_load_file(&bed, &spec, "cut-off",
						       &why),
					 -EBADMSG);
			assert_true(strlen(why.text) > 10);
		}
	file_write(&file, file.size - 1);
	assert_int_equal(bed_load_file(&bed, &spec, "cut-off", &why), -EBADMSG);
	free(file.bytes);
}

static void test_newer_and_foreign_files_are_named(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct snapshot_header *header;
	struct snapshot_error why;
	struct snapshot_info *info;
	struct file file;
	char version[24];

	(void)state;
	bed_save_one(&spec, "newer");
	file = file_read("newer");
	header = (void *)file.bytes;
	header->version++;
	file_write(&file, file.size);
	assert_int_equal(snapshot_peek(&info, bed_root, BED_UID, "newer", &why),
			 -EPROTO);
	snprintf(version, sizeof(version), "version %u", header->version);
	assert_non_null(strstr(why.text, version));
	header->version--;
	header->magic++;
	file_write(&file, file.size);
	assert_int_equal(snapshot_peek(&info, bed_root, BED_UID, "newer", &why),
			 -EBADMSG);
	assert_non_null(strstr(why.text, "not a snapshot"));
	header->magic--;
	snprintf(file.path, sizeof(file.path), "%s/%u/other.tkv", bed_root,
		 BED_UID);
	file_write(&file, file.size);
	assert_int_equal(snapshot_peek(&info, bed_root, BED_UID, "other", &why),
			 -EBADMSG);
	assert_non_null(strstr(why.text, "of cache newer"));
	free(file.bytes);
}

/* A header whose hash is right and whose words are not. */
static void assert_crafted_is_refused(struct file *file, int error,
				      const char *says)
{
	uint8_t page[SNAPSHOT_PAGE];
	struct snapshot_error why;
	struct snapshot_info *info;

	memcpy(page, file->bytes, sizeof(page));
	snapshot_seal(file->bytes, (const void *)page);
	file_write(file, file->size);
	assert_int_equal(snapshot_peek(&info, bed_root, BED_UID, "crafted",
				       &why),
			 error);
	assert_non_null(strstr(why.text, says));
}

static void test_crafted_headers_are_refused(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct snapshot_header *header, good;
	struct file file;

	(void)state;
	bed_save_one(&spec, "crafted");
	file = file_read("crafted");
	header = (void *)file.bytes;
	good = *header;
	header->spec.layers = 1U << 30;
	assert_crafted_is_refused(&file, -EBADMSG, "layers");
	*header = good;
	header->spec.layers = 512;
	assert_crafted_is_refused(&file, -EBADMSG, "");
	*header = good;
	header->spec.k_row = 0;
	assert_crafted_is_refused(&file, -EBADMSG, "k_row");
	*header = good;
	header->spec.k_row *= 100;
	assert_crafted_is_refused(&file, -EPROTO, "lays memory out");
	*header = good;
	header->tail = UINT64_MAX;
	assert_crafted_is_refused(&file, -EBADMSG, "tail");
	*header = good;
	header->tail += 100;
	assert_crafted_is_refused(&file, -EBADMSG, "layer 0");
	*header = good;
	header->generation = 0;
	assert_crafted_is_refused(&file, -EBADMSG, "generation");
	*header = good;
	header->layout++;
	assert_crafted_is_refused(&file, -EPROTO, "lays memory out");
	*header = good;
	header->part[SNAPSHOT_ROWS].size += SNAPSHOT_PAGE;
	header->file_size += SNAPSHOT_PAGE;
	assert_crafted_is_refused(&file, -EBADMSG, "");
	*header = good;
	header->part[SNAPSHOT_ROWS].at = UINT64_MAX - 5;
	assert_crafted_is_refused(&file, -EBADMSG, "section rows");
	free(file.bytes);
}

/* Hashes that are right over an order that cannot be. */
static void test_a_crafted_order_is_refused(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct snapshot_error why;
	struct snapshot_part *part;
	struct bed *bed = NULL;
	uint8_t page[SNAPSHOT_PAGE];
	struct file file;
	uint16_t *order;

	(void)state;
	bed_save_one(&spec, "order");
	file = file_read("order");
	part = &((struct snapshot_header *)file.bytes)->part[SNAPSHOT_ORDERS];
	order = (uint16_t *)(file.bytes + part->at);
	order[0] = order[1]; /* a slot twice, and one never */
	part->hash = snapshot_hash(order, part->size);
	memcpy(page, file.bytes, sizeof(page));
	snapshot_seal(file.bytes, (const void *)page);
	file_write(&file, file.size);
	assert_int_equal(bed_load_file(&bed, &spec, "order", &why), -EBADMSG);
	assert_non_null(strstr(why.text, "no permutation"));
	free(file.bytes);
}

static void test_what_is_no_snapshot_is_not_replaced(void **state)
{
	struct treekv_spec spec = fixture_spec();
	struct bed *bed = bed_new(&spec, "way");
	struct file file = { .bytes = (uint8_t *)(uintptr_t) "a letter" };
	struct snapshot_job *job;
	struct file after;

	(void)state;
	bed_save(bed);
	snprintf(file.path, sizeof(file.path), "%s/%u/way.tkv", bed_root,
		 BED_UID);
	file_write(&file, 8);
	assert_int_equal(snapshot_save(&job, bed->cache, bed_root, 0), 0);
	bed_run(job);
	assert_int_equal(job->error, -EEXIST);
	assert_non_null(strstr(job->why.text, "way.tkv"));
	snapshot_job_free(job);
	after = file_read("way");
	assert_int_equal(after.size, 8);
	assert_memory_equal(after.bytes, "a letter", 8);
	free(after.bytes);
	bed_free(bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_byte_of_the_header_counts),
		cmocka_unit_test(test_flips_in_every_section_are_refused),
		cmocka_unit_test(test_truncations_are_refused),
		cmocka_unit_test(test_newer_and_foreign_files_are_named),
		cmocka_unit_test(test_crafted_headers_are_refused),
		cmocka_unit_test(test_a_crafted_order_is_refused),
		cmocka_unit_test(test_what_is_no_snapshot_is_not_replaced),
	};

	return cmocka_run_group_tests(tests, bed_set_up, bed_tear_down);
}
