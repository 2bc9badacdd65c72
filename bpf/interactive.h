/* SPDX-License-Identifier: BSD-2-Clause */
/* The screen's loop: samples and keys in, pages out. */
#ifndef TREEKV_INTERACTIVE_H
#define TREEKV_INTERACTIVE_H

#include "bpf/options.h"
#include "bpf/record.h"
#include "bpf/view.h"

/*
 * Both run until the user has had enough, or a signal says so; @view has what
 * the command line asked for.
 *
 * Return: 0 or a negative errno, which has been said.
 */
int interactive_live(const struct options *options, struct view *view,
		     struct record_writer *record);
int interactive_play(const struct options *options, struct view *view,
		     struct record_reader *record, const char *notice);

#endif /* TREEKV_INTERACTIVE_H */
