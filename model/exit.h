/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/exit.h - when a position has thought enough.
 *
 * FIXED runs max_steps. LATENT_DIFF measures after each step how far the latent moved, relative to
 * its length, and ends below a threshold, between min_steps and max_steps. Positions of one call (a
 * prompt) advance together: their value is the mean over them.
 *
 * Threads: pure functions.
 * Source: the authors' adaptive decoding ("latent-diff"); docs/numerics.md#exit-rules.
 */
#ifndef LATENTD_MODEL_EXIT_H
#define LATENTD_MODEL_EXIT_H

#include <stdbool.h>
#include <stdint.h>

enum model_exit_kind { MODEL_EXIT_FIXED, MODEL_EXIT_LATENT_DIFF };

/* The authors' default threshold for latent-diff. */
#define MODEL_EXIT_LATENT_DIFF_DEFAULT 0.03

struct model_exit_rule {
    enum model_exit_kind kind;
    int32_t min_steps; /* >= 1; no exit before this many steps are done. FIXED ignores it */
    int32_t max_steps; /* >= min_steps */
    double threshold;  /* LATENT_DIFF: exit when the value is below; never NaN */
};

/*
 * model_exit_diff - |z - z_prev| / |z| over [n]; norms summed in double in index order.
 * A zero z gives NaN (0/0) or infinity, and neither ever ends a position.
 */
double model_exit_diff(const float *z, const float *z_prev, int32_t n);

/* model_exit_mean - the mean of the values of a call's positions, summed in position order. */
double model_exit_mean(const double *values, int32_t n_positions);

/* model_exit_wants_value - must the value be known to decide after `steps_done` steps? */
bool model_exit_wants_value(const struct model_exit_rule *rule, int32_t steps_done);

/* model_exit_now - does the position leave after `steps_done` steps? `value` is read only when
 * model_exit_wants_value says so. */
bool model_exit_now(const struct model_exit_rule *rule, int32_t steps_done, double value);

#endif
