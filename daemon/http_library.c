// SPDX-License-Identifier: BSD-2-Clause
#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>

#include "daemon/http_library.h"

#define LIBRARY "libmicrohttpd.so.12"

static_assert(MHD_VERSION >= 0x00097000, "that is what " LIBRARY " is");

struct http_library http_library;

static int refuse(const char **why)
{
	static char text[320];

	snprintf(text, sizeof(text),
		 "%.200s; install libmicrohttpd12 (0.9.70 or newer)",
		 dlerror());
	*why = text;
	return -ENOENT;
}

int http_library_load(const char **why)
{
	void *library;

	if (http_library.MHD_start_daemon)
		return 0;
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return refuse(why);
#define LOAD(name)                                                    \
	*(void **)(void *)&http_library.name = dlsym(library, #name); \
	if (!http_library.name)                                       \
	return refuse(why)
	HTTP_FUNCTIONS(LOAD)
#undef LOAD
	return 0;
}
