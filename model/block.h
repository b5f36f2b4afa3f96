/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/block.h - one sandwich block, shared by prelude, recurrent block and coda.
 *
 *     a = attn(norm_1(x));  x = norm_2(a + x)
 *     m = mlp(norm_3(x));   x = norm_4(m + x)
 *
 * Norms 2 and 4 act on the sum. A block holds a shard's rows of its matrices and all of its norm
 * weights; norms are computed whole on every rank, so nothing but `gather` is exchanged.
 *
 * Each matrix may be there twice, in two formats: positions of one batch are then multiplied with
 * one copy or the other. Those of the early copy stand in front, so each copy is one product over
 * neighbours; everything else runs over the whole batch at once.
 *
 * `model_work` is the scratch of a whole stack of blocks, so that a step allocates nothing.
 *
 * Threads: one at a time per work.
 */
#ifndef LATENTD_MODEL_BLOCK_H
#define LATENTD_MODEL_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kernels.h"
#include "model/checkpoint.h"
#include "model/exchange.h"
#include "model/kv.h"
#include "model/rope.h"
#include "model/shard.h"

/* The copies of a matrix. The second one is all zero where there is no early copy. */
enum model_copy { MODEL_COPY_MAIN, MODEL_COPY_EARLY, MODEL_N_COPIES };

struct model_block {
    float *norms;   /* owned [4][n]; one for all copies */
    float *qk_bias; /* owned [2][own heads][head_dim]; NULL when the model has none */
    struct kern_mat qkv[MODEL_N_COPIES]; /* [3 * own heads * head_dim][n]: Q rows, K rows, V rows */
    struct kern_mat proj[MODEL_N_COPIES]; /* [own embd][n] */
    struct kern_mat fc[MODEL_N_COPIES];   /* [2 * own fc][n]: gate rows, up rows */
    struct kern_mat down[MODEL_N_COPIES]; /* [own embd][I]: mlp.proj */
};

/* What a stack of blocks computes with; filled once by its owner. */
struct model_env {
    struct kern_ctx ctx;
    struct model_config config;
    struct model_shard shard;
    enum kern_format format;       /* of all weight matrices; norms and biases are f32 */
    bool has_early;                /* a second copy of each block's matrices is kept */
    enum kern_format early_format; /* of that copy */
    const struct model_rope *rope; /* borrowed */
};

/* Scratch for batches of max_batch positions; all buffers owned. */
struct model_work {
    int32_t max_batch, max_positions;
    float *x;      /* [max_batch][n] the residual stream */
    float *normed; /* [max_batch][n] */
    float *part;   /* [max_batch][n] gathered attention or mlp output */
    float *qkv;    /* [max_batch][3 * own heads * head_dim] */
    float *own;    /* [max_batch][widest own part] slice before a gather */
    float *heads;  /* [max_batch][n] gathered head outputs */
    float *fc;     /* [max_batch][2 * own fc] */
    float *gated;  /* [max_batch][I] gathered */
    float *scores; /* [n_threads][KERN_QUERIES_AT_ONCE][scores_stride] */
    size_t scores_stride;
    int16_t *planes;            /* [max_batch][max_positions] */
    struct kern_query *queries; /* [max_batch] */
    struct model_place *places; /* [max_batch] of the batch at hand */
    int32_t n_batch;
    int32_t n_early; /* the first so many positions of the batch use the early copy */
};

int model_work_init(struct model_work *work, const struct model_env *env, int32_t max_batch,
                    int32_t max_positions, struct ltd_err *err);
void model_work_fini(struct model_work *work); /* accepts a zeroed struct */

/* model_block_load - pack the shard's rows of the block called `prefix` ("transformer.coda.0"). */
int model_block_load(struct model_block *block, const struct model_env *env,
                     const struct model_checkpoint *ckpt, const char *prefix, struct ltd_err *err);
void model_block_fini(struct model_block *block); /* accepts a zeroed struct */
/* Packed weights that a pass over one copy reads. */
size_t model_block_bytes(const struct model_block *block, enum model_copy copy);

/* model_mats_pack - the stacked rows of one tensor in each format that `env` asks for. `mats` is
 * [MODEL_N_COPIES], here and below, and zeroed by the caller; free with model_mats_fini, also after
 * an error. Errors: those of model_checkpoint_pack. */
int model_mats_pack(struct kern_mat *mats, const struct model_env *env,
                    const struct model_checkpoint *ckpt, const char *name,
                    const struct model_row_range *ranges, int32_t n_ranges, struct ltd_err *err);
void model_mats_fini(struct kern_mat *mats); /* accepts zeroed ones */

/* model_product - y[n_batch][rows] = x[n_batch][cols] times the matrix, each position with the copy
 * that is its own. A position's bits are those it has in a batch of its own. */
void model_product(const struct model_env *env, const struct model_work *work,
                   const struct kern_mat *mats, float *y, const float *x);

/*
 * model_work_begin - take the batch work->places[0 .. n_batch), the first n_early of them early:
 * count planes in `kv` and find the plane of every key that will be read. Once per batch and pool,
 * before the blocks.
 */
int model_work_begin(struct model_work *work, struct model_kv *kv, struct ltd_err *err);

/*
 * model_block_forward - work->x [n_batch][n] through the block; `layer` is its index in `kv`.
 * Errors: LTD_E_RANK from the exchange.
 */
int model_block_forward(const struct model_block *block, const struct model_env *env,
                        struct model_work *work, struct model_kv *kv, int32_t layer,
                        const struct model_exchange *exchange, struct ltd_err *err);

/* The two halves, for the block above: each leaves its gathered output in work->part. */
int model_attention(const struct model_block *block, const struct model_env *env,
                    struct model_work *work, struct model_kv *kv, int32_t layer,
                    const struct model_exchange *exchange, struct ltd_err *err);
int model_mlp(const struct model_block *block, const struct model_env *env, struct model_work *work,
              const struct model_exchange *exchange, struct ltd_err *err);

#endif
