// SPDX-License-Identifier: BSD-2-Clause
/* proto/frame.h. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/frame.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))

static void test_a_frame_is_whole_from_its_last_byte_on(void **state)
{
	uint8_t bytes[FRAME_HEADER + 10] = { 0 };
	uint32_t body = 4711;

	(void)state;
	frame_header(bytes, 7);
	for (size_t n = 0; n < FRAME_HEADER + 7; n++) {
		assert_int_equal(frame_check(bytes, n, 100, &body), 0);
		assert_int_equal(body, 4711);
	}
	for (size_t n = FRAME_HEADER + 7; n <= sizeof(bytes); n++) {
		body = 4711;
		assert_int_equal(frame_check(bytes, n, 100, &body), 1);
		assert_int_equal(body, 7);
	}
}

static void test_a_frame_may_be_empty(void **state)
{
	const uint8_t bytes[FRAME_HEADER] = { 0 };
	uint32_t body = 4711;

	(void)state;
	assert_int_equal(frame_check(bytes, 3, 0, &body), 0);
	assert_int_equal(frame_check(bytes, 4, 0, &body), 1);
	assert_int_equal(body, 0);
}

static void test_a_frame_over_the_cap_is_refused_at_its_header(void **state)
{
	static const uint32_t caps[] = { 0, 1, FRAME_REQUEST_MAX,
					 FRAME_REPLY_MAX };
	uint8_t bytes[FRAME_HEADER];
	uint32_t body = 4711;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
		const uint32_t over[] = { caps[i] + 1, 0x80000000, UINT32_MAX };

		for (size_t j = 0; j < ARRAY_SIZE(over); j++) {
			frame_header(bytes, over[j]);
			assert_int_equal(frame_check(bytes, sizeof(bytes),
						     caps[i], &body),
					 -EMSGSIZE);
			assert_int_equal(frame_check(bytes, 3, caps[i], &body),
					 0);
		}
		frame_header(bytes, caps[i]);
		assert_int_equal(frame_check(bytes, sizeof(bytes), caps[i],
					     &body),
				 caps[i] == 0);
	}
}

static void test_a_frames_length_is_little_endian(void **state)
{
	uint8_t bytes[FRAME_HEADER];

	(void)state;
	frame_header(bytes, 0x04030201);
	for (uint8_t i = 0; i < FRAME_HEADER; i++)
		assert_int_equal(bytes[i], i + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_frame_is_whole_from_its_last_byte_on),
		cmocka_unit_test(test_a_frame_may_be_empty),
		cmocka_unit_test(
			test_a_frame_over_the_cap_is_refused_at_its_header),
		cmocka_unit_test(test_a_frames_length_is_little_endian),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
