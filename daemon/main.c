// SPDX-License-Identifier: BSD-2-Clause
/* treekvd: options, signals, and the control loop in the foreground. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/control.h"
#include "daemon/duty.h"
#include "daemon/hole.h"
#include "daemon/keeper.h"
#include "daemon/log.h"
#include "daemon/service.h"

#define EXIT_UNSAVED 3 /* caches are lost, or older than they were */

static int signal_fd = -1;

static struct {
	struct config config;
	int argc;
	char **argv;
} started_with;

static void on_one(int number)
{
	if (number == SIGHUP) {
		duty_reload(&treekvd, &started_with.config, started_with.argc,
			    started_with.argv);
		return;
	}
	log_info("stopping", "signal=\"%s\" caches=%u", strsignal(number),
		 treekvd.store.caches);
	treekvd.loop.stop = true;
}

static void on_signal(struct loop_op *op, int res, unsigned int flags)
{
	struct signalfd_siginfo info;

	(void)op;
	(void)res;
	(void)flags;
	while (read(signal_fd, &info, sizeof(info)) == sizeof(info))
		on_one((int)info.ssi_signo);
}

/* Threads that start later inherit the mask. */
static int take_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return signal_fd < 0 ? -errno : 0;
}

/*
 * Three descriptors a cache, two a lease, two a connection. Staging memory is
 * locked, which root may without a limit, until it is root no more.
 */
static void raise_limits(void)
{
	const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	struct rlimit limit;

	setrlimit(RLIMIT_MEMLOCK, &none);
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int serve(const struct config *config)
{
	static struct loop_op signals = { .done = on_signal };
	const char *why = "out of memory";
	unsigned int unsaved;
	int r;

	r = control_start(config, &why);
	if (r) {
		log_error("not started", "error=\"%s\"", why);
		return EXIT_FAILURE;
	}
	loop_poll(&treekvd.loop, signal_fd, &signals);
	log_info("serving", "socket=%s pool=%llu workers=%u", config->socket,
		 (unsigned long long)config->pool, config->workers);
	r = loop_run(&treekvd.loop);
	if (r)
		log_error("the control ring broke", "error=\"%s\"",
			  strerror(-r));
	unsaved = control_stop();
	log_info("stopped", "status=%d unsaved=%u", r, unsaved);
	if (r)
		return EXIT_FAILURE;
	return unsaved ? EXIT_UNSAVED : EXIT_SUCCESS;
}

/*
 * A manager starts us again at once and without end, because giving up would
 * drop the caches that it keeps. What will fail the same way next time fails
 * slowly.
 */
static int fail(int status)
{
	if (getenv("NOTIFY_SOCKET") || service_is_managed())
		sleep(1);
	return status;
}

static int start(const struct config *config)
{
	int r = service_init();

	if (r) {
		log_error("not started", "error=\"%s\"", strerror(-r));
		return EXIT_FAILURE;
	}
	raise_limits();
	hole_install();
	r = take_signals();
	if (r) {
		log_error("no signalfd", "error=\"%s\"", strerror(-r));
		return EXIT_FAILURE;
	}
	return serve(config);
}

int main(int argc, char **argv)
{
	struct config *config = &started_with.config;
	int r;

	started_with.argc = argc;
	started_with.argv = argv;
	r = config_load(config, argc, argv);
	if (r == 1)
		return EXIT_SUCCESS;
	if (r)
		return fail(2);
	log_set_level((enum log_level)config->log_level);
	if (config->keeper) {
		config_free(config);
		return keeper_run(argv);
	}
	r = start(config);
	if (r)
		r = fail(r);
	service_exit();
	config_free(config);
	return r;
}
