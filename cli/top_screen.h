/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/top_screen.h - one screen of top as text; the same with and without a terminal.
 *
 * Threads: main thread; no state.
 */
#ifndef LATENTD_CLI_TOP_SCREEN_H
#define LATENTD_CLI_TOP_SCREEN_H

#include "base/bytes.h"
#include "base/err.h"
#include "cli/rates.h"
#include "latentd/v1/latentd.pb-c.h"

struct cli_top_view {
    const Latentd__V1__Model *model;          /* NULL: not known yet */
    const Latentd__V1__ClusterStatus *status; /* the latest there is */
    const struct cli_rates *rates;
    const struct ltd_err *failure; /* why there is no newer one; NULL or LTD_OK: there is none */
};

/* cli_top_screen - appended to `out` as lines, first the daemon, then the rows, then the depths. */
void cli_top_screen(const struct cli_top_view *view, struct ltd_bytes *out);

#endif
