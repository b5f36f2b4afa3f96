/* SPDX-License-Identifier: Apache-2.0 */
/* model/exit.c - the exit rules' decisions and the values of the latent; see model/exit.h. */
#include "model/exit.h"

#include <math.h>

#include "base/err.h"

/* Everything about a rule that is a constant, in the order of enum model_exit_kind. */
static const struct {
    const char *name;
    double threshold;
    enum model_exit_value value;
    bool uses_logits;
} kinds[MODEL_N_EXITS] = {
    [MODEL_EXIT_FIXED] = {"fixed", 0.0, MODEL_VALUE_NONE, false},
    [MODEL_EXIT_LATENT_DIFF] = {"latent-diff", 0.03, MODEL_VALUE_DIFF, false},
    [MODEL_EXIT_COSINE] = {"cosine", 1e-3, MODEL_VALUE_COSINE, false},
    [MODEL_EXIT_ACCELERATION] = {"acceleration", 0.03, MODEL_VALUE_ACCELERATION, false},
    [MODEL_EXIT_KL] = {"kl", 1e-3, MODEL_VALUE_NONE, true},
    [MODEL_EXIT_MINP_KL] = {"minp-kl", 1e-5, MODEL_VALUE_NONE, true},
    [MODEL_EXIT_ENTROPY_DIFF] = {"entropy-diff", 1e-3, MODEL_VALUE_NONE, true},
    [MODEL_EXIT_ARGMAX_STABILITY] = {"argmax-stability", 5.0, MODEL_VALUE_NONE, true},
};

static void check_kind(enum model_exit_kind kind)
{
    ltd_assert((unsigned)kind < MODEL_N_EXITS, kind, MODEL_N_EXITS);
}

const char *model_exit_name(enum model_exit_kind kind)
{
    check_kind(kind);
    return kinds[kind].name;
}

double model_exit_default_threshold(enum model_exit_kind kind)
{
    check_kind(kind);
    return kinds[kind].threshold;
}

bool model_exit_uses_logits(enum model_exit_kind kind)
{
    check_kind(kind);
    return kinds[kind].uses_logits;
}

enum model_exit_value model_exit_value_of(enum model_exit_kind kind)
{
    check_kind(kind);
    return kinds[kind].value;
}

double model_exit_diff(const float *z, const float *z_prev, int32_t n)
{
    double moved = 0.0, length = 0.0;
    for (int32_t i = 0; i < n; i++) {
        double delta = (double)z[i] - (double)z_prev[i];
        moved += delta * delta;
        length += (double)z[i] * (double)z[i];
    }
    return sqrt(moved) / sqrt(length);
}

double model_exit_cosine(const float *z, const float *z_prev, int32_t n)
{
    double product = 0.0, length = 0.0, length_prev = 0.0;
    for (int32_t i = 0; i < n; i++) {
        product += (double)z[i] * (double)z_prev[i];
        length += (double)z[i] * (double)z[i];
        length_prev += (double)z_prev[i] * (double)z_prev[i];
    }
    double value = 1.0 - product / (sqrt(length) * sqrt(length_prev));
    /* Rounding may lift a cosine a hair above 1; a threshold of 0 must stay out of reach. */
    return value < 0.0 ? 0.0 : value;
}

double model_exit_acceleration(const float *z, const float *z_prev, const float *z_before,
                               int32_t n)
{
    double turned = 0.0, length = 0.0;
    for (int32_t i = 0; i < n; i++) {
        double now = (double)z[i] - (double)z_prev[i];
        double before = (double)z_prev[i] - (double)z_before[i];
        turned += (now - before) * (now - before);
        length += (double)z[i] * (double)z[i];
    }
    return sqrt(turned) / sqrt(length);
}

double model_exit_mean(const double *values, int32_t n_positions)
{
    double sum = 0.0;
    for (int32_t i = 0; i < n_positions; i++)
        sum += values[i];
    return sum / n_positions;
}

bool model_exit_is_due(const struct model_exit_rule *rule, int32_t steps_done)
{
    if (rule->kind == MODEL_EXIT_FIXED)
        return false;
    return steps_done >= rule->min_steps && steps_done <= rule->max_steps &&
           (steps_done - rule->min_steps) % rule->check_every == 0;
}

bool model_exit_is_met(const struct model_exit_rule *rule, double value)
{
    switch (rule->kind) {
    case MODEL_EXIT_LATENT_DIFF:
    case MODEL_EXIT_COSINE:
    case MODEL_EXIT_ACCELERATION:
    case MODEL_EXIT_KL:
    case MODEL_EXIT_MINP_KL:
    case MODEL_EXIT_ENTROPY_DIFF:
        return value < rule->threshold;
    case MODEL_EXIT_ARGMAX_STABILITY:
        return value >= rule->threshold;
    case MODEL_EXIT_FIXED:
    case MODEL_N_EXITS:
        break;
    }
    return false;
}

bool model_exit_now(const struct model_exit_rule *rule, int32_t steps_done, double value)
{
    if (steps_done >= rule->max_steps)
        return true;
    return model_exit_is_due(rule, steps_done) && model_exit_is_met(rule, value);
}
