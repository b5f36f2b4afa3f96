/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/progress.h - one line on a terminal that says how far the thinking is, and leaves no trace.
 *
 *     What is the capital of France? The capital o[token 9  step 14 of 32  52.1 steps/s]
 *                                                 ▲ the cursor stays here
 *
 * The line is drawn behind the cursor: save the cursor, write, restore it; to erase it, clear from
 * the cursor to the end of the screen. So it also works when the answer's text goes to the same
 * terminal, in the middle of a line. It never wraps, because it is cut to the columns that are
 * left. Where there is no terminal there is no line, and every function does nothing.
 *
 * Threads: main thread.
 */
#ifndef LATENTD_CLI_PROGRESS_H
#define LATENTD_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the line says. Zero fields are left out. */
struct cli_progress_view {
    bool queued; /* waiting; `position` jobs are in front */
    uint32_t position;
    uint32_t token_idx; /* the token being thought about, from 0 */
    uint32_t step;      /* steps done for it */
    uint32_t max_steps;
    double steps_per_s;
    double criterion_value;
    uint32_t ends_in_s; /* as the daemon predicted when the job started */
};

struct cli_progress {
    bool on;            /* standard error is a terminal that can do this */
    bool drawn;         /* the line is on the screen */
    bool shares_line;   /* standard output is a terminal as well */
    uint64_t n_columns; /* of the text on the current line, unwrapped */
    uint64_t start_ns;  /* first step seen; 0 = none yet */
    uint64_t start_steps;
};

#define CLI_PROGRESS_BYTES 160

/*
 * cli_progress_format - the line as text, cut to `columns`; "" when fewer than 16 are left, because
 * a shorter piece says nothing. Returns its length.
 */
size_t cli_progress_format(const struct cli_progress_view *view, size_t columns,
                           char out[CLI_PROGRESS_BYTES]);

/* cli_progress_init - look at standard error and standard output. `wanted` false: stays off. */
void cli_progress_init(struct cli_progress *p, bool wanted);

/*
 * cli_progress_rate - steps per second so far; 0 before there is something to divide.
 *
 * n_steps  steps done over all tokens, this one included
 * now_ns   clock of base/clock.h
 */
double cli_progress_rate(struct cli_progress *p, uint64_t n_steps, uint64_t now_ns);

/* Draw the line, in place of the one that is there. */
void cli_progress_draw(struct cli_progress *p, const struct cli_progress_view *view);

/* Draw any short ASCII text instead. */
void cli_progress_draw_text(struct cli_progress *p, const char *text);

/* Take the line away; called before anything else is written to the terminal. */
void cli_progress_erase(struct cli_progress *p);

/* The text that was just written to standard output: where is the cursor now? */
void cli_progress_moved(struct cli_progress *p, const void *text, size_t len);

#endif
