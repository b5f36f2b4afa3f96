/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/rates.h - what happened between two statuses of a daemon, as numbers for people.
 *
 * The contract has counters since the start of the daemon; rates, means and percentiles are made
 * here, from the difference of two statuses or from one alone. The daemon's own clock (uptime_ms)
 * says how long the interval was, so neither the network nor this machine's clock blurs a rate. A
 * daemon that was started again in between has a smaller uptime, and then the interval begins at its
 * start.
 *
 * A figure whose divisor is 0 does not exist. It is NaN here, "-" on a screen and null in JSON: an
 * idle daemon has no mean tick time, and 0 would be a lie.
 *
 * Threads: pure functions.
 */
#ifndef LATENTD_CLI_RATES_H
#define LATENTD_CLI_RATES_H

#include <stdbool.h>
#include <stddef.h>

#include "latentd/v1/latentd.pb-c.h"

/* Where `share` of the values of a histogram lie: at or below `bound`, or above it. */
struct cli_percentile {
    bool is_known; /* false: there are no values, or the histogram cannot be read */
    bool is_above; /* beyond the last bound */
    double bound;
};

struct cli_spread {
    struct cli_percentile p50, p90, p99;
    double mean; /* NaN without values */
};

struct cli_rates {
    bool is_since_start; /* no status before this one, or the daemon was started in between */
    double seconds;      /* of the interval */
    double ticks_per_s, positions_per_s, tokens_per_s;
    double positions_per_tick;
    double decode_share, prefill_share, replay_share; /* of the positions of all ticks, 0 .. 1 */
    double mean_steps;                                /* of the tokens written */
    double coda_per_token;                            /* positions through the coda */
    double check_positions_per_token, check_rows_per_token; /* of exit rules only */
    struct cli_spread tick_ms, queue_ms, batch;
};

/*
 * cli_rates_between - the interval from `before` to `now`.
 * before  an earlier status of the same daemon, or NULL: from its start
 */
void cli_rates_between(const Latentd__V1__ClusterStatus *before,
                       const Latentd__V1__ClusterStatus *now, struct cli_rates *out);

/*
 * cli_percentile - of the values that `now` has and `before` (may be NULL) has not.
 *
 * share  above 0, at most 1
 * A histogram says in which bucket a value lies and no more, so the answer is a bound, not a guess
 * between two of them. Histograms whose bounds differ, or whose counts do not fit their bounds, give
 * an unknown percentile.
 */
struct cli_percentile cli_histogram_percentile(const Latentd__V1__Histogram *before,
                                               const Latentd__V1__Histogram *now, double share);

/* Percentiles and mean of what `now` has and `before` (may be NULL) has not. */
struct cli_spread cli_histogram_spread(const Latentd__V1__Histogram *before,
                                       const Latentd__V1__Histogram *now);

/* Tokens and mean steps of one exit reason. */
uint64_t cli_depth_tokens(const Latentd__V1__DepthCounts *depths);
double cli_depth_mean(const Latentd__V1__DepthCounts *depths);

/* "<=8", ">1000", "-" into buf. Returns buf. */
#define CLI_PERCENTILE_BYTES 32
const char *cli_percentile_text(const struct cli_percentile *p, char buf[CLI_PERCENTILE_BYTES]);

#endif
