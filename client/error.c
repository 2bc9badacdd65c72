// SPDX-License-Identifier: BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/cache.h"

#define ERROR_SIZE 1024

#define METHODS	 (sizeof(methods) / sizeof(methods[0]))
#define POLICIES (TREEKV_POLICY_FULL + 1)

static_assert((int)TREEKV_POLICY_TREEKV == (int)SHM_POLICY_TREEKV, "ABI");
static_assert((int)TREEKV_POLICY_FULL == (int)SHM_POLICY_FULL, "ABI");

static _Thread_local char error_text[ERROR_SIZE];

/* The policies', and what else compresses prompts. */
static const char *const methods[] = {
	[TREEKV_PREFILL_POLICY] = "policy",
	[TREEKV_POLICY_TREEKV] = "treekv",
	[TREEKV_POLICY_TREEKV_LEFT] = "treekv-left",
	[TREEKV_POLICY_TREEKV_SKIP] = "treekv-skip",
	[TREEKV_POLICY_STREAMING] = "streaming",
	[TREEKV_POLICY_H2O] = "h2o",
	[TREEKV_POLICY_TOVA] = "tova",
	[TREEKV_POLICY_FULL] = "full",
	[TREEKV_PREFILL_SNAPKV] = "snapkv",
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

	return i && i < POLICIES ? methods[i] : NULL;
}

const char *treekv_prefill_name(enum treekv_prefill_method method)
{
	size_t i = (size_t)method;

	return i < METHODS ? methods[i] : NULL;
}

/* Looks among the methods from @from to @end. */
static int parse(unsigned int *ret, const char *what, const char *name,
		 size_t from, size_t end)
{
	char all[128] = "";
	size_t used = 0;

	for (size_t i = from; i < end; i++)
		if (!strcmp(methods[i], name)) {
			*ret = (unsigned int)i;
			return 0;
		}
	for (size_t i = from; i < end && used < sizeof(all); i++)
		used += (size_t)snprintf(all + used, sizeof(all) - used, "%s%s",
					 used ? ", " : "", methods[i]);
	return error_set(-EINVAL, "'%s' is no %s; there are %s", name, what,
			 all);
}

int treekv_policy_parse(enum treekv_policy *ret, const char *name)
{
	unsigned int i;
	int r = parse(&i, "policy", name, TREEKV_POLICY_TREEKV, POLICIES);

	if (!r)
		*ret = (enum treekv_policy)i;
	return r;
}

int treekv_prefill_parse(enum treekv_prefill_method *ret, const char *name)
{
	unsigned int i;
	int r = parse(&i, "prefill method", name, TREEKV_PREFILL_POLICY,
		      METHODS);

	if (!r)
		*ret = (enum treekv_prefill_method)i;
	return r;
}
