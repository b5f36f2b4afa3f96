/* SPDX-License-Identifier: Apache-2.0 */
/* model/block.c - the sandwich block and the scratch of a stack of them; see model/block.h. */
#include "model/block.h"

#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "model/layout.h"

static float *floats(size_t count, size_t each)
{
    size_t n;
    return ltd_size_mul(count, each, &n) ? ltd_alloc(n, sizeof(float)) : NULL;
}

struct wanted {
    float **to;
    size_t count, each;
};

static int32_t widest_part(const struct model_env *env)
{
    int32_t widest = 1;
    for (int p = 0; p < MODEL_N_PARTS; p++) {
        int32_t own = model_part_own((enum model_part)p, &env->config, &env->shard);
        widest = own > widest ? own : widest;
    }
    return widest;
}

int model_work_init(struct model_work *work, const struct model_env *env, int32_t max_batch,
                    int32_t max_positions, struct ltd_err *err)
{
    size_t batch = (size_t)max_batch, n = (size_t)env->config.n_embd;
    size_t heads = (size_t)model_part_own(MODEL_PART_HEADS, &env->config, &env->shard);
    size_t fc = (size_t)model_part_own(MODEL_PART_FC, &env->config, &env->shard);
    size_t threads = (size_t)(env->ctx.n_threads > 0 ? env->ctx.n_threads : 1);
    *work = (struct model_work){.max_batch = max_batch, .max_positions = max_positions};
    /* A page more than needed keeps the rows of two threads out of one cache line. */
    work->scores_stride = ((size_t)max_positions / KERN_PAGE_POSITIONS + 2) * KERN_PAGE_POSITIONS;
    const struct wanted wanted[] = {
        {&work->fc, batch, 2 * fc + 1},
        {&work->own, batch, (size_t)widest_part(env)},
        {&work->gated, batch, (size_t)env->config.intermediate},
        {&work->qkv, batch, 3 * heads + 1},
        {&work->x, batch, n},
        {&work->normed, batch, n},
        {&work->part, batch, n},
        {&work->heads, batch, n},
        {&work->scores, threads * KERN_QUERIES_AT_ONCE, work->scores_stride},
    };
    /* All threads, because the first touch of memory is a good part of a start: in a virtual machine
     * 30 MB of scratch take as long as checking a gigabyte of weights that are there. */
#pragma omp parallel for num_threads((int)threads) schedule(dynamic)
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        *wanted[i].to = floats(wanted[i].count, wanted[i].each);
    work->planes = ltd_alloc(batch * (size_t)max_positions, sizeof *work->planes);
    work->queries = ltd_alloc(batch, sizeof *work->queries);
    work->places = ltd_alloc(batch, sizeof *work->places);
    if (work->x && work->normed && work->part && work->heads && work->qkv && work->own &&
        work->fc && work->gated && work->scores && work->planes && work->queries && work->places)
        return 0;
    model_work_fini(work);
    return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the scratch of %d positions at once",
                    max_batch);
}

void model_work_fini(struct model_work *work)
{
    ltd_free(work->x);
    ltd_free(work->normed);
    ltd_free(work->part);
    ltd_free(work->heads);
    ltd_free(work->qkv);
    ltd_free(work->own);
    ltd_free(work->fc);
    ltd_free(work->gated);
    ltd_free(work->scores);
    ltd_free(work->planes);
    ltd_free(work->queries);
    ltd_free(work->places);
    *work = (struct model_work){0};
}

int model_work_begin(struct model_work *work, struct model_kv *kv, struct ltd_err *err)
{
    if (model_kv_start(kv, work->places, work->n_batch, err) != 0)
        return -1;
    for (int32_t i = 0; i < work->n_batch; i++)
        if (model_kv_planes(kv, &work->places[i],
                            work->planes + (size_t)i * (size_t)work->max_positions, err) != 0)
            return -1;
    return 0;
}

struct loader {
    const struct model_env *env;
    const struct model_checkpoint *ckpt;
    const char *prefix;
    struct ltd_err *err;
};

static const char *full_name(const struct loader *l, const char *name, char out[MODEL_NAME_BYTES])
{
    snprintf(out, MODEL_NAME_BYTES, "%s.%s", l->prefix, name);
    return out;
}

static int load_norms(struct model_block *block, const struct loader *l)
{
    static const char *const names[4] = {"norm_1.weight", "norm_2.weight", "norm_3.weight",
                                         "norm_4.weight"};
    int64_t n = l->env->config.n_embd;
    char name[MODEL_NAME_BYTES];
    block->norms = floats(4, (size_t)n);
    if (!block->norms)
        return ltd_fail(l->err, LTD_E_EXHAUSTED, "%s: no memory for its norms", l->prefix);
    for (int i = 0; i < 4; i++)
        if (model_checkpoint_floats(l->ckpt, full_name(l, names[i], name), 0, n,
                                    block->norms + i * n, l->err) != 0)
            return -1;
    return 0;
}

/* The file has [2][1][H][d]; a shard keeps its own heads of both. */
static int load_bias(struct model_block *block, const struct loader *l)
{
    const struct model_config *config = &l->env->config;
    int64_t own = model_part_own(MODEL_PART_HEADS, config, &l->env->shard);
    int64_t begin = model_part_begin(MODEL_PART_HEADS, config, &l->env->shard);
    char name[MODEL_NAME_BYTES];
    if (!config->qk_bias || own == 0)
        return 0;
    block->qk_bias = floats(2, (size_t)own);
    if (!block->qk_bias)
        return ltd_fail(l->err, LTD_E_EXHAUSTED, "%s: no memory for its bias", l->prefix);
    for (int i = 0; i < 2; i++)
        if (model_checkpoint_floats(l->ckpt, full_name(l, "attn.qk_bias", name),
                                    i * config->n_embd + begin, own, block->qk_bias + i * own,
                                    l->err) != 0)
            return -1;
    return 0;
}

