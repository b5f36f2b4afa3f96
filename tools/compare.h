/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/compare.h - how far a model in one format is from itself in another, by depth.
 *
 *     prompt ─▶ prelude ─▶ step 1 ─▶ step 2 ─▶ … ─▶ step K        `against`: the reference
 *                            │         │              │
 *                            ▼ coda    ▼              ▼           KL, top token, latents, at 1, 2, 4 … K
 *                            │         │              │
 *     prompt ─▶ prelude ─▶ step 1 ─▶ step 2 ─▶ … ─▶ step K        `format`, perhaps with early steps
 *
 * Prompts are given whole (teacher forcing), all positions of one in lockstep, as a daemon runs a
 * prompt; both sides begin with the same drawn latents. Every position predicts the token behind
 * it, so each is one sample. Several ladders are run side by side in one batch, as a daemon's jobs
 * are.
 *
 * Everything is deterministic: sums are double, in the order of prompts, positions and elements.
 * Threads: main thread; kernels use n_threads.
 */
#ifndef LATENTD_TOOLS_COMPARE_H
#define LATENTD_TOOLS_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kernels.h"
#include "model/checkpoint.h"
#include "tools/prompts.h"

#define TOOL_COMPARE_MAX_LADDERS 64

struct tool_compare_options {
    const struct kern_ops *ops; /* a tier that has all the formats */
    int32_t n_threads;
    enum kern_format format, against;
    bool has_early;
    enum kern_format early_format; /* of the first steps in `format` */
    const int32_t *early_steps;    /* [n_ladders], each >= 0; more than the depth is all of it */
    int32_t n_ladders;             /* 1 .. TOOL_COMPARE_MAX_LADDERS */
    int32_t depth;                 /* K, 1 .. MODEL_MAX_STEPS */
    uint64_t seed;                 /* of the initial latents, scale 1 */
};

/* One number of early steps at one depth. */
struct tool_compare_row {
    int32_t early_steps, depth;
    uint64_t n_positions, n_same; /* in how many both would write the same token */
    double kl_mean, kl_max;       /* KL(against || format) of the next token, nats */
    double drift;                 /* rms of the latents' difference / rms of the reference's */
    double step_bytes; /* weights of the recurrent block that a step reads, mean over steps */
};

struct tool_comparison {
    struct tool_compare_row *rows; /* [n_rows] owned: by ladder, then by depth */
    size_t n_rows;
    uint64_t against_bytes; /* that a step of the reference reads */
};

/* The depths at which a comparison looks: powers of two, and `depth` itself; returns how many, at
 * most 32. */
int32_t tool_compare_depths(int32_t depth, int32_t out[32]);

/*
 * tool_compare - run all prompts through both sides.
 * Errors: LTD_E_INVALID (options, no prompt), those of loading a model, LTD_E_EXHAUSTED,
 *         LTD_E_CANCELLED after a signal (tools/stop.h). `out` is written only on success.
 */
int tool_compare(const struct model_checkpoint *ckpt, const struct tool_prompts *prompts,
                 const struct tool_compare_options *options, struct tool_comparison *out,
                 struct ltd_err *err);
void tool_comparison_fini(struct tool_comparison *comparison);

/* tool_compare_kl - KL(b || a) of two rows of logits, nats; 0 for equal bits, never below. NaN
 * where they are no distributions. */
double tool_compare_kl(const float *b, const float *a, int32_t n);

#endif
