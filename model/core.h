/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/core.h - the recurrent block: one rank's rows of it, and one step over a batch.
 *
 *     s' = core_{R-1}( ... core_0( adapter * concat(s, e) ))
 *
 * The unit of work is a batch of slots, each one position of one sequence at its own depth. Slots
 * of several sequences, several positions of one sequence (a causal chunk of a prompt) and
 * different depths mix freely: a slot's result has the same bits alone and in any company. In each
 * layer all slots write their keys and values first, then all read.
 *
 * The block may be held in two formats. Then each slot says which copy its step is made with: the
 * first steps of a thought forgive more than the last ones (docs/numerics.md#ladder). Slots of both
 * kinds mix as freely.
 *
 * Positions of one sequence that attend to each other at a shared plane must go in lockstep: run
 * step k of every chunk before step k + 1 of any (the planes of a policy that keeps all steps make
 * this needless).
 *
 * Threads: rank thread; kernels use the OpenMP threads of the kern_ctx. Collective over the group.
 * It owns no schedule and no KV plan; both come in with the slots.
 * Source: arXiv 2502.05171 §3; docs/numerics.md.
 */
#ifndef LATENTD_MODEL_CORE_H
#define LATENTD_MODEL_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kernels.h"
#include "model/checkpoint.h"
#include "model/exchange.h"
#include "model/exit.h"
#include "model/kv.h"
#include "model/shard.h"

struct model_slot {
    struct model_place place;
    float *latent;   /* [n] in/out: s before and after the step */
    float *previous; /* [n] in/out: s before the last step; after it, the s that this step began
                      * with. At step 0 only written. NULL: not kept, and no acceleration */
    const float *e;  /* [n] in: the prelude's output for the position, unchanged over steps */
    bool is_early;   /* in: the step is made with the early copy; needs one */
    enum model_exit_value want; /* MODEL_VALUE_NONE, or what `value` shall be */
    double value;               /* out, model/exit.h; untouched with MODEL_VALUE_NONE */
};

struct model_core_options {
    struct model_shard shard;
    int32_t max_slots;     /* of a batch */
    int32_t max_positions; /* longest sequence, at most the model's */
    int32_t n_pages;       /* of the KV pool */
    struct model_kv_policy policy;
    enum model_kv_format kv_format;
    enum kern_format format;       /* of the weight matrices; one that the tier has */
    bool has_early;                /* keep them in early_format, too */
    enum kern_format early_format; /* likewise one that the tier has */
};

struct model_core;

/*
 * model_core_create - pack this rank's rows from the checkpoint and reserve all scratch memory.
 * ctx is copied; its ops must live as long as the core. The checkpoint may be closed afterwards.
 * Errors: LTD_E_INVALID (options), LTD_E_CORRUPT (weights), LTD_E_EXHAUSTED (memory).
 */
struct model_core *model_core_create(const struct model_checkpoint *ckpt,
                                     const struct kern_ctx *ctx,
                                     const struct model_core_options *options, struct ltd_err *err);
void model_core_destroy(struct model_core *core); /* accepts NULL */

const struct model_config *model_core_config(const struct model_core *core);
struct model_kv *model_core_kv(struct model_core *core); /* borrowed; to release pages */
bool model_core_has_early(const struct model_core *core);
/* Bytes of packed weights that the rank holds, and what one step with one of the copies reads of
 * them. */
size_t model_core_weight_bytes(const struct model_core *core);
size_t model_core_step_bytes(const struct model_core *core, bool is_early);

/*
 * model_core_step - run the recurrent block once over `n_slots` slots.
 *
 * slots    in/out  step_idx selects the KV plane; latents are updated in place
 * exchange in      the rank group; every rank calls with slots that are equal but for pointers
 *
 * Order:   one dot product per output element, tier order (kernels.h); no atomics.
 * Cost:    2 * model_shard_weights() * n_slots flop; reads each copy that a slot uses once. Allocates
 *          nothing.
 * Errors:  LTD_E_EXHAUSTED for more slots than max_slots, LTD_E_RANGE for a position outside
 *          max_positions, LTD_E_INTERNAL for a broken KV plan or an early slot without an early copy,
 *          LTD_E_RANK from the exchange.
 *          Latents are then unspecified.
 */
int model_core_step(struct model_core *core, struct model_slot *slots, int32_t n_slots,
                    const struct model_exchange *exchange, struct ltd_err *err);

#endif
