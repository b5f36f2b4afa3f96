/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/border.h - prelude and coda: the layers around the recurrence, and the output head.
 *
 *     e = prelude(wte[token] * sqrt(n))          once per position
 *     h = ln_f(coda(ln_f(s)))                    once per position, after its last step
 *     logits = lm_head * h                       only where a token is to be chosen
 *
 * Owned whole by the coordinator. Their keys and values lie in pools of their own, one plane deep,
 * numbered by the same pages as the recurrent block's pool. Every position must pass the prelude
 * before a later one does, and the coda likewise: later positions attend to it there.
 * Running a position again overwrites its entry.
 *
 * Threads: engine thread; kernels use the OpenMP threads of the kern_ctx.
 * Source: arXiv 2502.05171 §3; docs/numerics.md.
 */
#ifndef LATENTD_MODEL_BORDER_H
#define LATENTD_MODEL_BORDER_H

#include <stdint.h>

#include "base/err.h"
#include "kernels/kernels.h"
#include "model/checkpoint.h"
#include "model/kv.h"

struct model_border_options {
    int32_t max_batch;     /* rows computed at once; longer calls are cut, with the same bits */
    int32_t max_positions; /* longest sequence, at most the model's */
    int32_t n_pages;       /* of the KV pools */
    enum model_kv_format kv_format;
    enum kern_format format; /* of the weight matrices, head and embedding among them */
};

struct model_border_in {
    struct model_place place; /* step_idx 0 */
    int32_t token;            /* [0, vocab) */
    float *e;                 /* [n] out */
};

struct model_border_out {
    struct model_place place; /* step_idx 0 */
    const float *latent;      /* [n] in: raw s after its last step */
    float *hidden;            /* [n] out: input of the head; may be `latent` itself */
};

struct model_border;

/* Errors and lifetimes as model_core_create. */
struct model_border *model_border_create(const struct model_checkpoint *ckpt,
                                         const struct kern_ctx *ctx,
                                         const struct model_border_options *options,
                                         struct ltd_err *err);
void model_border_destroy(struct model_border *border); /* accepts NULL */

const struct model_config *model_border_config(const struct model_border *border);
/* Forget a page in both pools. */
void model_border_release(struct model_border *border, int32_t page);

/*
 * model_border_prelude - embed and run the prelude over `n` positions.
 * Positions of one sequence stand in ascending order. Errors: LTD_E_INVALID for a token outside the
 * vocabulary, LTD_E_RANGE for a position, LTD_E_INTERNAL for a broken KV plan.
 */
int model_border_prelude(struct model_border *border, const struct model_border_in *in, int32_t n,
                         struct ltd_err *err);

/* model_border_coda - ln_f, coda, ln_f over `n` positions; same order rule and errors. */
int model_border_coda(struct model_border *border, const struct model_border_out *out, int32_t n,
                      struct ltd_err *err);

/* model_border_head - logits[n_rows][vocab] of hidden[n_rows][n]. Cannot fail. */
void model_border_head(struct model_border *border, const float *hidden, int32_t n_rows,
                       float *logits);

/* model_border_norm - ln_f of `n_rows` latents: out[n_rows][n]; out may be latent. Warm starts of
 * plain decoding begin from it, and it is what the authors call the latent states. */
void model_border_norm(struct model_border *border, const float *latent, int32_t n_rows,
                       float *out);

#endif
