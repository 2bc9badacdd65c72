/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * treekvctl replay: a recorded attention trace through the daemon's own order
 * and policy code, in lockstep. No daemon is needed.
 */
#ifndef TREEKV_REPLAY_H
#define TREEKV_REPLAY_H

#include <stdbool.h>

/**
 * replay_main - run one trace, print what became of it
 * @argc: of the arguments from "replay" on
 * @argv: "replay", options, the trace's path
 * @json: it has been asked for already
 *
 * One line per layer and kv head on stdout, only once the whole trace has been
 * read: LAYER HEAD POSITION ..., the original positions, oldest first; or
 * statistics, or a table over policies and budgets. Errors go to stderr. Uses
 * getopt; for one call at a time.
 *
 * Return: what the program exits with: 0; 1 when the trace cannot be replayed;
 * 2 for options that make no sense.
 */
int replay_main(int argc, char **argv, bool json);

#endif /* TREEKV_REPLAY_H */
