/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/shard.h - which output rows of the recurrent block a rank owns.
 *
 * Three ranges cover every matrix: whole heads for Wqkv (so rotation, KV and attention stay
 * local), rows of width n for the adapter and both projections, and pairs (i, I + i) of fc rows.
 * Any range may be empty: a rank may own no head. The ranges of all ranks, in rank order, tile
 * [0, H), [0, n) and [0, I) without gap; cluster/ computes them, nobody else assumes a rule.
 */
#ifndef LATENTD_MODEL_SHARD_H
#define LATENTD_MODEL_SHARD_H

#include <stdint.h>

#include "base/err.h"
#include "model/config.h"

struct model_shard {
    int32_t head_begin, head_end; /* heads: [0, H) */
    int32_t embd_begin, embd_end; /* rows of adapter, attn.proj, mlp.proj: [0, n) */
    int32_t fc_begin, fc_end;     /* pairs of rows of mlp.fc: [0, I) */
};

/* The shard of a group of one rank: everything. */
static inline struct model_shard model_shard_all(const struct model_config *config)
{
    return (struct model_shard){0, config->n_heads, 0, config->n_embd, 0, config->intermediate};
}

/* model_shard_check - LTD_E_INVALID when a range is reversed or outside the model. */
int model_shard_check(const struct model_shard *shard, const struct model_config *config,
                      struct ltd_err *err);

/* Weights (elements) of the recurrent block that lie in a shard. */
int64_t model_shard_weights(const struct model_shard *shard, const struct model_config *config);

#endif
