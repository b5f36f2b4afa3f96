/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_tool.h - what an operator does to a job log: check, vacuum, export.
 *
 * Behind `latentd --store-check`, `--store-vacuum` and `--store-export`, which `latentctl store` runs.
 * Check and export only read, also beside a daemon that has the log open; vacuum needs the log for
 * itself. Threads: one. Rules: docs/store.md#tools.
 */
#ifndef LATENTD_DAEMON_STORE_TOOL_H
#define LATENTD_DAEMON_STORE_TOOL_H

#include <stdio.h>

#include "base/err.h"

/*
 * store_tool_check - one line on `out` for every job with damage, and one that sums up.
 * Errors: LTD_E_CORRUPT when anything is damaged; those of store_file_open.
 */
int store_tool_check(const char *path, FILE *out, struct ltd_err *err);

/*
 * store_tool_vacuum - rewrite the file without the room of what was deleted.
 * Errors: LTD_E_EXISTS (a daemon has it open), LTD_E_UNAVAILABLE (no room for the copy), and those of
 *         store_file_open.
 */
int store_tool_vacuum(const char *path, FILE *out, struct ltd_err *err);

/*
 * store_tool_export - one JSON object per line and job, with all its events.
 * Errors: LTD_E_CORRUPT when something could not be read; what could be was written before.
 */
int store_tool_export(const char *path, FILE *out, struct ltd_err *err);

#endif
