/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a daemon owes the service manager that started it: signs of life, a line
 * that says how it is, and an account of a reload. Control thread only.
 */
#ifndef TREEKVD_DUTY_H
#define TREEKVD_DUTY_H

struct config;
struct control;

/**
 * duty_start - say that we are ready; from here on the rest by itself
 * @control: started; its loop's idle hook becomes ours
 */
void duty_start(struct control *control);

/**
 * duty_reload - read the configuration again and use what can change live
 * @config: the one in use, that of @control
 *
 * What was refused, or needs a restart, is logged.
 */
void duty_reload(struct control *control, struct config *config, int argc,
		 char **argv);

#endif /* TREEKVD_DUTY_H */
