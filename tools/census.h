/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/census.h - how many parameters a checkpoint has, of what kind, and what a rank needs for it.
 *
 * Parameters are counted by the names of the tensors, not by a formula: a tensor belongs to the part
 * that its name says. `latentctl plan` has the formulas, because it may not look into a checkpoint.
 *
 * Threads: pure functions.
 */
#ifndef LATENTD_TOOLS_CENSUS_H
#define LATENTD_TOOLS_CENSUS_H

#include <stdint.h>

#include "base/err.h"
#include "model/checkpoint.h"
#include "model/shard.h"

enum tool_part {
    TOOL_PART_PRELUDE,
    TOOL_PART_ADAPTER,
    TOOL_PART_CORE, /* the layers of the recurrent block, without the adapter */
    TOOL_PART_CODA,
    TOOL_PART_EMBEDDING,
    TOOL_PART_NORM, /* ln_f */
    TOOL_PART_HEAD, /* 0 when it is the embedding */
    TOOL_N_PARTS
};

/* "prelude", "adapter", ... */
const char *tool_part_name(enum tool_part part);

struct tool_census {
    uint64_t parameters[TOOL_N_PARTS];
    uint64_t total;
    struct {
        uint64_t tensors, bytes;
    } dtypes[MODEL_N_DTYPES]; /* as stored; second copies and freqs_cis too */
    uint64_t bytes;           /* of all of them */
};

/* tool_census_take - LTD_E_EXHAUSTED without memory for the names. */
int tool_census_take(const struct model_checkpoint *ckpt, struct tool_census *out,
                     struct ltd_err *err);

/* What one rank holds while it serves, weights and keys and values in f32. */
struct tool_rank {
    struct model_shard shard;
    uint64_t weight_bytes;   /* of its rows; rank 0 has prelude, coda, embedding and head as well */
    uint64_t position_bytes; /* keys and values of one position; rank 0 has prelude and coda */
};

/*
 * tool_census_ranks - the ranks of a group with equal shares.
 *
 * n_planes  entries of keys and values that a position keeps per layer of the block
 * out       [n_ranks]
 * Errors: LTD_E_INVALID for a number of ranks that a cluster cannot have; LTD_E_EXHAUSTED.
 */
int tool_census_ranks(const struct model_config *config, const struct tool_census *census,
                      int32_t n_ranks, int32_t n_planes, struct tool_rank *out,
                      struct ltd_err *err);

/* Planes that a daemon keeps when nothing else is configured: one per step of the deepest job. */
int32_t tool_census_default_planes(const struct model_config *config);

#endif
