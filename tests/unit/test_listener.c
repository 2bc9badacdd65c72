// SPDX-License-Identifier: BSD-2-Clause
/*
 * daemon/listener.c: who may have a socket, what is left of it, and what
 * happens when descriptors run out. A second daemon is a second listener in
 * this process, on a loop of its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conn_fixture.h"

#define FDS_MAX 128
#define CLIENTS 4

static void ignore_request(struct conn *conn, const Treekv__Request *request)
{
	(void)conn;
	(void)request;
}

static void ignore_closed(struct conn *conn)
{
	(void)conn;
}

static const struct conn_ops nobody = {
	.request = ignore_request,
	.closed = ignore_closed,
};

/* A listener of this thread on @path; @why: what refused it. */
static int try_listen(const char *path, char *why, size_t size)
{
	struct listener *listener = NULL;
	const char *text = "";
	struct loop loop;
	int r;

	assert_int_equal(loop_init(&loop, 8, &text), 0);
	r = listener_new(&listener, &loop, path, -1, &nobody, &text);
	snprintf(why, size, "%s", text);
	if (r)
		assert_null(listener);
	else
		assert_null(listener_free(listener));
	loop_exit(&loop);
	return r;
}

static void assert_refused(const char *path, int error, const char *text)
{
	char why[512];

	assert_int_equal(try_listen(path, why, sizeof(why)), error);
	assert_string_equal(why, text);
}

static void assert_listens(const char *path)
{
	char why[512];

	if (try_listen(path, why, sizeof(why)))
		fail_msg("%s", why);
}

static void test_the_socket_is_for_owner_and_group(void **state)
{
	struct server *server = *state;
	struct stat stat;

	assert_int_equal(lstat(server->address.sun_path, &stat), 0);
	assert_true(S_ISSOCK(stat.st_mode));
	assert_int_equal(stat.st_mode & 07777, 0660);
}

static void test_a_second_daemon_is_refused(void **state)
{
	struct server *server = *state;
	const char *path = server->address.sun_path;
	char text[256];
	int fd;

	snprintf(text, sizeof(text),
		 "another treekvd listens on %s (pid %d); stop it or give "
		 "another path (--socket)",
		 path, (int)getpid());
	assert_refused(path, -EADDRINUSE, text);
	fd = client_greeted(server); /* the first one has not noticed */
	close(fd);
}

/* The lock is held, but nobody listens yet. */
static void test_a_daemon_about_to_listen_counts(void **state)
{
	const struct server *server = *state;
	char path[64];
	char lock[80];
	char text[256];
	int fd;

	snprintf(path, sizeof(path), "%s/t", server->directory);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	snprintf(text, sizeof(text),
		 "another treekvd listens or is about to listen on %s; stop "
		 "it or give another path (--socket)",
		 path);
	assert_refused(path, -EADDRINUSE, text);
	close(fd);
	assert_listens(path);
	unlink(lock);
}

/* Someone without our lock listens there: another program, an older daemon. */
static void test_a_foreign_listener_is_not_replaced(void **state)
{
	const struct server *server = *state;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char text[256];
	char lock[128];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/t",
		 server->directory);
	assert_int_equal(bind(fd, (void *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(text, sizeof(text),
		 "another treekvd listens on %s (pid %d); stop it or give "
		 "another path (--socket)",
		 address.sun_path, (int)getpid());
	assert_refused(address.sun_path, -EADDRINUSE, text);
	close(fd);
	assert_listens(address.sun_path); /* now it is stale */
	assert_int_equal(access(address.sun_path, F_OK), -1);
	snprintf(lock, sizeof(lock), "%s.lock", address.sun_path);
	unlink(lock);
}

static void test_a_file_in_the_way_is_left_alone(void **state)
{
	const struct server *server = *state;
	char path[64];
	char lock[80];
	char text[256];

	snprintf(path, sizeof(path), "%s/t", server->directory);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	snprintf(text, sizeof(text),
		 "%s is there and is no socket; remove it or give another "
		 "path (--socket)",
		 path);
	assert_refused(path, -EEXIST, text);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unlink(lock), 0);
}

static void test_a_path_that_is_too_long_is_refused(void **state)
{
	char path[109] = "/tmp/";
	char text[512];

	(void)state;
	memset(path + 5, 'p', sizeof(path) - 6);
	snprintf(text, sizeof(text),
		 "the socket's path has 108 bytes, but 107 are the most that "
		 "the kernel takes; give a shorter one (--socket): %s",
		 path);
	assert_refused(path, -ENAMETOOLONG, text);
}

static void test_the_directory_is_made(void **state)
{
	const struct server *server = *state;
	char directory[64];
	char path[80];
	char text[256];
	struct stat stat;

	snprintf(directory, sizeof(directory), "%s/d", server->directory);
	snprintf(path, sizeof(path), "%s/s", directory);
	assert_listens(path);
	assert_int_equal(lstat(directory, &stat), 0);
	assert_int_equal(stat.st_mode & 07777 & ~0755, 0);
	snprintf(path, sizeof(path), "%s/s.lock", directory);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(directory), 0);
	snprintf(path, sizeof(path), "%s/e/f/s", server->directory);
	snprintf(text, sizeof(text),
		 "cannot make the socket's directory %s/e/f: No such file or "
		 "directory; make it or give another path (--socket)",
		 server->directory);
	assert_refused(path, -ENOENT, text);
}

