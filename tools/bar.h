/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/bar.h - how far a long pass over bytes is, on a terminal and nowhere else.
 *
 *     [=========>          ]  43 %  3.1 of 7.1 GB  310 MB/s  13 s left
 *
 * Drawn at most ten times a second by cli/progress.h, and taken away at the end.
 *
 * Threads: main thread.
 */
#ifndef LATENTD_TOOLS_BAR_H
#define LATENTD_TOOLS_BAR_H

#include <stdint.h>

#include "cli/progress.h"

struct tool_bar {
    struct cli_progress line;
    uint64_t done_bytes, total_bytes;
    uint64_t start_ns, drawn_ns; /* clock of base/clock.h; drawn_ns 0: not yet */
};

/* tool_bar_begin - nothing is drawn before the first tool_bar_add. */
void tool_bar_begin(struct tool_bar *bar, uint64_t total_bytes);

/* So many more bytes are done. */
void tool_bar_add(struct tool_bar *bar, uint64_t bytes);

/* Take the line away; to be called before anything else is printed. */
void tool_bar_end(struct tool_bar *bar);

/* tool_bar_format - the line as text; elapsed_ns since the start. Returns `out`. */
const char *tool_bar_format(uint64_t done_bytes, uint64_t total_bytes, uint64_t elapsed_ns,
                            char out[CLI_PROGRESS_BYTES]);

/* tool_bytes_text - "7.13 GB", "340 kB", "17 B": three digits or so. Returns `out`. */
#define TOOL_BYTES_TEXT 24
const char *tool_bytes_text(uint64_t bytes, char out[TOOL_BYTES_TEXT]);

#endif
