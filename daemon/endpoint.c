// SPDX-License-Identifier: BSD-2-Clause
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "daemon/endpoint.h"
#include "proto/size.h"

static int parse_port(in_port_t *ret, const char *text)
{
	uint64_t port;
	char *end;

	if (size_parse_digits(&port, text, &end) || *end || !port ||
	    port > UINT16_MAX)
		return -EINVAL;
	*ret = htons((uint16_t)port);
	return 0;
}

static int parse_v4(struct endpoint *to, const char *host, in_port_t port)
{
	struct sockaddr_in *address = (void *)&to->address;

	address->sin_family = AF_INET;
	address->sin_port = port;
	to->length = sizeof(*address);
	if (inet_pton(AF_INET, host, &address->sin_addr) != 1 ||
	    ntohl(address->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
		return -EINVAL;
	return 0;
}

static int parse_v6(struct endpoint *to, const char *host, in_port_t port)
{
	struct sockaddr_in6 *address = (void *)&to->address;

	address->sin6_family = AF_INET6;
	address->sin6_port = port;
	to->length = sizeof(*address);
	if (inet_pton(AF_INET6, host, &address->sin6_addr) != 1 ||
	    !IN6_IS_ADDR_LOOPBACK(&address->sin6_addr))
		return -EINVAL;
	return 0;
}

/* "[host]:port" or "host:port". */
static int parse_loopback(struct endpoint *to, const char *text)
{
	const char *colon = strrchr(text, ':');
	bool v6 = *text == '[';
	char host[INET6_ADDRSTRLEN];
	size_t n;
	in_port_t port;

	if (!colon || parse_port(&port, colon + 1))
		return -EINVAL;
	n = (size_t)(colon - text);
	if (v6 && (n < 2 || text[n - 1] != ']'))
		return -EINVAL;
	text += v6;
	n -= v6 ? 2 : 0;
	if (n >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = '\0';
	return v6 ? parse_v6(to, host, port) : parse_v4(to, host, port);
}

int endpoint_parse(struct endpoint *ret, const char *text)
{
	struct endpoint e = { .kind = ENDPOINT_OFF };
	int r = 0;

	if (*text == '/') {
		e.kind = ENDPOINT_UNIX;
	} else if (strcmp(text, "off")) {
		e.kind = ENDPOINT_LOOPBACK;
		r = parse_loopback(&e, text);
	}
	if (!r)
		*ret = e;
	return r;
}
