/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cluster/team.h - a rank group inside one process: ranks are threads, the gather is memcpy
 * between barriers, and after every tick the replies of all ranks are compared byte for byte.
 */
#ifndef LATENTD_TESTS_CLUSTER_TEAM_H
#define LATENTD_TESTS_CLUSTER_TEAM_H

#include <stdbool.h>

#include "cluster/executor.h"
#include "driver.h"

#define TEAM_MAX_RANKS 7

struct team;

struct team_spec {
    const char *dir;    /* model directory */
    const char *tier;   /* kern_tier_find */
    const char *policy; /* published KV policy */
    const char *shares; /* NULL: equal */
    int32_t n_ranks;
    int32_t n_threads;
    enum model_kv_format kv_format;
    enum kern_format format;
    bool has_early; /* with a second copy of the recurrent block, in early_format */
    enum kern_format early_format;
};

/* Fails the running test on any error. */
struct team *team_create(const struct team_spec *spec);
void team_destroy(struct team *team);

const struct clus_limits *team_limits(const struct team *team);
struct model_border *team_border(struct team *team);

/* To look into a rank between two ticks. */
const struct clus_executor *team_executor(const struct team *team, int32_t rank);

/* Runs ticks on all ranks. A disagreement between ranks is an LTD_E_RANK. */
struct driver_port team_port(struct team *team);

/* Runs a tick that must be accepted, or one that must be refused with `part` in the sentence; fails
 * the running test otherwise. The reply lives until the next tick. */
struct clus_reply team_run_good(struct team *team, const struct clus_tick *tick);
void team_expect_refused(struct team *team, const struct clus_tick *tick, const char *part);

/* The next gather of this rank fails (LTD_E_RANK); for a team of one. */
void team_break_gather(struct team *team);

#endif
