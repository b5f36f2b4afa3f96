/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_export.h - a stored job as one line of JSON. Fields: docs/store.md#export.
 * Threads: one.
 */
#ifndef LATENTD_DAEMON_STORE_EXPORT_H
#define LATENTD_DAEMON_STORE_EXPORT_H

#include <stdio.h>

#include "base/err.h"
#include "daemon/store_scan.h"

/* Errors: LTD_E_EXHAUSTED, LTD_E_UNAVAILABLE (the stream takes no more). */
int store_export_job(const struct store_scanned *job, FILE *out, struct ltd_err *err);

#endif
