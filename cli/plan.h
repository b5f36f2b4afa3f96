/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/plan.h - what a model of a given shape costs in bytes and time, before it is ever loaded.
 *
 * Pure arithmetic over shapes, all of it here. Decoding reads every weight of a part once per use,
 * and does so little with each that reading is what takes the time:
 *
 *     time of a token >= (prelude, coda, head)          / bandwidth of the coordinator's host
 *                      + steps * largest shard of a step / bandwidth of a rank's host
 *
 * A shard is cut by output rows like the real one: whole heads for the query, key and value rows,
 * rows of width n for adapter and projections, pairs of rows in the MLP. int8 has one f32 scale per
 * row, int4 one bf16 scale per 32 weights of a row.
 *
 * This program may not look into the daemon's code, so the sizes are written down a second time;
 * the tests compare them with published figures of the 3.5 G model.
 *
 * Threads: pure functions.
 * Source: arXiv 2502.05171; docs/numerics.md#kv-policies; docs/latentctl.md#plan.
 */
#ifndef LATENTD_CLI_PLAN_H
#define LATENTD_CLI_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The letters are those of the published configuration: n, H, I, V, P, R, C, T. */
struct cli_shape {
    uint64_t n_embd, n_heads, intermediate, vocab;
    uint64_t n_prelude, n_core, n_coda; /* layers */
    uint64_t context_tokens;
    uint64_t default_steps;
    bool is_tied; /* the head is the embedding */
    bool has_qk_bias;
};

/* Numbers of parameters; a tied head has none of its own. */
struct cli_parameters {
    uint64_t embedding, prelude, adapter, core, coda, norm, head, total;
};

struct cli_parameters cli_plan_parameters(const struct cli_shape *shape);

enum cli_weight_format {
    CLI_WEIGHTS_F32,
    CLI_WEIGHTS_BF16,
    CLI_WEIGHTS_INT8,
    CLI_WEIGHTS_INT4,
    CLI_N_WEIGHT_FORMATS
};

const char *cli_weight_format_name(enum cli_weight_format format);

/* The format of that name into *out; -1 and *out untouched for another text. */
int cli_weight_format_parse(const char *text, enum cli_weight_format *out);

/* True for formats that a daemon of this version can hold its weights in. */
bool cli_weight_format_is_served(enum cli_weight_format format);

/*
 * cli_plan_step_entries, cli_plan_fixed_entries - matrix entries that one position reads: per
 * recurrent step (adapter and block), and once per token (prelude, coda and head).
 */
uint64_t cli_plan_step_entries(const struct cli_shape *shape);
uint64_t cli_plan_fixed_entries(const struct cli_shape *shape);

/* Bytes of the latter in a format, scales included. */
uint64_t cli_plan_fixed_bytes(const struct cli_shape *shape, enum cli_weight_format format);

/*
 * cli_plan_shard_bytes - bytes of a step that the rank with the largest equal share reads.
 * n_ranks  >= 1; 1 gives the whole step
 */
uint64_t cli_plan_shard_bytes(const struct cli_shape *shape, enum cli_weight_format format,
                              uint64_t n_ranks);

/*
 * cli_plan_ranks_to_fit - the least number of ranks at which the largest shard has at most
 * `cache_bytes`; 0 when none up to CLI_PLAN_MAX_RANKS does.
 */
#define CLI_PLAN_MAX_RANKS 4096
uint64_t cli_plan_ranks_to_fit(const struct cli_shape *shape, enum cli_weight_format format,
                               uint64_t cache_bytes);

/*
 * cli_plan_token_seconds - the least time of a token: both reads above, one after the other.
 * bandwidth  bytes per second of one host; each rank has a host of its own
 */
double cli_plan_token_seconds(const struct cli_shape *shape, enum cli_weight_format format,
                              uint64_t n_ranks, uint64_t steps, double bandwidth);

/* A ladder (docs/numerics.md#ladder): the first steps of a position read one copy of the recurrent
 * part, the others another one, and a rank holds its share of both. */
struct cli_ladder {
    enum cli_weight_format format, early_format;
    uint64_t early_steps;
};

/* cli_plan_ladder_bytes - of both copies, at the rank with the largest equal share. */
uint64_t cli_plan_ladder_bytes(const struct cli_shape *shape, const struct cli_ladder *ladder,
                               uint64_t n_ranks);

/* cli_plan_ladder_seconds - as cli_plan_token_seconds, for a job that is alone: in a batch where
 * others are at steps of the other kind a tick reads both copies. Prelude, coda and head are in
 * `format`. */
double cli_plan_ladder_seconds(const struct cli_shape *shape, const struct cli_ladder *ladder,
                               uint64_t n_ranks, uint64_t steps, double bandwidth);

/* A way to keep keys and values: so many entries of every layer of the block per position. */
#define CLI_PLAN_POLICY_BYTES 48
struct cli_kv_policy {
    char name[CLI_PLAN_POLICY_BYTES];
    uint64_t n_planes;
};

/*
 * cli_plan_policies - the published policies worth looking at for this shape, at most
 * CLI_PLAN_MAX_POLICIES: every step its own entry, at three depths; the compressed ones; and
 * kv_slots when it is not 0.
 * Returns how many.
 */
#define CLI_PLAN_MAX_POLICIES 8
size_t cli_plan_policies(const struct cli_shape *shape, uint64_t kv_slots,
                         struct cli_kv_policy out[CLI_PLAN_MAX_POLICIES]);

/* Positions of a page of keys and values (docs/engine.md). */
#define CLI_PLAN_PAGE_POSITIONS 16

/* Bytes of keys and values of one position; element_bytes is 4 for f32 and 2 for bf16. */
uint64_t cli_plan_kv_bytes(const struct cli_shape *shape, uint64_t n_planes,
                           uint64_t element_bytes);

#endif
