/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/terminal.h - a screen that is drawn over and over, and a terminal as it was afterwards.
 *
 * Plain escape sequences that terminals have known for decades: the alternate screen (xterm 1049),
 * cursor home, erase to the end of the line and of the screen. No terminal database, no library.
 *
 *     cli_terminal_open ── cli_terminal_paint ── cli_terminal_wait ──┐ ── cli_terminal_close
 *                               ▲                                    │
 *                               └────────────────────────────────────┘
 *
 * Keys come one by one without echo while it is open. Ctrl-C is a signal as ever; whoever ends the
 * program because of it must close the terminal first, and a second Ctrl-C does so by itself.
 * Ctrl-Z and Ctrl-\ do nothing meanwhile: a stopped program could not give the screen back.
 *
 * There is one terminal, so its state is at file scope. Threads: main thread.
 */
#ifndef LATENTD_CLI_TERMINAL_H
#define LATENTD_CLI_TERMINAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/* cli_terminal_open - LTD_E_INVALID when standard output is no terminal that can be drawn on. */
int cli_terminal_open(struct ltd_err *err);

/* cli_terminal_close - as it was before; nothing happens when it is not open. */
void cli_terminal_close(void);

/* Its size now; 80 by 24 when it does not say. */
void cli_terminal_size(size_t *columns, size_t *rows);

/*
 * cli_terminal_frame - what paints `text` (lines that end with line feeds) on a screen of that size:
 * lines cut at its right edge and its bottom, the rest of the screen erased. Control characters are
 * shown as '?'. Appended to `out`.
 */
void cli_terminal_frame(const struct ltd_bytes *text, size_t columns, size_t rows,
                        struct ltd_bytes *out);

/* cli_terminal_paint - draw `text` on the screen. LTD_E_INTERNAL when it cannot be written. */
int cli_terminal_paint(const struct ltd_bytes *text, struct ltd_err *err);

/* cli_terminal_wait - a key, or 0 after `ms` or when a signal came (cli/interrupt.h). */
char cli_terminal_wait(uint32_t ms);

#endif
