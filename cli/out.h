/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/out.h - standard output, where every byte arrives or the program says so.
 *
 * Text of a model is printed as it is into files and pipes. On a terminal its control characters
 * are shown as '?' (line feed and tab excepted): what a model writes must not be able to steer the
 * user's terminal.
 *
 * Threads: main thread.
 */
#ifndef LATENTD_CLI_OUT_H
#define LATENTD_CLI_OUT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Write text that came from outside; `len` bytes, any bytes. */
void cli_out_text(const void *text, size_t len);

/* True when text that was written since the start does not end with a line feed. */
bool cli_out_mid_line(void);

/* Formatted output of our own. */
void cli_out_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * cli_out_flush - hand everything to the system. LTD_E_INTERNAL when any write failed so far.
 */
int cli_out_flush(struct ltd_err *err);

/* True when the reader of standard output went away. */
bool cli_out_is_broken(void);

/* cli_out_strip - copy `len` bytes to `out` [len], control characters replaced as said above. */
void cli_out_strip(const void *text, size_t len, char *out);

/*
 * cli_out_quote - `len` bytes as one printable line: control characters, quotes, backslashes and
 * bytes that are no UTF-8 become \n, \t, \", \\ or \xHH.
 * Returns `buf`, ended by a NUL; what does not fit is cut between characters.
 */
const char *cli_out_quote(const void *text, size_t len, char *buf, size_t size);

/* How many columns a terminal needs for `len` bytes of text: code points, wide ones twice. */
size_t cli_out_columns(const void *text, size_t len);

#endif
