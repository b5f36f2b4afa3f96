/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/parallel.h - how one call is cut over threads. Private to kernels/.
 *
 * Work is always cut between output elements, never inside a sum, so the cut is free to change
 * with the number of threads.
 */
#ifndef LATENTD_KERNELS_PARALLEL_H
#define LATENTD_KERNELS_PARALLEL_H

#include <omp.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* Threads for a call of `work` multiply-adds. */
static inline int kern_threads(const struct kern_ctx *ctx, int64_t work)
{
    return work < ctx->min_work || ctx->n_threads < 1 ? 1 : (int)ctx->n_threads;
}

/* The work of thread `t` of `n`; it may hold barriers and orphaned loops of OpenMP. */
typedef void kern_team_fn(void *arg, int t, int n);

/* kern_team - `work` on each thread of a team. One thread alone just calls it: a team of one costs
 * libgomp a system call per barrier and one at its end, more than a small product takes. */
static inline void kern_team(int threads, kern_team_fn *work, void *arg)
{
    if (threads == 1) {
        work(arg, 0, 1);
        return;
    }
#pragma omp parallel num_threads(threads)
    work(arg, omp_get_thread_num(), omp_get_num_threads());
}

/* First item of share `idx` when `count` items are cut into `n` contiguous shares. */
static inline int64_t kern_share(int64_t count, int idx, int n)
{
    return count * idx / n;
}

#endif
