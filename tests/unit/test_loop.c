// SPDX-License-Identifier: BSD-2-Clause
/*
 * daemon/loop.c against the running kernel. Threads meet by completions and
 * semaphores only; a refused io_uring comes from a seccomp filter in a child.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/loop.h"
#include "tests/unit/counted.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define ROUNDS	      20000
#define NOPS	      1000
#define POLLS	      64

static void setup_loop(struct loop *loop, unsigned int entries)
{
	const char *why = "";

	if (loop_init(loop, entries, &why))
		fail_msg("%s", why);
}

/* Counts what comes in; stops its loop at @until. */
struct counter {
	struct loop_op op;
	struct loop *loop;
	unsigned int count;
	unsigned int until;
	int res;
	unsigned int flags;
	int fd; /* read when it is one */
};

static void count_done(struct loop_op *op, int res, unsigned int flags)
{
	struct counter *counter = loop_entry(op, struct counter, op);

	counter->res = res;
	counter->flags = flags;
	if (++counter->count == counter->until)
		counter->loop->stop = true;
}

static struct counter new_counter(struct loop *loop, unsigned int until)
{
	return (struct counter){ .op.done = count_done,
				 .loop = loop,
				 .until = until };
}

static void test_more_operations_than_the_queue_holds(void **state)
{
	struct loop loop;
	struct counter counter = new_counter(&loop, NOPS);

	(void)state;
	setup_loop(&loop, 4);
	for (int i = 0; i < NOPS; i++)
		io_uring_prep_nop(loop_sqe(&loop, &counter.op));
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(counter.count, NOPS);
	loop_exit(&loop);
}

static void test_a_post_to_oneself_arrives(void **state)
{
	struct loop loop;
	struct counter counter = new_counter(&loop, 1);

	(void)state;
	setup_loop(&loop, 4);
	loop_post(&loop, &loop, &counter.op, -ESTALE);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(counter.res, -ESTALE);
	assert_int_equal(counter.flags & IORING_CQE_F_MORE, 0);
	loop_exit(&loop);
}

/* One end of two threads that throw a ball; @op is the other end's ball. */
struct player {
	struct loop_op op;
	struct loop loop;
	struct player *other;
	int rounds;
	int last;
	int wrong;
	uint64_t shared; /* written by the other before it posts */
	sem_t ready;
	sem_t go;
};

static void player_done(struct loop_op *op, int res, unsigned int flags)
{
	struct player *player = loop_entry(op, struct player, op);

	(void)flags;
	player->wrong += res != player->last + 1 ||
			 player->shared != (uint64_t)res * 3;
	player->last = res + 1;
	player->loop.stop = res + 1 >= player->rounds;
	if (res < player->rounds) {
		player->other->shared = (uint64_t)(res + 1) * 3;
		loop_post(&player->loop, &player->other->loop,
			  &player->other->op, res + 1);
	}
}

static void *play(void *data)
{
	struct player *player = data;
	const char *why;
	int r = loop_init(&player->loop, 4, &why);

	sem_post(&player->ready);
	sem_wait(&player->go);
	if (!r)
		r = loop_run(&player->loop);
	return (void *)(intptr_t)r;
}

static void player_init(struct player *player, struct player *other, int last)
{
	memset(player, 0, sizeof(*player));
	player->op.done = player_done;
	player->other = other;
	player->rounds = ROUNDS;
	player->last = last;
	sem_init(&player->ready, 0, 0);
	sem_init(&player->go, 0, 0);
}

static void test_threads_post_to_each_other(void **state)
{
	static struct player a;
	static struct player b;
	const char *why;
	pthread_t thread;
	void *r;

	(void)state;
	player_init(&a, &b, 1);
	player_init(&b, &a, 0);
	assert_int_equal(loop_init(&a.loop, 4, &why), 0);
	assert_int_equal(pthread_create(&thread, NULL, play, &b), 0);
	sem_wait(&b.ready);
	b.shared = 3;
	loop_post(&a.loop, &b.loop, &b.op, 1); /* outside of loop_run() */
	sem_post(&b.go);
	assert_int_equal(loop_run(&a.loop), 0);
	pthread_join(thread, &r);
	assert_null(r);
	assert_int_equal(a.wrong + b.wrong, 0);
	assert_true(a.last >= ROUNDS && b.last >= ROUNDS);
	loop_exit(&b.loop);
	loop_exit(&a.loop);
}

