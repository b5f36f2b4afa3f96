/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/attention.c - the attention half of a block over a shard's heads.
 *
 *     q, k, v = Wqkv * normed;  q, k biased and rotated;  k, v into the cache
 *     heads   = softmax(q k / sqrt(d)) v                  gather HEADS
 *     part    = proj * heads                              gather EMBD
 *
 * All positions of the batch are stored before any of them reads, so positions of one sequence in
 * one batch see each other exactly as they would in one call.
 */
#include "model/block.h"

static void rotate_and_store(const struct model_block *block, const struct model_env *env,
                             struct model_work *work, struct model_kv *kv, int32_t layer)
{
    const struct kern_ops *ops = env->ctx.ops;
    int32_t heads = env->shard.head_end - env->shard.head_begin, d = env->config.head_dim;
    size_t own = (size_t)heads * (size_t)d;
    const float *q_bias = block->qk_bias;
    const float *k_bias = q_bias ? q_bias + own : NULL;
    for (int32_t i = 0; i < work->n_batch; i++) {
        float *q = work->qkv + (size_t)i * 3 * own;
        float *k = q + own, *v = k + own;
        const float *angles = model_rope_at(env->rope, work->places[i].position);
        ops->rope(&env->ctx, q, q_bias, angles, heads, d);
        ops->rope(&env->ctx, k, k_bias, angles, heads, d);
        model_kv_store(kv, layer, &work->places[i], k, v);
    }
}

static void attend(const struct model_env *env, struct model_work *work, struct model_kv *kv,
                   int32_t layer, size_t own)
{
    struct kern_kv_layer view = model_kv_layer(kv, layer);
    for (int32_t i = 0; i < work->n_batch; i++)
        work->queries[i] = (struct kern_query){
            .q = work->qkv + (size_t)i * 3 * own,
            .out = work->own + (size_t)i * own,
            .pages = work->places[i].pages,
            .planes = work->planes + (size_t)i * (size_t)work->max_positions,
            .n_keys = work->places[i].position + 1,
        };
    env->ctx.ops->attention(&env->ctx, &view, work->queries, work->n_batch, work->scores,
                            work->scores_stride);
}

int model_attention(const struct model_block *block, const struct model_env *env,
                    struct model_work *work, struct model_kv *kv, int32_t layer,
                    const struct model_exchange *exchange, struct ltd_err *err)
{
    int32_t n_pos = work->n_batch;
    bool has_rows = block->proj[MODEL_COPY_MAIN].rows > 0;
    size_t own = (size_t)model_part_own(MODEL_PART_HEADS, &env->config, &env->shard);
    if (own > 0) {
        model_product(env, work, block->qkv, work->qkv, work->normed);
        rotate_and_store(block, env, work, kv, layer);
        attend(env, work, kv, layer, own);
    }
    if (exchange->gather(exchange->arg, MODEL_PART_HEADS, own ? work->own : NULL, work->heads,
                         n_pos, err) != 0)
        return -1;
    if (has_rows)
        model_product(env, work, block->proj, work->own, work->heads);
    return exchange->gather(exchange->arg, MODEL_PART_EMBD, has_rows ? work->own : NULL, work->part,
                            n_pos, err);
}
