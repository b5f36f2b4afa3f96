/* SPDX-License-Identifier: Apache-2.0 */
/* base/log.c - formats a line into a fixed buffer and writes it at once; see base/log.h. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warning", "info", "debug", "trace"};
static const int journal_priority[] = {3, 4, 6, 7, 7};

/* Written once by ltd_log_init before other threads start, read by all. */
static struct {
    enum ltd_log_level level;
    int rank;
    bool journal;
} config = {.level = LTD_LOG_INFO, .rank = -1};

void ltd_log_init(enum ltd_log_level level, int rank)
{
    config.level = level;
    config.rank = rank;
    config.journal = getenv("JOURNAL_STREAM") != NULL;
}

bool ltd_log_level_parse(const char *name, enum ltd_log_level *level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum ltd_log_level)i;
            return true;
        }
    }
    return false;
}

bool ltd_log_enabled(enum ltd_log_level level)
{
    return level <= config.level;
}

static int prefix(char *line, size_t size, enum ltd_log_level level)
{
    int n;
    if (config.journal) {
        n = snprintf(line, size, "<%d>", journal_priority[level]);
    } else {
        struct timespec ts;
        struct tm tm;
        clock_gettime(CLOCK_REALTIME, &ts);
        localtime_r(&ts.tv_sec, &tm);
        n = (int)strftime(line, size, "%H:%M:%S", &tm);
        n += snprintf(line + n, size - (size_t)n, ".%03ld %-7s ", ts.tv_nsec / 1000000,
                      level_names[level]);
    }
    if (config.rank >= 0)
        n += snprintf(line + n, size - (size_t)n, "rank %d: ", config.rank);
    return n;
}

void ltd_log(enum ltd_log_level level, const char *fmt, ...)
{
    if (!ltd_log_enabled(level))
        return;
    int saved = errno;
    char line[1024];
    int n = prefix(line, sizeof line - 1, level);
    va_list args;
    va_start(args, fmt);
    int m = vsnprintf(line + n, sizeof line - 1 - (size_t)n, fmt, args);
    va_end(args);
    size_t len = strlen(line);
    (void)m;
    line[len++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, len);
    (void)ignored;
    errno = saved;
}
