// SPDX-License-Identifier: BSD-2-Clause
/*
 * Nothing here wakes an idle daemon but the watchdog's timer. The status line
 * is looked at whenever the control loop is about to sleep, sent when it says
 * something new, and then not again for a second: what changes meanwhile
 * is sent by one timer at the end of that second. So PID 1 reads at most one a
 * second, however many caches come and go.
 *
 * A sign of life speaks for every thread: at each tick the workers get a probe
 * each, and the next tick says WATCHDOG=1 only if all of them are back. This
 * loop's own answer is the tick.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/control.h"
#include "daemon/duty.h"
#include "daemon/keep.h"
#include "daemon/log.h"
#include "daemon/park.h"
#include "daemon/persist.h"
#include "daemon/ready.h"
#include "daemon/service.h"
#include "daemon/tenant.h"

#define STATUS_PAUSE 1 /* seconds */
#define STATUS_SIZE  160

static struct {
	struct control *control;
	struct loop_op tick;
	struct __kernel_timespec tick_time;
	struct worker_job probe[CONTROL_WORKERS_MAX];
	uint32_t unanswered;
	bool late; /* and logged */

	struct loop_op pause;
	bool pausing;
	char status[STATUS_SIZE]; /* as last sent */
} duty;

/* ---- signs of life ---- */

static void on_answer(struct worker_job *job)
{
	(void)job;
	duty.unanswered--;
}

static void ask_workers(void)
{
	duty.unanswered = duty.control->workers;
	for (uint32_t i = 0; i < duty.control->workers; i++) {
		duty.probe[i].done = on_answer;
		worker_probe(duty.control->worker[i], &duty.probe[i]);
	}
}

static void tick_arm(void)
{
	io_uring_prep_timeout(loop_sqe(&duty.control->loop, &duty.tick),
			      &duty.tick_time, 0, 0);
}

static void on_tick(struct loop_op *op, int res, unsigned int flags)
{
	(void)op;
	(void)res;
	(void)flags;
	if (!duty.unanswered) {
		service_notify("WATCHDOG=1");
		duty.late = false;
		ask_workers();
	} else if (!duty.late) {
		duty.late = true;
		log_error("a worker hangs", "workers=%u silent=%u",
			  duty.control->workers, duty.unanswered);
	}
	tick_arm();
}

static void start_watchdog(void)
{
	uint64_t ns = service_watchdog_ns();

	if (!ns)
		return;
	duty.tick.done = on_tick;
	duty.tick_time.tv_sec = (long long)(ns / 1000000000);
	duty.tick_time.tv_nsec = (long long)(ns % 1000000000);
	ask_workers();
	tick_arm();
}

/* ---- the status line ---- */

static void put_status(char *to)
{
	const struct store *store = &duty.control->store;
	const double mib = 1 << 20;

	snprintf(to, STATUS_SIZE,
		 "%u caches, %u of them written to, %u clients; pool %.1f of "
		 "%.1f MiB",
		 store->caches, duty.control->leases,
		 listener_connections(duty.control->listener),
		 (double)store->used / mib, (double)store->pool / mib);
}

static void pause_over(struct loop_op *op, int res, unsigned int flags)
{
	(void)op;
	(void)res;
	(void)flags;
	duty.pausing = false; /* about_to_sleep() follows */
}

static bool about_to_sleep(struct loop *loop)
{
	static struct __kernel_timespec pause = { .tv_sec = STATUS_PAUSE };
	char status[STATUS_SIZE];

	keep_look();
	park_look();
	ready_look();
	if (duty.pausing || !service_is_managed())
		return false;
	put_status(status);
	if (!strcmp(status, duty.status))
		return false;
	strcpy(duty.status, status);
	service_notify("STATUS=%s", status);
	duty.pausing = true;
	io_uring_prep_timeout(loop_sqe(loop, &duty.pause), &pause, 0, 0);
	return false;
}

void duty_start(struct control *control)
{
	duty.control = control;
	control->loop.idle = about_to_sleep;
	if (!service_is_managed())
		return;
	start_watchdog();
	duty.pause.done = pause_over;
	put_status(duty.status);
	service_notify("READY=1\nSTATUS=%s", duty.status);
}

/* ---- reload ---- */

static void on_changed(const char *name, bool live)
{
	if (live)
		log_info("option changed", "name=%s", name);
	else
		log_warning("option needs a restart",
			    "name=%s hint=\"systemctl restart treekvd\"", name);
}

void duty_reload(struct control *control, struct config *config, int argc,
		 char **argv)
{
	struct timespec ts;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	service_notify("RELOADING=1\nMONOTONIC_USEC=%llu",
		       (unsigned long long)ts.tv_sec * 1000000 +
			       (unsigned long long)ts.tv_nsec / 1000);
	r = config_reload(config, argc, argv, on_changed);
	if (r) {
		log_error("not reloaded", "error=\"%s\" config=%s kept=1",
			  strerror(r < 0 ? -r : EINVAL), config->file);
	} else {
		control->store.pool = config->pool;
		control->store.changed = true;
		tenant_reload(config);
		persist_reload();
		log_set_level((enum log_level)config->log_level);
		log_info("reloaded", "config=%s", config->file);
	}
	service_notify("READY=1");
}
