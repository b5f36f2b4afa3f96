/* SPDX-License-Identifier: Apache-2.0 */
/* cli/plan.c - see cli/plan.h. */
#include "cli/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ANCHOR_STEPS 9 /* eight steps with entries of their own, one entry for all deeper */

static const struct {
    const char *name;
    uint64_t bits;        /* of a weight */
    uint64_t scale_bytes; /* 0: none */
    uint64_t group;       /* weights of a row that share a scale; 0: the whole row */
    bool is_served;
} formats[CLI_N_WEIGHT_FORMATS] = {
    [CLI_WEIGHTS_F32] = {"f32", 32, 0, 0, true},
    [CLI_WEIGHTS_BF16] = {"bf16", 16, 0, 0, true},
    [CLI_WEIGHTS_INT8] = {"int8", 8, 4, 0, true},
    [CLI_WEIGHTS_INT4] = {"int4", 4, 2, 32, true},
};

const char *cli_weight_format_name(enum cli_weight_format format)
{
    return formats[format].name;
}

int cli_weight_format_parse(const char *text, enum cli_weight_format *out)
{
    for (enum cli_weight_format f = 0; f < CLI_N_WEIGHT_FORMATS; f++)
        if (strcmp(text, formats[f].name) == 0) {
            *out = f;
            return 0;
        }
    return -1;
}

bool cli_weight_format_is_served(enum cli_weight_format format)
{
    return formats[format].is_served;
}

static uint64_t divided_up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

/* Entries of the four matrices of a layer: Wqkv 3n x n, proj n x n, fc 2I x n, mlp.proj n x I. */
static uint64_t layer_entries(const struct cli_shape *s)
{
    return 4 * s->n_embd * s->n_embd + 3 * s->n_embd * s->intermediate;
}

struct cli_parameters cli_plan_parameters(const struct cli_shape *s)
{
    /* Beside the matrices a layer has four norms and, perhaps, a bias for queries and keys. */
    uint64_t layer = layer_entries(s) + 4 * s->n_embd + (s->has_qk_bias ? 2 * s->n_embd : 0);
    struct cli_parameters p = {.embedding = s->vocab * s->n_embd,
                               .prelude = s->n_prelude * layer,
                               .adapter = 2 * s->n_embd * s->n_embd,
                               .core = s->n_core * layer,
                               .coda = s->n_coda * layer,
                               .norm = s->n_embd,
                               .head = s->is_tied ? 0 : s->vocab * s->n_embd};
    p.total = p.embedding + p.prelude + p.adapter + p.core + p.coda + p.norm + p.head;
    return p;
}

uint64_t cli_plan_step_entries(const struct cli_shape *s)
{
    return 2 * s->n_embd * s->n_embd + s->n_core * layer_entries(s);
}

uint64_t cli_plan_fixed_entries(const struct cli_shape *s)
{
    return (s->n_prelude + s->n_coda) * layer_entries(s) + s->vocab * s->n_embd;
}

static uint64_t matrix_bytes(enum cli_weight_format format, uint64_t n_rows, uint64_t n_columns)
{
    uint64_t group = formats[format].group;
    uint64_t scales = (group ? divided_up(n_columns, group) : 1) * formats[format].scale_bytes;
    return n_rows * (divided_up(n_columns * formats[format].bits, 8) + scales);
}

/* The rows of the matrices of a layer that one owner has. */
struct rows {
    uint64_t heads, embd, fc;
};

static uint64_t layer_bytes(const struct cli_shape *s, enum cli_weight_format format,
                            const struct rows *own)
{
    uint64_t head_dim = s->n_embd / s->n_heads;
    return matrix_bytes(format, 3 * own->heads * head_dim, s->n_embd) +
           matrix_bytes(format, own->embd, s->n_embd) +
           matrix_bytes(format, 2 * own->fc, s->n_embd) +
           matrix_bytes(format, own->embd, s->intermediate);
}

uint64_t cli_plan_fixed_bytes(const struct cli_shape *s, enum cli_weight_format format)
{
    const struct rows all = {s->n_heads, s->n_embd, s->intermediate};
    return (s->n_prelude + s->n_coda) * layer_bytes(s, format, &all) +
           matrix_bytes(format, s->vocab, s->n_embd);
}

uint64_t cli_plan_shard_bytes(const struct cli_shape *s, enum cli_weight_format format,
                              uint64_t n_ranks)
{
    const struct rows own = {divided_up(s->n_heads, n_ranks), divided_up(s->n_embd, n_ranks),
                             divided_up(s->intermediate, n_ranks)};
    return matrix_bytes(format, own.embd, 2 * s->n_embd) + s->n_core * layer_bytes(s, format, &own);
}

uint64_t cli_plan_ranks_to_fit(const struct cli_shape *s, enum cli_weight_format format,
                               uint64_t cache_bytes)
{
    for (uint64_t n = 1; n <= CLI_PLAN_MAX_RANKS; n++)
        if (cli_plan_shard_bytes(s, format, n) <= cache_bytes)
            return n;
    return 0;
}

double cli_plan_token_seconds(const struct cli_shape *s, enum cli_weight_format format,
                              uint64_t n_ranks, uint64_t steps, double bandwidth)
{
    double fixed = (double)cli_plan_fixed_bytes(s, format);
    double step = (double)cli_plan_shard_bytes(s, format, n_ranks);
    return (fixed + (double)steps * step) / bandwidth;
}

uint64_t cli_plan_ladder_bytes(const struct cli_shape *s, const struct cli_ladder *ladder,
                               uint64_t n_ranks)
{
    return cli_plan_shard_bytes(s, ladder->early_format, n_ranks) +
           cli_plan_shard_bytes(s, ladder->format, n_ranks);
}

double cli_plan_ladder_seconds(const struct cli_shape *s, const struct cli_ladder *ladder,
                               uint64_t n_ranks, uint64_t steps, double bandwidth)
{
    uint64_t early = steps < ladder->early_steps ? steps : ladder->early_steps;
    double first = (double)cli_plan_shard_bytes(s, ladder->early_format, n_ranks);
    return cli_plan_token_seconds(s, ladder->format, n_ranks, steps - early, bandwidth) +
           (double)early * first / bandwidth;
}

size_t cli_plan_policies(const struct cli_shape *s, uint64_t kv_slots,
                         struct cli_kv_policy out[CLI_PLAN_MAX_POLICIES])
{
    static const uint64_t depths[] = {8, 32, 64}, kept[] = {1, 2, 4};
    struct cli_kv_policy *next = out;
    for (size_t i = 0; i < 3; i++, next++) {
        next->n_planes = depths[i];
        snprintf(next->name, sizeof next->name, "full, max_steps %" PRIu64, depths[i]);
    }
    /* sN counts entries over all layers of the block, so N is a multiple of them. */
    for (size_t i = 0; i < 3; i++, next++) {
        next->n_planes = kept[i];
        snprintf(next->name, sizeof next->name, "compress-s%" PRIu64, kept[i] * s->n_core);
    }
    next->n_planes = ANCHOR_STEPS;
    snprintf(next->name, sizeof next->name, "compress-anchor");
    next++;
    if (kv_slots > 0) {
        next->n_planes = kv_slots;
        snprintf(next->name, sizeof next->name, "kv_slots %" PRIu64, kv_slots);
        next++;
    }
    return (size_t)(next - out);
}

uint64_t cli_plan_kv_bytes(const struct cli_shape *s, uint64_t n_planes, uint64_t element_bytes)
{
    uint64_t slots = s->n_prelude + s->n_core * n_planes + s->n_coda;
    return slots * 2 * s->n_embd * element_bytes;
}
