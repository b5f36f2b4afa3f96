/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_scan.h - read a whole job log: every job is folded from its events, and what is
 * damaged is found.
 *
 * Used when the daemon opens its log, and by `latentd --store-check` and `--store-export`. Looks at
 * every byte of every event: checksum, form, order, and whether the job could have come to it.
 *
 * Threads: that of the file. Rules: docs/store.md#damage.
 */
#ifndef LATENTD_DAEMON_STORE_SCAN_H
#define LATENTD_DAEMON_STORE_SCAN_H

#include "base/err.h"
#include "daemon/job.h"
#include "daemon/store_file.h"
#include "daemon/store_log.h"

struct store_scanned {
    struct store_job_row row; /* row.id is "" for events that belong to no job */
    struct job job;           /* the fold of the events in `log` */
    struct store_log log;     /* the events before the damage; the visitor may move it out */
    uint64_t bytes;           /* that all its rows take */
    uint64_t n_rows;          /* of events */
    uint64_t damaged_from;    /* number of the first event that is missing or wrong; 0: none */
    char damage[200];         /* what is wrong with it, for an operator */
    bool is_listed_wrongly;   /* its row in jobs says something else than its events */
    bool is_purged;           /* forgotten; its events wait to be deleted */
};

/* False: stop. */
typedef bool (*store_scan_fn)(void *arg, struct store_scanned *scanned);

/*
 * store_scan - visit every job in order of its number, then purges.
 *
 * Errors: LTD_E_CORRUPT when the file's structure is damaged (nothing more can be read then),
 *         LTD_E_UNAVAILABLE, LTD_E_EXHAUSTED.
 */
int store_scan(struct store_file *file, store_scan_fn visit, void *arg, struct ltd_err *err);

#endif
