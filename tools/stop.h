/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/stop.h - Ctrl-C while a long file is written or read.
 *
 * The first SIGINT, SIGTERM or SIGHUP is noticed between two pieces of work, so that a half-written
 * directory is taken away; a second one ends the program at once. cli/interrupt.h is latentctl's and
 * cancels calls, of which there are none here.
 *
 * Threads: main thread; the handler sets one flag.
 */
#ifndef LATENTD_TOOLS_STOP_H
#define LATENTD_TOOLS_STOP_H

#include "base/err.h"

/* Set the handlers; once, before anything else. */
void tool_stop_init(void);

/* The signal that came, or 0. */
int tool_stop_signal(void);

/* tool_stop_check - 0, or LTD_E_CANCELLED after a signal. */
int tool_stop_check(struct ltd_err *err);

#endif
