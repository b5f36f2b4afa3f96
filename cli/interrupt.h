/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/interrupt.h - Ctrl-C, asked politely once.
 *
 * The first SIGINT or SIGTERM while a connection is open cancels the calls on it, so that the
 * server hears of it and what came is still printed; the program then exits with 128 + the signal.
 * A second one, or one while there is no connection, ends the program at once as if nobody had
 * caught it. SIGPIPE is ignored: a reader that goes away is an error of the write (cli/out.h).
 *
 * Threads: main thread; the handler touches one atomic pointer and one flag.
 */
#ifndef LATENTD_CLI_INTERRUPT_H
#define LATENTD_CLI_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

#include "rpc/client.h"

/* Set the handlers; once, before anything else. */
void cli_interrupt_init(void);

/* The client whose calls the first signal cancels; NULL before it is closed. */
void cli_interrupt_set_client(latentd_client *client);

/* The signal that came, or 0. */
int cli_interrupt_signal(void);

/* Sleep, or until a signal came; returns at once when one came before. */
void cli_interrupt_pause(uint32_t ms);

/* The same, and awake as well when `fd` can be read. True when it can; -1 is no descriptor. */
bool cli_interrupt_wait(int fd, uint32_t ms);

/*
 * What must be undone before a second signal ends the program at once: a terminal that looks
 * otherwise. Called in the handler, so async-signal-safe; NULL when there is nothing any more.
 */
void cli_interrupt_set_undo(void (*undo)(void));

#endif
