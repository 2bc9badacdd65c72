// SPDX-License-Identifier: BSD-2-Clause
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/watch.h"
#include "proto/histogram.h"
#include "treekv.pb-c.h"

static_assert(TABLE_BUCKETS == HISTOGRAM_BUCKETS, "one kind of histogram");

const char *watch_histogram_name(enum watch_histogram histogram)
{
	static char name[WATCH_REQUESTS][40];
	const ProtobufCFieldDescriptor *field;
	int type;

	switch (histogram) {
	case WATCH_COMPACTION:
		return "compaction";
	case WATCH_PUBLICATION:
		return "publication";
	case WATCH_STALL:
		return "stall";
	case WATCH_RUN_DELAY:
		return "run-delay";
	case WATCH_IO_URING:
		return "io-uring";
	case WATCH_REQUEST:
	case WATCH_HISTOGRAMS:
		break;
	}
	type = (int)histogram - WATCH_REQUEST;
	if (type < 0 || type >= WATCH_REQUESTS)
		return NULL;
	field = protobuf_c_message_descriptor_get_field(
		&treekv__request__descriptor, (unsigned int)type);
	if (!field || field->type != PROTOBUF_C_TYPE_MESSAGE)
		return NULL;
	snprintf(name[type], sizeof(name[type]), "request %s", field->name);
	return name[type];
}

const char *watch_table_name(enum watch_table table)
{
	switch (table) {
	case WATCH_TABLE_CACHES:
		return "caches";
	case WATCH_TABLE_PROCESSES:
		return "processes";
	case WATCH_TABLE_WRITERS:
		return "writers";
	case WATCH_TABLE_REQUESTS:
		return "requests";
	case WATCH_TABLE_STALLS:
		return "stalls";
	case WATCH_TABLE_IO:
		return "io";
	case WATCH_TABLE_PROGRAMS:
		return "programs";
	case WATCH_TABLES:
		break;
	}
	return "unknown";
}

void watch_data_free(struct watch_data *data)
{
	free(data->cache);
	free(data->process);
	free(data->worker);
	memset(data, 0, sizeof(*data));
}
