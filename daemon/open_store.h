/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/open_store.h - which log of jobs the configuration asks for.
 *
 *     store = auto     $STATE_DIRECTORY/jobs.db where systemd gives the service a directory, else memory
 *     store = memory   jobs end with the process
 *     store = PATH     a durable log in this file
 *
 * Threads: main thread, once.
 */
#ifndef LATENTD_DAEMON_OPEN_STORE_H
#define LATENTD_DAEMON_OPEN_STORE_H

#include <uv.h>

#include "base/err.h"
#include "daemon/config.h"
#include "daemon/store.h"

/* Errors: those of store_sqlite_open and store_memory_create. Returns owned. */
struct store *open_store(const struct config *config, uv_loop_t *loop, struct ltd_err *err);

#endif
