// SPDX-License-Identifier: BSD-2-Clause
/*
 * Two threads beside the screen's: one asks, one acts, each over a connection
 * of its own, for a snapshot takes as long as a disk takes. What they have to
 * say lies under one lock until the screen takes it; the newest sample replaces
 * one that was not taken.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "bpf/sample.h"
#include "bpf/source.h"

#define END_WAIT_MS 300

struct result {
	bool there;
	int error;
	char text[512];
};

struct source {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t asker;
	pthread_t actor;
	bool acting; /* actor is to be joined */
	int fd;
	char *socket;
	bool ebpf;

	/* Under the lock. */
	bool stop;
	bool paused;
	double interval;
	struct gather_detail wanted;
	bool wanted_new;
	Treekv__Sample *sample;
	Treekv__SampleDetail *detail;
	enum act act;
	struct target object;
	struct result result;
};

static void tell(struct source *source)
{
	uint64_t one = 1;

	(void)!write(source->fd, &one, sizeof(one));
}

static Treekv__SampleDetail *detail_free(Treekv__SampleDetail *detail)
{
	if (detail)
		treekv__sample_detail__free_unpacked(detail, NULL);
	return NULL;
}

/* ---- asking ---- */

/* The sample is shown before what takes longer begins. */
static void publish(struct source *source, Treekv__Sample *sample)
{
	pthread_mutex_lock(&source->lock);
	sample_free(source->sample);
	source->sample = sample;
	pthread_mutex_unlock(&source->lock);
	tell(source);
}

static void ask_all(struct source *source, struct gather *gather)
{
	struct gather_detail wanted;
	Treekv__Sample *sample, *copy = NULL;

	pthread_mutex_lock(&source->lock);
	wanted = source->wanted;
	pthread_mutex_unlock(&source->lock);
	sample = gather_sample(gather);
	if (sample && !sample->trouble)
		sample->detail = gather_detail(gather, &wanted);
	if (sample && gather_wants(gather, sample))
		copy = sample_copy(sample);
	publish(source, sample);
	if (copy)
		gather_attach(gather, copy);
	sample_free(copy);
}

static void ask_detail(struct source *source, struct gather *gather)
{
	struct gather_detail wanted;
	Treekv__SampleDetail *detail;

	pthread_mutex_lock(&source->lock);
	wanted = source->wanted;
	source->wanted_new = false;
	pthread_mutex_unlock(&source->lock);
	detail = gather_detail(gather, &wanted);
	pthread_mutex_lock(&source->lock);
	detail_free(source->detail);
	source->detail = detail;
	pthread_mutex_unlock(&source->lock);
	tell(source);
}

static void add_seconds(struct timespec *to, double seconds)
{
	uint64_t ns = (uint64_t)to->tv_nsec + (uint64_t)(seconds * 1e9);

	to->tv_sec += (time_t)(ns / 1000000000);
	to->tv_nsec = (long)(ns % 1000000000);
}

static bool is_over(const struct timespec *due)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > due->tv_sec ||
	       (now.tv_sec == due->tv_sec && now.tv_nsec >= due->tv_nsec);
}

enum turn {
	TURN_SAMPLE,
	TURN_DETAIL,
	TURN_STOP,
};

/* Waits until something is to be done. @last: when the last sample was due. */
static enum turn next_turn(struct source *source, const struct timespec *last)
{
	struct timespec due;
	enum turn turn = TURN_STOP;

	pthread_mutex_lock(&source->lock);
	while (!source->stop) {
		due = *last;
		add_seconds(&due, source->interval);
		turn = source->wanted_new ? TURN_DETAIL : TURN_SAMPLE;
		if (source->wanted_new || (!source->paused && is_over(&due)))
			break;
		turn = TURN_STOP;
		if (source->paused)
			pthread_cond_wait(&source->changed, &source->lock);
		else
			pthread_cond_timedwait(&source->changed, &source->lock,
					       &due);
	}
	if (source->stop)
		turn = TURN_STOP;
	pthread_mutex_unlock(&source->lock);
	return turn;
}

static void *asker_main(void *arg)
{
	struct source *source = arg;
	struct gather *gather = gather_new(source->socket, source->ebpf);
	struct timespec last = { 0 };
	enum turn turn;

	while (gather && (turn = next_turn(source, &last)) != TURN_STOP) {
		if (turn == TURN_DETAIL) {
			ask_detail(source, gather);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &last);
		ask_all(source, gather);
	}
	gather_free(gather);
	return NULL;
}

