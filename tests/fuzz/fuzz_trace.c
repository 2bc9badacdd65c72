// SPDX-License-Identifier: BSD-2-Clause
/*
 * A recorded attention trace: replayed by the policy, the budget and the kind
 * of answer that the first bytes name.
 */
#include <getopt.h>
#include <stdint.h>

#include "client/replay.h"
#include "tests/fuzz/input.h"

#define STEPS_MAX (256 << 10) /* bytes of a trace, or it takes too long */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const char *const policies[] = { "treekv",      "treekv-left",
						"treekv-skip", "streaming",
						"h2o",	       "tova",
						"full",	       "all" };
	static const char *const answers[] = { "--stats", "--json", "--sweep",
					       "--stats" };
	struct input input = { bytes, size };
	uint8_t how = input_8(&input), budget = input_8(&input);
	uint8_t kept = input_8(&input);
	char options[4][48], path[INPUT_PATH_SIZE];
	char *argv[8];
	int argc = 0, fd;

	if (input.left > STEPS_MAX)
		return 0;
	fd = input_file(path, input.at, input.left);
	snprintf(options[0], sizeof(options[0]), "--policy=%s",
		 policies[how % 8]);
	snprintf(options[1], sizeof(options[1]), "--budget=%u", budget);
	snprintf(options[2], sizeof(options[2]), "--sinks=%u", kept % 16);
	snprintf(options[3], sizeof(options[3]), "--recent=%u", kept / 16);
	argv[argc++] = (char[]){ "replay" };
	for (int i = 0; i < 4; i++)
		if (!(i == 0 && how & 64)) /* all of them */
			argv[argc++] = options[i];
	if (how & 8)
		argv[argc++] = (char *)(uintptr_t)answers[how / 16 % 4];
	argv[argc++] = path;
	argv[argc] = NULL;
	optind = 0;
	replay_main(argc, argv, how & 128);
	close(fd);
	return 0;
}
