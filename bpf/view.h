/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the user looks at, and what keys do to it. Pure: keys come from
 * terminal.c or from a test, and what has to be done beyond is returned.
 */
#ifndef TREEKV_VIEW_H
#define TREEKV_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/canvas.h"
#include "bpf/filter.h"
#include "bpf/rows.h"

/* Keys that are no characters. */
enum view_key {
	KEY_OF_UP = 0x110000,
	KEY_OF_DOWN,
	KEY_OF_LEFT,
	KEY_OF_RIGHT,
	KEY_OF_PAGE_UP,
	KEY_OF_PAGE_DOWN,
	KEY_OF_HOME,
	KEY_OF_END,
	KEY_OF_ENTER,
	KEY_OF_ESCAPE,
	KEY_OF_TAB,
	KEY_OF_BACK_TAB,
	KEY_OF_BACKSPACE,
	KEY_OF_HELP,
};

enum page {
	PAGE_TABLE,
	PAGE_DETAIL,
	PAGE_HELP,
};

/* What can be done to a cache. */
enum act {
	ACT_NONE,
	ACT_DROP,
	ACT_DROP_KEEP, /* its snapshot */
	ACT_SNAPSHOT,
	ACT_BREAK,
};

/* The cache that is looked at, or asked about. */
struct target {
	uint64_t key; /* of its row */
	uint64_t cache; /* 0: on disk only */
	char name[SHM_NAME_FULL + 1]; /* as it is shown */
	char full[SHM_NAME_FULL + 1]; /* which no two have */
	char owner[64];
	char holder[192]; /* who writes it, or "" */
};

struct table_view {
	size_t sort;
	bool descending;
	struct filter filter;
	char filter_text[FILTER_SIZE];
	bool moved; /* by the user: the cursor stays with its row */
	uint64_t selected; /* the row's key */
	size_t at; /* where it was shown last */
	size_t first; /* shown */
};

struct view {
	enum page page;
	enum page below; /* what help goes back to */
	enum table_kind table;
	struct table_view tables[TABLES];
	struct target target; /* of PAGE_DETAIL */
	bool by_age; /* the map's scale */
	int help_first;
	bool paused;
	bool playing;
	bool asking; /* for confirmation of .act */
	enum act act;
	struct target object; /* of .act */
	bool typing; /* a filter */
	char typed[FILTER_SIZE];
	char message[512];
	enum style message_style;
	/* As drawn last. */
	int body_height;
	int help_lines; /* of the text, in all */
};

/* What a key asks for beyond another look. */
enum view_wish {
	WISH_NOTHING,
	WISH_QUIT,
	WISH_ACT, /* .act upon .object has been confirmed */
	WISH_TARGET, /* .target, or nothing, is wanted in detail */
	WISH_FASTER,
	WISH_SLOWER,
	WISH_PAUSE, /* .paused has changed */
	WISH_BACK, /* a sample of a record */
	WISH_ON,
	WISH_FAR_BACK,
	WISH_FAR_ON,
	WISH_REDRAW, /* also what the terminal believes to be there */
};

void view_init(struct view *view, bool playing);

/* Return: 0, or -EINVAL: *why is set. */
int view_sort(struct view *view, enum table_kind table, const char *key,
	      char *why, size_t size);
int view_filter(struct view *view, enum table_kind table, const char *text,
		char *why, size_t size);

/* Arranges the rows of the table that is shown and finds the selected one. */
void view_arrange(struct view *view, struct rows *rows);

/**
 * view_press - a key
 * @rows: of the table that is shown, arranged
 */
enum view_wish view_press(struct view *view, uint32_t key,
			  const struct rows *rows);

/* Something to be said above the keys, until the next key. */
__attribute__((format(printf, 3, 4))) void
view_say(struct view *view, enum style style, const char *format, ...);

#endif /* TREEKV_VIEW_H */