int model_mats_pack(struct kern_mat *mats, const struct model_env *env,
                    const struct model_checkpoint *ckpt, const char *name,
                    const struct model_row_range *ranges, int32_t n_ranges, struct ltd_err *err)
{
    struct model_pack what = {name, env->format, ranges, n_ranges};
    if (model_checkpoint_pack(ckpt, &env->ctx, &what, &mats[MODEL_COPY_MAIN], err) != 0)
        return -1;
    what.format = env->early_format;
    if (!env->has_early)
        return 0;
    return model_checkpoint_pack(ckpt, &env->ctx, &what, &mats[MODEL_COPY_EARLY], err);
}

void model_mats_fini(struct kern_mat *mats)
{
    for (int i = 0; i < MODEL_N_COPIES; i++)
        kern_mat_fini(&mats[i]);
}

void model_product(const struct model_env *env, const struct model_work *work,
                   const struct kern_mat *mats, float *y, const float *x)
{
    const struct kern_mat *early = &mats[MODEL_COPY_EARLY], *late = &mats[MODEL_COPY_MAIN];
    int32_t n_early = work->n_early, n_late = work->n_batch - n_early;
    if (n_early > 0)
        env->ctx.ops->matmul(&env->ctx, y, early, x, n_early);
    if (n_late > 0)
        env->ctx.ops->matmul(&env->ctx, y + (size_t)n_early * (size_t)late->rows, late,
                             x + (size_t)n_early * (size_t)late->cols, n_late);
}

static int load_matrix(struct kern_mat *mats, const struct loader *l, const char *tensor,
                       const struct model_row_range *ranges, int32_t n_ranges)
{
    char name[MODEL_NAME_BYTES];
    return model_mats_pack(mats, l->env, l->ckpt, full_name(l, tensor, name), ranges, n_ranges,
                           l->err);
}

static int load_matrices(struct model_block *block, const struct loader *l)
{
    const struct model_config *config = &l->env->config;
    const struct model_shard *shard = &l->env->shard;
    int32_t n = config->n_embd, fc = config->intermediate;
    int32_t begin = model_part_begin(MODEL_PART_HEADS, config, shard);
    int32_t end = begin + model_part_own(MODEL_PART_HEADS, config, shard);
    const struct model_row_range thirds[3] = {
        {begin, end}, {n + begin, n + end}, {2 * n + begin, 2 * n + end}};
    const struct model_row_range halves[2] = {{shard->fc_begin, shard->fc_end},
                                              {fc + shard->fc_begin, fc + shard->fc_end}};
    const struct model_row_range embd = {shard->embd_begin, shard->embd_end};
    if (load_matrix(block->qkv, l, "attn.Wqkv.weight", thirds, 3) != 0 ||
        load_matrix(block->proj, l, "attn.proj.weight", &embd, 1) != 0 ||
        load_matrix(block->fc, l, "mlp.fc.weight", halves, 2) != 0)
        return -1;
    return load_matrix(block->down, l, "mlp.proj.weight", &embd, 1);
}

int model_block_load(struct model_block *block, const struct model_env *env,
                     const struct model_checkpoint *ckpt, const char *prefix, struct ltd_err *err)
{
    struct loader l = {env, ckpt, prefix, err};
    *block = (struct model_block){0};
    if (load_norms(block, &l) == 0 && load_bias(block, &l) == 0 && load_matrices(block, &l) == 0)
        return 0;
    model_block_fini(block);
    return -1;
}

void model_block_fini(struct model_block *block)
{
    ltd_free(block->norms);
    ltd_free(block->qk_bias);
    model_mats_fini(block->qkv);
    model_mats_fini(block->proj);
    model_mats_fini(block->fc);
    model_mats_fini(block->down);
    *block = (struct model_block){0};
}

size_t model_block_bytes(const struct model_block *block, enum model_copy copy)
{
    return block->qkv[copy].bytes + block->proj[copy].bytes + block->fc[copy].bytes +
           block->down[copy].bytes;
}

int model_block_forward(const struct model_block *block, const struct model_env *env,
                        struct model_work *work, struct model_kv *kv, int32_t layer,
                        const struct model_exchange *exchange, struct ltd_err *err)
{
    const struct kern_ops *ops = env->ctx.ops;
    int32_t n = env->config.n_embd, n_pos = work->n_batch;
    int64_t count = (int64_t)n * n_pos;
    float eps = env->config.norm_eps;
    const float *norm_1 = block->norms, *norm_2 = norm_1 + n, *norm_3 = norm_2 + n,
                *norm_4 = norm_3 + n;

    ops->rmsnorm(&env->ctx, work->normed, work->x, norm_1, n, n_pos, eps);
    if (model_attention(block, env, work, kv, layer, exchange, err) != 0)
        return -1;
    ops->add(&env->ctx, work->x, work->part, work->x, count);
    ops->rmsnorm(&env->ctx, work->x, work->x, norm_2, n, n_pos, eps);

    ops->rmsnorm(&env->ctx, work->normed, work->x, norm_3, n, n_pos, eps);
    if (model_mlp(block, env, work, exchange, err) != 0)
        return -1;
    ops->add(&env->ctx, work->x, work->part, work->x, count);
    ops->rmsnorm(&env->ctx, work->x, work->x, norm_4, n, n_pos, eps);
    return 0;
}