/* A thread that only counts what it is sent. */
struct sink {
	struct loop loop;
	struct counter counter;
	sem_t ready;
};

static void *sink_run(void *data)
{
	struct sink *sink = data;
	const char *why;

	if (loop_init(&sink->loop, 4, &why))
		abort();
	sem_post(&sink->ready);
	return (void *)(intptr_t)loop_run(&sink->loop);
}

static void test_a_flood_of_posts_loses_none(void **state)
{
	static struct sink sink;
	struct loop loop;
	pthread_t thread;
	void *r;

	(void)state;
	sink.counter = new_counter(&sink.loop, ROUNDS);
	sem_init(&sink.ready, 0, 0);
	setup_loop(&loop, 4);
	assert_int_equal(pthread_create(&thread, NULL, sink_run, &sink), 0);
	sem_wait(&sink.ready);
	for (int i = 0; i < ROUNDS; i++)
		loop_post(&loop, &sink.loop, &sink.counter.op, i);
	pthread_join(thread, &r);
	assert_null(r);
	assert_int_equal(sink.counter.count, ROUNDS);
	loop_exit(&sink.loop);
	loop_exit(&loop);
}

static void read_done(struct loop_op *op, int res, unsigned int flags)
{
	struct counter *counter = loop_entry(op, struct counter, op);
	eventfd_t value;

	if (res >= 0)
		eventfd_read(counter->fd, &value);
	count_done(op, res, flags);
	if (res >= 0 && !counter->loop->stop)
		eventfd_write(counter->fd, 1);
}

static void test_a_poll_fires_each_time(void **state)
{
	struct loop loop;
	struct counter counter = new_counter(&loop, NOPS);

	(void)state;
	setup_loop(&loop, 4);
	counter.op.done = read_done;
	counter.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	loop_poll(&loop, counter.fd, &counter.op);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(counter.count, NOPS);
	assert_true(counter.flags & IORING_CQE_F_MORE);
	close(counter.fd);
	loop_exit(&loop);
}

static unsigned int fired(const struct counter *counters, size_t n)
{
	unsigned int ret = 0;

	for (size_t i = 0; i < n; i++)
		ret += counters[i].count > 0;
	return ret;
}

/* All at once, in a ring that has completions for an eighth of them. */
static void fire_all(struct loop *loop, struct counter *counters, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		counters[i].count = 0;
		eventfd_write(counters[i].fd, 1);
	}
	while (fired(counters, n) < n)
		assert_int_equal(loop_turn(loop), 0);
}

static void drain_done(struct loop_op *op, int res, unsigned int flags)
{
	struct counter *counter = loop_entry(op, struct counter, op);
	eventfd_t value;

	if (res >= 0)
		eventfd_read(counter->fd, &value);
	count_done(op, res, flags);
}

