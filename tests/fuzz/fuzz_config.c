// SPDX-License-Identifier: BSD-2-Clause
/*
 * A configuration: the lines before the first NUL are a file, what follows are
 * options, one after each further NUL. Loaded, then loaded again over itself.
 */
#include <stdint.h>

#include "daemon/config.h"
#include "tests/fuzz/input.h"

#define OPTIONS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void changed(const char *name, bool live)
{
	(void)live;
	if (!*name)
		abort();
}

/* What was accepted is within what everybody relies on. */
static void check(const struct config *config)
{
	if (!config->socket || !config->state_dir || !config->metrics ||
	    config->workers < 1 || config->workers > 64 ||
	    config->high_water > 100 || config->huge_pages < 0 ||
	    config->huge_pages > HUGE_PAGES_NEVER)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	size_t length = size ? strnlen((const char *)bytes, size) : 0;
	char option[INPUT_PATH_SIZE + 16], path[INPUT_PATH_SIZE];
	char *argv[OPTIONS_MAX + 3] = { (char[]){ "treekvd" }, option };
	char *text = malloc(size + 1), *at = text + length;
	int argc = 2, fd = input_file(path, bytes, length);
	struct config config;

	if (!text)
		abort();
	if (size)
		memcpy(text, bytes, size);
	text[size] = '\0';
	snprintf(option, sizeof(option), "--config=%s", path);
	while (at < text + size && argc < OPTIONS_MAX) {
		argv[argc++] = ++at;
		at += strlen(at);
	}
	argv[argc] = NULL;
	if (!config_load(&config, argc, argv)) {
		check(&config);
		if (!config_reload(&config, argc, argv, changed))
			check(&config);
		config_free(&config);
	}
	free(text);
	close(fd);
	return 0;
}
