/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/shard.h - the plan: which output rows of every matrix each rank owns.
 *
 * Pure arithmetic from (shape, shares); every rank computes the same plan for all ranks. Rows are
 * contiguous, in rank order and cover everything:
 *
 *     heads 0..54, shares 1,1,2     rank 0 [0,14)   rank 1 [14,28)   rank 2 [28,55)
 *
 * Heads are not cut, and fc rows i (gate) and I+i (up) stay together, so attention and the gated
 * product are local to a rank (docs/tick-stream.md). Rows of width n and pairs of fc are cut in
 * panels of 16 where ranks have four of them on average, which is where rows of a packed model
 * begin. A rank may own nothing of a matrix: with more ranks than heads some compute no attention.
 * Results never depend on the plan, only speed does.
 *
 * Threads: pure functions.
 */
#ifndef LATENTD_CLUSTER_SHARD_H
#define LATENTD_CLUSTER_SHARD_H

#include <stdint.h>

#include "base/err.h"

struct model_shard; /* model/shard.h */

#define CLUS_MAX_RANKS 1024 /* far above what a gather over all ranks can carry in useful time */

/* The three row counts that are cut. */
struct clus_shard_shape {
    int32_t n_heads;      /* H */
    int32_t n_embd;       /* n: rows of adapter, attention output and MLP output */
    int32_t intermediate; /* I: gated rows; fc has 2I rows, cut in pairs */
};

/*
 * clus_shares_parse - the shares of `n_ranks` ranks from text such as "1,1,2" or "0.5, 1".
 *
 * text     NULL or "" means equal shares
 * shares   out [n_ranks], each finite and in [1e-3, 1e6]
 * Errors: LTD_E_INVALID naming the item, what was found and what was expected.
 */
int clus_shares_parse(const char *text, int32_t n_ranks, double *shares, struct ltd_err *err);

/*
 * clus_split - cut [0, total) into `n` contiguous parts in proportion to `shares`.
 *
 * begin    out [n + 1]; part i is [begin[i], begin[i+1]); begin[n] = total
 * Largest remainder: everybody gets the whole part of the quota, what is left goes one each to the
 * largest fractions, lower index first. So no part is a whole row away from its quota.
 */
void clus_split(int32_t total, const double *shares, int32_t n, int32_t *begin);

/*
 * clus_shard_plan - the shards of all ranks.
 *
 * shares   [n_ranks] as from clus_shares_parse
 * shards   out [n_ranks]
 * Errors: LTD_E_INVALID for a shape or rank count out of range.
 */
int clus_shard_plan(const struct clus_shard_shape *shape, const double *shares, int32_t n_ranks,
                    struct model_shard *shards, struct ltd_err *err);

#endif
