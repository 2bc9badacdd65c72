// SPDX-License-Identifier: BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/cache.h"

#define ERROR_SIZE 1024

#define POLICIES (sizeof(policies) / sizeof(policies[0]))

static_assert((int)TREEKV_POLICY_TREEKV == (int)SHM_POLICY_TREEKV, "ABI");
static_assert((int)TREEKV_POLICY_FULL == (int)SHM_POLICY_FULL, "ABI");

static _Thread_local char error_text[ERROR_SIZE];

static const char *const policies[] = {
	[TREEKV_POLICY_TREEKV] = "treekv",
	[TREEKV_POLICY_TREEKV_LEFT] = "treekv-left",
	[TREEKV_POLICY_TREEKV_SKIP] = "treekv-skip",
	[TREEKV_POLICY_STREAMING] = "streaming",
	[TREEKV_POLICY_H2O] = "h2o",
	[TREEKV_POLICY_TOVA] = "tova",
	[TREEKV_POLICY_FULL] = "full",
};

/* Goes by way of a second buffer: arguments may point into the last text. */
int error_set(int error, const char *format, ...)
{
	char text[ERROR_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	memcpy(error_text, text, sizeof(text));
	return error;
}

const char *treekv_error(void)
{
	return error_text;
}

const char *treekv_policy_name(enum treekv_policy policy)
{
	size_t i = (size_t)policy;

	return i < POLICIES ? policies[i] : NULL;
}

static void list_policies(char *to, size_t size)
{
	size_t used = 0;

	to[0] = '\0';
	for (size_t i = 0; i < POLICIES && used < size; i++) {
		if (policies[i])
			used += (size_t)snprintf(to + used, size - used, "%s%s",
						 used ? ", " : "", policies[i]);
	}
}

int treekv_policy_parse(enum treekv_policy *ret, const char *name)
{
	char all[128];

	for (size_t i = 0; i < POLICIES; i++) {
		if (policies[i] && !strcmp(policies[i], name)) {
			*ret = (enum treekv_policy)i;
			return 0;
		}
	}
	list_policies(all, sizeof(all));
	return error_set(-EINVAL, "'%s' is no policy; there are %s", name, all);
}
