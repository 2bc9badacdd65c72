/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One line an event on stderr: level=info event="cache created" name=x ...
 * Callers give the event and a printf format of further key=value pairs.
 * Thread-safe: one write a line. Never cache contents.
 */
#ifndef TREEKVD_LOG_H
#define TREEKVD_LOG_H

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

void log_set_level(enum log_level level);

__attribute__((format(printf, 3, 4))) void
log_line(enum log_level level, const char *event, const char *format, ...);

#define log_error(event, ...)	log_line(LOG_LEVEL_ERROR, event, __VA_ARGS__)
#define log_warning(event, ...) log_line(LOG_LEVEL_WARNING, event, __VA_ARGS__)
#define log_info(event, ...)	log_line(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_debug(event, ...)	log_line(LOG_LEVEL_DEBUG, event, __VA_ARGS__)

#endif /* TREEKVD_LOG_H */
