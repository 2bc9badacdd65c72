/* SPDX-License-Identifier: BSD-2-Clause */
/* Where metrics are served, as one writes it: off, a path, or address:port. */
#ifndef TREEKVD_ENDPOINT_H
#define TREEKVD_ENDPOINT_H

#include <sys/socket.h>

enum endpoint_kind {
	ENDPOINT_OFF,
	ENDPOINT_UNIX, /* the text is the path */
	ENDPOINT_LOOPBACK,
};

struct endpoint {
	enum endpoint_kind kind;
	struct sockaddr_storage address; /* of ENDPOINT_LOOPBACK */
	socklen_t length;
};

#define ENDPOINT_FORMS                                                      \
	"off, an absolute path, or a loopback address with a port such as " \
	"127.0.0.1:9971 or [::1]:9971"

/**
 * endpoint_parse - what @text stands for
 *
 * An address of any other machine's is none: what is told there is not meant
 * for others. Return: 0 or -EINVAL.
 */
int endpoint_parse(struct endpoint *ret, const char *text);

#endif /* TREEKVD_ENDPOINT_H */
