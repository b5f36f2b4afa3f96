/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/comm.h - the collectives that the cluster layer uses, and the gather of activations.
 *
 * Three operations: a broadcast from rank 0, an exchange of fixed-size blocks, and the gather that
 * the model asks for. Nothing here adds numbers, so nothing depends on the order of ranks.
 *
 *     own slices            staging, in rank blocks          full
 *     rank 0 [n_pos][w0] ─┐  ┌ [n_pos][w0] ┐   unpack        [n_pos][w0 w1 w2]
 *     rank 1 [n_pos][w1] ─┼─▶│ [n_pos][w1] │ ────────────▶   every rank has all columns
 *     rank 2 [n_pos][w2] ─┘  └ [n_pos][w2] ┘                 (n_pos = 1 needs no staging)
 *
 * Threads: the one that may call MPI. Collective: every rank makes the same calls in the same
 * order.
 */
#ifndef LATENTD_CLUSTER_COMM_H
#define LATENTD_CLUSTER_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/config.h"
#include "model/exchange.h"
#include "model/shard.h"

struct clus_world;

/* `data` of rank 0 to all; at most INT32_MAX bytes. Errors: LTD_E_RANK. */
int clus_comm_broadcast(struct clus_world *world, void *data, size_t bytes, struct ltd_err *err);

/* all [size][bytes] = every rank's mine [bytes], in rank order. Errors: LTD_E_RANK. */
int clus_comm_all_gather(struct clus_world *world, const void *mine, void *all, size_t bytes,
                         struct ltd_err *err);

struct clus_gather;

/*
 * clus_gather_create - an implementation of model_exchange over the world.
 *
 * config, shards [size of the world]   copied
 * max_batch                            the largest n_pos
 * Not collective. Errors: LTD_E_EXHAUSTED; LTD_E_INVALID when the shards do not tile the model.
 */
struct clus_gather *clus_gather_create(struct clus_world *world, const struct model_config *config,
                                       const struct model_shard *shards, int32_t max_batch,
                                       struct ltd_err *err);
void clus_gather_destroy(struct clus_gather *gather); /* accepts NULL */

/* Valid as long as `gather`. */
struct model_exchange clus_gather_exchange(struct clus_gather *gather);

#endif
