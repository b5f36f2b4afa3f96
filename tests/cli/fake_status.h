/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cli/fake_status.h - the status of a daemon that does the same every second.
 *
 * Between status n and n + 1 one second passes, with 100 ticks of 8 positions and 20 tokens of 12
 * steps. Its tick times: 50 of at most 2 ms, 40 more of at most 5, 9 of at most 10, one above 50.
 */
#ifndef LATENTD_TESTS_CLI_FAKE_STATUS_H
#define LATENTD_TESTS_CLI_FAKE_STATUS_H

#include <stdint.h>

#include "latentd/v1/latentd.pb-c.h"

struct fake_histogram {
    Latentd__V1__Histogram message;
    double bounds[6];
    uint64_t counts[7];
};

/* The message and everything it points to; not to be copied. */
struct fake_status {
    Latentd__V1__ClusterStatus message;
    Latentd__V1__RankStatus ranks[2], *rank_ptrs[2];
    Latentd__V1__PriorityCounts waiting[3], *waiting_ptrs[3];
    Latentd__V1__DepthCounts depths[2], *depth_ptrs[2];
    uint64_t tokens[2][30];
    Latentd__V1__Costs costs;
    struct fake_histogram tick_ms, batch, queue_ms;
};

/* Status `n`, from 0. */
void fake_status_fill(struct fake_status *status, uint64_t n);

#endif
