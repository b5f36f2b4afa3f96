/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/status_text.h - how a daemon is doing, for people: the lines that info and top share.
 *
 *     jobs        1 running, 3 waiting, 412 finished, 2 kept for continue
 *     batch       [##########----------] 8.30 of 16 positions a tick, p50 <=8, p99 <=16
 *     ...
 *     EXIT       TOKENS   MEAN  5-8  9-16  17-32
 *     converged     304  12.10   61   210     33
 *
 * Rates are those of the interval that `rates` stands for; counts and places are those of now.
 *
 * Threads: main thread; no state.
 */
#ifndef LATENTD_CLI_STATUS_TEXT_H
#define LATENTD_CLI_STATUS_TEXT_H

#include "base/bytes.h"
#include "cli/rates.h"
#include "cli/table.h"
#include "latentd/v1/latentd.pb-c.h"

/* cli_status_rows - add the rows to a table of two columns, "ll". */
void cli_status_rows(struct cli_table *table, const Latentd__V1__ClusterStatus *status,
                     const struct cli_rates *rates);

/*
 * cli_depth_table - tokens by exit reason and depth since the daemon's start, appended to `out`.
 *
 * Depths come in ranges that double; those at both ends that hold no token are left out. Nothing is
 * appended when no token was written.
 */
void cli_depth_table(const Latentd__V1__ClusterStatus *status, struct ltd_bytes *out);

/* "04:05:06", behind days "3 d 04:05:06", into buf. Returns buf. */
#define CLI_UPTIME_BYTES 40
const char *cli_uptime_text(uint64_t ms, char buf[CLI_UPTIME_BYTES]);

#endif
