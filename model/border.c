/* SPDX-License-Identifier: Apache-2.0 */
/* model/border.c - prelude, coda and head on the coordinator; see model/border.h. */
#include "model/border.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "model/block.h"
#include "model/layout.h"

/* A run of blocks with keys of its own. */
struct stack {
    struct model_block *blocks;
    int32_t n_blocks;
    struct model_kv *kv;
};

struct model_border {
    /* configuration */
    struct model_env env;
    struct model_rope *rope;
    struct model_exchange exchange; /* a group of one */
    struct kern_mat head;           /* [V][n]; also the embedding when tied */
    struct kern_mat wte;            /* [V][n] when not tied, else empty */
    float *ln_f;                    /* [n] */
    float embed_scale;              /* sqrt(n) */
    /* state */
    struct stack prelude, coda;
    /* scratch */
    struct model_work work;
};

static int load_stack(struct stack *stack, const struct model_env *env,
                      const struct model_checkpoint *ckpt, const char *part, int32_t n_blocks,
                      const struct model_border_options *options, struct ltd_err *err)
{
    const struct model_kv_spec kv = {
        .n_pages = options->n_pages,
        .n_layers = n_blocks,
        .n_heads = env->config.n_heads,
        .head_dim = env->config.head_dim,
        .policy = {.n_planes = 1, .holes = MODEL_KV_LATEST},
        .format = options->kv_format,
    };
    stack->kv = model_kv_create(&kv, err);
    stack->blocks = calloc((size_t)n_blocks, sizeof *stack->blocks);
    if (!stack->kv)
        return -1;
    if (!stack->blocks)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d blocks", n_blocks);
    stack->n_blocks = n_blocks;
    for (int32_t i = 0; i < n_blocks; i++) {
        char prefix[MODEL_NAME_BYTES];
        snprintf(prefix, sizeof prefix, "transformer.%s.%d", part, i);
        if (model_block_load(&stack->blocks[i], env, ckpt, prefix, err) != 0)
            return -1;
    }
    return 0;
}

static void free_stack(struct stack *stack)
{
    for (int32_t i = 0; i < stack->n_blocks; i++)
        model_block_fini(&stack->blocks[i]);
    free(stack->blocks);
    model_kv_destroy(stack->kv);
}

static int load_head(struct model_border *border, const struct model_checkpoint *ckpt,
                     struct ltd_err *err)
{
    const struct model_config *config = &border->env.config;
    const struct model_row_range all = {0, config->vocab};
    border->ln_f = ltd_alloc((size_t)config->n_embd, sizeof(float));
    if (!border->ln_f)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %s", MODEL_NAME_LN_F);
    if (model_checkpoint_floats(ckpt, MODEL_NAME_LN_F, 0, config->n_embd, border->ln_f, err) != 0)
        return -1;
    struct model_pack what = {MODEL_NAME_WTE, border->env.format, &all, 1};
    if (config->tied)
        return model_checkpoint_pack(ckpt, &border->env.ctx, &what, &border->head, err);
    if (model_checkpoint_pack(ckpt, &border->env.ctx, &what, &border->wte, err) != 0)
        return -1;
    what.name = MODEL_NAME_HEAD;
    return model_checkpoint_pack(ckpt, &border->env.ctx, &what, &border->head, err);
}

static int build(struct model_border *border, const struct model_checkpoint *ckpt,
                 const struct model_border_options *options, struct ltd_err *err)
{
    const struct model_config *config = &border->env.config;
    border->rope =
        model_rope_create(config->head_dim, config->rope_base, options->max_positions, err);
    if (!border->rope)
        return -1;
    border->env.rope = border->rope;
    border->exchange = model_exchange_local(&border->env.config);
    border->embed_scale = sqrtf((float)config->n_embd);
    if (load_head(border, ckpt, err) != 0 ||
        load_stack(&border->prelude, &border->env, ckpt, "prelude", config->n_prelude, options,
                   err) != 0 ||
        load_stack(&border->coda, &border->env, ckpt, "coda", config->n_coda, options, err) != 0)
        return -1;
    return model_work_init(&border->work, &border->env, options->max_batch, options->max_positions,
                           err);
}

struct model_border *model_border_create(const struct model_checkpoint *ckpt,
                                         const struct kern_ctx *ctx,
                                         const struct model_border_options *options,
                                         struct ltd_err *err)
{
    const struct model_config *config = model_checkpoint_config(ckpt);
    if (options->max_batch < 1 || options->max_positions < 1 ||
        options->max_positions > config->max_positions)
        return ltd_fail_null(err, LTD_E_INVALID,
                             "border: batch of %d and %d positions, expected at least 1 and at "
                             "most %d positions",
                             options->max_batch, options->max_positions, config->max_positions);
    struct model_border *border = calloc(1, sizeof *border);
    if (!border)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "border: no memory");
    border->env = (struct model_env){.ctx = *ctx,
                                     .config = *config,
                                     .shard = model_shard_all(config),
                                     .format = options->format};
    if (build(border, ckpt, options, err) != 0) {
        model_border_destroy(border);
        return NULL;
    }
    return border;
}

