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
    bool has_rows = block->down[MODEL_COPY_MAIN].rows > 0;
    int32_t own = model_part_own(MODEL_PART_FC, &env->config, &env->shard);
    if (own > 0) {
        model_product(env, work, block->fc, work->fc, work->normed);
        ops->silu_mul(&env->ctx, work->own, work->fc, own, n_pos);
    }
    if (exchange->gather(exchange->arg, MODEL_PART_FC, own ? work->own : NULL, work->gated, n_pos,
                         err) != 0)
        return -1;
    if (has_rows)
        model_product(env, work, block->down, work->own, work->gated);
    return exchange->gather(exchange->arg, MODEL_PART_EMBD, has_rows ? work->own : NULL, work->part,
                            n_pos, err);
}
