/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libmicrohttpd, loaded when metrics are to be served and not before: it brings
 * ten other libraries along, TLS among them, which have no business in a daemon
 * that serves none, and cost each start some milliseconds.
 */
#ifndef TREEKVD_HTTP_LIBRARY_H
#define TREEKVD_HTTP_LIBRARY_H

#include <microhttpd.h>

#define HTTP_FUNCTIONS(X)                   \
	X(MHD_start_daemon);                \
	X(MHD_stop_daemon);                 \
	X(MHD_run);                         \
	X(MHD_get_timeout);                 \
	X(MHD_get_daemon_info);             \
	X(MHD_get_connection_info);         \
	X(MHD_add_connection);              \
	X(MHD_lookup_connection_value);     \
	X(MHD_create_response_from_buffer); \
	X(MHD_destroy_response);            \
	X(MHD_add_response_header);         \
	X(MHD_queue_response);

#define HTTP_MEMBER(name) __typeof__(name) *name

struct http_library {
	HTTP_FUNCTIONS(HTTP_MEMBER)
};

/* Each under its own name. */
extern struct http_library http_library;

/**
 * http_library_load - load it, once
 * @why: on failure set to what is missing and what to do
 *
 * Return: 0 or -ENOENT.
 */
int http_library_load(const char **why);

#endif /* TREEKVD_HTTP_LIBRARY_H */
