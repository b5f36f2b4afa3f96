/* SPDX-License-Identifier: Apache-2.0 */
/* model/core.c - one rank's recurrent block; see model/core.h. */
#include "model/core.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "model/block.h"
#include "model/exit.h"
#include "model/layout.h"

struct model_core {
    /* configuration */
    struct model_env env;
    struct model_rope *rope;
    struct kern_mat adapter[MODEL_N_COPIES]; /* [own embd][2n]: columns of the latent, then of e */
    struct model_block *blocks;              /* [R] */
    /* state */
    struct model_kv *kv;
    /* scratch */
    struct model_work work;
    float *joined; /* [max_slots][2n]: latent before the step, e; in the order of `order` */
    int32_t
        *order; /* [max_slots] slot at each place of the batch: early ones first, else as given */
};

static int check_options(const struct model_core_options *options,
                         const struct model_config *config, struct ltd_err *err)
{
    if (options->max_slots < 1)
        return ltd_fail(err, LTD_E_INVALID, "recurrent block: %d slots, expected at least 1",
                        options->max_slots);
    if (options->max_positions < 1 || options->max_positions > config->max_positions)
        return ltd_fail(err, LTD_E_INVALID, "recurrent block: %d positions, expected 1 to %d",
                        options->max_positions, config->max_positions);
    return model_shard_check(&options->shard, config, err);
}

static int load_blocks(struct model_core *core, const struct model_checkpoint *ckpt,
                       struct ltd_err *err)
{
    const struct model_row_range rows = {core->env.shard.embd_begin, core->env.shard.embd_end};
    int32_t n_core = core->env.config.n_core;
    if (model_mats_pack(core->adapter, &core->env, ckpt, MODEL_NAME_ADAPTER, &rows, 1, err) != 0)
        return -1;
    core->blocks = calloc((size_t)n_core, sizeof *core->blocks);
    if (!core->blocks)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d blocks", n_core);
    for (int32_t i = 0; i < n_core; i++) {
        char prefix[MODEL_NAME_BYTES];
        snprintf(prefix, sizeof prefix, "transformer.core_block.%d", i);
        if (model_block_load(&core->blocks[i], &core->env, ckpt, prefix, err) != 0)
            return -1;
    }
    return 0;
}

static int build(struct model_core *core, const struct model_checkpoint *ckpt,
                 const struct model_core_options *options, struct ltd_err *err)
{
    const struct model_config *config = &core->env.config;
    const struct model_kv_spec kv = {
        .n_pages = options->n_pages,
        .n_layers = config->n_core,
        .n_heads = options->shard.head_end - options->shard.head_begin,
        .head_dim = config->head_dim,
        .policy = options->policy,
        .format = options->kv_format,
    };
    core->rope =
        model_rope_create(config->head_dim, config->rope_base, options->max_positions, err);
    if (!core->rope)
        return -1;
    core->env.rope = core->rope;
    core->kv = model_kv_create(&kv, err);
    if (!core->kv || load_blocks(core, ckpt, err) != 0 ||
        model_work_init(&core->work, &core->env, options->max_slots, options->max_positions, err) !=
            0)
        return -1;
    core->joined =
        ltd_alloc((size_t)options->max_slots * 2 * (size_t)config->n_embd, sizeof *core->joined);
    core->order = ltd_alloc((size_t)options->max_slots, sizeof *core->order);
    if (!core->joined || !core->order)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d slots", options->max_slots);
    return 0;
}

struct model_core *model_core_create(const struct model_checkpoint *ckpt,
                                     const struct kern_ctx *ctx,
                                     const struct model_core_options *options, struct ltd_err *err)
{
    const struct model_config *config = model_checkpoint_config(ckpt);
    if (check_options(options, config, err) != 0)
        return NULL;
    struct model_core *core = calloc(1, sizeof *core);
    if (!core)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "recurrent block: no memory");
    core->env = (struct model_env){.ctx = *ctx,
                                   .config = *config,
                                   .shard = options->shard,
                                   .format = options->format,
                                   .has_early = options->has_early,
                                   .early_format = options->early_format};
    if (build(core, ckpt, options, err) != 0) {
        model_core_destroy(core);
        return NULL;
    }
    return core;
}

void model_core_destroy(struct model_core *core)
{
    if (!core)
        return;
    for (int32_t i = 0; core->blocks && i < core->env.config.n_core; i++)
        model_block_fini(&core->blocks[i]);
    free(core->blocks);
    model_mats_fini(core->adapter);
    model_rope_destroy(core->rope);
    model_kv_destroy(core->kv);
    model_work_fini(&core->work);
    ltd_free(core->joined);
    ltd_free(core->order);
    free(core);
}

const struct model_config *model_core_config(const struct model_core *core)
{
    return &core->env.config;
}

struct model_kv *model_core_kv(struct model_core *core)
{
    return core->kv;
}

bool model_core_has_early(const struct model_core *core)
{
    return core->env.has_early;
}