/* ---- acting ---- */

static void *actor_main(void *arg)
{
	struct source *source = arg;
	struct result result = { .there = true };

	result.error = gather_act(source->socket, source->act, &source->object,
				  result.text, sizeof(result.text));
	pthread_mutex_lock(&source->lock);
	source->result = result;
	pthread_mutex_unlock(&source->lock);
	tell(source);
	return NULL;
}

int source_act(struct source *source, enum act act, const struct target *object)
{
	int r;

	if (source->acting)
		return -EBUSY;
	source->act = act;
	source->object = *object;
	r = -pthread_create(&source->actor, NULL, actor_main, source);
	source->acting = !r;
	return r;
}

int source_take_result(struct source *source, int *error, char *text,
		       size_t size)
{
	struct result result;

	pthread_mutex_lock(&source->lock);
	result = source->result;
	source->result.there = false;
	pthread_mutex_unlock(&source->lock);
	if (!result.there)
		return 0;
	pthread_join(source->actor, NULL);
	source->acting = false;
	*error = result.error;
	snprintf(text, size, "%s", result.text);
	return 1;
}

/* ---- the screen's side ---- */

static int init_lock(struct source *source)
{
	pthread_condattr_t attributes;
	int r;

	pthread_mutex_init(&source->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	r = -pthread_cond_init(&source->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	return r;
}

static void destroy(struct source *source)
{
	sample_free(source->sample);
	detail_free(source->detail);
	pthread_cond_destroy(&source->changed);
	pthread_mutex_destroy(&source->lock);
	if (source->fd >= 0)
		close(source->fd);
	free(source->socket);
	free(source);
}

int source_new(struct source **ret, const struct source_options *options)
{
	struct source *source = calloc(1, sizeof(*source));
	int r;

	if (!source)
		return -ENOMEM;
	source->interval = options->interval;
	source->ebpf = options->ebpf;
	source->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = source->fd < 0 ? -errno : init_lock(source);
	if (!r && options->socket) {
		source->socket = strdup(options->socket);
		r = source->socket ? 0 : -ENOMEM;
	}
	if (!r)
		r = -pthread_create(&source->asker, NULL, asker_main, source);
	if (r)
		destroy(source);
	else
		*ret = source;
	return r;
}

struct source *source_free(struct source *source)
{
	struct timespec until;

	if (!source)
		return NULL;
	pthread_mutex_lock(&source->lock);
	source->stop = true;
	pthread_cond_broadcast(&source->changed);
	pthread_mutex_unlock(&source->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	add_seconds(&until, END_WAIT_MS / 1e3);
	if (pthread_timedjoin_np(source->asker, NULL, &until))
		return NULL; /* it needs what it works with */
	if (source->acting && pthread_timedjoin_np(source->actor, NULL, &until))
		return NULL;
	destroy(source);
	return NULL;
}

int source_fd(const struct source *source)
{
	return source->fd;
}

Treekv__Sample *source_take(struct source *source)
{
	Treekv__Sample *sample;
	uint64_t count;

	(void)!read(source->fd, &count, sizeof(count));
	pthread_mutex_lock(&source->lock);
	sample = source->sample;
	source->sample = NULL;
	pthread_mutex_unlock(&source->lock);
	return sample;
}

Treekv__SampleDetail *source_take_detail(struct source *source)
{
	Treekv__SampleDetail *detail;

	pthread_mutex_lock(&source->lock);
	detail = source->detail;
	source->detail = NULL;
	pthread_mutex_unlock(&source->lock);
	return detail;
}

void source_interval(struct source *source, double seconds)
{
	pthread_mutex_lock(&source->lock);
	source->interval = seconds;
	pthread_cond_broadcast(&source->changed);
	pthread_mutex_unlock(&source->lock);
}

void source_pause(struct source *source, bool paused)
{
	pthread_mutex_lock(&source->lock);
	source->paused = paused;
	pthread_cond_broadcast(&source->changed);
	pthread_mutex_unlock(&source->lock);
}

void source_want(struct source *source, const struct gather_detail *wanted)
{
	pthread_mutex_lock(&source->lock);
	source->wanted = *wanted;
	source->wanted_new = wanted->cache != 0;
	pthread_cond_broadcast(&source->changed);
	pthread_mutex_unlock(&source->lock);
}
