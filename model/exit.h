/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/exit.h - when a position has thought enough.
 *
 * A rule compares what a step made with what was there before and ends the thought when little
 * changed. Three rules look at the latent: their value is computed where the latents are, on the
 * ranks, one number per position, and positions of one call (a prompt) share the mean. Four look at
 * the distribution of the next token: the coordinator computes logits at each check and feeds them
 * to a `struct model_exit_memory`, which remembers the check before. FIXED never looks.
 *
 *     steps done     1 ... min_steps ... min_steps + check_every ... max_steps
 *     checked              yes           yes                         leaves in any case
 *
 * Threads: pure functions; a memory belongs to one thread at a time.
 * Source: the authors' adaptive decoding; acceleration: arXiv 2509.23314;
 * docs/numerics.md#exit-rules.
 */
#ifndef LATENTD_MODEL_EXIT_H
#define LATENTD_MODEL_EXIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum model_exit_kind {
    MODEL_EXIT_FIXED,
    /* of the latent; v < threshold ends the thought */
    MODEL_EXIT_LATENT_DIFF,
    MODEL_EXIT_COSINE,
    MODEL_EXIT_ACCELERATION,
    /* of the logits; v < threshold ends the thought */
    MODEL_EXIT_KL,
    MODEL_EXIT_MINP_KL,
    MODEL_EXIT_ENTROPY_DIFF,
    /* of the logits; v >= threshold ends the thought */
    MODEL_EXIT_ARGMAX_STABILITY,
    MODEL_N_EXITS
};

struct model_exit_rule {
    enum model_exit_kind kind;
    int32_t min_steps;   /* >= 1; no check before this many steps are done. FIXED ignores it */
    int32_t max_steps;   /* >= min_steps */
    int32_t check_every; /* >= 1; steps from one check to the next */
    double threshold;    /* never NaN; FIXED ignores it */
};

/* What ranks can measure about one position's step (the first three are what a slot asks for). */
enum model_exit_value {
    MODEL_VALUE_NONE,
    MODEL_VALUE_DIFF,         /* |s' - s| / |s'| */
    MODEL_VALUE_COSINE,       /* 1 - s'.s / (|s'| |s|) */
    MODEL_VALUE_ACCELERATION, /* |(s'' - s') - (s' - s)| / |s''|; NaN at the first step */
    MODEL_N_VALUES
};

/* "latent-diff" and so on, as configuration and documents write them. Never NULL. */
const char *model_exit_name(enum model_exit_kind kind);

/* The authors' default threshold of a rule; 0 for FIXED. */
double model_exit_default_threshold(enum model_exit_kind kind);

/* True for rules that need logits at each check. */
bool model_exit_uses_logits(enum model_exit_kind kind);

/* What the ranks have to measure for the rule; MODEL_VALUE_NONE for FIXED and rules of logits. */
enum model_exit_value model_exit_value_of(enum model_exit_kind kind);

/*
 * model_exit_diff, _cosine, _acceleration - the values above over [n]; sums in double in index
 * order. A zero vector gives NaN or infinity, and neither ever ends a position.
 */
double model_exit_diff(const float *z, const float *z_prev, int32_t n);
double model_exit_cosine(const float *z, const float *z_prev, int32_t n);
double model_exit_acceleration(const float *z, const float *z_prev, const float *z_before,
                               int32_t n);

/* model_exit_mean - the mean of the values of a call's positions, summed in position order. */
double model_exit_mean(const double *values, int32_t n_positions);

/* model_exit_is_due - is the rule's value asked for after `steps_done` steps? False for FIXED. True
 * at max_steps only if a check falls there: it decides nothing, but the result reports it. */
bool model_exit_is_due(const struct model_exit_rule *rule, int32_t steps_done);

/* model_exit_is_met - does `value` say that the thought has come to rest? NaN never does. */
bool model_exit_is_met(const struct model_exit_rule *rule, double value);

/* model_exit_now - does the position leave after `steps_done` steps? `value` is read only when
 * model_exit_is_due says so. */
bool model_exit_now(const struct model_exit_rule *rule, int32_t steps_done, double value);

/* What a rule of logits remembers from check to check. */
struct model_exit_memory {
    enum model_exit_kind kind;
    int32_t vocab;
    double *before; /* owned [vocab] log-probabilities, or filtered probabilities; NULL if unused */
    double *scratch; /* owned [vocab]; NULL if unused */
    double entropy;
    int32_t argmax, n_stable;
};

/* For rules of logits only. Errors: LTD_E_EXHAUSTED. */
int model_exit_memory_init(struct model_exit_memory *memory, enum model_exit_kind kind,
                           int32_t vocab, struct ltd_err *err);
void model_exit_memory_fini(struct model_exit_memory *memory); /* accepts a zeroed struct */

/* A new call begins: back to the published starting values (uniform, entropy 100, no token). */
void model_exit_memory_reset(struct model_exit_memory *memory);

/* One check: the rule's value for logits [vocab] of the call's last position, which are remembered
 * for the next check. Never allocates. */
double model_exit_memory_check(struct model_exit_memory *memory, const float *logits);

#endif
