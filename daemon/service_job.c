// SPDX-License-Identifier: BSD-2-Clause
/*
 * systemd sends the same SIGTERM for a stop, upon which it forgets what it
 * keeps for us, and for a restart, upon which it does not. It knows which: the
 * job of our unit says so, and anybody may read it on the system bus.
 *
 * sd-bus is taken from libsystemd where that is installed, which is wherever
 * systemd is, and loaded under systemd only, so that nobody else has to have it;
 * at the start, because a sandbox loads no code. A thread asks, because a bus that is going down itself may keep one
 * waiting for longer than there is time; it is left behind then.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/service.h"

#define LIBRARY	   "libsystemd.so.0"
#define MANAGER	   "org.freedesktop.systemd1"
#define MANAGER_AT "/org/freedesktop/systemd1"
#define SECONDS	   1

/* What is used of sd-bus(3). */
struct bus_api {
	int (*open)(void **bus);
	void *(*close)(void *bus);
	int (*call)(void *bus, const char *to, const char *path,
		    const char *interface, const char *member, void *error,
		    void **reply, const char *types, ...);
	int (*get)(void *bus, const char *to, const char *path,
		   const char *interface, const char *member, void *error,
		   void **reply, const char *type);
	int (*get_string)(void *bus, const char *to, const char *path,
			  const char *interface, const char *member,
			  void *error, char **ret);
	int (*read)(void *message, const char *types, ...);
	void *(*unref)(void *message);
};

/* The thread's, which may outlive who waits for it. */
static struct {
	sem_t done;
	bool restarting;
} answer;

static void *library; /* NULL: it is not there */

static bool look_up(struct bus_api *ret)
{
	const struct {
		const char *name;
		void *to;
	} symbols[] = {
		{ "sd_bus_open_system", &ret->open },
		{ "sd_bus_flush_close_unref", &ret->close },
		{ "sd_bus_call_method", &ret->call },
		{ "sd_bus_get_property", &ret->get },
		{ "sd_bus_get_property_string", &ret->get_string },
		{ "sd_bus_message_read", &ret->read },
		{ "sd_bus_message_unref", &ret->unref },
	};

	for (size_t i = 0; i < sizeof(symbols) / sizeof(*symbols); i++) {
		void *symbol = dlsym(library, symbols[i].name);

		if (!symbol)
			return false;
		memcpy(symbols[i].to, &symbol, sizeof(symbol));
	}
	return true;
}

/* The type of the job that our unit is in: "stop", "restart"; NULL: none. */
static char *job_type(const struct bus_api *api, void *bus)
{
	void *unit = NULL, *job = NULL;
	const char *path;
	char *type = NULL;
	uint32_t id;

	if (api->call(bus, MANAGER, MANAGER_AT, MANAGER ".Manager",
		      "GetUnitByPID", NULL, &unit, "u",
		      (uint32_t)getpid()) >= 0 &&
	    api->read(unit, "o", &path) > 0 &&
	    api->get(bus, MANAGER, path, MANAGER ".Unit", "Job", NULL, &job,
		     "(uo)") >= 0 &&
	    api->read(job, "(uo)", &id, &path) > 0 && id)
		api->get_string(bus, MANAGER, path, MANAGER ".Job", "JobType",
				NULL, &type);
	api->unref(job);
	api->unref(unit);
	return type;
}

void service_job_prepare(void)
{
	if (service_is_systemd())
		library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
}

static void *ask(void *arg)
{
	struct bus_api api;
	void *bus = NULL;
	char *type;

	(void)arg;
	if (library && look_up(&api) && api.open(&bus) >= 0) {
		type = job_type(&api, bus);
		answer.restarting = type && !strcmp(type, "restart");
		log_debug("asked systemd", "job=%s", type ? type : "none");
		free(type);
		api.close(bus);
	}
	sem_post(&answer.done);
	return NULL;
}

bool service_is_restarting(void)
{
	struct timespec until;
	pthread_t thread;

	if (!service_is_systemd())
		return false;
	sem_init(&answer.done, 0, 0);
	if (pthread_create(&thread, NULL, ask, NULL))
		return false;
	pthread_detach(thread);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += SECONDS;
	while (sem_timedwait(&answer.done, &until))
		if (errno != EINTR)
			return false;
	return answer.restarting;
}
