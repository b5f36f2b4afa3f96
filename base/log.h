/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/log.h - one greppable line on standard error per event.
 *
 * error = an operator must act; warning = degraded, still serving; info = lifecycle; debug = per
 * job; trace = per step. Prompt text is never logged above debug. Under systemd (JOURNAL_STREAM is
 * set) lines start with the journal's priority prefix <N>, otherwise with time and level. A line is
 * written by one write(2), so lines of several threads and ranks do not mix.
 *
 * Threads: any. ltd_log_init is called once, before other threads exist.
 */
#ifndef LATENTD_BASE_LOG_H
#define LATENTD_BASE_LOG_H

#include <stdbool.h>

enum ltd_log_level { LTD_LOG_ERROR, LTD_LOG_WARNING, LTD_LOG_INFO, LTD_LOG_DEBUG, LTD_LOG_TRACE };

/* `rank` < 0: no rank in the line. Levels above `level` are dropped. */
void ltd_log_init(enum ltd_log_level level, int rank);

/* Parse "error" … "trace"; false when `name` is none of them. */
bool ltd_log_level_parse(const char *name, enum ltd_log_level *level);

/* True when lines of this level are written; guards expensive arguments. */
bool ltd_log_enabled(enum ltd_log_level level);

void ltd_log(enum ltd_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define ltd_error(...)   ltd_log(LTD_LOG_ERROR, __VA_ARGS__)
#define ltd_warning(...) ltd_log(LTD_LOG_WARNING, __VA_ARGS__)
#define ltd_info(...)    ltd_log(LTD_LOG_INFO, __VA_ARGS__)
#define ltd_debug(...)   ltd_log(LTD_LOG_DEBUG, __VA_ARGS__)
#define ltd_trace(...)   ltd_log(LTD_LOG_TRACE, __VA_ARGS__)

#endif