static void test_polls_survive_a_full_completion_queue(void **state)
{
	static struct counter counters[POLLS];
	struct loop loop;

	(void)state;
	setup_loop(&loop, 4);
	for (size_t i = 0; i < POLLS; i++) {
		counters[i] = new_counter(&loop, 0);
		counters[i].op.done = drain_done;
		counters[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		loop_poll(&loop, counters[i].fd, &counters[i].op);
	}
	for (int round = 0; round < 10; round++)
		fire_all(&loop, counters, POLLS);
	for (size_t i = 0; i < POLLS; i++)
		close(counters[i].fd);
	loop_exit(&loop);
}

static void test_a_cancelled_poll_ends_once(void **state)
{
	struct loop loop;
	struct counter counter = new_counter(&loop, 1);
	struct counter after = new_counter(&loop, 1);

	(void)state;
	setup_loop(&loop, 8);
	counter.fd = eventfd(0, EFD_CLOEXEC);
	loop_poll(&loop, counter.fd, &counter.op);
	loop_cancel(&loop, &counter.op);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(counter.res, -ECANCELED);
	assert_int_equal(counter.flags & IORING_CQE_F_MORE, 0);
	/* Another cancel finds nothing and calls nobody. */
	loop.stop = false;
	loop_cancel(&loop, &counter.op);
	loop_post(&loop, &loop, &after.op, 0);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(counter.count, 1);
	close(counter.fd);
	loop_exit(&loop);
}

static void test_poll_once_tells_of_a_dead_process(void **state)
{
	struct loop loop;
	struct counter counter = new_counter(&loop, 1);
	pid_t pid = fork();

	(void)state;
	if (!pid)
		for (;;)
			pause();
	setup_loop(&loop, 4);
	counter.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (counter.fd < 0 && errno == ENOSYS) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		loop_exit(&loop);
		print_message("# no pidfd_open(2), as under valgrind 3.19\n");
		skip();
	}
	assert_true(counter.fd >= 0);
	loop_poll_once(&loop, counter.fd, &counter.op);
	kill(pid, SIGKILL);
	assert_int_equal(loop_run(&loop), 0);
	assert_true(counter.res > 0);
	assert_int_equal(counter.flags & IORING_CQE_F_MORE, 0);
	waitpid(pid, NULL, 0);
	close(counter.fd);
	loop_exit(&loop);
}

static unsigned int idle_left;

static bool idle_counts(struct loop *loop)
{
	loop->stop = --idle_left == 0;
	return true;
}

static void test_idle_runs_again_while_there_is_more(void **state)
{
	struct loop loop;

	(void)state;
	setup_loop(&loop, 4);
	idle_left = NOPS;
	loop.idle = idle_counts;
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(idle_left, 0);
	loop_exit(&loop);
}

static bool idle_forever(struct loop *loop)
{
	(void)loop;
	return true;
}

/* Completions must come in though the loop never sleeps. */
static void test_a_busy_loop_hears_of_posts(void **state)
{
	static struct sink sink;
	struct loop loop;
	struct counter poll = new_counter(&loop, 1);
	pthread_t thread;

	(void)state;
	memset(&sink, 0, sizeof(sink));
	sem_init(&sink.ready, 0, 0);
	setup_loop(&loop, 4);
	loop.idle = idle_forever;
	sink.counter = new_counter(&sink.loop, 1);
	assert_int_equal(pthread_create(&thread, NULL, sink_run, &sink), 0);
	sem_wait(&sink.ready);
	poll.fd = eventfd(0, EFD_CLOEXEC);
	loop_poll_once(&loop, poll.fd, &poll.op);
	loop_post(&loop, &sink.loop, &sink.counter.op, 1);
	pthread_join(thread, NULL);
	eventfd_write(poll.fd, 1);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(poll.count, 1);
	close(poll.fd);
	loop_exit(&sink.loop);
	loop_exit(&loop);
}

/* Into a ring that is nobody's yet the kernel posts nothing. */
__attribute__((noreturn)) static void post_to_nobody(int stderr_fd)
{
	const struct rlimit none = { 0, 0 };
	struct loop loop, nobody;
	struct counter counter = new_counter(&loop, 1);
	const char *why;

	alarm(10);
	setrlimit(RLIMIT_CORE, &none);
	dup2(stderr_fd, STDERR_FILENO);
	if (loop_make(&nobody, 4, &why) || loop_init(&loop, 4, &why))
		_exit(2);
	loop_post(&loop, &nobody, &counter.op, 0);
	loop_run(&loop);
	_exit(3);
}

static void test_a_lost_post_ends_the_process(void **state)
{
	char text[512] = "";
	int ends[2], status;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (!pid)
		post_to_nobody(ends[1]);
	close(ends[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "message to another thread lost"));
	close(ends[0]);
}

static void refuse_io_uring(int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K,
			 SECCOMP_RET_ERRNO | (unsigned int)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(filter), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(2);
}

/* Return: the child's exit status, 0 when all was as it should be. */
static int refused_in_child(int error, const char *first, const char *second)
{
	struct loop loop;
	const char *why = "";
	int status;
	pid_t pid = fork();

	if (!pid) {
		refuse_io_uring(error);
		if (loop_init(&loop, 4, &why) != -error)
			leave(3);
		leave(!strstr(why, first) || !strstr(why, second));
	}
	waitpid(pid, &status, 0);
	return status;
}

