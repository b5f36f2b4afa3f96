/* SPDX-License-Identifier: Apache-2.0 */
/* cli/progress.c - see cli/progress.h. */
#include "cli/progress.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/out.h"

/* DECSC and DECRC (save and restore the cursor) and ED (erase below): VT100, known everywhere. */
#define SAVE_CURSOR    "\0337"
#define RESTORE_CURSOR "\0338"
#define ERASE_BELOW    "\033[J"

#define MIN_COLUMNS 16

/* Numbers are at most 20 characters wide, so all parts together stay below CLI_PROGRESS_BYTES. */
static void append(char out[CLI_PROGRESS_BYTES], const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void append(char out[CLI_PROGRESS_BYTES], const char *fmt, ...)
{
    size_t len = strlen(out);
    va_list args;
    va_start(args, fmt);
    vsnprintf(out + len, CLI_PROGRESS_BYTES - len, fmt, args);
    va_end(args);
}

size_t cli_progress_format(const struct cli_progress_view *view, size_t columns,
                           char out[CLI_PROGRESS_BYTES])
{
    out[0] = '\0';
    if (columns < MIN_COLUMNS)
        return 0;
    if (view->queued) {
        snprintf(out, CLI_PROGRESS_BYTES, "[queued, %" PRIu32 " in front", view->position);
    } else {
        snprintf(out, CLI_PROGRESS_BYTES, "[token %" PRIu32 "  step %" PRIu32, view->token_idx + 1,
                 view->step);
        if (view->max_steps > 0)
            append(out, " of %" PRIu32, view->max_steps);
        if (view->steps_per_s > 0)
            append(out, "  %.4g steps/s", view->steps_per_s);
        if (view->criterion_value > 0)
            append(out, "  criterion %.3g", view->criterion_value);
        if (view->ends_in_s > 0)
            append(out, "  ends in %" PRIu32 " s", view->ends_in_s);
    }
    size_t len = strlen(out);
    if (columns > CLI_PROGRESS_BYTES - 1)
        columns = CLI_PROGRESS_BYTES - 1;
    if (len + 1 > columns)
        len = columns - 1;
    out[len] = ']';
    out[len + 1] = '\0';
    return len + 1;
}

void cli_progress_init(struct cli_progress *p, bool wanted)
{
    const char *term = getenv("TERM");
    bool can = term && *term && strcmp(term, "dumb") != 0;
    *p = (struct cli_progress){.on = wanted && can && isatty(STDERR_FILENO) == 1,
                               .shares_line = isatty(STDOUT_FILENO) == 1};
}

double cli_progress_rate(struct cli_progress *p, uint64_t n_steps, uint64_t now_ns)
{
    if (p->start_ns == 0) {
        p->start_ns = now_ns;
        p->start_steps = n_steps;
    }
    if (now_ns <= p->start_ns || n_steps <= p->start_steps)
        return 0;
    return (double)(n_steps - p->start_steps) * (double)LTD_NS_PER_S /
           (double)(now_ns - p->start_ns);
}

/* Columns between the cursor and the right edge; the last one is never written, it may wrap. */
static size_t columns_left(const struct cli_progress *p)
{
    struct winsize size;
    size_t width = 80;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        width = size.ws_col;
    size_t used = p->shares_line ? (size_t)(p->n_columns % width) : 0;
    return width - used - 1;
}

/*
 * One write: a terminal that shows half of it would flicker. A failure is nobody's loss, and must
 * not become the command's.
 */
static void put(const char *text, size_t len)
{
    ssize_t n = write(STDERR_FILENO, text, len);
    (void)n;
}

static void draw(struct cli_progress *p, const char *text, size_t len)
{
    char all[CLI_PROGRESS_BYTES + 16];
    int n =
        snprintf(all, sizeof all, ERASE_BELOW SAVE_CURSOR "%.*s" RESTORE_CURSOR, (int)len, text);
    put(all, (size_t)n);
    p->drawn = true;
}

void cli_progress_draw(struct cli_progress *p, const struct cli_progress_view *view)
{
    char text[CLI_PROGRESS_BYTES];
    if (!p->on)
        return;
    size_t len = cli_progress_format(view, columns_left(p), text);
    if (len > 0)
        draw(p, text, len);
}

void cli_progress_draw_text(struct cli_progress *p, const char *text)
{
    size_t len = strlen(text);
    if (p->on && len <= columns_left(p) && len < CLI_PROGRESS_BYTES)
        draw(p, text, len);
}

void cli_progress_erase(struct cli_progress *p)
{
    if (!p->drawn)
        return;
    put(ERASE_BELOW, strlen(ERASE_BELOW));
    p->drawn = false;
}

void cli_progress_moved(struct cli_progress *p, const void *text, size_t len)
{
    if (len == 0)
        return;
    const char *line = memrchr(text, '\n', len);
    if (line) {
        p->n_columns = 0;
        line++;
    } else {
        line = text;
    }
    p->n_columns += cli_out_columns(line, len - (size_t)(line - (const char *)text));
}
