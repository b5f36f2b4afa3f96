/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/open_store.c - see daemon/open_store.h. */
#include "daemon/open_store.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* A service with several state directories has them separated by colons; the first one is ours. */
static bool choose_path(const char *asked, char *path, size_t size)
{
    const char *directory = getenv("STATE_DIRECTORY");
    if (strcmp(asked, "memory") == 0)
        return false;
    if (strcmp(asked, "auto") != 0) {
        snprintf(path, size, "%s", asked);
        return true;
    }
    if (!directory || !*directory)
        return false;
    snprintf(path, size, "%.*s/jobs.db", (int)strcspn(directory, ":"), directory);
    return true;
}

struct store *open_store(const struct config *config, uv_loop_t *loop, struct ltd_err *err)
{
    char path[PATH_MAX];
    struct store_retention retention = {
        .max_jobs = (size_t)config->finished_jobs_kept,
        .max_age_us = (int64_t)(config->finished_job_seconds * 1e6),
        .max_bytes = (size_t)config->finished_jobs_memory << 20,
    };
    if (!choose_path(config->store, path, sizeof path)) {
        ltd_info("jobs are kept in memory and end with the process (option store)");
        return store_memory_create(&retention, err);
    }
    struct store_sqlite_config durable = {.path = path, .retention = retention, .loop = loop};
    struct store *store = store_sqlite_open(&durable, err);
    if (store)
        ltd_info("jobs are kept in %s", path);
    return store;
}
