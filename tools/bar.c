/* SPDX-License-Identifier: Apache-2.0 */
/* tools/bar.c - see tools/bar.h. */
#include "tools/bar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define BAR_COLUMNS  20
#define REDRAW_NS    (LTD_NS_PER_S / 10)
#define RATE_FROM_NS (LTD_NS_PER_S / 2) /* a rate over less than this jumps about */

const char *tool_bytes_text(uint64_t bytes, char out[TOOL_BYTES_TEXT])
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    double value = (double)bytes / 1000.0;
    size_t unit = 0;
    if (bytes < 1000) {
        snprintf(out, TOOL_BYTES_TEXT, "%" PRIu64 " B", bytes);
        return out;
    }
    for (; value >= 999.5 && unit + 1 < sizeof units / sizeof units[0]; unit++)
        value /= 1000.0;
    int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    snprintf(out, TOOL_BYTES_TEXT, "%.*f %s", digits, value, units[unit]);
    return out;
}

const char *tool_bar_format(uint64_t done_bytes, uint64_t total_bytes, uint64_t elapsed_ns,
                            char out[CLI_PROGRESS_BYTES])
{
    char done[TOOL_BYTES_TEXT], total[TOOL_BYTES_TEXT], rate[TOOL_BYTES_TEXT], bar[BAR_COLUMNS + 1];
    double part = total_bytes ? (double)done_bytes / (double)total_bytes : 1.0;
    int full = (int)(part * BAR_COLUMNS);
    memset(bar, ' ', BAR_COLUMNS);
    memset(bar, '=', (size_t)full);
    if (full < BAR_COLUMNS)
        bar[full] = '>';
    bar[BAR_COLUMNS] = '\0';
    int len = snprintf(out, CLI_PROGRESS_BYTES, "[%s] %3d %%  %s of %s", bar, (int)(part * 100.0),
                       tool_bytes_text(done_bytes, done), tool_bytes_text(total_bytes, total));
    if (elapsed_ns < RATE_FROM_NS || done_bytes == 0)
        return out;
    double per_s = (double)done_bytes * (double)LTD_NS_PER_S / (double)elapsed_ns;
    snprintf(out + len, CLI_PROGRESS_BYTES - (size_t)len, "  %s/s  %.0f s left",
             tool_bytes_text((uint64_t)per_s, rate), (double)(total_bytes - done_bytes) / per_s);
    return out;
}

void tool_bar_begin(struct tool_bar *bar, uint64_t total_bytes)
{
    *bar = (struct tool_bar){.total_bytes = total_bytes, .start_ns = ltd_now_ns()};
    cli_progress_init(&bar->line, true);
}

void tool_bar_add(struct tool_bar *bar, uint64_t bytes)
{
    char text[CLI_PROGRESS_BYTES];
    uint64_t now = ltd_now_ns();
    bar->done_bytes += bytes;
    if (bar->drawn_ns != 0 && now - bar->drawn_ns < REDRAW_NS)
        return;
    bar->drawn_ns = now;
    cli_progress_draw_text(
        &bar->line, tool_bar_format(bar->done_bytes, bar->total_bytes, now - bar->start_ns, text));
}

void tool_bar_end(struct tool_bar *bar)
{
    cli_progress_erase(&bar->line);
}