static void test_a_refused_ring_names_the_cause(void **state)
{
	(void)state;
	assert_int_equal(refused_in_child(EPERM, "(EPERM)", "seccomp filter"),
			 0);
	assert_int_equal(
		refused_in_child(ENOSYS, "(ENOSYS)", "Linux 6.0 or newer"), 0);
	assert_int_equal(refused_in_child(ENOMEM, "(ENOMEM)",
					  "raise RLIMIT_MEMLOCK"),
			 0);
	assert_int_equal(
		refused_in_child(EMFILE, "(EMFILE)", "raise RLIMIT_NOFILE"), 0);
	assert_int_equal(refused_in_child(EIO, "cannot be set up",
					  "Input/output error"),
			 0);
}

/* Each makes a descriptor, or asks for something that the daemon never does. */
static int result_of(struct loop *loop, uint8_t opcode, uint8_t flags)
{
	struct counter counter = new_counter(loop, 1);
	struct io_uring_sqe *sqe = loop_sqe(loop, &counter.op);

	io_uring_prep_nop(sqe);
	sqe->opcode = opcode;
	sqe->flags |= flags;
	loop->stop = false;
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(counter.count, 1);
	return counter.res;
}

static void test_a_ring_does_only_what_it_is_for(void **state)
{
	static const uint8_t others[] = {
		IORING_OP_CONNECT, IORING_OP_OPENAT2, IORING_OP_SOCKET,
		IORING_OP_LINKAT,  IORING_OP_STATX,   IORING_OP_SYMLINKAT,
		IORING_OP_SPLICE,  IORING_OP_CLOSE,
	};
	struct loop loop;
	int fds[1] = { -1 };

	(void)state;
	setup_loop(&loop, 4);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_int_equal(result_of(&loop, others[i], 0), -EACCES);
	assert_int_equal(result_of(&loop, IORING_OP_NOP, IOSQE_IO_DRAIN),
			 -EACCES);
	assert_int_equal(result_of(&loop, IORING_OP_NOP, 0), 0);
	assert_int_equal(io_uring_register_files(&loop.ring, fds, 1), -EACCES);
	loop_exit(&loop);
}

static void *own_and_run(void *arg)
{
	struct loop *loop = arg;
	struct counter counter = new_counter(loop, 1);
	const char *why = "";

	if (loop_own(loop, &why))
		return NULL;
	io_uring_prep_nop(loop_sqe(loop, &counter.op));
	return !loop_run(loop) && counter.count == 1 ? arg : NULL;
}

static void test_a_ring_is_made_by_one_thread_for_another(void **state)
{
	struct loop loop;
	const char *why = "";
	pthread_t thread;
	void *result;

	(void)state;
	if (loop_make(&loop, 4, &why))
		fail_msg("%s", why);
	assert_int_equal(pthread_create(&thread, NULL, own_and_run, &loop), 0);
	pthread_join(thread, &result);
	assert_ptr_equal(result, &loop);
	loop_exit(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_more_operations_than_the_queue_holds),
		cmocka_unit_test(test_a_post_to_oneself_arrives),
		cmocka_unit_test(test_threads_post_to_each_other),
		cmocka_unit_test(test_a_flood_of_posts_loses_none),
		cmocka_unit_test(test_a_poll_fires_each_time),
		cmocka_unit_test(test_polls_survive_a_full_completion_queue),
		cmocka_unit_test(test_a_cancelled_poll_ends_once),
		cmocka_unit_test(test_poll_once_tells_of_a_dead_process),
		cmocka_unit_test(test_idle_runs_again_while_there_is_more),
		cmocka_unit_test(test_a_busy_loop_hears_of_posts),
		cmocka_unit_test(test_a_lost_post_ends_the_process),
		cmocka_unit_test(test_a_refused_ring_names_the_cause),
		cmocka_unit_test(test_a_ring_does_only_what_it_is_for),
		cmocka_unit_test(test_a_ring_is_made_by_one_thread_for_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
