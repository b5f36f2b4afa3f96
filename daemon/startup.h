/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/startup.h - the process itself, before and around everything else.
 *
 * Environment, signals of a process that does not serve yet, arguments that only print something.
 * Threads: main thread, before any other exists.
 */
#ifndef LATENTD_DAEMON_STARTUP_H
#define LATENTD_DAEMON_STARTUP_H

#include <stdbool.h>

#include "base/err.h"
#include "daemon/config.h"

/* How the process ends; docs/operations.md has the table for operators. */
enum startup_exit {
    EXIT_ORDER = 0,   /* drained and stopped */
    EXIT_FAILED = 1,  /* could not go on: an address in use, no memory, a bug */
    EXIT_REFUSED = 2, /* the configuration or the model is wrong; nothing was started */
    EXIT_LOST = 4,    /* a rank was lost, or ranks disagree */
};

/*
 * startup_tame_libraries - make idle kernel threads sleep.
 *
 * libgomp reads its environment when it is loaded, before main, and by default its idle threads
 * spin for milliseconds. Beside other ranks on the same processors that turns a wait of 4 us into
 * 20 ms. So, unless the user has set a policy, the variables are set here and the program is
 * started once more in the same process; a guard variable makes it once. OpenBLAS likewise would
 * create threads that nobody uses.
 */
void startup_tame_libraries(char *const *argv);

/*
 * startup_set_signals - until the loop or the worker takes over: a signal to stop ends the process
 * at once with status 0, because nothing has been accepted yet. SIGPIPE, SIGUSR2 are ignored.
 */
void startup_set_signals(void);

/* A worker ends when rank 0 says so, through the stream: the signals that mpirun forwards to all
 * ranks are ignored. */
void startup_ignore_signals(void);

/* --help and the like. True when there is nothing to run: *status is the exit status. */
bool startup_answer(enum config_action action, const struct config *config,
                    const struct config_report *report, int *status);

/* The exit status that stands for a failed start. */
int startup_exit_status(enum ltd_code code);

#endif