size_t model_core_step_bytes(const struct model_core *core, bool is_early)
{
    enum model_copy copy = is_early ? MODEL_COPY_EARLY : MODEL_COPY_MAIN;
    size_t bytes = core->adapter[copy].bytes;
    for (int32_t i = 0; i < core->env.config.n_core; i++)
        bytes += model_block_bytes(&core->blocks[i], copy);
    return bytes;
}

size_t model_core_weight_bytes(const struct model_core *core)
{
    return model_core_step_bytes(core, false) + model_core_step_bytes(core, true);
}

/* Early slots first, both kinds in the order given. */
static int order_slots(struct model_core *core, const struct model_slot *slots, int32_t n_slots,
                       struct ltd_err *err)
{
    int32_t n = 0;
    for (int32_t i = 0; i < n_slots; i++)
        if (slots[i].is_early)
            core->order[n++] = i;
    if (n > 0 && !core->env.has_early)
        return ltd_fail(err, LTD_E_INTERNAL, "%d early slots, but the block is held in one format",
                        n);
    core->work.n_early = n;
    for (int32_t i = 0; i < n_slots; i++)
        if (!slots[i].is_early)
            core->order[n++] = i;
    return 0;
}

/* Take the batch: places into the work, latents and e side by side into `joined`. */
static int take_slots(struct model_core *core, const struct model_slot *slots, int32_t n_slots,
                      struct ltd_err *err)
{
    size_t n = (size_t)core->env.config.n_embd;
    if (n_slots > core->work.max_batch)
        return ltd_fail(err, LTD_E_EXHAUSTED, "batch of %d slots, expected at most %d", n_slots,
                        core->work.max_batch);
    if (order_slots(core, slots, n_slots, err) != 0)
        return -1;
    for (int32_t i = 0; i < n_slots; i++) {
        const struct model_slot *slot = &slots[core->order[i]];
        if (slot->place.position < 0 || slot->place.position >= core->work.max_positions)
            return ltd_fail(err, LTD_E_RANGE, "position %d, expected one in [0, %d)",
                            slot->place.position, core->work.max_positions);
        core->work.places[i] = slot->place;
        float *row = core->joined + (size_t)i * 2 * n;
        memcpy(row, slot->latent, n * sizeof *row);
        memcpy(row + n, slot->e, n * sizeof *row);
    }
    core->work.n_batch = n_slots;
    return model_work_begin(&core->work, core->kv, err);
}

static int adapt(struct model_core *core, const struct model_exchange *exchange,
                 struct ltd_err *err)
{
    struct model_work *work = &core->work;
    bool has_rows = core->adapter[MODEL_COPY_MAIN].rows > 0;
    if (has_rows)
        model_product(&core->env, work, core->adapter, work->own, core->joined);
    return exchange->gather(exchange->arg, MODEL_PART_EMBD, has_rows ? work->own : NULL, work->x,
                            work->n_batch, err);
}

/* `now` and `before` are the latents after and before the step; slot->previous still holds the one
 * before that. */
static void measure(struct model_slot *slot, const float *now, const float *before, int32_t n)
{
    switch (slot->want) {
    case MODEL_VALUE_DIFF:
        slot->value = model_exit_diff(now, before, n);
        break;
    case MODEL_VALUE_COSINE:
        slot->value = model_exit_cosine(now, before, n);
        break;
    case MODEL_VALUE_ACCELERATION:
        /* One move has no change of pace. */
        slot->value = slot->previous && slot->place.step_idx > 0
                          ? model_exit_acceleration(now, before, slot->previous, n)
                          : NAN;
        break;
    case MODEL_VALUE_NONE:
    case MODEL_N_VALUES:
        break;
    }
}

static void give_slots(const struct model_core *core, struct model_slot *slots)
{
    size_t n = (size_t)core->env.config.n_embd;
    for (int32_t i = 0; i < core->work.n_batch; i++) {
        const float *now = core->work.x + (size_t)i * n;
        const float *before = core->joined + (size_t)i * 2 * n;
        struct model_slot *slot = &slots[core->order[i]];
        measure(slot, now, before, (int32_t)n);
        if (slot->previous)
            memcpy(slot->previous, before, n * sizeof *before);
        memcpy(slot->latent, now, n * sizeof *now);
    }
}

int model_core_step(struct model_core *core, struct model_slot *slots, int32_t n_slots,
                    const struct model_exchange *exchange, struct ltd_err *err)
{
    if (n_slots == 0)
        return 0;
    if (take_slots(core, slots, n_slots, err) != 0 || adapt(core, exchange, err) != 0)
        return -1;
    for (int32_t layer = 0; layer < core->env.config.n_core; layer++)
        if (model_block_forward(&core->blocks[layer], &core->env, &core->work, core->kv, layer,
                                exchange, err) != 0)
            return -1;
    give_slots(core, slots);
    return 0;
}