static void test_connections_are_closed_with_the_listener(void **state)
{
	struct server *server = *state;
	int fds[CLIENTS];
	int closed;

	for (int i = 0; i < CLIENTS; i++)
		fds[i] = client_greeted(server);
	server_stop(server);
	sem_getvalue(&server->closed, &closed);
	assert_int_equal(closed, CLIENTS);
	for (int i = 0; i < CLIENTS; i++) {
		assert_hung_up(fds[i]);
		close(fds[i]);
	}
	server_start(server); /* teardown stops it again */
}

#define FEW 64

/* valgrind tells a program of another limit than the kernel keeps. */
static bool kernel_knows_of_few(void)
{
	FILE *file = fopen("/proc/self/limits", "re");
	char line[256];
	int most = 0;

	assert_non_null(file);
	while (!most && fgets(line, sizeof(line), file))
		sscanf(line, "Max open files %d", &most);
	fclose(file);
	return most == FEW;
}

static void need_few(void)
{
	if (kernel_knows_of_few())
		return;
	print_message("# no limit of descriptors that holds for io_uring\n");
	skip();
}

static unsigned int fill_descriptors(int *fds)
{
	unsigned int n = 0;

	while (n < FDS_MAX && (fds[n] = dup(0)) >= 0)
		n++;
	assert_int_equal(errno, EMFILE);
	return n;
}

static void empty_descriptors(const int *fds, unsigned int n)
{
	while (n)
		close(fds[--n]);
}

static void connect_with(int fd, const struct server *server)
{
	assert_int_equal(connect(fd, (const void *)&server->address,
				 sizeof(server->address)),
			 0);
}

/* Sockets are made before the table is full: connecting needs no descriptor. */
static void test_a_full_descriptor_table_is_said_and_passes(void **state)
{
	struct server *server = *state;
	int fds[FDS_MAX];
	int clients[CLIENTS];
	unsigned int n;
	int fd;

	need_few();
	fd = client_greeted(server);
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_true(clients[i] >= 0);
	}
	for (int round = 0; round < 2; round++) {
		n = fill_descriptors(fds);
		connect_with(clients[round], server);
		assert_reply(clients[round], 0, -EMFILE,
			     "treekvd is out of descriptors: raise its "
			     "LimitNOFILE (ulimit -n)");
		assert_hung_up(clients[round]);
		empty_descriptors(fds, n);
	}
	close(client_greeted(server));
	close(client_greeted(server));
	for (int i = 0; i < CLIENTS; i++)
		close(clients[i]);
	close(fd);
}

/* Without a pidfd there could be no lease, so he is not taken in. */
static void test_room_for_the_socket_alone_is_not_enough(void **state)
{
	struct server *server = *state;
	int fds[FDS_MAX];
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unsigned int n;

	need_few();
	n = fill_descriptors(fds);
	close(fds[--n]);
	connect_with(client, server);
	assert_reply(client, 0, -EMFILE, "treekvd is out of descriptors");
	assert_hung_up(client);
	empty_descriptors(fds, n);
	close(client);
	close(client_greeted(server));
}

/* No room for the copies that wait in the queue: the owner's go nowhere. */
static void test_a_reply_without_descriptors_to_spare_ends_it(void **state)
{
	Treekv__Request attach = request_of(5, TREEKV__REQUEST__BODY_ATTACH);
	struct server *server = *state;
	int fds[FDS_MAX];
	unsigned int n;
	int fd;

	need_few();
	fd = client_greeted(server);
	n = fill_descriptors(fds);
	/* The owner needs five for a moment, and then four are left. */
	close(fds[--n]);
	close(fds[--n]);
	close(fds[--n]);
	close(fds[--n]);
	close(fds[--n]);
	client_send(fd, &attach);
	assert_reply(fd, 5, -EMFILE, "treekvd is out of descriptors");
	assert_hung_up(fd);
	sem_wait(&server->closed);
	empty_descriptors(fds, n);
	close(fd);
}

static struct rlimit limit;

static int setup_few(void **state)
{
	struct rlimit few = { .rlim_cur = FEW };

	getrlimit(RLIMIT_NOFILE, &limit);
	few.rlim_max = limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &few) ? -1 : server_setup(state);
}

static int teardown_few(void **state)
{
	int r = server_teardown(state);

	return setrlimit(RLIMIT_NOFILE, &limit) ? -1 : r;
}

int main(void)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, server_setup, server_teardown)
#define TEST_FEW(name) \
	cmocka_unit_test_setup_teardown(name, setup_few, teardown_few)
	const struct CMUnitTest tests[] = {
		TEST(test_the_socket_is_for_owner_and_group),
		TEST(test_a_second_daemon_is_refused),
		TEST(test_a_daemon_about_to_listen_counts),
		TEST(test_a_foreign_listener_is_not_replaced),
		TEST(test_a_file_in_the_way_is_left_alone),
		TEST(test_a_path_that_is_too_long_is_refused),
		TEST(test_the_directory_is_made),
		TEST(test_connections_are_closed_with_the_listener),
		TEST_FEW(test_a_full_descriptor_table_is_said_and_passes),
		TEST_FEW(test_room_for_the_socket_alone_is_not_enough),
		TEST_FEW(test_a_reply_without_descriptors_to_spare_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
