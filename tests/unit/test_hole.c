// SPDX-License-Identifier: BSD-2-Clause
/*
 * daemon/hole.c under real faults: a file that is shorter than its mapping, which
 * raises SIGBUS as a hole in huge pages does that cannot be filled.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/hole.h"

#define PAGE	  4096
#define HUGE_SIZE (2U << 20)
#define FILLED	  0x5a

static int file_of(size_t size)
{
	int fd = memfd_create("hole", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

/* @pages of FILLED, then as many that are gone. */
static volatile uint8_t *map_torn(size_t pages)
{
	int fd = file_of(2 * pages * PAGE);
	void *at = mmap(NULL, 2 * pages * PAGE, PROT_READ | PROT_WRITE,
			MAP_SHARED, fd, 0);

	assert_true(at != MAP_FAILED);
	memset(at, FILLED, 2 * pages * PAGE);
	assert_int_equal(ftruncate(fd, (off_t)(pages * PAGE)), 0);
	close(fd);
	return at;
}

static void unmap(volatile uint8_t *at, size_t size)
{
	assert_int_equal(munmap((void *)(uintptr_t)at, size), 0);
}

static void test_a_hole_reads_as_zeroes_and_is_told(void **state)
{
	volatile uint8_t *at = map_torn(2), *other = map_torn(1);
	bool holed = false, other_holed = false;

	(void)state;
	hole_install(); /* here: cmocka sets its own before each test */
	hole_watch((void *)(uintptr_t)at, 4 * PAGE, false, &holed);
	hole_watch((void *)(uintptr_t)other, 2 * PAGE, false, &other_holed);
	assert_int_equal(at[2 * PAGE - 1], FILLED);
	assert_false(holed);
	assert_int_equal(at[3 * PAGE + 7], 0);
	assert_true(holed);
	assert_int_equal(at[3 * PAGE - 1], 0);
	assert_int_equal(at[2 * PAGE - 1], FILLED);
	assert_false(other_holed);
	assert_int_equal(other[PAGE], 0);
	assert_true(other_holed);
	hole_unwatch((void *)(uintptr_t)at);
	hole_unwatch((void *)(uintptr_t)other);
	unmap(at, 4 * PAGE);
	unmap(other, 2 * PAGE);
}

/* All of a huge page goes, and not a byte beside it. */
static void test_a_huge_page_is_one_hole(void **state)
{
	uint8_t *room = mmap(NULL, 4 * HUGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			     0);
	uintptr_t up = (uintptr_t)room / HUGE_SIZE * HUGE_SIZE + HUGE_SIZE;
	volatile uint8_t *at = room + (up - (uintptr_t)room);
	int fd = file_of(0);
	bool holed = false;

	(void)state;
	hole_install();
	assert_true(room != MAP_FAILED);
	assert_true(mmap((void *)up, HUGE_SIZE, PROT_READ,
			 MAP_SHARED | MAP_FIXED, fd, 0) == (void *)up);
	at[HUGE_SIZE] = FILLED;
	hole_watch((void *)up, HUGE_SIZE, true, &holed);
	assert_int_equal(at[5 * PAGE + 1], 0);
	assert_true(holed);
	holed = false;
	assert_int_equal(at[0], 0);
	assert_int_equal(at[HUGE_SIZE - 1], 0);
	assert_false(holed);
	assert_int_equal(at[HUGE_SIZE], FILLED);
	hole_unwatch((void *)up);
	unmap(room, 4 * HUGE_SIZE);
	close(fd);
}

static void test_a_place_in_the_table_is_used_again(void **state)
{
	volatile uint8_t *at = map_torn(1), *next = map_torn(1);
	bool holed = false, next_holed = false;

	(void)state;
	hole_install();
	hole_watch((void *)(uintptr_t)at, 2 * PAGE, false, &holed);
	hole_unwatch((void *)(uintptr_t)at);
	hole_watch((void *)(uintptr_t)next, 2 * PAGE, false, &next_holed);
	assert_int_equal(next[PAGE], 0);
	assert_true(next_holed);
	assert_false(holed);
	hole_unwatch((void *)(uintptr_t)next);
	unmap(at, 2 * PAGE);
	unmap(next, 2 * PAGE);
}

/* Return: how a child ends that reads the byte at @at. */
static int read_in_child(volatile uint8_t *at)
{
	const struct rlimit none = { 0 };
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		setrlimit(RLIMIT_CORE, &none);
		_exit(*at);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_killed(int status)
{
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

static void test_a_fault_of_nobodys_is_fatal(void **state)
{
	volatile uint8_t *at = map_torn(2);
	bool holed = false;

	(void)state;
	hole_install();
	hole_watch((void *)(uintptr_t)at, 3 * PAGE, false, &holed);
	assert_int_equal(read_in_child(at + 3 * PAGE - 1), 0);
	assert_killed(read_in_child(at + 3 * PAGE));
	hole_unwatch((void *)(uintptr_t)at);
	assert_killed(read_in_child(at + 3 * PAGE - 1));
	unmap(at, 4 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_hole_reads_as_zeroes_and_is_told),
		cmocka_unit_test(test_a_huge_page_is_one_hole),
		cmocka_unit_test(test_a_place_in_the_table_is_used_again),
		cmocka_unit_test(test_a_fault_of_nobodys_is_fatal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