void model_border_destroy(struct model_border *border)
{
    if (!border)
        return;
    free_stack(&border->prelude);
    free_stack(&border->coda);
    kern_mat_fini(&border->head);
    kern_mat_fini(&border->wte);
    ltd_free(border->ln_f);
    model_rope_destroy(border->rope);
    model_work_fini(&border->work);
    free(border);
}

const struct model_config *model_border_config(const struct model_border *border)
{
    return &border->env.config;
}

void model_border_release(struct model_border *border, int32_t page)
{
    model_kv_release(border->prelude.kv, page);
    model_kv_release(border->coda.kv, page);
}

static int take_place(struct model_border *border, int32_t i, const struct model_place *place,
                      struct ltd_err *err)
{
    if (place->position < 0 || place->position >= border->work.max_positions)
        return ltd_fail(err, LTD_E_RANGE, "position %d, expected one in [0, %d)", place->position,
                        border->work.max_positions);
    border->work.places[i] = *place;
    border->work.places[i].step_idx = 0;
    return 0;
}

static int run_stack(struct model_border *border, struct stack *stack, int32_t n_batch,
                     struct ltd_err *err)
{
    border->work.n_batch = n_batch;
    if (model_work_begin(&border->work, stack->kv, err) != 0)
        return -1;
    for (int32_t i = 0; i < stack->n_blocks; i++)
        if (model_block_forward(&stack->blocks[i], &border->env, &border->work, stack->kv, i,
                                &border->exchange, err) != 0)
            return -1;
    return 0;
}

static int embed(struct model_border *border, int32_t token, float *out, struct ltd_err *err)
{
    const struct kern_mat *wte = border->env.config.tied ? &border->head : &border->wte;
    if (token < 0 || token >= border->env.config.vocab)
        return ltd_fail(err, LTD_E_INVALID, "token %d, expected one in [0, %d)", token,
                        border->env.config.vocab);
    border->env.ctx.ops->mat_row(&border->env.ctx, wte, token, out);
    for (int32_t i = 0; i < border->env.config.n_embd; i++)
        out[i] *= border->embed_scale;
    return 0;
}

static int prelude_batch(struct model_border *border, const struct model_border_in *in, int32_t n,
                         struct ltd_err *err)
{
    size_t width = (size_t)border->env.config.n_embd;
    for (int32_t i = 0; i < n; i++)
        if (take_place(border, i, &in[i].place, err) != 0 ||
            embed(border, in[i].token, border->work.x + (size_t)i * width, err) != 0)
            return -1;
    if (run_stack(border, &border->prelude, n, err) != 0)
        return -1;
    for (int32_t i = 0; i < n; i++)
        memcpy(in[i].e, border->work.x + (size_t)i * width, width * sizeof(float));
    return 0;
}

int model_border_prelude(struct model_border *border, const struct model_border_in *in, int32_t n,
                         struct ltd_err *err)
{
    int32_t most = border->work.max_batch;
    for (int32_t at = 0; at < n; at += most)
        if (prelude_batch(border, in + at, n - at < most ? n - at : most, err) != 0)
            return -1;
    return 0;
}

void model_border_norm(struct model_border *border, const float *latent, int32_t n_rows, float *out)
{
    border->env.ctx.ops->rmsnorm(&border->env.ctx, out, latent, border->ln_f,
                                 border->env.config.n_embd, n_rows, border->env.config.norm_eps);
}

static int coda_batch(struct model_border *border, const struct model_border_out *out, int32_t n,
                      struct ltd_err *err)
{
    size_t width = (size_t)border->env.config.n_embd;
    for (int32_t i = 0; i < n; i++) {
        if (take_place(border, i, &out[i].place, err) != 0)
            return -1;
        model_border_norm(border, out[i].latent, 1, border->work.x + (size_t)i * width);
    }
    if (run_stack(border, &border->coda, n, err) != 0)
        return -1;
    for (int32_t i = 0; i < n; i++)
        model_border_norm(border, border->work.x + (size_t)i * width, 1, out[i].hidden);
    return 0;
}

int model_border_coda(struct model_border *border, const struct model_border_out *out, int32_t n,
                      struct ltd_err *err)
{
    int32_t most = border->work.max_batch;
    for (int32_t at = 0; at < n; at += most)
        if (coda_batch(border, out + at, n - at < most ? n - at : most, err) != 0)
            return -1;
    return 0;
}

void model_border_head(struct model_border *border, const float *hidden, int32_t n_rows,
                       float *logits)
{
    border->env.ctx.ops->matmul(&border->env.ctx, logits, &border->head, hidden, n_rows);
}
