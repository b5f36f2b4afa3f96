/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/exchange.h - how slices of an activation become the whole of it.
 *
 * After every product each rank holds the output rows that it owns; `gather` gives each rank all
 * of them. The model calls it in the same order on every rank; it moves bits and never adds
 * numbers, so an answer cannot depend on how many ranks there are. cluster/ implements it over MPI;
 * model_exchange_local() is the group of one.
 *
 * Calls per recurrent step: EMBD for the adapter, then per layer HEADS, EMBD, FC, EMBD.
 * Threads: the rank thread. Collective: every rank calls with the same part and n_pos.
 */
#ifndef LATENTD_MODEL_EXCHANGE_H
#define LATENTD_MODEL_EXCHANGE_H

#include <stdint.h>

#include "base/err.h"
#include "model/config.h"
#include "model/shard.h"

enum model_part {
    MODEL_PART_HEADS, /* width n: head outputs; a rank owns heads * head_dim of them */
    MODEL_PART_EMBD,  /* width n: rows of adapter, attn.proj, mlp.proj */
    MODEL_PART_FC,    /* width I: gated activations */
    MODEL_N_PARTS
};

struct model_exchange {
    /*
     * gather - own [n_pos][own_width] of this rank (NULL when own_width is 0), full [n_pos][width]
     * with every rank's columns in rank order on return. 0, or -1 with LTD_E_RANK.
     */
    int (*gather)(void *arg, enum model_part part, const float *own, float *full, int32_t n_pos,
                  struct ltd_err *err);
    void *arg;
};

/* Width of a part over all ranks, and of the columns that one shard owns. */
int32_t model_part_width(enum model_part part, const struct model_config *config);
int32_t model_part_own(enum model_part part, const struct model_config *config,
                       const struct model_shard *shard);
/* First column that the shard owns. */
int32_t model_part_begin(enum model_part part, const struct model_config *config,
                         const struct model_shard *shard);

/* The exchange of a group of one: copies. `config` must outlive it. */
struct model_exchange model_exchange_local(const struct model_config *config);

#endif
