/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/plan_report.h - a plan as tables for people, or as one JSON object.
 *
 * Threads: main thread; no state.
 */
#ifndef LATENTD_CLI_PLAN_REPORT_H
#define LATENTD_CLI_PLAN_REPORT_H

#include "base/err.h"
#include "cli/bandwidth.h"
#include "cli/caches.h"
#include "cli/plan.h"

struct cli_plan_report {
    const char *folder; /* of the model */
    struct cli_shape shape;
    double bandwidth;                     /* bytes per second of one host; > 0 */
    const struct cli_bandwidth *measured; /* NULL: the bandwidth was given */
    uint64_t cache_bytes;                 /* of one host */
    const struct cli_caches *found;       /* NULL: the cache was given */
    const uint32_t *ranks;                /* [n_ranks], each 1 .. CLI_PLAN_MAX_RANKS */
    size_t n_ranks;
    bool with_f32, with_bf16;        /* formats of keys and values */
    uint64_t kv_slots;               /* 0: no row of its own */
    const struct cli_ladder *ladder; /* NULL: none */
};

/* Errors: LTD_E_EXHAUSTED; those of writing to standard output. */
int cli_plan_print_text(const struct cli_plan_report *report, struct ltd_err *err);
int cli_plan_print_json(const struct cli_plan_report *report, struct ltd_err *err);

/* Seconds as people say them, "163.7 ms" or "5.242 s", into buf. Returns buf. */
#define CLI_SECONDS_BYTES 24
const char *cli_seconds_text(double s, char buf[CLI_SECONDS_BYTES]);

/* Bytes in powers of ten, "6.549 GB", as bandwidths are; into buf. Returns buf. */
#define CLI_SIZE_BYTES 24
const char *cli_size_text(uint64_t bytes, char buf[CLI_SIZE_BYTES]);

#endif
