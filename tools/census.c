/* SPDX-License-Identifier: Apache-2.0 */
/* tools/census.c - see tools/census.h. */
#include "tools/census.h"

#include <stdlib.h>
#include <string.h>

#include "cluster/shard.h"
#include "model/layout.h"

#define ELEMENT_BYTES 4  /* f32 */
#define MAX_STEPS     64 /* daemon/capacity.c: the deepest job is at least so deep */

static const struct {
    const char *name;
    const char *prefix; /* of the tensors' names */
} parts[TOOL_N_PARTS] = {
    [TOOL_PART_PRELUDE] = {"prelude", "transformer.prelude."},
    [TOOL_PART_ADAPTER] = {"adapter", "transformer.adapter."},
    [TOOL_PART_CORE] = {"recurrent block", "transformer.core_block."},
    [TOOL_PART_CODA] = {"coda", "transformer.coda."},
    [TOOL_PART_EMBEDDING] = {"embedding", "transformer.wte."},
    [TOOL_PART_NORM] = {"final norm", "transformer.ln_f."},
    [TOOL_PART_HEAD] = {"head", "lm_head."},
};

const char *tool_part_name(enum tool_part part)
{
    return parts[part].name;
}

static void count_row(const struct model_layout_row *row, struct tool_census *census)
{
    uint64_t n = 1;
    for (int32_t i = 0; i < row->n_dims; i++)
        n *= (uint64_t)row->shape[i];
    census->total += n;
    for (int i = 0; i < TOOL_N_PARTS; i++)
        if (strncmp(row->name, parts[i].prefix, strlen(parts[i].prefix)) == 0)
            census->parameters[i] += n;
}

static void count_stored(const struct model_safetensors *file, struct tool_census *census)
{
    for (int32_t i = 0; i < model_safetensors_count(file); i++) {
        const struct model_tensor *t = model_safetensors_at(file, i);
        census->dtypes[t->dtype].tensors++;
        census->dtypes[t->dtype].bytes += t->bytes;
        census->bytes += t->bytes;
    }
}

int tool_census_take(const struct model_checkpoint *ckpt, struct tool_census *out,
                     struct ltd_err *err)
{
    struct model_layout layout;
    struct tool_census census = {.total = 0};
    if (model_layout_build(&layout, model_checkpoint_config(ckpt), err) != 0)
        return -1;
    for (int32_t i = 0; i < layout.n_rows; i++)
        count_row(&layout.rows[i], &census);
    free(layout.rows);
    for (int32_t f = 0; f < model_checkpoint_n_files(ckpt); f++)
        count_stored(model_checkpoint_file(ckpt, f), &census);
    *out = census;
    return 0;
}

/* Norms are on every rank; the bias of queries and keys lies with the heads. */
static uint64_t shard_bytes(const struct model_shard *shard, const struct model_config *c)
{
    uint64_t heads = (uint64_t)(shard->head_end - shard->head_begin);
    uint64_t vectors =
        4 * (uint64_t)c->n_embd + (c->qk_bias ? 2 * heads * (uint64_t)c->head_dim : 0);
    return ELEMENT_BYTES *
           ((uint64_t)model_shard_weights(shard, c) + (uint64_t)c->n_core * vectors);
}

static void fill_rank(struct tool_rank *rank, const struct model_config *c, int32_t n_planes)
{
    uint64_t heads = (uint64_t)(rank->shard.head_end - rank->shard.head_begin);
    rank->weight_bytes = shard_bytes(&rank->shard, c);
    rank->position_bytes = ELEMENT_BYTES * 2 * heads * (uint64_t)c->head_dim * (uint64_t)c->n_core *
                           (uint64_t)n_planes;
}

/* What only the coordinator has. */
static void add_border(struct tool_rank *rank, const struct model_config *c,
                       const struct tool_census *census)
{
    uint64_t block = census->parameters[TOOL_PART_CORE] + census->parameters[TOOL_PART_ADAPTER];
    rank->weight_bytes += ELEMENT_BYTES * (census->total - block);
    rank->position_bytes +=
        ELEMENT_BYTES * 2 * (uint64_t)c->n_embd * (uint64_t)(c->n_prelude + c->n_coda);
}

int tool_census_ranks(const struct model_config *config, const struct tool_census *census,
                      int32_t n_ranks, int32_t n_planes, struct tool_rank *out, struct ltd_err *err)
{
    const struct clus_shard_shape shape = {config->n_heads, config->n_embd, config->intermediate};
    if (n_ranks < 1 || n_ranks > CLUS_MAX_RANKS)
        return ltd_fail(err, LTD_E_INVALID, "%d ranks, expected 1 to %d", n_ranks, CLUS_MAX_RANKS);
    double *shares = calloc((size_t)n_ranks, sizeof *shares);
    struct model_shard *shards = calloc((size_t)n_ranks, sizeof *shards);
    int rc = -1;
    if (!shares || !shards)
        ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d ranks", n_ranks);
    else if (clus_shares_parse(NULL, n_ranks, shares, err) == 0)
        rc = clus_shard_plan(&shape, shares, n_ranks, shards, err);
    for (int32_t r = 0; rc == 0 && r < n_ranks; r++) {
        out[r].shard = shards[r];
        fill_rank(&out[r], config, n_planes);
    }
    if (rc == 0)
        add_border(&out[0], config, census);
    free(shards);
    free(shares);
    return rc;
}

int32_t tool_census_default_planes(const struct model_config *config)
{
    int32_t deepest = 2 * config->default_steps;
    if (deepest < MAX_STEPS)
        deepest = MAX_STEPS;
    return deepest < MODEL_MAX_STEPS ? deepest : MODEL_MAX_STEPS;
}
