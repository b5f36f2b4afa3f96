/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/mlp.c - the gated half of a block over a shard's rows.
 *
 *     u = fc * normed;  z = silu(gate half) * up half     gather FC
 *     part = mlp.proj * z                                 gather EMBD
 *
 * Row i of the gate half and row i of the up half lie on the same rank, so the gating is local and
 * I values are exchanged instead of 2 I.
 */
#include "model/block.h"

int model_mlp(const struct model_block *block, const struct model_env *env, struct model_work *work,
              const struct model_exchange *exchange, struct ltd_err *err)
{
    const struct kern_ops *ops = env->ctx.ops;
    int32_t n_pos = work->n_batch;
    int32_t own = model_part_own(MODEL_PART_FC, &env->config, &env->shard);
    if (own > 0) {
        ops->matmul(&env->ctx, work->fc, &block->fc, work->normed, n_pos);
        ops->silu_mul(&env->ctx, work->own, work->fc, own, n_pos);
    }
    if (exchange->gather(exchange->arg, MODEL_PART_FC, own ? work->own : NULL, work->gated, n_pos,
                         err) != 0)
        return -1;
    if (block->down.rows > 0)
        ops->matmul(&env->ctx, work->own, &block->down, work->gated, n_pos);
    return exchange->gather(exchange->arg, MODEL_PART_EMBD, block->down.rows ? work->own : NULL,
                            work->part, n_pos, err);
}
