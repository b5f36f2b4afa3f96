/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/capacity.h - from options and model to sizes: pages, rows, planes, depth. Pure arithmetic.
 *
 * Every rank computes the same plan from the same inputs; the handshake compares the results. What
 * an operator left at 0 is chosen here, and only here.
 *
 *     bytes per position = F * 2 * n_embd * (n_planes * n_core + n_prelude + n_coda)
 *                          with F = 4 for f32, 2 for bf16
 *     pages              = kv_memory / (16 * bytes per position), at most those of
 *                          max_jobs_running whole contexts
 *     cached pages       = kv_cached_memory / (16 * bytes per position), at most all of them
 *
 * Threads: pure.
 */
#ifndef LATENTD_DAEMON_CAPACITY_H
#define LATENTD_DAEMON_CAPACITY_H

#include <stdint.h>

#include "base/err.h"
#include "cluster/tick.h"
#include "daemon/config.h"
#include "model/config.h"
#include "model/kv.h"

#define CAPACITY_POLICY_BYTES 64

struct capacity {
    struct model_kv_policy policy;
    char policy_text[CAPACITY_POLICY_BYTES]; /* a published name, or "64 entries, latest" */
    enum model_kv_format kv_format;
    int32_t max_steps; /* deepest that a job may ask for */
    int32_t default_steps;
    int32_t default_max_tokens;
    int32_t prefill_chunk;
    struct clus_limits limits; /* n_rows, n_seqs, n_pages, max_batch and the model's shape */
    uint64_t position_bytes;   /* keys and values of one position, all ranks and the border */
    int32_t cached_pages;      /* of n_pages: may stay filled when no job holds them */
};

/*
 * capacity_plan - choose.
 *
 * host_memory_bytes  of rank 0's host, the same value on every rank
 * Errors: LTD_E_INVALID naming the option, what was found and what would be right.
 */
int capacity_plan(const struct config *config, const struct model_config *model,
                  const struct model_generation *generation, uint64_t host_memory_bytes,
                  struct capacity *out, struct ltd_err *err);

/* Kernel threads of a rank when `asked` is 0: processors of this process over ranks on the host. */
int32_t capacity_threads(int64_t asked, int32_t n_processors, int32_t n_ranks_on_host);

/* Parameters of the model: unique weights, a tied head counted once. */
uint64_t capacity_parameters(const struct model_config *model);

#endif
