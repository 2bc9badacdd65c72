/* SPDX-License-Identifier: BSD-2-Clause */
/* The one file that knows ncurses: a canvas onto the terminal, keys from it. */
#ifndef TREEKV_TERMINAL_H
#define TREEKV_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/canvas.h"

/*
 * Takes the terminal over, until terminal_end(). @why: what is missing.
 * Return: 0 or -ENOTTY.
 */
int terminal_begin(const char **why);

/* Gives it back; also from a signal that ends the process. */
void terminal_end(void);

/* Does its character set have what is drawn, in UTF-8? */
bool terminal_is_utf8(void);

void terminal_size(int *width, int *height);

/* Puts a canvas on it. @anew: whatever is believed to be there already. */
void terminal_show(const struct canvas *canvas, bool anew);

enum {
	TERMINAL_NO_KEY = 0xffffffff,
	TERMINAL_RESIZED = 0xfffffffe,
	TERMINAL_GONE = 0xfffffffd, /* it was closed */
};

/* A key that was pressed, as view_press() takes it; does not wait. */
uint32_t terminal_key(void);

#endif /* TREEKV_TERMINAL_H */
